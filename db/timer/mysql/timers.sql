-- The tasks: `insert into timers (timer_id, timer_url, timer_status, timer_invoke_time) values (…)` is all it takes.
-- A table of this name that is there already is used as it is.
create table timers (
    timer_id binary(16) not null primary key,
    timer_url varchar(2083) not null,
    timer_status enum('waiting', 'executing', 'done', 'failed') not null default 'waiting',
    timer_invoke_time datetime(6) not null,
    index timers_waiting (timer_status, timer_invoke_time, timer_id)
) engine = InnoDB default charset = utf8mb4
