-- What was loaded of a table's newest generation.
with loaded as (
    select * from public.loader_deliveries
    where scope = $1 and schema_name = $2 and entity = $3
      and status = 'loaded'
      -- a version that was rewritten with the same bytes stands for the one before it
      and not exists (
          select from public.loader_deliveries n
          where n.id = loader_deliveries.superseded_by and starts_with(n.reason, 'rewritten with the same bytes')
      )
)
select id, object_key, etag, size_bytes, extract(epoch from last_modified)::bigint as modified, kind, generation,
       rows_read, rows_rejected, attempts, claimed is not null as has_op,
       (claimed ->> 'I')::bigint as inserts, (claimed ->> 'U')::bigint as updates, (claimed ->> 'D')::bigint as deletes,
       (extract(epoch from committed_at) * 1000000)::bigint as committed
from loaded
where generation = (select max(generation) from loaded)
order by id
