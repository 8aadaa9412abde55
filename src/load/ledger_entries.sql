select id, object_key, etag, extract(epoch from last_modified)::bigint as modified, kind, generation, status,
       requested, superseded_by,
       (status = 'skipped' and actor = 'loader' and reason like 'superseded:%') as superseded,
       (status = 'skipped' and actor = 'loader' and reason like 'superseded: to be loaded again%') as reload,
       (rows_amend = 0 and rows_remove = 0 and rows_unchanged = 0) as only_added,
       coalesce(revision, 0), occurrence,
       size_bytes, content_hash,
       (status = 'loaded' and reason is not null and starts_with(reason, 'rewritten with the same bytes')) as same,
       coalesce(status = 'skipped' and actor = 'loader' and starts_with(reason, 'contained in snapshot'), false) as contained
from public.loader_deliveries
where scope = $1
order by object_key, id
