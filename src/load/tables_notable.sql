-- The tables of a scope that are not as the last delivery left them, are stopped, or for which something was asked; ordinarily
-- none. They are looked up by name in the catalog, which takes no lock.
select t.schema_name, t.entity, t.table_oid, t.storage, t.rows_left, t.status, t.stop_reason, t.judged_storage,
       t.requested, t.actor, t.reason, t.target_schema, t.target_table,
       (select s.bucket || '/' || s.path || ' at ' || s.endpoint
        from public.loader_tables o join public.loader_scopes s on s.id = o.scope
        where o.table_oid = c.oid and o.scope <> t.scope and o.left_at > t.left_at
        order by o.left_at desc limit 1) as taken_by,
       case when exists (select from public.loader_null_rules r
                         where r.scope = t.scope and r.schema_name = t.schema_name and r.entity = t.entity
                           and r.basis = 'assumed')
            then contrary.example end as contrary
from public.loader_tables t
left join (pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace)
    on n.nspname = t.target_schema and c.relname = t.target_table and c.relkind in ('r', 'p')
left join lateral (
    select o.example from public.loader_null_rules o
    where o.scope = $1 and o.rule = 'empty' and o.basis = 'own'
    order by o.delivery_id limit 1
) contrary on not $2
where t.scope = $1
  and (t.status is not null or t.requested is not null
       or c.oid is distinct from t.table_oid
       or public.loader_storage(c.oid) is distinct from t.storage
       or exists (select from public.loader_tables o
                  where o.table_oid = c.oid and o.scope <> t.scope and o.left_at > t.left_at)
       or (contrary.example is not null
           and exists (select from public.loader_null_rules r
                       where r.scope = t.scope and r.schema_name = t.schema_name and r.entity = t.entity
                         and r.basis = 'assumed')))
order by t.schema_name, t.entity
