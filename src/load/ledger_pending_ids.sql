-- the ids of the rows of files
select f.key, l.id
from unnest($2, $3, $4, $5, $6) as f(key, etag, modified, kind, occurrence)
cross join lateral (
    select id from public.loader_deliveries l
    where l.scope = $1 and l.object_key = f.key and l.etag = f.etag and l.occurrence = f.occurrence
      and (f.kind = 'changes' or l.last_modified = to_timestamp(f.modified))
    limit 1
) l
