//! Decides from the times of a table's change files whether a full load contains them. Pure.
//!
//! An object that was copied has the time of the copy as its `LastModified`. The decision is made once for all change
//! files of a table, never per file, so that no threshold splits a feed. If the files disagree, or may have been
//! copied, the table is held and `FEED order=` decides.

/// A change file that was written so long after the time in its name was evidently copied: that is more than a time zone and
/// the retries of an upload make.
pub(super) const DAY: i64 = 86_400;
/// Longest time between the name and the writing of a file that was written promptly, in seconds: the clocks of writers differ,
/// and an upload takes its time.
pub(super) const PROMPT: i64 = 300;
/// Longest time that copying a table's files takes, in seconds. Files that were written further apart from each other, and
/// equally long after the times in their names, are named in a time zone.
const COPYING: i64 = 2 * 3600;
/// One file in this many may be slow in a feed that is written promptly.
const SLOW_ONE_IN: usize = 4;

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
    /// Longest time between the name and the writing of a file that was not evidently copied, in seconds.
    apart: i64,
}

impl Times {
    pub(super) fn is_copied(&self) -> bool {
        self.delay() > DAY
    }

    /// Returns `true` if the name may be a time: nothing is written long before it is named.
    fn is_timed(&self) -> bool {
        self.delay() >= -DAY
    }

    /// Returns `true` if the file may have been written when it was made, or copied within a day.
    fn is_near(&self) -> bool {
        self.is_timed() && !self.is_copied()
    }

    /// Returns the seconds from the time in the name to the writing.
    fn delay(&self) -> i64 {
        self.written - self.named
    }
}

/// Decides about a full load whose earliest part was written at `earliest`, from the change files of its generation and those
/// that are pending.
pub(super) fn judge(number: i32, earliest: i64, all: &[Times]) -> Verdict {
    // what was loaded without a full load before the first one belongs to it as well
    let is_of_this = |times: &&Times| times.generation.is_none_or(|generation| number <= 1 || generation >= number);
    let of_this: Vec<&Times> = all.iter().filter(is_of_this).collect();
    let before = || of_this.iter().filter(|times| times.written < earliest);
    let copied = || of_this.iter().filter(|times| times.is_copied());
    let apart = of_this.iter().filter(|times| times.is_near()).map(|times| times.delay().abs()).max();
    let unsure = Unsure { before: before().count(), copied: copied().count(), apart: apart.unwrap_or_default() };
    match copied().map(|times| times.written).min() {
        _ if unsure.before == 0 => Verdict::Genuine,
        None if may_be_copied(&of_this, all) => Verdict::Unsure(unsure),
        None => Verdict::Genuine,
        Some(first) if number <= 1 && before().all(|times| may_be_of_a_copying(times, first)) => Verdict::Copied,
        // a later full load may have been copied with them, or have been made after the copying
        Some(_) => Verdict::Unsure(unsure),
    }
}

/// Returns `true` if the file was evidently copied, or was made before a copying began and written in the course of it.
fn may_be_of_a_copying(times: &Times, first: i64) -> bool {
    times.is_copied() || (times.is_timed() && times.named < first && times.written >= first - PROMPT)
}

/// Returns `true` if files may have been copied within a day of their making: some were there before the feed was written
/// promptly, or too few of all files of the table were written promptly.
fn may_be_copied(of_this: &[&Times], all: &[Times]) -> bool {
    let near: Vec<&Times> = all.iter().filter(|times| times.is_near()).collect();
    let zone = zone(&near);
    let is_prompt = |times: &&&Times| {
        let delay = times.delay();
        delay.abs() <= PROMPT || zone.is_some_and(|zone| (delay - zone).abs() <= PROMPT)
    };
    let slow = near.iter().filter(|times| !is_prompt(times)).count();
    let first_prompt = near.iter().filter(is_prompt).map(|times| times.named).min();
    let mut slow_of_this = of_this.iter().filter(|times| times.is_near() && !is_prompt(times));
    slow * SLOW_ONE_IN > near.len() || slow_of_this.any(|times| first_prompt.is_none_or(|first| times.named < first))
}

/// Returns how long after the times in their names files are written as a rule, if nothing but a time zone makes that so.
fn zone(files: &[&Times]) -> Option<i64> {
    let mut delays: Vec<i64> = files.iter().map(|times| times.delay()).collect();
    delays.sort_unstable();
    let middle = *delays.get(delays.len() / 2)?;
    let usual = || files.iter().filter(|times| (times.delay() - middle).abs() <= PROMPT);
    let written = || usual().map(|times| times.written);
    let span = written().max()? - written().min()?;
    let most = usual().count() * SLOW_ONE_IN >= files.len() * (SLOW_ONE_IN - 1);
    (most && usual().count() > 2 && span > COPYING).then_some(middle)
}

impl Unsure {
    /// Says why the table is held, and what decides.
    pub(super) fn reason(self, number: i32) -> String {
        let Self { before, copied, apart } = self;
        let files = if before == 1 { "1 change file".to_owned() } else { format!("{before} change files") };
        let how = match copied {
            0 => format!(
                "change files of the table were written up to {} minutes apart from the times in their names, so they may have \
                 been copied, or named in another time zone",
                apart / 60
            ),
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
