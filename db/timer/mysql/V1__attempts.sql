-- One row for each task that this program has claimed: who holds it, and what came of it. Times are UTC.
create table timer_attempts (
    timer_id binary(16) not null primary key,
    timer_url text not null,
    -- leased: a pod has it; retry: due again at wake_at; parked: waits until its endpoint has room; the others are final
    state enum('leased', 'retry', 'parked', 'done', 'failed', 'refused', 'cancelled') not null,
    -- end of the lease, or when the retry is due
    wake_at datetime(6) not null,
    due_at datetime(6) not null,
    -- grows with every claim: only the holder of the newest one may complete the task
    token bigint not null,
    holder binary(16),
    endpoint varbinary(255) not null default '',
    attempts int not null default 0,
    status int,
    reason_kind varchar(40),
    reason text,
    -- further rows of timers with this id, which were not fired
    duplicates int not null default 0,
    finished_at datetime(6),
    index timer_attempts_wake (state, wake_at),
    index timer_attempts_parked (state, endpoint, due_at),
    index timer_attempts_finished (finished_at)
) engine = InnoDB default charset = utf8mb4;

-- Headers and body of a task. A task without a row here is posted as the original does: to url/id, with an empty body.
create table timer_requests (
    timer_id binary(16) not null primary key,
    headers text not null,
    body longblob
) engine = InnoDB default charset = utf8mb4;

-- Endpoints that answered 410 Gone.
create table timer_endpoints (
    endpoint varbinary(255) not null primary key,
    disabled_at datetime(6) not null,
    reason text not null
) engine = InnoDB default charset = utf8mb4
