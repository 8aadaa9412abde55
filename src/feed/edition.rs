//! An edition is what a table holds at one time: which rows, and in which version. It is a rule and
//! not a list: a reload differs from its base by shares of rows that a permutation picks, so how many
//! rows it creates, amends and removes is exact and known beforehand.

use super::{Counts, Entity, Error, mix::Permutation, mix::hash, rows::Rows};

/// The rows of a table. Two editions of one seed agree on every row that has the same version in both.
#[derive(Clone, Debug)]
pub struct Edition {
    rows: Rows,
    seed: u64,
    version: u64,
    base: u64,
    gone: u64,
    changed: u64,
    new: u64,
    fates: Permutation,
    order: Permutation,
}

/// Differences of a reload to its base, as shares of the base's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    /// Rows that are missing.
    pub gone: f64,
    /// Rows with other values.
    pub changed: f64,
    /// Rows that were not there; may be more than 1.
    pub new: f64,
}

impl Edition {
    /// Creates the base: `rows` rows, all in their first version. `entity.full_size()` rows make a file of the
    /// original size.
    pub fn base(entity: Entity, rows: u64, seed: u64) -> Self {
        Self {
            rows: Rows::new(entity, seed),
            seed,
            version: 0,
            base: rows,
            gone: 0,
            changed: 0,
            new: 0,
            fates: Permutation::new(rows, 0),
            order: Permutation::new(rows, hash(&[seed, ORDER])),
        }
    }

    /// Returns the next edition, with the given shape relative to the *base* (also if this is a reload).
    pub fn reload(&self, shape: Shape) -> Result<Self, Error> {
        let version = self.version + 1;
        let [gone, changed, new] = shape.of(self.base)?;
        Ok(Self {
            version,
            gone,
            changed,
            new,
            fates: Permutation::new(self.base, hash(&[self.seed, FATES, version])),
            order: Permutation::new(self.base + new, hash(&[self.seed, ORDER])),
            ..self.clone()
        })
    }

    /// Returns the version of a row in this edition, or `None` if it is not in it.
    pub(super) fn version_of(&self, row: u64) -> Option<u64> {
        if row >= self.base || self.version == 0 {
            return (row < self.reach()).then_some(0);
        }
        match self.fates.at(row) {
            fate if fate < self.gone => None,
            fate if fate < self.gone + self.changed => Some(self.version),
            _ => Some(0),
        }
    }

    /// Returns the counts of loading this edition over its base.
    pub fn counts(&self) -> Counts {
        Counts {
            create: self.new,
            amend: self.changed,
            remove: self.gone,
            unchanged: self.base - self.gone - self.changed,
        }
    }

    /// Returns the number of rows.
    pub fn size(&self) -> u64 {
        self.base - self.gone + self.new
    }

    /// Returns a number above all row numbers.
    pub(super) fn reach(&self) -> u64 {
        self.base + self.new
    }

    /// Returns the entity.
    pub fn entity(&self) -> Entity {
        self.rows.entity()
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the row at `place` if the edition is written out of order.
    pub(super) fn shuffle(&self, place: u64) -> u64 {
        self.order.at(place)
    }
}

impl Shape {
    /// Shares as rows of `base`: gone, changed, new.
    fn of(self, base: u64) -> Result<[u64; 3], Error> {
        let shares = [self.gone, self.changed, self.new];
        let sound = shares.iter().all(|share| share.is_finite() && *share >= 0.0);
        let [gone, changed, new] = shares.map(|share| (share * base as f64).round() as u64);
        if !sound || gone + changed > base {
            return Err(Error::Shape(self));
        }
        Ok([gone, changed, new])
    }
}

/// Purpose of a permutation; keeps the seeds apart.
const FATES: u64 = 1;
const ORDER: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { gone: 0.01, changed: 0.05, new: 0.02 };

    fn base() -> Edition {
        Edition::base(Entity::Orders, 10_000, 1)
    }

    #[test]
    fn a_base_has_every_row_once() {
        assert!((0..10_000).all(|row| base().version_of(row) == Some(0)));
        assert_eq!(base().version_of(10_000), None);
        assert_eq!(base().counts(), Counts { unchanged: 10_000, ..Counts::default() });
    }

    #[test]
    fn a_reload_has_the_shape_asked_for() {
        let reload = base().reload(SHAPE).unwrap();
        let versions: Vec<_> = (0..reload.reach()).map(|row| reload.version_of(row)).collect();
        let count = |version| versions.iter().filter(|&&is| is == version).count();
        assert_eq!((count(None), count(Some(1)), count(Some(0))), (100, 500, 9_600));
        assert!(versions[10_000..].iter().all(|&version| version == Some(0)));
        assert_eq!(reload.size(), 10_100);
        let counts = Counts { create: 200, amend: 500, remove: 100, unchanged: 9_400 };
        assert_eq!(reload.counts(), counts);
    }

    #[test]
    fn reloads_choose_other_rows() {
        let first = base().reload(SHAPE).unwrap();
        let second = first.reload(SHAPE).unwrap();
        let gone = |edition: &Edition, row| edition.version_of(row).is_none();
        let both = (0..10_000).filter(|&row| gone(&first, row) && gone(&second, row)).count();
        assert!(both < 10, "of 100 and 100 gone rows {both} are the same");
        assert_eq!(second.counts(), first.counts());
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let wrong = [(0.6, 0.5, 0.0), (-0.1, 0.0, 0.0), (0.0, f64::NAN, 0.0), (0.0, 0.0, -1.0)];
        for (gone, changed, new) in wrong {
            assert!(base().reload(Shape { gone, changed, new }).is_err());
        }
        assert!(base().reload(Shape { gone: 1.0, changed: 0.0, new: 2.0 }).is_ok());
    }

    #[test]
    fn an_empty_base_is_no_trouble() {
        let empty = Edition::base(Entity::Events, 0, 1);
        assert_eq!((empty.size(), empty.version_of(0)), (0, None));
        assert_eq!(empty.reload(SHAPE).unwrap().counts(), Counts::default());
    }
}
