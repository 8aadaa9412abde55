-- one row for each table of the feed that the ledger knows: what was loaded last, and what stops it
with feed as (
    select id, schema_name, entity, object_key, kind, status, requested, last_modified, started_at, committed_at,
           rows_rejected, coalesce(error, reason) as why
    from public.loader_deliveries
    where scope = $1
),
-- the parts of one delivery began together
last as (
    select distinct on (schema_name, entity) schema_name, entity, id, started_at
    from feed
    where status = 'loaded'
    order by schema_name, entity, committed_at desc, id desc
),
rejected as (
    select schema_name, entity, sum(rows_rejected) as rows
    from feed join last using (schema_name, entity, started_at)
    where status = 'loaded'
    group by schema_name, entity
),
-- somebody may have deleted what was kept; one row of a delivery is looked up in the key, none is counted
kept as (
    select schema_name, entity, sum(rows_rejected) as rows, json_agg(id order by id) as ids
    from feed
    where rows_rejected > 0 and exists (select from public.loader_rejects where delivery_id = feed.id)
    group by schema_name, entity
)
select json_build_object(
           'schema', t.schema_name,
           'entity', t.entity,
           'last_loaded', extract(epoch from t.newest)::bigint,
           'last_delivery', last.id,
           'rows_rejected', coalesce(rejected.rows, 0),
           'quarantined', coalesce(kept.rows, 0),
           'quarantine', coalesce(kept.ids, '[]'::json),
           'stops', t.stops,
           'waits', (
               select object_key || ' ' || error from public.loader_deliveries
               where scope = $1 and schema_name = t.schema_name and entity = t.entity
                 and status = 'pending' and error is not null
               order by id limit 1
           )
       )::text
from (
    select schema_name, entity,
           max(last_modified) filter (where status = 'loaded') as newest,
           coalesce(
               json_agg(json_build_object('id', id, 'status', status, 'requested', requested, 'key', object_key,
                                          'snapshot', kind = 'snapshot', 'why', why) order by id)
                   filter (where status in ('failed', 'held', 'late') or (status = 'gone' and kind = 'changes')),
               '[]'::json
           ) as stops
    from feed
    group by schema_name, entity
) t
left join last using (schema_name, entity)
left join rejected using (schema_name, entity)
left join kept using (schema_name, entity)
order by t.schema_name, t.entity
