-- Rows for files that are listed and have none, in the order given. A rehearsal draws no id: its rows come after the highest.
insert into public.loader_deliveries
    (id, bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind, generation, occurrence, status,
     attempts, started_at, host, version, scope)
select case when $11 then (select coalesce(max(id), 0) from public.loader_deliveries) + place
            else nextval('public.loader_deliveries_id_seq') end,
       $1, key, etag, size, to_timestamp(modified), schema_name, entity, kind, generation, occurrence, 'pending',
       0, clock_timestamp(), $12, $version, $13
from (
    select *, row_number() over (order by place_given) as place
    from unnest($2, $3, $4, $5, $6, $7, $8, $9, $10)
         with ordinality as f(key, etag, size, modified, schema_name, entity, kind, generation, occurrence, place_given)
    where not exists (
        select from public.loader_deliveries l
        where l.scope = $13 and l.object_key = f.key and l.etag = f.etag and l.occurrence = f.occurrence
          and (f.kind = 'changes' or l.last_modified = to_timestamp(f.modified))
    )
    order by place_given
) f
-- another loader may write the same at this moment
on conflict do nothing
returning object_key, id
