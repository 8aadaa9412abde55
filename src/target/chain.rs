//! Change files in which rows move from key to key: folded in file order, because a row that arrives under a new key
//! carries with it what it had under the old one, through chains of moves.
//!
//! All keys of the file are held in memory. Only files that show a key change come here.

use std::collections::BTreeMap;

use super::batch::{Batch, Wanted, Wish};
use super::fold::Word;
use super::sort::Record;
use super::tuple;

/// The last words of all keys so far.
#[derive(Default)]
pub struct Chain {
    words: BTreeMap<Vec<u8>, Held>,
    /// the row that left its key with the last record
    moving: Option<Held>,
    /// several files are folded together
    many: bool,
}

/// A key's word, and the key (as a tuple) whose row in the table fills its holes, if that is another one.
#[derive(Debug, Clone)]
struct Held {
    word: Word,
    elsewhere: Option<Vec<u8>>,
}

impl Chain {
    /// For several files at once. What a row keeps that comes from a key where there is none depends on the file that says so;
    /// here it is not known.
    pub fn of_many() -> Self {
        Self { many: true, ..Self::default() }
    }

    /// Takes the next record, in file order.
    pub fn take(&mut self, record: &Record<'_>) {
        let Record { mark, key, tuple } = *record;
        match mark.wish {
            Wish::Away => self.leave(key, tuple),
            Wish::Here => self.arrive(key, tuple, mark.holes),
            wish => match self.words.get_mut(key) {
                Some(held) => held.take(wish, tuple, mark.holes),
                None => self.put(key, Held { word: Word::of(wish, tuple, mark.holes), elsewhere: None }),
            },
        }
    }

    /// All keys in their order: `each` is called with what puts one into a batch.
    pub fn end<E>(self, mut each: impl FnMut(&dyn Fn(&mut Batch)) -> Result<(), E>) -> Result<(), E> {
        self.words.iter().try_for_each(|(key, held)| each(&|batch| held.push(key, batch)))
    }

    fn put(&mut self, key: &[u8], held: Held) {
        self.words.insert(key.to_vec(), held);
    }

    /// The row under `key` is about to move: `tuple` holds its key and nothing else.
    fn leave(&mut self, key: &[u8], tuple: &[u8]) {
        let gone = Held { word: Word::of(Wish::Gone, tuple, false), elsewhere: None };
        let mut moving = self.words.insert(key.to_vec(), gone).unwrap_or_else(|| Held::of_table(tuple));
        if moving.word.wish == Wish::Gone {
            // there is nothing that could move
            self.moving = None;
            return;
        }
        // what it lacks is still under the key that it leaves
        moving.elsewhere.get_or_insert_with(|| tuple.to_vec());
        self.moving = Some(moving);
    }

    fn arrive(&mut self, key: &[u8], tuple: &[u8], holes: bool) {
        match (self.moving.take(), self.words.get_mut(key)) {
            (Some(mut held), _) => {
                held.take(Wish::Put, tuple, holes);
                self.put(key, held);
            }
            (None, _) if self.many && holes => {
                self.put(key, Held { word: Word::of(Wish::Fresh, tuple, holes), elsewhere: None });
            }
            (None, Some(held)) => held.take(Wish::Put, tuple, holes),
            (None, None) => self.put(key, Held { word: Word::of(Wish::Put, tuple, holes), elsewhere: None }),
        }
    }
}

impl Held {
    /// A row of which the file has said nothing yet: all of it is what the table has.
    fn of_table(key: &[u8]) -> Self {
        let mut tuple = Vec::new();
        tuple::begin(tuple::cells(key).count(), &mut tuple);
        tuple::cells(key).for_each(|_| tuple::hole(&mut tuple));
        Self { word: Word { wish: Wish::Put, tuple, holes: true }, elsewhere: Some(key.to_vec()) }
    }

    fn push(&self, key: &[u8], batch: &mut Batch) {
        let Word { wish, ref tuple, holes } = self.word;
        if let Some(from) = self.elsewhere.as_ref().filter(|_| holes && wish == Wish::Put) {
            batch.elsewhere.push((batch.len(), from.clone()));
        }
        batch.push(Wanted { key, tuple, wish, holes });
    }

    fn take(&mut self, wish: Wish, tuple: &[u8], holes: bool) {
        self.word.then(wish, tuple, holes);
        if self.word.wish != Wish::Put || !self.word.holes {
            self.elsewhere = None;
        }
    }
}
