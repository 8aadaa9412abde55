-- What the role lacks at the loader's own tables. They are looked up in the catalog: a name would need a right as well.
with needed (relname, privilege, place) as (
    values ('loader_schema_history', 'select', 1),
           ('loader_deliveries', 'select', 1),
           ('loader_deliveries', 'insert', 2),
           ('loader_deliveries', 'update', 3),
           ('loader_deliveries_id_seq', 'usage', 1),
           ('loader_null_rules', 'select', 1),
           ('loader_null_rules', 'insert', 2),
           ('loader_null_rules', 'update', 3),
           ('loader_notifications', 'select', 1),
           ('loader_notifications', 'insert', 2),
           ('loader_notifications', 'update', 3),
           ('loader_notifications', 'delete', 4),
           ('loader_notifications_id_seq', 'usage', 1),
           ('loader_rejects', 'select', 1),
           ('loader_rejects', 'insert', 2),
           ('loader_tables', 'select', 1),
           ('loader_tables', 'insert', 2),
           ('loader_tables', 'update', 3),
           ('loader_scopes', 'select', 1),
           ('loader_scopes', 'insert', 2),
           ('loader_processes', 'select', 1),
           ('loader_processes', 'insert', 2),
           ('loader_processes', 'delete', 4),
           ('loader_in_hand', 'select', 1),
           ('loader_in_hand', 'insert', 2),
           ('loader_in_hand', 'update', 3),
           ('loader_in_hand', 'delete', 4),
           ('loader_target', 'select', 1)
),
judged as (
    select c.oid, c.relkind, n.place, n.privilege,
           case when c.relkind = 'S' then has_sequence_privilege(c.oid, n.privilege)
                else has_table_privilege(c.oid, n.privilege) end as granted
    from needed n
    join pg_class c on c.relname = n.relname and c.relnamespace = 'public'::regnamespace
)
select format('public.%I', c.relname) as object,
       case when not has_schema_privilege(c.relnamespace, 'usage')
            then format('grant usage on schema public to %I', current_user)
            when not bool_and(j.granted)
            then format('grant %s on %spublic.%I to %I',
                        string_agg(j.privilege, ', ' order by j.place) filter (where not j.granted),
                        case when j.relkind = 'S' then 'sequence ' else '' end, c.relname, current_user)
       end as wants
from judged j
join pg_class c on c.oid = j.oid
group by c.oid, c.relname, c.relnamespace, j.relkind
union all
select format('public.%I', proname),
       case when not has_function_privilege(oid, 'execute')
            then format('grant execute on function %s to %I', oid::regprocedure, current_user) end
from pg_proc
where pronamespace = 'public'::regnamespace
  and proname in ('loader_begin_delivery', 'loader_fingerprint', 'loader_lock_table', 'loader_null_rule', 'loader_storage',
                  'loader_table_left', 'loader_table_stands', 'loader_types_fingerprint',
                  'loader_write_delivery', 'loader_write_message')
order by object
