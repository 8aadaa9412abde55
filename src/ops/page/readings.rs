//! Readings of the ledger, shared: however many look, one at a time is asked for, and its answer holds for a while. What
//! took long holds longer, so that looking never is a burden that the database feels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::asked::Asked;
use crate::clock::Clock;
use crate::target::{Dossier, Error, Listing, Overview, Reader};

/// As long as an answer holds, at least.
const FRESH: Duration = Duration::from_secs(1);
/// And so many times as long as it took: a reading is at work a twentieth of the time at most.
const REST: u32 = 20;
/// As long as somebody waits for one, the turn of others included.
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
    Delivery(Option<Arc<Dossier>>),
}

/// The ledger cannot be read now.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub why: String,
    /// what was read before, and at what time in seconds since 1970
    pub before: Option<(Arc<Overview>, i64)>,
}

/// All readings of one loader's page.
#[derive(Clone)]
pub struct Readings(Arc<Room>);

struct Room {
    /// none if the settings do not let us connect: the loader says so, and ends
    reader: Option<Reader>,
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: Vec<Reading>,
    /// why nothing can be read at all, and until when that is answer enough
    down: Option<(String, Instant)>,
    overview: Option<(Arc<Overview>, i64)>,
}

struct Reading {
    asked: Asked,
    answer: Result<Answer, String>,
    until: Instant,
}

impl Readings {
    pub fn new(reader: Option<Reader>, clock: Clock) -> Self {
        Self(Arc::new(Room { reader, clock, kept: Mutex::default() }))
    }

    /// What the ledger says, now or a moment ago. A reading that was begun is finished, though who asked may have left: so
    /// there never are two.
    pub async fn read(&self, asked: &Asked) -> Result<Answer, Trouble> {
        let (room, asked) = (self.0.clone(), asked.clone());
        let reading = tokio::spawn(async move { room.read(asked).await });
        reading.await.unwrap_or_else(|_| Err(Trouble { why: LATE.to_owned(), before: None }))
    }
}

const LATE: &str = "it does not answer in time";

impl Room {
    async fn read(&self, asked: Asked) -> Result<Answer, Trouble> {
        let kept = timeout(PATIENCE, self.kept.lock()).await;
        let mut kept = kept.map_err(|_| Trouble { why: LATE.to_owned(), before: None })?;
        let begun = self.clock.monotonic();
        if let Some(known) = kept.known(&asked, begun) {
            return kept.told(known);
        }
        let answer = match timeout(PATIENCE, self.ask(&asked)).await {
            Ok(answer) => answer.map_err(|error| (told(&error), is_down(&error))),
            Err(_) => Err((LATE.to_owned(), true)),
        };
        let now = self.clock.monotonic();
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
        answer.map_err(|why| Trouble { why, before: self.overview.clone() })
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
