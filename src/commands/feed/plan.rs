//! Files that `feed make` writes, their order, and their anomalies.

use anyhow::Context;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::args::{Args, UploadOrder};
use crate::feed::{Anomaly, Changes, Edition, Entity, KeyChanges, Layout, Names, Spot};

/// A file to be written, or not.
pub(super) struct File {
    pub(super) key: String,
    pub(super) what: What,
    /// Time for a timestamp column.
    pub(super) time: PrimitiveDateTime,
    /// Modification time of the file.
    pub(super) modified: PrimitiveDateTime,
    pub(super) anomalies: Vec<Anomaly>,
    /// Anomaly of the file as one of several.
    pub(super) spot: Option<Spot>,
}

pub(super) enum What {
    Part(Edition, Layout),
    Changes(Changes),
    /// A part that is left out.
    Missing,
}

/// Returns all files in the order in which they are written; `path` is that of the bucket.
pub(super) fn files(args: &Args, path: &str, now: OffsetDateTime) -> anyhow::Result<Vec<File>> {
    let now = PrimitiveDateTime::new(now.date(), now.time());
    let mut files = Vec::new();
    for entity in args.entities() {
        let table = Table::new(args, path, entity, args.time().unwrap_or(now))?;
        files.extend(table.files()?);
    }
    match args.upload_order() {
        Some(UploadOrder::Name) => files.sort_by(|a, b| a.key.cmp(&b.key)),
        Some(UploadOrder::Reverse) => files.sort_by(|a, b| b.key.cmp(&a.key)),
        None => {}
    }
    files.sort_by_key(File::is_late);
    Ok(files)
}

impl File {
    fn is_late(&self) -> bool {
        self.spot.as_ref().is_some_and(|spot| spot.anomaly == Anomaly::LateFile)
    }
}

/// The files of one table.
struct Table<'a> {
    args: &'a Args,
    names: Names,
    edition: Edition,
    start: PrimitiveDateTime,
}

impl<'a> Table<'a> {
    fn new(args: &'a Args, path: &str, entity: Entity, start: PrimitiveDateTime) -> anyhow::Result<Self> {
        let rows = (entity.full_size() as f64 * args.scale).round() as u64;
        let base = Edition::base(entity, rows, args.seed);
        let edition = args.reload.map_or(Ok(base.clone()), |shape| base.reload(shape))?;
        Ok(Self { args, names: args.names(path, entity), edition, start })
    }

    fn files(&self) -> anyhow::Result<Vec<File>> {
        let mut parts = if self.args.no_snapshot { Vec::new() } else { self.parts()? };
        let mut changes =
            (0..self.args.changes).map(|number| self.changes(number.into())).collect::<Result<Vec<_>, _>>()?;
        if self.args.anomalies().contains(&Anomaly::MissingPart) {
            leave_out(&mut parts);
        }
        for anomaly in self.args.anomalies() {
            self.spoil(*anomaly, &mut parts, &mut changes);
        }
        parts.append(&mut changes);
        if self.args.anomalies().contains(&Anomaly::LateFile) {
            parts.push(self.late()?);
        }
        Ok(parts)
    }

    fn spoil(&self, anomaly: Anomaly, parts: &mut [File], changes: &mut [File]) {
        let how = KeyChanges::in_dialect(&self.args.dialect());
        match anomaly {
            Anomaly::LateFile | Anomaly::MissingPart => {}
            Anomaly::KeyChange => changes.last_mut().into_iter().for_each(|file| file.change_keys(how)),
            Anomaly::DuplicateKey => spoil(written(parts), anomaly),
            _ => spoil(changes.last_mut().or_else(|| written(parts)), anomaly),
        }
    }

    fn parts(&self) -> anyhow::Result<Vec<File>> {
        let (segments, parts) = (self.args.segments(), self.args.parts);
        let all = segments.unwrap_or(1) * parts;
        // A load is there before its changes begin.
        let before = self.start.checked_sub(Duration::SECOND).context("--time is too early")?;
        let part = |number| {
            let segment = segments.map(|_| (number - 1) / parts + 1);
            let layout = Layout { shuffled: self.args.shuffled, part: number, parts: all };
            File {
                key: self.names.snapshot(segment, (number - 1) % parts + 1),
                what: What::Part(self.edition.clone(), layout),
                time: before,
                modified: before,
                anomalies: Vec::new(),
                spot: None,
            }
        };
        Ok((1..=all).map(part).collect())
    }

    /// Returns the change file at this position; the one before the first is late.
    fn changes(&self, place: i64) -> anyhow::Result<File> {
        let after = i32::try_from(place).ok().and_then(|place| self.args.every().checked_mul(place));
        let time = after.and_then(|after| self.start.checked_add(after));
        let time = time.context("the times of the change files do not lie between the years 0 and 9999")?;
        // Other changes than those of the files that it comes before.
        let late = self.args.number.checked_sub(1).unwrap_or(self.args.changes);
        let number = u32::try_from(place).map_or(Some(late), |place| self.args.number.checked_add(place));
        let number = number.context("--number is too large")?;
        let changes = Changes::new(&self.edition, number, self.args.ops).in_dialect(&self.args.dialect());
        Ok(File {
            key: self.names.changes(time),
            what: What::Changes(Changes { key_only_deletes: self.args.key_only_deletes(), ..changes }),
            time,
            modified: time,
            anomalies: Vec::new(),
            spot: None,
        })
    }

    fn late(&self) -> anyhow::Result<File> {
        let spot = Spot::file(Anomaly::LateFile, "dated before the other change files, written last");
        let file = self.changes(-1)?;
        // Its name is early, its time is not.
        let last = self.changes(self.args.changes.into())?;
        Ok(File { modified: last.time, spot: Some(spot), ..file })
    }
}

impl File {
    fn change_keys(&mut self, how: KeyChanges) {
        if let What::Changes(changes) = &mut self.what {
            changes.key_changes = Some(how);
        }
    }
}

/// Leaves out a part from the middle.
fn leave_out(parts: &mut [File]) {
    let middle = parts.len() / 2;
    if let Some(part) = parts.get_mut(middle) {
        part.what = What::Missing;
        part.spot = Some(Spot::file(Anomaly::MissingPart, "not written"));
    }
}

/// Returns the last part that is written.
fn written(parts: &mut [File]) -> Option<&mut File> {
    parts.iter_mut().rev().find(|part| !matches!(part.what, What::Missing))
}

fn spoil(file: Option<&mut File>, anomaly: Anomaly) {
    if let Some(file) = file.filter(|file| !file.anomalies.contains(&anomaly)) {
        file.anomalies.push(anomaly);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::feed::args::tests::args;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-21 14:02:37.123456 UTC);

    fn plan(words: &[&str]) -> Vec<File> {
        let words: Vec<_> = ["--scale=0.001", "--entity=entity_1"].iter().chain(words).copied().collect();
        files(&args(&words), "data", NOW).unwrap()
    }

    fn names(files: &[File]) -> Vec<&str> {
        files.iter().map(|file| file.key.trim_start_matches("data/dbo/entity_1/").trim_end_matches(".csv.gz")).collect()
    }

    #[test]
    fn a_full_load_comes_before_changes_a_millisecond_apart() {
        let files = plan(&["--parts=2", "--changes=2"]);
        let wanted = ["LOAD00000001", "LOAD00000002", "20261121-140237123", "20261121-140237124"];
        assert_eq!(names(&files), wanted);
        assert!(files.iter().all(|file| file.anomalies.is_empty() && file.spot.is_none()));
        let numbers: Vec<_> = files.iter().filter_map(number).collect();
        assert_eq!(numbers, [1, 2]);
    }

    fn number(file: &File) -> Option<u32> {
        match &file.what {
            What::Changes(changes) => Some(changes.number),
            _ => None,
        }
    }

    #[test]
    fn files_have_the_times_asked_for() {
        let files = plan(&["--changes=3", "--time=2022-09-22 23:59:00", "--every=30.5", "--partition=YYYY-MM-DD"]);
        let wanted = [
            "LOAD00000001",
            "2022-09-22/20220922-235900000",
            "2022-09-22/20220922-235930500",
            "2022-09-23/20220923-000001000",
        ];
        assert_eq!(names(&files), wanted);
        assert_eq!(files[0].modified, datetime!(2022-09-22 23:58:59));
        assert_eq!(files[2].modified, datetime!(2022-09-22 23:59:30.5));
        assert!(files.iter().all(|file| file.time == file.modified));
    }

    #[test]
    fn segments_hold_parts_of_one_load() {
        let files = plan(&["--segments=2", "--parts=2"]);
        let wanted = ["1/LOAD00000001", "1/LOAD00000002", "2/LOAD00000001", "2/LOAD00000002"];
        assert_eq!(names(&files), wanted.map(|name| format!("segment{name}")));
        let parts = files.iter().map(|file| match file.what {
            What::Part(_, Layout { part, parts, .. }) => (part, parts),
            _ => (0, 0),
        });
        assert_eq!(parts.collect::<Vec<_>>(), [(1, 4), (2, 4), (3, 4), (4, 4)]);
    }

    #[test]
    fn files_are_written_in_the_order_asked_for_and_the_late_one_last() {
        let words = ["--changes=1", "--parts=2", "--anomaly=late-file", "--time=2022-09-22 10:00:00", "--every=1"];
        let order = |flag: &str| {
            let files = plan(&words.iter().copied().chain(flag.split_whitespace()).collect::<Vec<_>>());
            names(&files).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let (late, change) = ("20220922-095959000", "20220922-100000000");
        assert_eq!(order(""), ["LOAD00000001", "LOAD00000002", change, late]);
        assert_eq!(order("--upload-order=name"), [change, "LOAD00000001", "LOAD00000002", late]);
        assert_eq!(order("--upload-order=reverse"), ["LOAD00000002", "LOAD00000001", change, late]);
        let files = plan(&words);
        assert_eq!(files[3].modified, datetime!(2022-09-22 10:00:01));
        assert_eq!(files.iter().filter_map(number).collect::<Vec<_>>(), [1, 0], "other changes than the others");
    }

    /// Returns the anomalies of each file.
    fn wrong(words: &str) -> Vec<Vec<&'static str>> {
        let files = plan(&words.split_whitespace().collect::<Vec<_>>());
        let of = |file: &File| {
            let keys = matches!(&file.what, What::Changes(changes) if changes.key_changes.is_some());
            let own = file.spot.iter().map(|spot| spot.anomaly);
            let all = own.chain(file.anomalies.iter().copied()).chain(keys.then_some(Anomaly::KeyChange));
            all.map(Anomaly::name).collect()
        };
        files.iter().map(of).collect()
    }

    #[test]
    fn each_anomaly_is_in_its_file() {
        let all = "--anomaly=crc --anomaly=duplicate-key --anomaly=key-change --anomaly=late-file";
        assert_eq!(
            wrong(&format!("--changes=2 --parts=2 {all}")),
            [&[][..], &["duplicate-key"], &[], &["crc", "key-change"], &["late-file"]]
        );
        assert_eq!(wrong("--parts=2 --anomaly=crc --anomaly=missing-part"), [&["crc"][..], &["missing-part"]]);
        assert_eq!(wrong("--parts=3 --anomaly=empty --anomaly=missing-part"), [&[][..], &["missing-part"], &["empty"]]);
        assert_eq!(wrong("--no-snapshot --changes=1 --anomaly=bad-row"), [["bad-row"]]);
    }

    #[test]
    fn key_changes_are_shown_if_they_can_be() {
        let how = |words: &[&str]| match &plan(words)[1].what {
            What::Changes(changes) => changes.key_changes,
            _ => None,
        };
        let words = ["--changes=1", "--anomaly=key-change", "--before-image-prefix=BI_"];
        assert_eq!(how(&words), Some(KeyChanges::Shown));
        assert_eq!(how(&words[..2]), Some(KeyChanges::Hidden));
        assert_eq!(how(&words[..1]), None);
    }
}
