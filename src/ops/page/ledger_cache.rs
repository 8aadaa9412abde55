//! Rate-limited cache of ledger queries for the status page. One query runs at a time, at least a second apart. An
//! answer is cached for a second or for 20 times the query's duration, so that page views cannot load the database.
//!
//! The cache has a lock of its own, which is never held across an await. A second lock serialises the queries. The
//! overview has priority: other requests first queue on `aside`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Turn, MutexGuard as TurnGuard};
use tokio::time::{sleep, timeout};

use super::asked::Asked;
use crate::clock::Clock;
use crate::load::{DeliveryDetails, Error, Listing, Overview, Reader};

/// Minimum time for which an answer is cached, and between two queries.
const FRESH: Duration = Duration::from_secs(1);
/// Factor of a query's duration for which its answer is cached: one query takes at most a twentieth of the time.
const REST: u32 = 20;
/// Maximum time that a request waits for its turn, and then for the answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Maximum number of cached answers.
const KEPT: usize = 32;
/// Number of deliveries on the overview.
const NEWEST: u32 = 15;

/// Answer of the ledger to a query.
#[derive(Debug, Clone)]
pub enum Answer {
    Overview(Arc<Overview>),
    List(Arc<Listing>),
    /// None: there is no such delivery.
    Delivery(Option<Arc<DeliveryDetails>>),
}

/// The ledger cannot be read now.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub why: String,
    /// `true` if the only reason is that other requests are reading.
    pub busy: bool,
    /// Previous answer, and its time in seconds since 1970.
    pub before: Option<(Arc<Overview>, i64)>,
}

/// All readings of one loader's page.
#[derive(Clone)]
pub struct LedgerCache(Arc<Room>);

struct Room {
    /// Reader of the ledger; `None` if the settings do not allow a connection, which the loader reports itself.
    reader: Option<Reader>,
    clock: Clock,
    kept: Mutex<Kept>,
    /// Lock of the query that is running.
    turn: Turn<()>,
    /// Queue of requests for anything but the overview.
    aside: Turn<()>,
}

#[derive(Default)]
struct Kept {
    answers: Vec<Reading>,
    /// Reason for which the ledger cannot be read, and the time until which that is not tried again.
    down: Option<(String, Instant)>,
    overview: Option<(Arc<Overview>, i64)>,
    /// Time at which the next query may begin.
    free: Option<Instant>,
}

struct Reading {
    asked: Asked,
    answer: Result<Answer, String>,
    until: Instant,
}

impl LedgerCache {
    pub fn new(reader: Option<Reader>, clock: Clock) -> Self {
        Self(Arc::new(Room { reader, clock, kept: Mutex::default(), turn: Turn::default(), aside: Turn::default() }))
    }

    /// Returns the ledger's answer, now or from a moment ago. A query that was begun is finished even if its client
    /// has left, so there are never two at once.
    pub async fn read(&self, asked: &Asked) -> Result<Answer, Trouble> {
        let (room, asked) = (self.0.clone(), asked.clone());
        let reading = tokio::spawn(async move { room.read(asked).await });
        reading.await.unwrap_or_else(|_| Err(Trouble { why: LATE.to_owned(), busy: false, before: None }))
    }
}

const LATE: &str = "it does not answer in time";
const BUSY: &str = "the ledger is being read for others";

impl Room {
    async fn read(&self, asked: Asked) -> Result<Answer, Trouble> {
        if let Some(known) = self.known(&asked) {
            return known;
        }
        match timeout(PATIENCE, self.turn(&asked)).await {
            Ok(_turn) => match self.known(&asked) {
                Some(known) => known,
                None => self.fetch(asked).await,
            },
            Err(_) => Err(Trouble { why: BUSY.to_owned(), busy: true, before: self.kept().overview.clone() }),
        }
    }

    /// Waits for the turn to query, after the pause. Returns early if the answer has become known.
    async fn turn(&self, asked: &Asked) -> (Option<TurnGuard<'_, ()>>, TurnGuard<'_, ()>) {
        let mut aside = None;
        if *asked != Asked::Overview {
            aside = Some(self.aside.lock().await);
            self.rest(asked).await;
        }
        let turn = self.turn.lock().await;
        self.rest(asked).await;
        (aside, turn)
    }

    async fn rest(&self, asked: &Asked) {
        if self.known(asked).is_none() {
            let free = self.kept().free.map(|free| free.saturating_duration_since(self.clock.monotonic()));
            sleep(free.unwrap_or_default()).await;
        }
    }

    /// Reads the ledger and caches the answer.
    async fn fetch(&self, asked: Asked) -> Result<Answer, Trouble> {
        let begun = self.clock.monotonic();
        let answer = match timeout(PATIENCE, self.ask(&asked)).await {
            Ok(answer) => answer.map_err(|error| (told(&error), is_down(&error))),
            Err(_) => Err((LATE.to_owned(), true)),
        };
        let now = self.clock.monotonic();
        let mut kept = self.kept();
        // all readings are at work half of the time at most
        kept.free = Some(now + FRESH.max(now - begun));
        if let Err((why, true)) = &answer {
            kept.down = Some((why.clone(), now + FRESH));
        }
        if let Ok(Answer::Overview(overview)) = &answer {
            kept.overview = Some((overview.clone(), self.clock.utc().unix_timestamp()));
        }
        let (answer, until) = (answer.map_err(|(why, _)| why), now + FRESH.max((now - begun) * REST));
        kept.keep(Reading { asked, answer: answer.clone(), until }, now);
        kept.told(answer)
    }

    /// Returns the answer, if one is cached.
    fn known(&self, asked: &Asked) -> Option<Result<Answer, Trouble>> {
        let (kept, now) = (self.kept(), self.clock.monotonic());
        kept.known(asked, now).map(|known| kept.told(known))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, asked: &Asked) -> Result<Answer, Error> {
        let Some(reader) = &self.reader else { return Err(Error::Garbled) };
        Ok(match asked {
            Asked::Overview => Answer::Overview(Arc::new(reader.overview(NEWEST).await?)),
            Asked::List(wanted) => Answer::List(Arc::new(reader.list(wanted).await?)),
            Asked::Delivery(id) => Answer::Delivery(reader.dossier(*id).await?.map(Arc::new)),
        })
    }
}

impl Kept {
    /// Returns the answer, if one is cached.
    fn known(&self, asked: &Asked, now: Instant) -> Option<Result<Answer, String>> {
        if let Some((why, until)) = &self.down
            && now < *until
        {
            return Some(Err(why.clone()));
        }
        let known = self.answers.iter().find(|one| one.asked == *asked && now < one.until);
        known.map(|one| one.answer.clone())
    }

    fn keep(&mut self, reading: Reading, now: Instant) {
        self.answers.retain(|one| one.asked != reading.asked && now < one.until);
        let down = self.down.as_ref().is_some_and(|(_, until)| now < *until);
        if self.answers.len() < KEPT && !down {
            self.answers.push(reading);
        }
    }

    fn told(&self, answer: Result<Answer, String>) -> Result<Answer, Trouble> {
        answer.map_err(|why| Trouble { why, busy: false, before: self.overview.clone() })
    }
}

/// Returns `true` if the next query would fail to connect too.
fn is_down(error: &Error) -> bool {
    matches!(error, Error::Pg(error) if error.is_world() && error.code() != Some(TOO_LONG))
}

/// The SQLSTATE of a statement that was given up.
const TOO_LONG: &str = "57014";

/// Returns an error of the ledger as text for the page.
fn told(error: &Error) -> String {
    match error {
        Error::Pg(error) if error.code() == Some("42P01") => {
            "the loader's own tables are not there yet; `paper-engine-orders migrate` makes them".to_owned()
        }
        Error::Pg(error) if error.code() == Some(TOO_LONG) => "it takes too long to read".to_owned(),
        error => error.to_string(),
    }
}
