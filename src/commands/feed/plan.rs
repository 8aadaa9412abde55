//! Which files `feed make` writes, in which order, and which of them are spoiled.

use anyhow::Context;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::args::{Args, UploadOrder};
use crate::feed::{Anomaly, Changes, Edition, Entity, KeyChanges, Layout, Names, Spot};

/// A file to be written, or not.
pub(super) struct File {
    pub(super) key: String,
    pub(super) what: What,
    /// For a timestamp column.
    pub(super) time: PrimitiveDateTime,
    /// For the file itself.
    pub(super) modified: PrimitiveDateTime,
    pub(super) anomalies: Vec<Anomaly>,
    /// What is wrong with the file as one of several.
    pub(super) spot: Option<Spot>,
}

pub(super) enum What {
    Part(Edition, Layout),
    Changes(Changes),
    /// A part that is left out.
    Missing,
}

/// All files, in the order in which they are to be written; `path` is that of the bucket.
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
        let how = KeyChanges::in_dialect(&self.args.dialect());
        for anomaly in self.args.anomalies() {
            match anomaly {
                Anomaly::LateFile => {}
                Anomaly::MissingPart => leave_out(&mut parts),
                Anomaly::KeyChange => changes.last_mut().into_iter().for_each(|file| file.change_keys(how)),
                Anomaly::DuplicateKey => spoil(written(&mut parts), *anomaly),
                _ => spoil(changes.last_mut().or_else(|| written(&mut parts)), *anomaly),
            }
        }
        parts.append(&mut changes);
        if self.args.anomalies().contains(&Anomaly::LateFile) {
            parts.push(self.late()?);
        }
        Ok(parts)
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

    /// The change file in this place; the one before the first is late.
    fn changes(&self, place: i64) -> anyhow::Result<File> {
        let after = i32::try_from(place).ok().and_then(|place| self.args.every().checked_mul(place));
        let time = after.and_then(|after| self.start.checked_add(after));
        let time = time.context("the times of the change files do not lie between the years 0 and 9999")?;
        let number = if place < 0 { self.args.changes } else { place as u32 };
        let number = self.args.number.checked_add(number).context("--number is too large")?;
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

/// The last part that is written.
fn written(parts: &mut [File]) -> Option<&mut File> {
    parts.iter_mut().rev().find(|part| !matches!(part.what, What::Missing))
}

fn spoil(file: Option<&mut File>, anomaly: Anomaly) {
    file.into_iter().for_each(|file| file.anomalies.push(anomaly));
}
