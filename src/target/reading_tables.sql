-- the tables of a feed that the ledger knows, by steps from one to the next in its index
with recursive tables as (
    (select schema_name, entity from public.loader_deliveries
     where bucket = $1 order by schema_name, entity limit 1)
    union all
    select following.schema_name, following.entity
    from tables,
         lateral (select schema_name, entity from public.loader_deliveries
                  where bucket = $1 and (schema_name, entity) > (tables.schema_name, tables.entity)
                  order by schema_name, entity limit 1) following
)
select to_json(tables.schema_name || '.' || tables.entity)::text
from tables
cross join lateral (
    select schema_name, entity from public.loader_deliveries l
    where l.bucket = $1 and (l.schema_name, l.entity) <= (tables.schema_name, tables.entity)
      and l.object_key >= $2 and ($3 is null or l.object_key < $3)
    order by l.schema_name desc, l.entity desc, l.id desc limit 1
) fed
where (fed.schema_name, fed.entity) = (tables.schema_name, tables.entity)
