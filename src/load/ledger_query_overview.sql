-- The tables of a feed as in ledger_admin_tables.sql, for the status page, which asks every few seconds: each step goes by an index, so that
-- it takes as long as there are tables, however long the history. What is newest is looked for among a table's last rows, and
-- so is what was loaded last: behind thousands that were skipped it is not found. These rows are asked for in the index's own
-- order, from the table's last one down, so that no other index will do.
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
-- the deliveries of which rows are kept aside
kept as (
    (select delivery_id as id from public.loader_rejects order by delivery_id limit 1)
    union all
    select following.id
    from kept,
         lateral (select delivery_id as id from public.loader_rejects
                  where delivery_id > kept.id order by delivery_id limit 1) following
),
aside as (
    select l.schema_name, l.entity, sum(l.rows_rejected) as rows, json_agg(l.id order by l.id) as ids
    from kept
    cross join lateral (select * from public.loader_deliveries where id = kept.id limit 1) l
    where l.scope = $1
    group by l.schema_name, l.entity
)
select json_build_object(
           'schema', tables.schema_name,
           'entity', tables.entity,
           'last_loaded', extract(epoch from greatest(recent.newest, last.last_modified))::bigint,
           'last_delivery', last.id,
           'rows_rejected', coalesce(last.rows_rejected, 0),
           'quarantined', coalesce(aside.rows, 0),
           'quarantine', coalesce(aside.ids, '[]'::json),
           'stops', stops.rows,
           'waits', (
               select l.object_key || ' ' || l.error
               from (select id, object_key, error from public.loader_deliveries l
                     where l.scope = $1 and l.schema_name = tables.schema_name and l.entity = tables.entity
                       and l.status = 'pending' and l.error is not null
                     offset 0) l
               order by l.id limit 1
           )
       )::text
from tables
left join lateral (
    select id, last_modified, rows_rejected
    from (select id, schema_name, entity, revision, last_modified, rows_rejected, status from public.loader_deliveries l
          where l.scope = $1 and (l.schema_name, l.entity) <= (tables.schema_name, tables.entity)
            and l.revision is not null
          order by l.schema_name desc, l.entity desc, l.revision desc, l.id desc limit 5000) l
    where status = 'loaded' and schema_name = tables.schema_name and entity = tables.entity
    order by schema_name desc, entity desc, revision desc, id desc limit 1
) last on true
left join lateral (
    select max(last_modified) as newest
    from (select schema_name, entity, last_modified, status from public.loader_deliveries l
          where l.scope = $1 and (l.schema_name, l.entity) <= (tables.schema_name, tables.entity)
            and l.revision is not null
          order by l.schema_name desc, l.entity desc, l.revision desc, l.id desc limit 200) l
    where status = 'loaded' and schema_name = tables.schema_name and entity = tables.entity
) recent on true
left join lateral (
    select coalesce(
               json_agg(json_build_object('id', id, 'status', status, 'requested', requested, 'key', object_key,
                                          'snapshot', kind = 'snapshot', 'why', coalesce(error, reason)) order by id),
               '[]'::json
           ) as rows
    from (select * from public.loader_deliveries l
          where l.scope = $1 and l.schema_name = tables.schema_name and l.entity = tables.entity
            and (l.status in ('failed', 'held', 'late') or (l.status = 'gone' and l.kind = 'changes'))
          offset 0) l
) stops on true
left join aside using (schema_name, entity)
order by tables.schema_name, tables.entity
