-- The tables that the ledger has loaded and of which nothing is noted, because an earlier version of the program loaded them;
-- with the rows that its deliveries left, where they tell.
select l.schema_name, l.entity,
       case when bool_or(l.kind = 'snapshot') and sum(l.rows_rejected) = 0
            then sum(case when l.kind = 'snapshot' then l.rows_create + l.rows_amend + l.rows_unchanged
                          else l.rows_create - l.rows_remove end)::bigint end as rows_left,
       sum(l.rows_create - l.rows_remove) > 0 as has_rows
from public.loader_deliveries l
where l.scope = $1 and l.status = 'loaded'
  and not exists (select from public.loader_tables t
                  where t.scope = l.scope and t.schema_name = l.schema_name and t.entity = l.entity)
  and l.generation = (select max(g.generation) from public.loader_deliveries g
                      where g.scope = l.scope and g.schema_name = l.schema_name and g.entity = l.entity
                        and g.status = 'loaded')
group by l.schema_name, l.entity
order by l.schema_name, l.entity
