//! Holds every statement that the timer sends to MySQL and MariaDB. Those that touch `timers` depend on how somebody else has
//! made it, so they are composed once it was looked at.
//!
//! Neither server returns the rows that an update has changed, so each change is a locking read and then writes, in one short
//! transaction at READ COMMITTED. Where no index gives the order there is no `order by`: a sort would lock every row.

use std::time::Duration;

use uuid::Uuid;

use crate::store::Zone;
use crate::task::{Completion, NewTask};

use super::text::{bytes, id, ids, optional, text};

const FINAL: &str = "('done', 'failed', 'refused', 'cancelled')";
const NOW: &str = "utc_timestamp(6)";
/// The present time as a token: microseconds since 1970.
const TOKEN: &str = "timestampdiff(microsecond, '1970-01-01 00:00:00', utc_timestamp(6))";

/// What the statements must know of `timers`.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// For a `timer_invoke_time` without zone that is not UTC: the zone.
    pub(super) zone: Option<Zone>,
    /// The index that leads to due tasks in their order.
    pub(super) due_index: Option<String>,
}

/// One claim: how many, how far ahead, and above which bound.
pub(super) struct Ask<'a> {
    pub(super) limit: usize,
    pub(super) ahead: Duration,
    /// The oldest open due time, as text; `None` looks at everything.
    pub(super) above: Option<&'a str>,
}

/// What is written about a claimed task.
pub(super) struct Taken<'a> {
    pub(super) id: Uuid,
    pub(super) url: &'a [u8],
    pub(super) due: String,
    pub(super) token: i64,
    pub(super) duplicates: usize,
}

impl Shape {
    fn due(&self) -> String {
        match &self.zone {
            Some(zone) => format!("convert_tz(t.timer_invoke_time, '{}', '+00:00')", zone.mysql()),
            None => "t.timer_invoke_time".to_owned(),
        }
    }

    /// A condition that an index can serve. Around a change of summer time the local time alone does not say it.
    fn due_before(&self, instant: &str) -> String {
        match &self.zone {
            Some(zone) => format!(
                "t.timer_invoke_time <= convert_tz({instant}, '+00:00', '{}') + interval 1 hour and {} <= {instant}",
                zone.mysql(),
                self.due()
            ),
            None => format!("t.timer_invoke_time <= {instant}"),
        }
    }

    /// Locks waiting tasks: id, URL, due time, distance, token.
    pub(super) fn waiting(&self, ask: &Ask<'_>) -> String {
        let due = self.due();
        let soon = self.due_before(&format!("({NOW} + interval {} microsecond)", ask.ahead.as_micros()));
        let above = ask.above.map(|at| format!(" and t.timer_invoke_time >= '{at}'")).unwrap_or_default();
        let (index, order) = match &self.due_index {
            Some(name) => (format!(" force index ({})", super::text::name(name)), " order by t.timer_invoke_time"),
            None => (String::new(), ""),
        };
        format!(
            "select t.timer_id, coalesce(t.timer_url, ''), cast(coalesce({due}, {NOW}) as char), \
             timestampdiff(microsecond, {NOW}, {due}), {TOKEN} from timers t{index} \
             where t.timer_status = 'waiting' and t.timer_id is not null and {soon}{above}{order} limit {} for update skip locked",
            ask.limit
        )
    }

    /// Locks `executing` rows that have no record, of tasks that were due `after` ago.
    pub(super) fn orphans(&self, limit: usize, after: Duration) -> String {
        let (due, old) = (self.due(), self.due_before(&ago(after)));
        format!(
            "select t.timer_id, coalesce(t.timer_url, ''), cast(coalesce({due}, {NOW}) as char), \
             timestampdiff(microsecond, {NOW}, {due}), {TOKEN} from timers t \
             where t.timer_status = 'executing' and t.timer_id is not null and {old} \
             and not exists (select 1 from timer_attempts a where a.timer_id = t.timer_id) limit {limit} for update skip locked"
        )
    }

    /// The oldest open due time, not later than a moment ago, and the same of retries and leases.
    pub(super) fn lower_bounds(&self) -> String {
        let recent = format!("({NOW} - interval 1 second)");
        let local = match &self.zone {
            Some(zone) => format!("(convert_tz({recent}, '+00:00', '{}') - interval 1 hour)", zone.mysql()),
            None => recent.clone(),
        };
        format!(
            "select cast(least(coalesce((select min(timer_invoke_time) from timers where timer_status = 'waiting'), {local}), \
             {local}) as char), cast(least(coalesce((select min(wake_at) from timer_attempts where state = 'leased'), {recent}), \
             coalesce((select min(wake_at) from timer_attempts where state = 'retry'), {recent}), {recent}) as char)"
        )
    }

    /// Finds rows of `timers` that another program has ended: only their due time says how old they are.
    pub(super) fn foreign_ends(&self, older: Duration, limit: usize) -> String {
        let old = self.due_before(&ago(older));
        format!(
            "select t.timer_id from timers t where t.timer_status in ('done', 'failed') and {old} \
             and not exists (select 1 from timer_attempts a where a.timer_id = t.timer_id) limit {limit} for update skip locked"
        )
    }

    /// Reads tasks as `list` shows them.
    pub(super) fn list(&self, state: Option<&str>, only: Option<Uuid>, limit: usize) -> String {
        let due = self.due();
        let state = state.map(|state| format!(" and coalesce(a.state, t.timer_status) = {}", text(state)));
        let only = only.map(|only| format!(" and t.timer_id = {}", id(only)));
        format!(
            "select t.timer_id, coalesce(t.timer_url, ''), coalesce(a.state, t.timer_status), coalesce(cast({due} as char), ''), \
             coalesce(a.attempts, 0), if(a.state = 'retry', cast(a.wake_at as char), null), cast(a.finished_at as char), a.status, \
             a.reason_kind, a.reason, coalesce(a.duplicates, 0) \
             from timers t left join timer_attempts a on a.timer_id = t.timer_id where true{}{} \
             order by t.timer_invoke_time desc limit {limit}",
            state.unwrap_or_default(),
            only.unwrap_or_default()
        )
    }

    /// Reads the URLs of the oldest due tasks.
    pub(super) fn preview(&self, limit: usize) -> String {
        let due = self.due_before(NOW);
        format!(
            "select coalesce(t.timer_url, ''), exists (select 1 from timer_attempts where attempts > 0) from timers t \
             where t.timer_status = 'waiting' and {due} order by t.timer_invoke_time limit {limit}"
        )
    }

    /// Counts waiting tasks that are late, and by how many microseconds the oldest of them is.
    pub(super) fn late(&self) -> String {
        let (due, late) = (self.due(), self.due_before(&format!("({NOW} - interval 1 second)")));
        format!(
            "select count(*), coalesce(timestampdiff(microsecond, min(due), {NOW}), 0) from (select {due} as due from timers t \
             where t.timer_status = 'waiting' and {late} order by t.timer_invoke_time limit 10000) late"
        )
    }

    /// Locks one row: status, URL, due time.
    pub(super) fn lock_task(&self, task: Uuid) -> String {
        let due = self.due();
        format!(
            "select t.timer_status, coalesce(t.timer_url, ''), cast(coalesce({due}, {NOW}) as char), {TOKEN} from timers t \
             where t.timer_id = {} for update skip locked",
            id(task)
        )
    }
}

/// How far back the status page looks.
const HOUR: Duration = Duration::from_secs(3600);

fn ago(duration: Duration) -> String {
    format!("({NOW} - interval {} microsecond)", duration.as_micros())
}

fn after(duration: Duration) -> String {
    format!("{NOW} + interval {} microsecond", duration.as_micros())
}

/// Locks retries that are due: id, URL, attempts, distance, token before, token now.
pub(super) fn retries(ask: &Ask<'_>) -> String {
    let soon = format!("state = 'retry' and wake_at <= {}", after(ask.ahead));
    records(&soon, "timer_attempts_wake", "wake_at", ask)
}

/// Locks tasks whose lease has expired.
pub(super) fn expired(ask: &Ask<'_>) -> String {
    records(&format!("state = 'leased' and wake_at < {NOW}"), "timer_attempts_wake", "wake_at", ask)
}

/// Locks tasks that were parked for an endpoint.
pub(super) fn parked(endpoint: &str, limit: usize) -> String {
    let ask = Ask { limit, ahead: Duration::ZERO, above: None };
    let parked = format!("state = 'parked' and endpoint = {}", bytes(endpoint.as_bytes()));
    records(&parked, "timer_attempts_parked", "due_at", &ask)
}

fn records(condition: &str, index: &str, order: &str, ask: &Ask<'_>) -> String {
    let above = ask.above.map(|at| format!(" and wake_at >= '{at}'")).unwrap_or_default();
    let due = if condition.starts_with("state = 'retry'") { "wake_at" } else { "due_at" };
    format!(
        "select timer_id, timer_url, attempts, timestampdiff(microsecond, {NOW}, {due}), token, {TOKEN} \
         from timer_attempts force index ({index}) where {condition}{above} order by {order} limit {} for update skip locked",
        ask.limit
    )
}

/// Locks the records of ids: id, state, token, rows of `timers` with the id.
pub(super) fn known(list: &[Uuid]) -> String {
    format!(
        "select a.timer_id, a.state, a.token, if(a.state in {FINAL}, (select count(*) from timers d where d.timer_id = a.timer_id), 0) \
         from timer_attempts a where a.timer_id in ({}) for update",
        ids(list.iter().copied())
    )
}

/// Moves rows of `timers` from one status to another.
pub(super) fn move_tasks(list: &[Uuid], from: &str, to: &str) -> Option<String> {
    let all = ids(list.iter().copied());
    (!list.is_empty()).then(|| {
        format!("update timers set timer_status = '{to}' where timer_id in ({all}) and timer_status = '{from}'")
    })
}

/// Counts further rows of an id.
pub(super) fn count_duplicate(task: Uuid) -> String {
    format!("update timer_attempts set duplicates = duplicates + 1 where timer_id = {}", id(task))
}

/// Makes leases of tasks that have no record.
pub(super) fn insert_leases(taken: &[Taken<'_>], holder: Uuid, lease: Duration) -> Option<String> {
    let rows: Vec<String> = taken
        .iter()
        .map(|task| {
            format!(
                "({}, convert({} using utf8mb4), 'leased', {}, '{}', {}, {}, {})",
                id(task.id),
                bytes(task.url),
                after(lease),
                task.due,
                task.token,
                id(holder),
                task.duplicates
            )
        })
        .collect();
    let columns = "timer_id, timer_url, state, wake_at, due_at, token, holder, duplicates";
    (!rows.is_empty()).then(|| format!("insert into timer_attempts ({columns}) values {}", rows.join(", ")))
}

/// Makes a lease of a task that had ended and was set to `waiting` again.
pub(super) fn begin_again(task: &Taken<'_>, holder: Uuid, lease: Duration) -> String {
    format!(
        "update timer_attempts set timer_url = convert({} using utf8mb4), state = 'leased', wake_at = {}, due_at = '{}', token = {}, \
         holder = {}, attempts = 0, status = null, reason_kind = null, reason = null, finished_at = null where timer_id = {}",
        bytes(task.url),
        after(lease),
        task.due,
        task.token,
        id(holder),
        id(task.id)
    )
}

/// Makes leases of tasks that have a record.
pub(super) fn take_records(list: &[(Uuid, i64)], holder: Uuid, lease: Duration) -> Option<String> {
    let cases: String = list.iter().map(|(task, token)| format!(" when {} then {token}", id(*task))).collect();
    let all = ids(list.iter().map(|(task, _)| *task));
    (!list.is_empty()).then(|| {
        format!(
            "update timer_attempts set state = 'leased', wake_at = {}, token = case timer_id{cases} end, holder = {} \
             where timer_id in ({all})",
            after(lease),
            id(holder)
        )
    })
}

/// Reads headers and bodies.
pub(super) fn requests(list: &[Uuid]) -> String {
    format!("select timer_id, headers, body from timer_requests where timer_id in ({})", ids(list.iter().copied()))
}

/// Locks the records that a holder has leases on: id, token, attempts, duplicates.
pub(super) fn held(holder: Uuid, list: impl IntoIterator<Item = Uuid>) -> String {
    format!(
        "select timer_id, token, attempts, duplicates from timer_attempts force index (primary) \
         where timer_id in ({}) and holder = {} and state = 'leased' for update",
        ids(list),
        id(holder)
    )
}

/// Writes how tasks ended. The rows are there: nothing is inserted.
pub(super) fn write_ends(ends: &[&Completion]) -> String {
    let rows: Vec<String> = ends
        .iter()
        .map(|Completion { lease, endpoint, end }| {
            let status = end.status().map_or_else(|| "null".to_owned(), |status| status.to_string());
            let (kind, reason) =
                (end.reason().map(|reason| reason.kind.as_str()), end.reason().map(|reason| reason.text.as_str()));
            let finished = if end.timer_status().is_some() { NOW } else { "null" };
            format!(
                "({}, '', '{}', {}, {NOW}, 0, {}, {}, {status}, {}, {}, {finished})",
                id(lease.id),
                end.state(),
                after(end.delay()),
                bytes(endpoint.as_bytes()),
                u8::from(end.attempted()),
                optional(kind),
                optional(reason)
            )
        })
        .collect();
    format!(
        "insert into timer_attempts (timer_id, timer_url, state, wake_at, due_at, token, endpoint, attempts, status, reason_kind, \
         reason, finished_at) values {} on duplicate key update state = values(state), wake_at = values(wake_at), holder = null, \
         endpoint = values(endpoint), attempts = attempts + values(attempts), status = values(status), \
         reason_kind = values(reason_kind), reason = values(reason), finished_at = values(finished_at)",
        rows.join(", ")
    )
}

/// Ends rows of `timers` with one pass over them.
pub(super) fn end_tasks(done: &[Uuid], failed: &[Uuid]) -> Option<String> {
    let all = ids(done.iter().chain(failed).copied());
    let to = match (done.is_empty(), failed.is_empty()) {
        (true, true) => return None,
        (false, true) => "'done'".to_owned(),
        (true, false) => "'failed'".to_owned(),
        (false, false) => format!("if(timer_id in ({}), 'failed', 'done')", ids(failed.iter().copied())),
    };
    Some(format!("update timers set timer_status = {to} where timer_id in ({all}) and timer_status = 'executing'"))
}

/// Removes records.
pub(super) fn remove_records(list: &[Uuid]) -> Option<String> {
    (!list.is_empty()).then(|| format!("delete from timer_attempts where timer_id in ({})", ids(list.iter().copied())))
}

/// Lets a given-back task be due again.
pub(super) fn due_again(task: Uuid, delay: Duration) -> String {
    format!(
        "update timer_attempts set state = 'retry', holder = null, wake_at = {} where timer_id = {}",
        after(delay),
        id(task)
    )
}

/// Moves the end of leases.
pub(super) fn extend(list: &[Uuid], by: Duration) -> String {
    format!("update timer_attempts set wake_at = {} where timer_id in ({})", after(by), ids(list.iter().copied()))
}

/// Brings further rows of an id to the state of the row that was fired.
pub(super) fn settle_duplicates() -> String {
    format!(
        "update timers t join timer_attempts a on a.timer_id = t.timer_id \
         set t.timer_status = if(a.state = 'done', 'done', 'failed') where t.timer_status = 'executing' and a.state in {FINAL}"
    )
}

/// Finds records that ended some time ago.
pub(super) fn old_ends(older: Duration, limit: usize) -> String {
    format!(
        "select timer_id from timer_attempts where finished_at < {} order by finished_at limit {limit} for update skip locked",
        ago(older)
    )
}

/// Removes tasks with all that belongs to them.
pub(super) fn remove_tasks(list: &[Uuid]) -> String {
    let all = ids(list.iter().copied());
    format!(
        "delete from timers where timer_id in ({all}); delete from timer_requests where timer_id in ({all}); \
         delete from timer_attempts where timer_id in ({all})"
    )
}

pub(super) const COUNTS: &str = "select state, count(*) from timer_attempts where state in ('leased', 'retry', 'parked') \
    group by state union all select 'waiting', count(*) from timers where timer_status = 'waiting'";
pub(super) const PARKED_ENDPOINTS: &str =
    "select distinct endpoint from timer_attempts where state = 'parked' limit 1000";

/// Counts what ended within the last hour and what is to be tried again by endpoint, those with failures first.
pub(super) fn endpoint_counts() -> String {
    let again = |state| format!("(select endpoint, state from timer_attempts where state = '{state}' limit 10000)");
    format!(
        "select endpoint, sum(state = 'done'), sum(state in ('failed', 'refused')), sum(state = 'retry'), sum(state = 'parked') \
         from ((select endpoint, state from timer_attempts where finished_at > {} order by finished_at desc limit 10000) \
         union all {} union all {}) recent group by endpoint order by 3 desc, 4 desc, 1 limit 100",
        ago(HOUR),
        again("retry"),
        again("parked")
    )
}

/// Reads the newest failures of the last hour.
pub(super) fn failures() -> String {
    format!(
        "select timer_id, endpoint, state, concat(coalesce(concat(reason_kind, ': '), ''), coalesce(reason, '')), \
         cast(finished_at as char) from (select * from timer_attempts where finished_at > {} order by finished_at desc \
         limit 10000) recent where state in ('failed', 'refused') order by finished_at desc limit 10",
        ago(HOUR)
    )
}

pub(super) const MICROS: &str = "select timestampdiff(microsecond, '1970-01-01 00:00:00', utc_timestamp(6))";

/// Inserts a task due at an expression.
pub(super) fn add(task: &NewTask, at: &str) -> String {
    let insert = format!(
        "insert into timers (timer_id, timer_url, timer_status, timer_invoke_time) values ({}, {}, 'waiting', {at})",
        id(task.id),
        text(&task.url)
    );
    if task.headers.is_empty() && task.body.is_none() {
        return insert;
    }
    let headers = text(&serde_json::json!(task.headers).to_string());
    let body = task.body.as_ref().map_or_else(|| "null".to_owned(), |body| bytes(body));
    format!(
        "insert into timer_requests (timer_id, headers, body) values ({}, {headers}, {body}); {insert}",
        id(task.id)
    )
}

/// Locks the record of one task and reads its state.
pub(super) fn lock_record(task: Uuid) -> String {
    format!("select state from timer_attempts where timer_id = {} for update", id(task))
}

/// Ends a record as cancelled.
pub(super) fn cancel_record(task: Uuid) -> String {
    format!("update timer_attempts set state = 'cancelled', finished_at = {NOW} where timer_id = {}", id(task))
}

/// Makes a cancelled record of a task that has none.
pub(super) fn insert_cancelled(task: &Taken<'_>) -> String {
    format!(
        "insert into timer_attempts (timer_id, timer_url, state, wake_at, due_at, token, finished_at) \
         values ({}, convert({} using utf8mb4), 'cancelled', {NOW}, '{}', {}, {NOW})",
        id(task.id),
        bytes(task.url),
        task.due,
        task.token
    )
}

/// Makes ended records due now.
pub(super) fn retry_records(condition: &str) -> String {
    format!(
        "update timer_attempts set state = 'retry', wake_at = {NOW}, attempts = 0, finished_at = null where {condition}"
    )
}

/// Finds ended records of a state.
pub(super) fn in_state(state: &str, limit: usize) -> String {
    format!("select timer_id from timer_attempts where state = {} limit {limit} for update skip locked", text(state))
}

pub(super) fn disable_endpoint(endpoint: &str, reason: &str) -> String {
    format!(
        "insert ignore into timer_endpoints (endpoint, disabled_at, reason) values ({}, {NOW}, {})",
        bytes(endpoint.as_bytes()),
        text(reason)
    )
}

pub(super) fn enable_endpoint(endpoint: &str) -> String {
    format!("delete from timer_endpoints where endpoint = {}", bytes(endpoint.as_bytes()))
}

pub(super) const DISABLED_ENDPOINTS: &str =
    "select endpoint, cast(disabled_at as char), reason from timer_endpoints order by endpoint";
