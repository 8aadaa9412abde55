update public.loader_deliveries
set status = 'gone', requested = null, committed_at = clock_timestamp(), rows_remove = 0,
    error = case when status = 'skipped' then 'gone from the bucket before it was loaded again'
                 else 'gone from the bucket, and was never loaded' || coalesce('; it was ' || status || ': ' || error, '') end
where id = any($1)
  and (status not in ('loaded', 'skipped', 'gone')
       or (status = 'skipped' and actor = 'loader' and reason like 'superseded: to be loaded again%'))
