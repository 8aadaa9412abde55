//! Holds every statement that the timer sends to Postgres. Those that touch `timers` depend on how somebody else has made it,
//! so they are composed once, after the table was looked at.

/// What the statements must know of `timers`.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// The type of `timer_status`, to cast words to.
    pub(super) status_type: String,
    /// For a `timer_invoke_time` without zone: the zone it is in, as an SQL expression.
    pub(super) zone: Option<String>,
}

/// The statements that depend on the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Statements {
    pub(super) claim_waiting: String,
    pub(super) adopt: String,
    pub(super) complete: String,
    pub(super) give_back: String,
    pub(super) settle_duplicates: String,
    pub(super) lower_bound: String,
    pub(super) purge: String,
    pub(super) purge_foreign: String,
    pub(super) list: String,
    pub(super) retry: String,
    pub(super) retry_all: String,
    pub(super) cancel: String,
    pub(super) preview: String,
    pub(super) late: String,
}

const FINAL: &str = "('done', 'failed', 'refused', 'cancelled')";
/// Distance of a due time to the present in whole microseconds, rounded up: never early. `-infinity` has no distance.
const DUE_IN: &str = "case when p.due < clock_timestamp() - interval '30 days' then -2592000000000
    else ceil(extract(epoch from p.due - clock_timestamp()) * 1000000)::bigint end";

impl Shape {
    /// The instant of a row's due time.
    fn due(&self) -> String {
        match &self.zone {
            Some(zone) => format!("(t.timer_invoke_time at time zone {zone})"),
            None => "t.timer_invoke_time".to_owned(),
        }
    }

    /// The type of `timer_invoke_time`.
    fn time_type(&self) -> &'static str {
        if self.zone.is_some() { "timestamp" } else { "timestamptz" }
    }

    /// A condition that an index can serve: the due time lies before an instant. Around a change of summer time the local
    /// time alone does not say it, so the instant is compared too.
    fn due_before(&self, instant: &str) -> String {
        match &self.zone {
            Some(zone) => format!(
                "t.timer_invoke_time <= (({instant}) at time zone {zone} + interval '1 hour') and {} <= {instant}",
                self.due()
            ),
            None => format!("t.timer_invoke_time <= {instant}"),
        }
    }

    pub(super) fn statements(&self) -> Statements {
        Statements {
            claim_waiting: self.claim_waiting(),
            adopt: self.adopt(),
            complete: self.complete(),
            give_back: self.give_back(),
            settle_duplicates: self.settle_duplicates(),
            lower_bound: self.lower_bound(),
            purge: purge(),
            purge_foreign: self.purge_foreign(),
            list: self.list(),
            retry: self.retry(),
            retry_all: self.retry_all(),
            cancel: self.cancel(),
            preview: self.preview(),
            late: self.late(),
        }
    }

    /// $1 limit, $2 microseconds ahead, $3 holder, $4 microseconds of lease, $5 lower bound. Rows of an id that has a record
    /// already follow that record: into its lease, to its end, or, if the row is the only one of its id and was made `waiting`
    /// again, into a new life.
    fn claim_waiting(&self) -> String {
        let (due, kind, status) = (self.due(), self.time_type(), &self.status_type);
        let soon = self.due_before("statement_timestamp() + $2::bigint * interval '1 microsecond'");
        format!(
            "with picked as materialized (
    select t.ctid as at, t.timer_id, coalesce(t.timer_url, '') as url, {due} as due from timers t
    where t.timer_status = 'waiting' and t.timer_id is not null
        and {soon} and t.timer_invoke_time >= $5::text::{kind}
    order by t.timer_invoke_time limit $1::bigint for update of t skip locked
), known as materialized (
    select p.at, a.state, a.state in {FINAL} as ended,
        (select count(*) from timers d where d.timer_id = p.timer_id) as copies
    from picked p join timer_attempts a on a.timer_id = p.timer_id
), moved as (
    update timers t set timer_status = (case when k.ended and k.copies > 1
        then case k.state when 'done' then 'done' else 'failed' end else 'executing' end)::{status}
    from picked p left join known k on k.at = p.at
    where t.ctid = p.at and t.timer_id = p.timer_id and t.timer_status = 'waiting'
    returning t.timer_id, p.url, p.due, k.at is null or (k.ended and k.copies = 1) as fires
), counted as (
    update timer_attempts a set duplicates = a.duplicates + 1 from moved m where not m.fires and a.timer_id = m.timer_id
), leased as (
    insert into timer_attempts as a (timer_id, timer_url, state, wake_at, due_at, token, holder, duplicates)
    select timer_id, (array_agg(url order by due))[1], 'leased', clock_timestamp() + $4::bigint * interval '1 microsecond',
        min(due), (extract(epoch from clock_timestamp()) * 1000000)::bigint, $3::uuid, count(*) - 1
    from moved where fires group by timer_id
    on conflict (timer_id) do update set timer_url = excluded.timer_url, state = 'leased', wake_at = excluded.wake_at,
        due_at = excluded.due_at, token = greatest(a.token + 1, excluded.token), holder = excluded.holder, attempts = 0,
        status = null, reason_kind = null, reason = null, finished_at = null
    where a.state in {FINAL}
    returning a.timer_id, a.token, a.timer_url as url, a.due_at as due
)
select p.timer_id, p.token, p.url, 0 as attempts, {DUE_IN} as due_in, true as fresh, q.headers, q.body,
    (select count(*) from moved) as moved
from leased p left join timer_requests q on q.timer_id = p.timer_id order by p.due"
        )
    }

    /// Parameters as `claim_waiting`'s, $2 the microseconds since when they are due.
    fn adopt(&self) -> String {
        let due = self.due();
        let old = self.due_before("statement_timestamp() - $2::bigint * interval '1 microsecond'");
        format!(
            "with picked as materialized (
    select t.timer_id, coalesce(t.timer_url, '') as url, {due} as due from timers t
    where t.timer_status = 'executing' and t.timer_id is not null and {old}
        and not exists (select from timer_attempts a where a.timer_id = t.timer_id)
    limit $1::bigint for update of t skip locked
), leased as (
    insert into timer_attempts as a (timer_id, timer_url, state, wake_at, due_at, token, holder)
    select distinct on (timer_id) timer_id, url, 'leased', clock_timestamp() + $4::bigint * interval '1 microsecond', due,
        (extract(epoch from clock_timestamp()) * 1000000)::bigint, $3::uuid
    from picked order by timer_id, due
    on conflict (timer_id) do nothing
    returning a.timer_id, a.token, a.timer_url as url, a.due_at as due
)
select p.timer_id, p.token, p.url, 0 as attempts, {DUE_IN} as due_in, true as fresh, q.headers, q.body, 0::bigint as moved
from leased p left join timer_requests q on q.timer_id = p.timer_id"
        )
    }

    /// $1 holder; then one array per column: ids, tokens, states, delays, statuses, kinds, reasons, endpoints, attempted. No two
    /// lists are joined with each other: without statistics of them that would take as long as the product of their lengths.
    fn complete(&self) -> String {
        let status = &self.status_type;
        format!(
            "with result as materialized (
    select * from unnest($2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::int[], $7::text[], $8::text[], $9::text[],
        $10::bool[]) as r (timer_id, token, state, delay, status, kind, reason, endpoint, attempted)
), ours as materialized (
    select r.* from timer_attempts a join result r on r.timer_id = a.timer_id
    where a.token = r.token and a.holder = $1::uuid and a.state = 'leased' order by a.timer_id for update of a
), written as (
    update timer_attempts a set state = r.state, holder = null, endpoint = r.endpoint,
        wake_at = clock_timestamp() + r.delay * interval '1 microsecond', attempts = a.attempts + r.attempted::int,
        status = nullif(r.status, 0), reason_kind = nullif(r.kind, ''), reason = nullif(r.reason, ''),
        finished_at = case when r.state in {FINAL} then clock_timestamp() end
    from ours r where a.timer_id = r.timer_id
    returning a.timer_id, a.token, a.state
), ended as (
    update timers t set timer_status = (case w.state when 'done' then 'done' else 'failed' end)::{status}
    from written w where t.timer_id = w.timer_id and t.timer_status = 'executing' and w.state in {FINAL}
)
select timer_id, token from written"
        )
    }

    /// $1 holder, $2 ids, $3 tokens, $4 microseconds until each is due. What was never attempted waits in `timers` again.
    fn give_back(&self) -> String {
        let status = &self.status_type;
        format!(
            "with given as materialized (
    select * from unnest($2::uuid[], $3::bigint[], $4::bigint[]) as g (timer_id, token, delay)
), ours as materialized (
    select a.timer_id, a.attempts, g.delay from timer_attempts a join given g on g.timer_id = a.timer_id
    where a.token = g.token and a.holder = $1::uuid and a.state = 'leased' order by a.timer_id for update of a
), removed as (
    delete from timer_attempts a using ours o where a.timer_id = o.timer_id and o.attempts = 0 and a.duplicates = 0
    returning a.timer_id
), waiting as (
    update timers t set timer_status = 'waiting'::{status} from removed r
    where t.timer_id = r.timer_id and t.timer_status = 'executing'
), kept as (
    update timer_attempts a set state = 'retry', holder = null, wake_at = clock_timestamp() + o.delay * interval '1 microsecond'
    from ours o where a.timer_id = o.timer_id and (o.attempts > 0 or a.duplicates > 0)
)
select count(*) from ours"
        )
    }

    fn settle_duplicates(&self) -> String {
        let status = &self.status_type;
        format!(
            "update timers t set timer_status = (case a.state when 'done' then 'done' else 'failed' end)::{status}
from timer_attempts a where a.timer_id = t.timer_id and t.timer_status = 'executing' and a.state in {FINAL}"
        )
    }

    /// The oldest open due times, not later than a moment ago: what is inserted now may be visible a little later.
    fn lower_bound(&self) -> String {
        let now = match &self.zone {
            Some(zone) => {
                format!("((statement_timestamp() - interval '1 second') at time zone {zone} - interval '1 hour')")
            }
            None => "statement_timestamp() - interval '1 second'".to_owned(),
        };
        format!(
            "select least(min(t.timer_invoke_time), {now})::text,
    least((select min(wake_at) from timer_attempts where state = 'leased'),
        (select min(wake_at) from timer_attempts where state = 'retry'), statement_timestamp() - interval '1 second')::text
from timers t where t.timer_status = 'waiting'"
        )
    }

    /// Rows that another program has ended: only their due time says how old they are.
    fn purge_foreign(&self) -> String {
        let old = self.due_before("statement_timestamp() - $1::bigint * interval '1 microsecond'");
        format!(
            "with old as materialized (
    select t.ctid as at from timers t where t.timer_status in ('done', 'failed') and {old}
        and not exists (select from timer_attempts a where a.timer_id = t.timer_id)
    limit $2::bigint for update of t skip locked
) delete from timers t using old where t.ctid = old.at"
        )
    }

    /// $1 state or null, $2 id or null, $3 limit.
    fn list(&self) -> String {
        let due = self.due();
        format!(
            "select coalesce(t.timer_id::text, ''), coalesce(t.timer_url, ''), coalesce(a.state, t.timer_status::text, ''),
    coalesce({due} at time zone 'UTC', 'infinity')::text, coalesce(a.attempts, 0)::bigint,
    case when a.state in ('retry') then (a.wake_at at time zone 'UTC')::text end, (a.finished_at at time zone 'UTC')::text,
    a.status::bigint, a.reason_kind, a.reason, coalesce(a.duplicates, 0)::bigint
from timers t left join timer_attempts a on a.timer_id = t.timer_id
where ($1::text is null or coalesce(a.state, t.timer_status::text) = $1) and ($2::uuid is null or t.timer_id = $2)
order by t.timer_invoke_time desc limit $3::bigint"
        )
    }

    /// $1 limit. The oldest due tasks, and whether anything was ever fired here.
    fn preview(&self) -> String {
        let due = self.due_before("statement_timestamp()");
        format!(
            "with due as (select t.timer_url from timers t where t.timer_status = 'waiting' and {due}
    order by t.timer_invoke_time limit $1::bigint)
select coalesce(due.timer_url, ''), exists (select from timer_attempts where attempts > 0 limit 1) from due"
        )
    }

    /// Waiting tasks that are late, and by how many microseconds the oldest of them is.
    fn late(&self) -> String {
        let (due, late) = (self.due(), self.due_before("statement_timestamp() - interval '1 second'"));
        format!(
            "select count(*), coalesce(extract(epoch from statement_timestamp() - min(due)) * 1000000, 0)::bigint from (
    select {due} as due from timers t where t.timer_status = 'waiting' and {late} order by t.timer_invoke_time limit 10000
) late"
        )
    }

    /// $1 id. Returns the state before, by which the caller knows whether anything was done.
    fn retry(&self) -> String {
        let status = &self.status_type;
        format!(
            "with before as materialized (select state from timer_attempts where timer_id = $1::uuid for update),
again as (
    update timer_attempts a set state = 'retry', wake_at = clock_timestamp(), attempts = 0, finished_at = null
    where a.timer_id = $1 and a.state in ('failed', 'refused', 'cancelled', 'retry') returning 1
), executing as (
    update timers t set timer_status = 'executing'::{status}
    where t.timer_id = $1 and t.timer_status = 'failed' and exists (select from again)
), waiting as (
    update timers t set timer_status = 'waiting'::{status}
    where t.timer_id = $1 and t.timer_status = 'failed' and not exists (select from before) returning 1
)
select coalesce((select state from before), (select timer_status::text from timers where timer_id = $1 limit 1)),
    exists (select from again) or exists (select from waiting)"
        )
    }

    /// $1 state.
    fn retry_all(&self) -> String {
        let status = &self.status_type;
        format!(
            "with again as (
    update timer_attempts a set state = 'retry', wake_at = clock_timestamp(), attempts = 0, finished_at = null
    where a.state = $1 returning a.timer_id
), executing as (
    update timers t set timer_status = 'executing'::{status} from again
    where t.timer_id = again.timer_id and t.timer_status = 'failed'
)
select count(*) from again"
        )
    }

    /// $1 id. Returns the state before and whether the task was cancelled.
    fn cancel(&self) -> String {
        let (due, status) = (self.due(), &self.status_type);
        format!(
            "with before as materialized (select state from timer_attempts where timer_id = $1::uuid for update),
task as materialized (
    select t.timer_url as url, t.timer_status::text as status, {due} as due from timers t
    where t.timer_id = $1 for update of t skip locked
), ended as (
    update timer_attempts a set state = 'cancelled', finished_at = clock_timestamp()
    where a.timer_id = $1 and a.state in ('retry', 'parked') returning 1
), made as (
    insert into timer_attempts (timer_id, timer_url, state, wake_at, due_at, token, finished_at)
    select $1, coalesce(r.url, ''), 'cancelled', clock_timestamp(), r.due,
        (extract(epoch from clock_timestamp()) * 1000000)::bigint, clock_timestamp()
    from task r where r.status = 'waiting' and not exists (select from before) limit 1
    on conflict (timer_id) do nothing returning 1
), failed as (
    update timers t set timer_status = 'failed'::{status} where t.timer_id = $1
        and t.timer_status in ('waiting', 'executing') and (exists (select from ended) or exists (select from made))
)
select coalesce((select state from before), (select status from task limit 1),
        (select 'locked' from timers where timer_id = $1 limit 1)),
    exists (select from ended) or exists (select from made)"
        )
    }
}

/// $1 microseconds, $2 limit. Of rows that this program has ended.
fn purge() -> String {
    "with old as materialized (
    select timer_id from timer_attempts
    where finished_at < statement_timestamp() - $1::bigint * interval '1 microsecond'
    order by finished_at limit $2::bigint for update skip locked
), tasks as (delete from timers t using old where t.timer_id = old.timer_id
), requests as (delete from timer_requests q using old where q.timer_id = old.timer_id)
delete from timer_attempts a using old where a.timer_id = old.timer_id"
        .to_owned()
}

/// Takes rows of `timer_attempts`. The condition and what follows it come from the caller; parameters as `claim_waiting`'s.
fn claim_records(condition: &str, due: &str, order: &str) -> String {
    format!(
        "with picked as materialized (
    select timer_id, {due} as due from timer_attempts
    where {condition} order by {order} limit $1::bigint for update skip locked
), leased as (
    update timer_attempts a set state = 'leased', wake_at = clock_timestamp() + $4::bigint * interval '1 microsecond',
        token = greatest(a.token + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint), holder = $3::uuid
    from picked p where a.timer_id = p.timer_id
    returning a.timer_id, a.token, a.timer_url as url, a.attempts, p.due
)
select p.timer_id, p.token, p.url, p.attempts, {DUE_IN} as due_in, false as fresh, q.headers, q.body, 0::bigint as moved
from leased p left join timer_requests q on q.timer_id = p.timer_id order by p.due"
    )
}

/// Takes retries that are due.
pub(super) fn claim_retries() -> String {
    let soon = "state = 'retry' and wake_at <= statement_timestamp() + $2::bigint * interval '1 microsecond'
        and wake_at >= $5::text::timestamptz";
    claim_records(soon, "wake_at", "wake_at")
}

/// Takes tasks whose lease has expired.
pub(super) fn claim_expired() -> String {
    let expired = "state = 'leased' and wake_at < statement_timestamp() and $2::bigint is not null
        and wake_at >= $5::text::timestamptz";
    claim_records(expired, "due_at", "wake_at")
}

/// Takes tasks parked for endpoint $5.
pub(super) fn claim_parked() -> String {
    claim_records("state = 'parked' and endpoint = $5::text and $2::bigint is not null", "due_at", "due_at")
}

/// The endpoints with parked tasks, found by as many index probes as there are endpoints.
pub(super) const PARKED_ENDPOINTS: &str = "with recursive found (endpoint) as (
    (select endpoint from timer_attempts where state = 'parked' order by endpoint limit 1)
    union all
    select (select a.endpoint from timer_attempts a where a.state = 'parked' and a.endpoint > f.endpoint
        order by a.endpoint limit 1)
    from found f where f.endpoint is not null
) select endpoint from found where endpoint is not null limit 1000";

/// $1 holder, $2 ids, $3 tokens, $4 microseconds.
pub(super) const EXTEND: &str = "with given as materialized (
    select * from unnest($2::uuid[], $3::bigint[]) as g (timer_id, token)
), ours as materialized (
    select a.timer_id from timer_attempts a join given g on g.timer_id = a.timer_id
    where a.token = g.token and a.holder = $1::uuid and a.state = 'leased' order by a.timer_id for update of a
)
update timer_attempts a set wake_at = clock_timestamp() + $4::bigint * interval '1 microsecond'
from ours o where a.timer_id = o.timer_id returning a.timer_id, a.token";

pub(super) const DISABLE_ENDPOINT: &str =
    "insert into timer_endpoints (endpoint, reason) values ($1, $2) on conflict (endpoint) do nothing";
pub(super) const ENABLE_ENDPOINT: &str = "delete from timer_endpoints where endpoint = $1";
pub(super) const DISABLED_ENDPOINTS: &str =
    "select endpoint, (disabled_at at time zone 'UTC')::text, reason from timer_endpoints order by endpoint";

/// Counts by state; `due` are those that wait and should have been claimed already.
pub(super) const COUNTS: &str =
    "select state, count(*) from timer_attempts where state in ('leased', 'retry', 'parked') group by state
union all select 'waiting', count(*) from timers where timer_status = 'waiting'";

/// Endpoints with what ended within the last hour and what is to be tried again, those with failures first.
pub(super) const ENDPOINT_COUNTS: &str = "select endpoint, count(*) filter (where state = 'done'),
    count(*) filter (where state in ('failed', 'refused')), count(*) filter (where state = 'retry'),
    count(*) filter (where state = 'parked')
from ((select endpoint, state from timer_attempts where finished_at > statement_timestamp() - interval '1 hour'
        order by finished_at desc limit 10000)
    union all (select endpoint, state from timer_attempts where state = 'retry' limit 10000)
    union all (select endpoint, state from timer_attempts where state = 'parked' limit 10000)) recent
group by endpoint order by 3 desc, 4 desc, 1 limit 100";

/// The newest failures of the last hour.
pub(super) const FAILURES: &str = "select timer_id::text, endpoint, state,
    coalesce(reason_kind || ': ', '') || coalesce(reason, ''), (finished_at at time zone 'UTC')::text
from (select * from timer_attempts where finished_at > statement_timestamp() - interval '1 hour'
    order by finished_at desc limit 10000) recent
where state in ('failed', 'refused') order by finished_at desc limit 10";

/// The database's time in microseconds since 1970.
pub(super) const NOW: &str = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";

/// Inserts a task due at an expression: $1 id, $2 URL, $3 whether it has no request, $4 headers, $5 body.
pub(super) fn add(at: &str) -> String {
    format!(
        "with request as (
    insert into timer_requests (timer_id, headers, body)
    select $1::uuid, $4::text, $5::bytea where not $3::bool
)
insert into timers (timer_id, timer_url, timer_status, timer_invoke_time) values ($1::uuid, $2::text, 'waiting', {at})"
    )
}
