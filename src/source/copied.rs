//! Decides from the times of a table's change files whether a full load contains them. Pure.
//!
//! An object that was copied has the time of the copy as its `LastModified`. The decision is made once for all change
//! files of a table, never per file, so that no threshold splits a feed. If the files disagree, or may have been
//! copied, the table is held and `FEED order=` decides.

/// A change file that was written so long after the time in its name was evidently copied: that is more than a time zone and
/// the retries of an upload make.
pub(super) const DAY: i64 = 86_400;
/// If the names span this much more time than the writing of the files took, the files may have been copied at once.
/// In seconds; more than a change of clocks and the delay of one upload.
pub(super) const GATHERED: i64 = 90 * 60;
/// Time within which any file of one copy may be the first, in seconds, because files are copied in parallel.
const SLACK: i64 = 300;

/// Time in a change file's name, and its `LastModified`, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub named: i64,
    pub written: i64,
    /// The generation for which the ledger accounts for it; none if it is pending.
    pub generation: Option<i32>,
}

/// Result of comparing the times of change files with a full load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The times are genuine: the load contains the files that were written before it.
    Genuine,
    /// The files before it were copied: all of them follow the table's first full load.
    Copied,
    /// Neither can be decided.
    Unsure(Unsure),
}

/// Numbers of contradicting files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsure {
    /// Number of files that were written before the load by their `LastModified`.
    before: usize,
    /// Number of files that were evidently copied.
    copied: usize,
}

impl Times {
    pub(super) fn is_copied(&self) -> bool {
        self.written - self.named > DAY
    }

    /// Returns true if the name may be a time: nothing is written long before it is named.
    fn is_timed(&self) -> bool {
        self.named - self.written <= DAY
    }
}

/// Decides about a full load whose earliest part was written at `earliest`, from the change files of its generation and those
/// that are pending.
pub(super) fn judge(number: i32, earliest: i64, all: &[Times]) -> Verdict {
    // what was loaded without a full load before the first one belongs to it as well
    let is_of_this = |times: &&Times| times.generation.is_none_or(|generation| number <= 1 || generation >= number);
    let of_this = || all.iter().filter(is_of_this);
    let before: Vec<&Times> = of_this().filter(|times| times.written < earliest).collect();
    let copied = of_this().filter(|times| times.is_copied());
    let unsure = Verdict::Unsure(Unsure { before: before.len(), copied: copied.clone().count() });
    match copied.map(|times| times.written).min() {
        _ if before.is_empty() => Verdict::Genuine,
        // a copying that was under way when the load was written has files on both sides of it
        None if are_gathered(&of_this().collect::<Vec<_>>()) => unsure,
        None => Verdict::Genuine,
        // at a later full load there is nothing to assume: they agree that they are older, or they do not
        Some(_) if number > 1 && before.iter().all(|times| times.is_copied()) => Verdict::Genuine,
        Some(first) if number <= 1 && before.iter().all(|times| may_be_of_a_copying(times, first)) => Verdict::Copied,
        Some(_) => unsure,
    }
}

/// Returns true if the file was evidently copied, or was made before a copying began and written in the course of it.
fn may_be_of_a_copying(times: &Times, first: i64) -> bool {
    times.is_copied() || (times.is_timed() && times.named < first && times.written >= first - SLACK)
}

/// Returns true if the names span much more time than the writing of the files took.
fn are_gathered(files: &[&Times]) -> bool {
    let span = |of: fn(&Times) -> i64| {
        let all = || files.iter().filter(|times| times.is_timed()).map(|times| of(times));
        all().max().zip(all().min()).map_or(0, |(last, first)| last - first)
    };
    span(|times| times.named) - span(|times| times.written) > GATHERED
}

impl Unsure {
    /// Says why the table is held, and what decides.
    pub(super) fn reason(self, number: i32) -> String {
        let Self { before, copied } = self;
        let files = if before == 1 { "1 change file".to_owned() } else { format!("{before} change files") };
        let how = match copied {
            0 => "their names span far more time than their writing took, so they may have been copied".to_owned(),
            1 => "1 change file of the table was written more than a day after the time in its name, so it was copied"
                .to_owned(),
            _ => format!(
                "{copied} change files of the table were written more than a day after the times in their names, so they were copied"
            ),
        };
        format!(
            "the times do not tell whether snapshot {number} contains the change files: {files} came before it by LastModified, \
             but {how}. Write FEED order=name if all change files follow it, FEED order=modified if it contains what was written \
             before it (FEED order=auto holds the table while the files disagree)"
        )
    }
}
