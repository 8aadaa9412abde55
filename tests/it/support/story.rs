//! A feed that is told as time passes: what happens to some tables, and the files that say so. Full loads in parts, changes,
//! files that come late or broken and are replaced, files that come twice, are deleted and come back, older versions that
//! come back, and objects rewritten in place with the same bytes. One seed tells one story.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::oracle::{STORY, Told};
use super::{World, gz};

/// A table, as its source has it.
struct Tale {
    name: &'static str,
    parts: u32,
    rows: BTreeMap<i64, String>,
    files: u32,
    /// files that should have been there by now, in their order
    withheld: Vec<(String, String)>,
    /// files that were put broken
    broken: Vec<(String, String)>,
    /// files that were put and then deleted from the bucket
    deleted: Vec<(String, String)>,
    /// the last file that was put
    last: Option<(String, String)>,
}

pub struct Story {
    rng: StdRng,
    tales: Vec<Tale>,
    next_id: i64,
    event: i64,
}

pub const TABLES: [&str; 3] = ["a", "b", "c"];

impl Story {
    /// Makes the tables and puts their first full loads.
    pub async fn begin(world: &World, seed: u64) -> Self {
        world.sql("create schema dbo").await;
        for name in TABLES {
            world.sql(&format!("create table dbo.{name} {STORY}")).await;
        }
        let tale = |(name, parts): (&'static str, u32)| Tale {
            name,
            parts,
            rows: BTreeMap::new(),
            files: 0,
            withheld: Vec::new(),
            broken: Vec::new(),
            deleted: Vec::new(),
            last: None,
        };
        let tales = TABLES.into_iter().zip([1, 3, 2]).map(tale).collect();
        let mut story = Self { rng: StdRng::seed_from_u64(seed), tales, next_id: 1, event: 1000 };
        for at in 0..story.tales.len() {
            story.drift(at, 40);
            story.load(world, at).await;
        }
        story
    }

    /// One more thing happens to one of the tables.
    pub async fn go_on(&mut self, world: &World) {
        let at = self.rng.random_range(0..self.tales.len());
        match self.rng.random_range(0..14) {
            0 => self.withhold(at),
            1 => self.break_one(world, at).await,
            2 => self.come_late(world, at).await,
            3 => self.mend(world, at).await,
            4 => self.come_twice(world, at).await,
            5 => self.delete_last(world, at).await,
            6 => self.come_back(world, at).await,
            _ => self.change(world, at).await,
        }
    }

    /// Something happens to all of them.
    pub async fn change_all(&mut self, world: &World) {
        for at in 0..self.tales.len() {
            self.change(world, at).await;
        }
    }

    /// Whatever is missing, deleted or broken comes whole.
    pub async fn catch_up(&mut self, world: &World) {
        for at in 0..self.tales.len() {
            self.come_late(world, at).await;
            self.mend(world, at).await;
            self.restore(world, at).await;
        }
    }

    /// Each table with the rows of its source, as the lines of a full load.
    pub fn sources(&self) -> Vec<Told> {
        let lines = |tale: &Tale| tale.rows.iter().map(|(id, cells)| format!("{id},{cells}\n")).collect();
        self.tales.iter().map(|tale| (tale.name, lines(tale))).collect()
    }

    /// One of the tables is loaded anew, with what happened to it unseen, or all its objects are rewritten in place. Nothing may
    /// be missing or broken, and no loader may run.
    pub async fn reload(&mut self, world: &World) {
        let at = self.rng.random_range(0..self.tales.len());
        let rewrites = self.rng.random_bool(0.5);
        // times have whole seconds, and a tie counts as after
        tokio::time::sleep(Duration::from_millis(1100)).await;
        if rewrites {
            return self.rewrite(world, at).await;
        }
        self.drift(at, 15);
        self.load(world, at).await;
    }

    /// Writes every object of a table again with the same bytes, as a change of its encryption or storage class does: in key
    /// order or the full load first, with the same etags or new ones.
    async fn rewrite(&mut self, world: &World, at: usize) {
        let folder = format!("{}/", self.tales[at].name);
        let mut files = world.bucket.files(&folder).await;
        if self.rng.random_bool(0.5) {
            files.sort_by_key(|file| (!file.contains("LOAD"), file.clone()));
        }
        let new_etags = self.rng.random_bool(0.5);
        let pauses = self.rng.random_range(0..files.len().max(1));
        for (place, file) in files.iter().enumerate() {
            world.bucket.rewrite(file, new_etags).await;
            if place == pauses {
                tokio::time::sleep(Duration::from_millis(1100)).await;
            }
        }
    }

    pub fn pause(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(0..=most))
    }

    /// Rows come, change and go, and no file says so.
    fn drift(&mut self, at: usize, rows: usize) {
        for _ in 0..rows {
            self.act(at);
        }
    }

    async fn load(&mut self, world: &World, at: usize) {
        let tale = &mut self.tales[at];
        // what stood before the full load must not look as if it came after it
        tale.last = None;
        let mut texts = vec![String::new(); tale.parts as usize];
        for (place, (id, cells)) in tale.rows.iter().enumerate() {
            let _ = writeln!(texts[place * tale.parts as usize / tale.rows.len()], "{id},{cells}");
        }
        for (part, text) in texts.iter().enumerate() {
            world.bucket.put(&format!("{}/LOAD{:08X}.csv.gz", tale.name, part + 9), text).await;
        }
    }

    async fn change(&mut self, world: &World, at: usize) {
        let (file, text) = self.file(at);
        world.bucket.put(&file, &text).await;
        self.tales[at].last = Some((file, text));
    }

    fn withhold(&mut self, at: usize) {
        let file = self.file(at);
        self.tales[at].withheld.push(file);
    }

    /// The next file comes, but not whole or with a row that is none.
    async fn break_one(&mut self, world: &World, at: usize) {
        let (file, text) = self.file(at);
        let whole = gz(&text);
        let broken = match self.rng.random_range(0..3) {
            0 => whole[..whole.len() / 2].to_vec(),
            1 => gz(&format!("{text}I,77\n")),
            _ => gz(&format!("{text}U,no number,x,1,1\n")),
        };
        world.bucket.put_bytes(&file, broken).await;
        self.tales[at].broken.push((file, text));
    }

    async fn come_late(&mut self, world: &World, at: usize) {
        for (file, text) in std::mem::take(&mut self.tales[at].withheld) {
            world.bucket.put(&file, &text).await;
        }
    }

    async fn mend(&mut self, world: &World, at: usize) {
        for (file, text) in std::mem::take(&mut self.tales[at].broken) {
            world.bucket.put(&file, &text).await;
        }
    }

    /// The newest change file is deleted, loaded or not.
    async fn delete_last(&mut self, world: &World, at: usize) {
        if let Some((file, text)) = self.tales[at].last.take() {
            world.bucket.delete(&file).await;
            self.tales[at].deleted.push((file, text));
        }
    }

    async fn restore(&mut self, world: &World, at: usize) {
        for (file, text) in std::mem::take(&mut self.tales[at].deleted) {
            world.bucket.put(&file, &text).await;
        }
    }

    /// Another version of the newest change file, which does the same, and after a while the first version again.
    async fn come_back(&mut self, world: &World, at: usize) {
        let Some((file, text)) = self.tales[at].last.clone() else { return };
        let again = text.lines().last().map(|line| format!("{line}\n")).unwrap_or_default();
        world.bucket.put(&file, &format!("{text}{again}")).await;
        tokio::time::sleep(self.pause(200)).await;
        world.bucket.put(&file, &text).await;
    }

    async fn come_twice(&mut self, world: &World, at: usize) {
        if let Some((file, text)) = self.tales[at].last.clone() {
            world.bucket.put(&file, &text).await;
        }
    }

    /// The next change file of a table: its name, and what happened.
    fn file(&mut self, at: usize) -> (String, String) {
        let mut text = String::new();
        for _ in 0..self.rng.random_range(0..30) {
            text += &self.act(at);
        }
        let tale = &mut self.tales[at];
        tale.files += 1;
        let (hour, minute, second) = (tale.files / 3600, tale.files / 60 % 60, tale.files % 60);
        (format!("{}/20991231-{hour:02}{minute:02}{second:02}000.csv.gz", tale.name), text)
    }

    /// Something happens to a row; the line that says so.
    fn act(&mut self, at: usize) -> String {
        let kind = self.rng.random_range(0..10);
        let known: Vec<i64> = self.tales[at].rows.keys().copied().collect();
        if kind < 5 || known.len() < 10 {
            let (id, cells) = (self.next_id, self.cells());
            self.next_id += 1;
            self.tales[at].rows.insert(id, cells.clone());
            return format!("I,{id},{cells}\n");
        }
        let id = known[self.rng.random_range(0..known.len())];
        if kind < 8 {
            let cells = if kind == 7 { self.tales[at].rows[&id].clone() } else { self.cells() };
            self.tales[at].rows.insert(id, cells.clone());
            return format!("U,{id},{cells}\n");
        }
        let cells = self.tales[at].rows.remove(&id).unwrap_or_default();
        format!("D,{id},{cells}\n")
    }

    fn cells(&mut self) -> String {
        const NAMES: [&str; 6] = ["NULL", "", "plain", "\"a, b\"", "\"a \"\"word\"\"\"", "Größe ☂"];
        const PRICES: [&str; 4] = ["NULL", "1.5", "20.25", "7"];
        self.event += 1;
        let (name, price) = (self.rng.random_range(0..NAMES.len()), self.rng.random_range(0..PRICES.len()));
        format!("{},{},{}", NAMES[name], PRICES[price], self.event)
    }
}
