-- Looks into an index each: this is asked for every delivery, and must not grow with history. An id is drawn only for a table
-- that ends as it should (`$8`) and is not stopped. Most often the table's last row also tells whether a file of the kind
-- (`$7`) has an op in front.
select last_id, stopped, had_op,
       case when $9 and last_id = $8 and not stopped then $next end as next_id
from (
    select coalesce(last.id, 0) as last_id,
           case when last.status = 'loaded' and last.kind = $7 and last.rows_read > 0 then last.claimed is not null end
               as had_op,
           exists (
               select from public.loader_deliveries
               where bucket = $1 and schema_name = $2 and entity = $3
                 and object_key >= $4 and ($5 is null or object_key < $5)
                 and status in ('failed', 'held', 'late') and requested is null
                 and id <> all($6)
           ) as stopped
    from (select) one
    left join lateral (
        select id, status, kind, rows_read, claimed from public.loader_deliveries
        where bucket = $1 and schema_name = $2 and entity = $3
          and object_key >= $4 and ($5 is null or object_key < $5)
        order by id desc limit 1
    ) last on true
) head
