-- the tables of a feed that the ledger knows, by steps from one to the next in its index
with recursive tables as (
    (select schema_name, entity from public.loader_deliveries
     where scope = $1 order by schema_name, entity limit 1)
    union all
    select following.schema_name, following.entity
    from tables,
         lateral (select schema_name, entity from public.loader_deliveries
                  where scope = $1 and (schema_name, entity) > (tables.schema_name, tables.entity)
                  order by schema_name, entity limit 1) following
)
select to_json(tables.schema_name || '.' || tables.entity)::text
from tables
