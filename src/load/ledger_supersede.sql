update public.loader_deliveries
set status = 'skipped', actor = 'loader', requested = null, committed_at = clock_timestamp(), rows_remove = 0,
    reason = 'superseded: the bucket no longer shows this version'
where id = any($1) and status not in ('loaded', 'skipped')
