//! Lets the API add, show and cancel the tasks of the engine's store.

use std::time::Duration;

use pe_runtime::clock::Clock;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use super::{Cancelled, Due, FoundTimer, NewTimer, Timers, Unavailable};
use crate::store::{Error, Store};
use crate::task::{NewTask, Shown, Steered, When};

/// The tasks of a store.
pub struct StoredTimers<S> {
    store: S,
    clock: Clock,
}

impl<S: Store> StoredTimers<S> {
    /// Shows the tasks of `store`; `clock` says how long a task has left.
    pub fn new(store: S, clock: Clock) -> Self {
        Self { store, clock }
    }
}

impl<S: Store> Timers for StoredTimers<S> {
    async fn add(&self, id: Uuid, task: NewTimer) -> Result<Duration, Unavailable> {
        let (at, left) = match task.due {
            Due::In(left) => (When::In(left), left),
            Due::At(at) => (When::At(at), (at - self.clock.utc()).try_into().unwrap_or_default()),
        };
        let NewTimer { url, headers, body, .. } = task;
        self.store.add(&NewTask { id, url, at, headers, body }).await.map_err(unavailable)?;
        Ok(left)
    }

    async fn find(&self, id: Uuid) -> Result<Option<FoundTimer>, Unavailable> {
        let shown = self.store.show(id).await.map_err(unavailable)?;
        Ok(shown.map(|shown| found(&shown, self.clock.utc())))
    }

    async fn cancel(&self, id: Uuid) -> Result<Cancelled, Unavailable> {
        Ok(match self.store.cancel(id).await.map_err(unavailable)? {
            Steered::Done => Cancelled::Cancelled,
            Steered::Unknown => Cancelled::NotFound,
            Steered::Claimed | Steered::Not(_) => Cancelled::TooLate,
        })
    }
}

fn unavailable(error: Error) -> Unavailable {
    Unavailable(error.to_string())
}

/// Returns a task in the words of `timers`.
fn found(shown: &Shown, now: OffsetDateTime) -> FoundTimer {
    let status = match shown.state.as_str() {
        "leased" | "retry" | "parked" => "executing",
        "refused" | "cancelled" => "failed",
        word => word,
    };
    let form =
        format_description!(version = 2, "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]");
    let due = PrimitiveDateTime::parse(&shown.due, form).map_or(now, PrimitiveDateTime::assume_utc);
    FoundTimer { status: status.to_owned(), seconds_left: (due - now).whole_seconds() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_task_is_shown_in_the_words_of_its_table() {
        let shown = |state: &str, due: &str| Shown { state: state.into(), due: due.into(), ..Shown::default() };
        let now = datetime!(2026-01-01 12:00 UTC);
        for (state, word) in [
            ("waiting", "waiting"),
            ("retry", "executing"),
            ("leased", "executing"),
            ("cancelled", "failed"),
            ("done", "done"),
        ] {
            assert_eq!(found(&shown(state, "2026-01-01 12:00:00"), now).status, word);
        }
        for (due, left) in
            [("2026-01-02 13:00:00", 90_000), ("2026-01-01 12:00:01.500000", 1), ("2026-01-01 11:59:00.000000", -60)]
        {
            assert_eq!(found(&shown("waiting", due), now).seconds_left, left, "{due}");
        }
    }
}
