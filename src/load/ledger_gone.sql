update public.loader_deliveries
set status = 'gone', requested = null,
    committed_at = case when status = 'skipped' then committed_at else clock_timestamp() end,
    rows_remove = case when status = 'skipped' then rows_remove else 0 end,
    error = case when status = 'skipped' then 'gone from the bucket before it was loaded again'
                 else 'gone from the bucket, and was never loaded' || coalesce('; it was ' || status || ': ' || error, '') end
where id = any($1)
  and (status not in ('loaded', 'skipped', 'gone')
       or (status = 'skipped' and actor = 'loader' and reason like 'superseded: to be loaded again%'))
