//! Keeps tasks in Postgres.

mod link;
mod overview;
mod prepare;
mod sql;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use pe_postgres::settings::Settings;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::store::{Claim, DisabledEndpoint, Error, Facts, Holder, Overview, Prepare, Store, Zone, rounded_up};
use crate::task::{Claimed, Completion, Lease, NewTask, Shown, Steered, When};

use link::{Heard, Link, Target};

/// The store for `postgres://…`. Clones share connections.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    target: Arc<Target>,
    zone: Zone,
    claiming: Link,
    writing: Link,
    aside: Link,
    /// The status page's, which may take its time.
    looking: Link,
    listening: Link,
    heard: Arc<Heard>,
    known: RwLock<Known>,
    bounds: Mutex<Bounds>,
    duplicates: AtomicU64,
}

/// What is known of the tables since `prepare`.
#[derive(Clone, Default)]
struct Known {
    facts: Facts,
    statements: Arc<sql::Statements>,
}

/// Due times below which nothing is open, as text. `-infinity`: not known.
#[derive(Clone)]
struct Bounds {
    waiting: String,
    records: String,
}

const NO_BOUND: &str = "-infinity";
const LISTEN: &str = "listen timers_due";

impl Postgres {
    /// Builds the store; the first question connects.
    pub fn new(settings: Settings, zone: Zone) -> Self {
        let target = Arc::new(Target::new(settings));
        let heard = Arc::new(Heard::default());
        let link = || Link::new(target.clone());
        Self(Arc::new(Inner {
            zone,
            claiming: link(),
            writing: link(),
            aside: link(),
            looking: link(),
            listening: link().listening(LISTEN, heard.clone()),
            target: target.clone(),
            heard,
            known: RwLock::default(),
            bounds: Mutex::new(Bounds { waiting: NO_BOUND.to_owned(), records: NO_BOUND.to_owned() }),
            duplicates: AtomicU64::new(0),
        }))
    }

    fn statements(&self) -> Arc<sql::Statements> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).statements.clone()
    }

    fn bounds(&self, full: bool) -> Bounds {
        let told_of_old = self.0.heard.past.swap(false, Ordering::Relaxed);
        if full || told_of_old {
            return Bounds { waiting: NO_BOUND.to_owned(), records: NO_BOUND.to_owned() };
        }
        self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs one of the claims, which all have the same parameters but for the last.
    async fn take(&self, sql: &str, claim: Claim, last: &str) -> Result<Vec<Claimed>, Error> {
        let (limit, ahead, lease) = (count(claim.limit), micros(claim.ahead), micros(claim.lease));
        let rows = self.0.claiming.query("claim tasks", sql, &[&limit, &ahead, &claim.holder, &lease, &last]).await?;
        if let Some(moved) = rows.first().map(|row| row.get::<_, i64>("moved")) {
            let fired = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            self.0.duplicates.fetch_add(u64::try_from(moved - fired).unwrap_or(0), Ordering::Relaxed);
        }
        rows.iter().map(claimed).collect()
    }
}

impl Store for Postgres {
    async fn prepare(&self, mode: Prepare) -> Result<Facts, Error> {
        let (facts, shape) = prepare::prepare(&self.0.target, &self.0.aside, &self.0.zone, mode).await?;
        let statements = Arc::new(shape.statements());
        let known = Known { facts: facts.clone(), statements };
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(facts)
    }

    fn facts(&self) -> Facts {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).facts.clone()
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let (bounds, statements) = (self.bounds(claim.full), self.statements());
        let (retries, expired) = (sql::claim_retries(), sql::claim_expired());
        let (waiting, retries, expired) = tokio::join!(
            self.take(&statements.claim_waiting, claim, &bounds.waiting),
            self.take(&retries, claim, &bounds.records),
            self.take(&expired, claim, &bounds.records),
        );
        // what one of them has claimed is not lost because another one failed: its lease expires
        let (mut all, retries, expired) = (waiting?, retries?, expired?);
        all.extend(retries);
        all.extend(expired);
        Ok(all)
    }

    async fn claim_parked(&self, claim: Claim, endpoint: &str) -> Result<Vec<Claimed>, Error> {
        self.take(&sql::claim_parked(), claim, endpoint).await
    }

    async fn parked_endpoints(&self) -> Result<Vec<String>, Error> {
        let rows = self.0.claiming.query("find parked tasks", sql::PARKED_ENDPOINTS, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn adopt(&self, claim: Claim, after: Duration) -> Result<Vec<Claimed>, Error> {
        let sql = &self.statements().adopt;
        let (limit, after, lease) = (count(claim.limit), micros(after), micros(claim.lease));
        let rows = self.0.claiming.query("adopt tasks", sql, &[&limit, &after, &claim.holder, &lease]).await?;
        rows.iter().map(claimed).collect()
    }

    async fn complete(&self, holder: Holder, ends: &[Completion]) -> Result<Vec<Lease>, Error> {
        let columns = Columns::of(ends);
        let sql = &self.statements().complete;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 10] = [
            &holder,
            &columns.ids,
            &columns.tokens,
            &columns.states,
            &columns.delays,
            &columns.statuses,
            &columns.kinds,
            &columns.reasons,
            &columns.endpoints,
            &columns.attempted,
        ];
        Ok(leases(&self.0.writing.query("complete tasks", sql, &parameters).await?))
    }

    async fn extend(&self, holder: Holder, held: &[Lease], by: Duration) -> Result<Vec<Lease>, Error> {
        let (ids, tokens) = split(held);
        let rows = self.0.aside.query("extend leases", sql::EXTEND, &[&holder, &ids, &tokens, &micros(by)]).await?;
        Ok(leases(&rows))
    }

    async fn give_back(&self, holder: Holder, held: &[(Lease, Duration)]) -> Result<usize, Error> {
        let (ids, tokens) = split(&held.iter().map(|(lease, _)| *lease).collect::<Vec<_>>());
        let delays: Vec<i64> = held.iter().map(|(_, delay)| micros(*delay)).collect();
        let sql = &self.statements().give_back;
        let rows = self.0.writing.query("give tasks back", sql, &[&holder, &ids, &tokens, &delays]).await?;
        Ok(rows.first().and_then(|row| usize::try_from(row.get::<_, i64>(0)).ok()).unwrap_or(0))
    }

    async fn settle_duplicates(&self) -> Result<u64, Error> {
        self.0.aside.execute("settle duplicates", &self.statements().settle_duplicates, &[]).await
    }

    async fn find_lower_bound(&self) -> Result<(), Error> {
        let rows = self.0.aside.query("find the oldest open task", &self.statements().lower_bound, &[]).await?;
        if let Some(row) = rows.first() {
            let text = |at: usize| row.get::<_, Option<String>>(at).unwrap_or_else(|| NO_BOUND.to_owned());
            let bounds = Bounds { waiting: text(0), records: text(1) };
            *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
        }
        Ok(())
    }

    fn duplicates_seen(&self) -> u64 {
        self.0.duplicates.load(Ordering::Relaxed)
    }

    async fn purge(&self, older: Duration, limit: usize) -> Result<u64, Error> {
        let (older, limit, statements) = (micros(older), count(limit), self.statements());
        let own = self.0.aside.execute("purge tasks", &statements.purge, &[&older, &limit]).await?;
        Ok(own + self.0.aside.execute("purge tasks", &statements.purge_foreign, &[&older, &limit]).await?)
    }

    async fn counts(&self) -> Result<Vec<(String, u64)>, Error> {
        let rows = self.0.aside.query("count tasks", sql::COUNTS, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))).collect())
    }

    async fn overview(&self) -> Result<Overview, Error> {
        self.read_overview().await
    }

    async fn add(&self, task: &NewTask) -> Result<(), Error> {
        let facts = self.facts();
        let at = self.due_expression(&facts, task.at).await?;
        let headers = serde_json::json!(task.headers).to_string();
        let plain = task.headers.is_empty() && task.body.is_none();
        let (id, url, body) = (task.id, &task.url, task.body.as_deref());
        let sql = sql::add(&at);
        self.0.aside.execute("add the task", &sql, &[&id, url, &plain, &headers, &body]).await.map(|_| ())
    }

    async fn list(&self, state: Option<&str>, limit: usize) -> Result<Vec<Shown>, Error> {
        let (id, limit) = (None::<Uuid>, count(limit));
        let rows = self.0.aside.query("list tasks", &self.statements().list, &[&state, &id, &limit]).await?;
        Ok(rows.iter().map(shown).collect())
    }

    async fn show(&self, id: Uuid) -> Result<Option<Shown>, Error> {
        let state = None::<&str>;
        let rows = self.0.aside.query("show the task", &self.statements().list, &[&state, &Some(id), &1_i64]).await?;
        Ok(rows.first().map(shown))
    }

    async fn cancel(&self, id: Uuid) -> Result<Steered, Error> {
        let rows = self.0.aside.query("cancel the task", &self.statements().cancel, &[&id]).await?;
        Ok(steered(&rows))
    }

    async fn retry(&self, id: Uuid) -> Result<Steered, Error> {
        let rows = self.0.aside.query("retry the task", &self.statements().retry, &[&id]).await?;
        Ok(steered(&rows))
    }

    async fn retry_all(&self, state: &str) -> Result<u64, Error> {
        let rows = self.0.aside.query("retry tasks", &self.statements().retry_all, &[&state]).await?;
        Ok(rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok()).unwrap_or(0))
    }

    async fn preview(&self, limit: usize) -> Result<(Vec<String>, bool), Error> {
        let rows = self.0.aside.query("look at due tasks", &self.statements().preview, &[&count(limit)]).await?;
        let fired = rows.first().is_some_and(|row| row.get::<_, bool>(1));
        Ok((rows.iter().filter_map(|row| row.get(0)).collect(), fired))
    }

    async fn disable_endpoint(&self, endpoint: &str, reason: &str) -> Result<(), Error> {
        let done = self.0.aside.execute("disable the endpoint", sql::DISABLE_ENDPOINT, &[&endpoint, &reason]).await;
        done.map(|_| ())
    }

    async fn enable_endpoint(&self, endpoint: &str) -> Result<bool, Error> {
        Ok(self.0.aside.execute("enable the endpoint", sql::ENABLE_ENDPOINT, &[&endpoint]).await? > 0)
    }

    async fn disabled_endpoints(&self) -> Result<Vec<DisabledEndpoint>, Error> {
        let rows = self.0.aside.query("list disabled endpoints", sql::DISABLED_ENDPOINTS, &[]).await?;
        let endpoint = |row: &Row| DisabledEndpoint { endpoint: row.get(0), since: row.get(1), reason: row.get(2) };
        Ok(rows.iter().map(endpoint).collect())
    }

    fn inserted(&self) -> impl Future<Output = ()> + Send {
        let inner = self.0.clone();
        async move {
            if inner.listening.get().await.is_err() {
                std::future::pending::<()>().await;
            }
            inner.heard.due.notified().await;
        }
    }
}

impl Postgres {
    /// Returns the SQL expression of a new task's due time.
    async fn due_expression(&self, facts: &Facts, at: When) -> Result<String, Error> {
        let zone = self.0.zone.postgres();
        let at = match at {
            When::In(delay) => {
                let rows = self.0.aside.query("ask for the time", sql::NOW, &[]).await?;
                let now = rows.first().map_or(0, |row| row.get::<_, i64>(0));
                When::At(instant(now)? + delay)
            }
            other => other,
        };
        Ok(match at {
            When::Local(local) => {
                let text = rounded_up(local.assume_utc(), facts.precision)?;
                let local = format!("timestamp '{text}'");
                if facts.zoneless { local } else { format!("({local} at time zone {zone})") }
            }
            When::At(at) => {
                let text = rounded_up(at, facts.precision)?;
                let at = format!("timestamptz '{text}+00'");
                if facts.zoneless { format!("({at} at time zone {zone})") } else { at }
            }
            When::In(_) => unreachable!("became an instant"),
        })
    }
}

fn instant(micros: i64) -> Result<time::OffsetDateTime, Error> {
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .map_err(|error| Error::Setting(format!("the time is out of range: {error}")))
}

/// The columns of a batch of completions.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    tokens: Vec<i64>,
    states: Vec<&'static str>,
    delays: Vec<i64>,
    statuses: Vec<i32>,
    kinds: Vec<&'static str>,
    reasons: Vec<String>,
    endpoints: Vec<&'a str>,
    attempted: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn of(ends: &'a [Completion]) -> Self {
        let mut columns = Self::default();
        for Completion { lease, endpoint, end } in ends {
            columns.ids.push(lease.id);
            columns.tokens.push(lease.token);
            columns.states.push(end.state());
            columns.delays.push(micros(end.delay()));
            columns.statuses.push(end.status().map_or(0, i32::from));
            columns.kinds.push(end.reason().map_or("", |reason| reason.kind.as_str()));
            // Postgres takes no NUL in a text
            columns.reasons.push(end.reason().map_or_else(String::new, |reason| reason.text.replace('\0', "\\0")));
            columns.endpoints.push(endpoint);
            columns.attempted.push(end.attempted());
        }
        columns
    }
}

fn claimed(row: &Row) -> Result<Claimed, Error> {
    let headers: Option<String> = row.get("headers");
    Ok(Claimed {
        lease: Lease { id: row.get("timer_id"), token: row.get("token") },
        url: row.get("url"),
        attempts: u32::try_from(row.get::<_, i32>("attempts")).unwrap_or(0),
        due_in_micros: row.get("due_in"),
        fresh: row.get("fresh"),
        has_request: headers.is_some(),
        headers: crate::store::headers(headers.as_deref()),
        body: row.get::<_, Option<Vec<u8>>>("body").map(Bytes::from),
    })
}

fn shown(row: &Row) -> Shown {
    Shown {
        id: row.get(0),
        url: row.get(1),
        state: row.get(2),
        due: row.get(3),
        attempts: row.get(4),
        next: row.get(5),
        finished: row.get(6),
        status: row.get(7),
        reason_kind: row.get(8),
        reason: row.get(9),
        duplicates: row.get(10),
    }
}

/// Reads the answer of a command: the state before, and whether the command applied.
fn steered(rows: &[Row]) -> Steered {
    let Some(row) = rows.first() else { return Steered::Unknown };
    match (row.get::<_, Option<String>>(0), row.get::<_, bool>(1)) {
        (_, true) => Steered::Done,
        (None, false) => Steered::Unknown,
        (Some(state), false) => Steered::of_state(&state),
    }
}

fn leases(rows: &[Row]) -> Vec<Lease> {
    rows.iter().map(|row| Lease { id: row.get(0), token: row.get(1) }).collect()
}

fn split(held: &[Lease]) -> (Vec<Uuid>, Vec<i64>) {
    held.iter().map(|lease| (lease.id, lease.token)).unzip()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
