-- One row for each task that this program has claimed: who holds it, and what came of it.
create table timer_attempts (
    timer_id uuid primary key,
    timer_url text not null,
    -- leased: a pod has it; retry: due again at wake_at; parked: waits until its endpoint has room; the others are final
    state text not null check (state in ('leased', 'retry', 'parked', 'done', 'failed', 'refused', 'cancelled')),
    -- end of the lease, or when the retry is due
    wake_at timestamptz not null,
    due_at timestamptz not null,
    -- grows with every claim: only the holder of the newest one may complete the task
    token bigint not null,
    holder uuid,
    endpoint text not null default '',
    attempts integer not null default 0,
    status integer,
    reason_kind text,
    reason text,
    -- further rows of timers with this id, which were not fired
    duplicates integer not null default 0,
    finished_at timestamptz
) with (fillfactor = 80);

create index timer_attempts_wake on timer_attempts (state, wake_at) where state in ('leased', 'retry');
create index timer_attempts_parked on timer_attempts (endpoint, due_at) where state = 'parked';
create index timer_attempts_finished on timer_attempts (finished_at) where finished_at is not null;

-- Headers and body of a task. A task without a row here is posted as the original does: to url/id, with an empty body.
create table timer_requests (
    timer_id uuid primary key,
    headers text not null default '[]',
    body bytea
);

-- Endpoints that answered 410 Gone.
create table timer_endpoints (
    endpoint text primary key,
    disabled_at timestamptz not null default now(),
    reason text not null
);
