-- The tasks: `insert into timers (timer_id, timer_url, timer_invoke_time) values (…)` is all it takes.
-- A table of this name that is there already is used as it is.
create table timers (
    timer_id uuid primary key default gen_random_uuid(),
    timer_url text not null,
    timer_status text not null default 'waiting' check (timer_status in ('waiting', 'executing', 'done', 'failed')),
    timer_invoke_time timestamptz not null
) with (fillfactor = 80);

create index timers_waiting on timers (timer_invoke_time) where timer_status = 'waiting';

-- Wakes the pods when a task is due before they would look again.
create function timers_inserted() returns trigger language plpgsql as $$
declare
    first timestamptz := (select min(timer_invoke_time) from inserted where timer_status = 'waiting');
begin
    if first < clock_timestamp() - interval '1 second' then
        notify timers_due, 'past';
    elsif first < clock_timestamp() + interval '1 second' then
        notify timers_due;
    end if;
    return null;
end
$$;

create trigger timers_inserted after insert on timers referencing new table as inserted
    for each statement execute function timers_inserted();
