-- The tables that the ledger has loaded and of which nothing is noted, because an earlier version of the program loaded them;
-- with the rows that its deliveries left, where they tell. The tables are found step by step in the index, and only the rows of
-- those that are not noted are read: once in their life.
with recursive tables as (
    (select schema_name, entity from public.loader_deliveries
     where scope = $1 order by schema_name, entity limit 1)
    union all
    select following.schema_name, following.entity
    from tables,
         lateral (select schema_name, entity from public.loader_deliveries
                  where scope = $1 and (schema_name, entity) > (tables.schema_name, tables.entity)
                  order by schema_name, entity limit 1) following
),
unnoted as materialized (
    select schema_name, entity from tables
    where not exists (select from public.loader_tables t
                      where t.scope = $1 and t.schema_name = tables.schema_name and t.entity = tables.entity)
)
select unnoted.schema_name, unnoted.entity, noted.rows_left, noted.has_rows
from unnoted
cross join lateral (
    select case when bool_or(l.kind = 'snapshot') and sum(l.rows_rejected) = 0
                then sum(case when l.kind = 'snapshot' then l.rows_create + l.rows_amend + l.rows_unchanged
                              else l.rows_create - l.rows_remove end)::bigint end as rows_left,
           sum(l.rows_create - l.rows_remove) > 0 as has_rows
    from public.loader_deliveries l
    where l.scope = $1 and l.schema_name = unnoted.schema_name and l.entity = unnoted.entity and l.status = 'loaded'
    group by l.generation
    order by l.generation desc limit 1
) noted
order by unnoted.schema_name, unnoted.entity
