//! LedgerCache of the ledger, shared: however many look, and at whatever, one at a time is asked for, none follows at once, and
//! its answer holds for a while. What took long holds longer, so that looking never is a burden that the database feels.
//!
//! What is known lies under a lock that nobody holds while he waits; the turn to ask is another one. How all stands goes
//! first: whoever asks for anything else rests outside the turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Turn, MutexGuard as TurnGuard};
use tokio::time::{sleep, timeout};

use super::asked::Asked;
use crate::clock::Clock;
use crate::load::{DeliveryDetails, Error, Listing, Overview, Reader};

/// As long as an answer holds, and as long as nothing else is asked after it, at least.
const FRESH: Duration = Duration::from_secs(1);
/// And so many times as long as it took: the same is read a twentieth of the time at most.
const REST: u32 = 20;
/// As long as somebody waits for his turn, and then for the answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many answers are kept at most.
const KEPT: usize = 32;
/// So many deliveries are shown with how all stands.
const NEWEST: u32 = 15;

/// What the ledger says to a question.
#[derive(Debug, Clone)]
pub enum Answer {
    Overview(Arc<Overview>),
    List(Arc<Listing>),
    /// none: there is no such delivery
    Delivery(Option<Arc<DeliveryDetails>>),
}

/// The ledger cannot be read now.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub why: String,
    /// only because others are reading it
    pub busy: bool,
    /// what was read before, and at what time in seconds since 1970
    pub before: Option<(Arc<Overview>, i64)>,
}

/// All readings of one loader's page.
#[derive(Clone)]
pub struct LedgerCache(Arc<Room>);

struct Room {
    /// none if the settings do not let us connect: the loader says so, and ends
    reader: Option<Reader>,
    clock: Clock,
    kept: Mutex<Kept>,
    /// whoever has it may ask
    turn: Turn<()>,
    /// before that, one of those who ask for anything but how all stands
    aside: Turn<()>,
}

#[derive(Default)]
struct Kept {
    answers: Vec<Reading>,
    /// why nothing can be read at all, and until when that is answer enough
    down: Option<(String, Instant)>,
    overview: Option<(Arc<Overview>, i64)>,
    /// when the next reading may begin
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

    /// What the ledger says, now or a moment ago. A reading that was begun is finished, though who asked may have left: so
    /// there never are two.
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

    /// The turn to ask, after a rest; it comes early if what is asked has become known.
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

    /// Reads the ledger, and keeps what it says.
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

    /// The answer, if one holds still.
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
    /// The answer, if one holds still.
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

/// Whether the next reading, too, would find nobody.
fn is_down(error: &Error) -> bool {
    matches!(error, Error::Pg(error) if error.is_world() && error.code() != Some(TOO_LONG))
}

/// The SQLSTATE of a statement that was given up.
const TOO_LONG: &str = "57014";

/// An error of the ledger, for who looks.
fn told(error: &Error) -> String {
    match error {
        Error::Pg(error) if error.code() == Some("42P01") => {
            "the loader's own tables are not there yet; `paper-engine-orders migrate` makes them".to_owned()
        }
        Error::Pg(error) if error.code() == Some(TOO_LONG) => "it takes too long to read".to_owned(),
        error => error.to_string(),
    }
}
