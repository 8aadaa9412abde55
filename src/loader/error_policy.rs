//! One error, one verdict: what happens next to the delivery, its table and the program, and a sentence for the operator.

use crate::decode::File;
use crate::load::{self, Order, Why};
use crate::metrics::Reason;
use crate::pg;
use crate::source::{self, Pending, Status};
use crate::status;

/// An error of an iteration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Source(#[from] source::Error),
    #[error(transparent)]
    Target(#[from] load::Error),
    /// The plan file of the run no longer holds; `done` of its deliveries are loaded or recorded.
    #[error("the plan does not hold any more; {}. Make a new one: `plan --out FILE`", kept(*done))]
    Moved { words: Vec<String>, done: usize },
}

/// Returns the sentence about a plan file that no longer holds, with the number of its deliveries that are done.
fn kept(done: usize) -> String {
    match done {
        0 => "nothing was done".to_owned(),
        1 => "1 delivery of it is done and stays, the rest was left".to_owned(),
        _ => format!("{done} deliveries of it are done and stay, the rest was left"),
    }
}

impl From<source::PlannerError<load::Error>> for Error {
    fn from(error: source::PlannerError<load::Error>) -> Self {
        match error {
            source::PlannerError::Source(error) => Self::Source(error),
            source::PlannerError::Ledger(error) => Self::Target(error),
        }
    }
}

/// Next action after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorPolicy {
    /// Temporary failure: nothing is recorded, and the iteration is repeated later.
    Retry,
    /// Temporary failure of one table: as `Retry`, but other tables continue.
    RetryTable,
    /// The rows are not in the expected order: the file is read again in another way.
    Again(Order),
    /// The table was not empty: its first load must be compared with it as a whole.
    Whole,
    /// Bucket or target have changed since the plan was made: a new plan is made.
    Relist,
    /// The object is gone. This is recorded, and stops the table if the object is a change file.
    Gone,
    /// The delivery is at fault. This is recorded, and the table stops.
    Stop(Status),
    /// It is unknown whether the delivery was committed: the ledger is read to find out.
    Settle,
    /// A setting is wrong: the program ends.
    Abort,
    /// The plan file of the run no longer holds: the run ends.
    Refuse,
}

/// Returns the policy for an error. This is the only place that decides.
pub fn of(error: &Error) -> ErrorPolicy {
    match error {
        Error::Source(error) => of_source(error),
        Error::Target(error) => of_target(error),
        Error::Moved { .. } => ErrorPolicy::Refuse,
    }
}

fn of_source(error: &source::Error) -> ErrorPolicy {
    use source::Error::*;
    match error {
        Unreachable { .. } | Authorities(_) | Spill(_) => ErrorPolicy::Retry,
        Object { .. } | Cut { .. } | Short { .. } | Stalled { .. } => ErrorPolicy::RetryTable,
        Changed { .. } | Unordered => ErrorPolicy::Relist,
        Gone { .. } => ErrorPolicy::Gone,
        Refused { .. } | Circle | Unreadable(_) => ErrorPolicy::Abort,
    }
}

fn of_target(error: &load::Error) -> ErrorPolicy {
    use load::Error::*;
    match error {
        Pg(error) => of_pg(error),
        Rows(rows) => match rows.of_the_world() {
            Some(world) => world.get_ref().and_then(|inner| inner.downcast_ref()).map_or(ErrorPolicy::Retry, of_source),
            None => ErrorPolicy::Stop(Status::Failed),
        },
        OutOfOrder => ErrorPolicy::Again(Order::Any),
        Moving => ErrorPolicy::Again(Order::Moving),
        NotEmpty => ErrorPolicy::Whole,
        Outdated | NotAsLeft { .. } => ErrorPolicy::Relist,
        Held { .. } => ErrorPolicy::Stop(Status::Held),
        Overwritten { .. } => ErrorPolicy::Stop(Status::Late),
        Cell { .. } | Duplicate { .. } | TooManyRejects { .. } | Table { .. } => ErrorPolicy::Stop(Status::Failed),
        Displaced { .. } => ErrorPolicy::Stop(Status::Failed),
        NullsMixed { .. } | NullsAssumed { .. } => ErrorPolicy::Stop(Status::Failed),
        // a bug in the program that this file reveals: other tables continue
        Panicked => ErrorPolicy::Stop(Status::Failed),
        Spill(_) => ErrorPolicy::RetryTable,
        Garbled => ErrorPolicy::Retry,
        NoTable { .. } | NotStopped { .. } => ErrorPolicy::Stop(Status::Failed),
        NoDelivery { .. } | OtherFeed { .. } | NotInState { .. } | NotThese { .. } => ErrorPolicy::Stop(Status::Failed),
        Ambiguous { .. } | Altered { .. } | Disturbed { .. } => ErrorPolicy::RetryTable,
        Clash { .. } | SchemaMissing { .. } | SchemaNewer { .. } | Unfit(_) => ErrorPolicy::Abort,
    }
}

fn of_pg(error: &pg::Error) -> ErrorPolicy {
    match error {
        pg::Error::UnknownCommit { .. } => ErrorPolicy::Settle,
        pg::Error::Tls(_) => ErrorPolicy::Abort,
        // a lock or a deadlock concerns one table
        error if matches!(error.code(), Some("55P03" | "40001" | "40P01" | "57014")) => ErrorPolicy::RetryTable,
        error if error.is_world() => ErrorPolicy::Retry,
        _ => ErrorPolicy::Stop(Status::Failed),
    }
}

/// Returns the reason of a temporary failure.
pub fn reason(error: &Error) -> Reason {
    match error {
        Error::Source(source::Error::Spill(_)) | Error::Target(load::Error::Spill(_)) => Reason::Spool,
        Error::Source(_) | Error::Target(load::Error::Rows(_)) => Reason::Source,
        Error::Target(load::Error::Pg(error)) => match error.code() {
            Some("40P01") => Reason::Deadlock,
            Some("40001") => Reason::Serialization,
            Some("55P03") => Reason::Lock,
            Some("53100") => Reason::Full,
            _ => Reason::Target,
        },
        Error::Target(_) | Error::Moved { .. } => Reason::Target,
    }
}

/// Returns `true` if Postgres refuses the login. A running service tries again, since the cause may be fixed
/// meanwhile; at a start it is a configuration error.
pub fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Target(load::Error::Pg(pg::Error::Refused(_))))
}

/// Returns the reason that the ledger records for a delivery that was given up.
pub fn why(error: &Error, pending: &Pending) -> Why {
    let (part, removes) = match error {
        Error::Target(load::Error::Held { removes, .. }) => (None, Some(*removes)),
        Error::Target(error) => (error.part(), None),
        Error::Source(source::Error::Gone { key }) => {
            (pending.objects.iter().position(|object| object.listed.key == *key), None)
        }
        Error::Source(_) | Error::Moved { .. } => (None, None),
    };
    // Of several files the faulty one is named, because its name need not be that on the ledger row.
    let named = part.and_then(|part| pending.objects.get(part)).filter(|_| pending.objects.len() > 1);
    let words = match (named, error) {
        (Some(object), Error::Target(load::Error::Duplicate { first, second })) if first.part != second.part => {
            let other = pending.objects.get(first.part).map_or("", |object| object.listed.key.as_str());
            format!(
                "{}: line {}: the same key as {other}, line {}; a snapshot must have each key once",
                object.listed.key, second.line, first.line
            )
        }
        (Some(object), Error::Target(_)) => format!("{}: {error}", object.listed.key),
        _ => error.to_string(),
    };
    Why { words, part, removes }
}

/// Returns a sentence about what an operator can do about a table that delivery `id` stops.
pub fn advice(status: Status, file: File, id: i64) -> String {
    let waits = match status {
        Status::Held => "Nothing was applied and the table waits.",
        Status::Failed | Status::Late => "The table waits.",
        Status::Gone => "What follows it would be applied over a hole, so the table waits.",
        Status::Pending | Status::Loaded | Status::Skipped => return String::new(),
    };
    let steps = status::next(status.as_str(), file, id).join("; or ");
    let mut letters = steps.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter();
    format!("{waits} {}{}.", first.collect::<String>(), letters.as_str())
}

/// Returns what an operator can do about a delivery that a plan predicts to stop its table: one of these.
pub fn foreseen(status: Status, file: File) -> Vec<String> {
    let next: &[&str] = match status {
        Status::Failed => &[
            "put a mended file into the bucket",
            "mend the table or change the setting",
            "run as planned: the file is written down as failed and stops its table, then `deliveries skip`",
        ],
        Status::Held if file == File::Changes => &[
            status::ORDER_DECIDES,
            "run as planned: it is written down as held and stops its table, then `deliveries release` or `skip`",
        ],
        Status::Held => &[
            "put a complete full load into the bucket",
            "run as planned: it is written down as held and stops its table, then `deliveries release` or `skip`",
            "raise MAX_REMOVE, if it is right as it is and that is why",
        ],
        Status::Late => {
            &["run as planned: it is written down as late and stops its table, then `deliveries retry` or `skip`"]
        }
        Status::Gone => &[
            "put the file into the bucket again",
            "run as planned: it is written down as gone and stops its table, then `deliveries skip`",
        ],
        Status::Pending | Status::Loaded | Status::Skipped => &[],
    };
    next.iter().map(|step| (*step).to_owned()).collect()
}

/// Returns the sentence with which a dry run ends such a report, as there is no delivery yet to act on.
pub fn foretold(status: Status) -> &'static str {
    match status {
        Status::Failed => "In a real run this would fail.",
        Status::Held => "In a real run this would be held.",
        Status::Late => "In a real run this would be late.",
        Status::Gone => "In a real run this would be gone.",
        Status::Pending | Status::Loaded | Status::Skipped => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Pending {
        let entity = source::Entity { schema: "dbo".into(), name: "e".into() };
        let file = crate::decode::File::Snapshot;
        let step = source::Step::Replace;
        let (label, objects, passes) = ("e".into(), Vec::new(), [].into());
        Pending { entity, label, file, generation: 1, step, objects, after: 0, passes, remark: None, if_same: None }
    }

    fn held() -> Error {
        load::Error::Held { removes: 900, rows: 1000, why: ": the snapshot is empty".into() }.into()
    }

    #[test]
    fn the_worlds_faults_are_never_the_files() {
        let cut = source::Error::Cut { key: "k".into(), at: 5, what: "reset".into() };
        assert_eq!(of(&cut.into()), ErrorPolicy::RetryTable);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(of(&load::Error::Spill(full).into()), ErrorPolicy::RetryTable);
        assert_eq!(
            of(&pg_error(pg::Error::Connect { place: "h:5432/d".into(), why: "refused".into() })),
            ErrorPolicy::Retry
        );
        assert_eq!(of(&pg_error(pg::Error::UnknownCommit { door: "deliver" })), ErrorPolicy::Settle);
    }

    fn pg_error(error: pg::Error) -> Error {
        load::Error::from(error).into()
    }

    #[test]
    fn a_held_snapshot_is_written_down_with_what_it_would_remove() {
        assert_eq!(of(&held()), ErrorPolicy::Stop(Status::Held));
        let why = why(&held(), &pending());
        assert_eq!(why.removes, Some(900));
        assert_eq!(why.words, "would remove 900 of 1000 rows: the snapshot is empty");
    }

    #[test]
    fn what_to_do_is_said_in_one_sentence() {
        let held = "Nothing was applied and the table waits. Put a complete full load into the bucket; or `deliveries \
                    release 5`, if it is right as it is; or `deliveries skip 5 --reason …`, and the table goes on without it.";
        assert_eq!(advice(Status::Held, File::Snapshot, 5), held);
        let late = "The table waits. `deliveries retry 9` folds the file in with all that was loaded after it; or ";
        assert!(advice(Status::Late, File::Changes, 9).starts_with(late), "{}", advice(Status::Late, File::Changes, 9));
        assert!(advice(Status::Failed, File::Changes, 1).starts_with("The table waits. Put a mended file"));
        assert_eq!(advice(Status::Loaded, File::Changes, 1), "");
    }

    #[test]
    fn what_changed_in_the_bucket_is_listed_again() {
        assert_eq!(of(&source::Error::Changed { key: "k".into() }.into()), ErrorPolicy::Relist);
        assert_eq!(of(&source::Error::Gone { key: "k".into() }.into()), ErrorPolicy::Gone);
    }
}
