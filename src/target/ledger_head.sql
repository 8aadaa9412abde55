-- Looks into an index each: this is asked for every delivery, and must not grow with history. An id is drawn only for a table
-- that ends as it should (`$8`) and is not stopped.
select last_id, stopped, had_op,
       case when $9 and last_id = $8 and not stopped then $next end as next_id
from (
    select coalesce((
               select id from public.loader_deliveries
               where bucket = $1 and schema_name = $2 and entity = $3
                 and object_key >= $4 and ($5 is null or object_key < $5)
               order by id desc limit 1
           ), 0) as last_id,
           exists (
               select from public.loader_deliveries
               where bucket = $1 and schema_name = $2 and entity = $3
                 and object_key >= $4 and ($5 is null or object_key < $5)
                 and status in ('failed', 'held', 'late') and requested is null
                 and id <> all($6)
           ) as stopped,
           (
               select claimed is not null from public.loader_deliveries
               where bucket = $1 and schema_name = $2 and entity = $3
                 and object_key >= $4 and ($5 is null or object_key < $5)
                 and status = 'loaded' and kind = $7 and rows_read > 0
               order by id desc limit 1
           ) as had_op
) head
