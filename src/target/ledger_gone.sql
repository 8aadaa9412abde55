update public.loader_deliveries
set status = 'gone', requested = null, committed_at = clock_timestamp(), rows_remove = 0,
    error = 'gone from the bucket, and was never loaded' || coalesce('; it was ' || status || ': ' || error, '')
where id = any($1) and status not in ('loaded', 'skipped', 'gone')
