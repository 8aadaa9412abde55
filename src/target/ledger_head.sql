select coalesce(max(id), 0) as last_id,
       exists (
           select from public.loader_deliveries
           where bucket = $1 and schema_name = $2 and entity = $3
             and status in ('failed', 'held', 'late') and requested is null
       ) as stopped
from public.loader_deliveries
where bucket = $1 and schema_name = $2 and entity = $3
