select exists (
    select from public.loader_deliveries
    where scope = $1 and object_key = $2 and etag = $3
      and ($4 is null or last_modified = to_timestamp($4))
      and status in ('loaded', 'skipped')
      and not (status = 'skipped' and actor = 'loader' and reason like 'superseded:%')
)
