update public.loader_deliveries
set status = 'pending', requested = null, actor = null, reason = null, error = null
where id = any($1)
  and (status = 'gone' or (status = 'skipped' and actor = 'loader' and reason like 'superseded:%'))
