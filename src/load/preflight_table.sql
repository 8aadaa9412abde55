-- What the role lacks to load a table. With update or delete on the whole table it may also be locked against other writers.
select format('%I.%I', n.nspname, c.relname) as object,
       nullif(concat_ws(
           '; ',
           case when not has_schema_privilege(n.oid, 'usage')
                then format('grant usage on schema %I to %I', n.nspname, current_user) end,
           (select format('grant %s on %I.%I to %I', string_agg(p.privilege, ', ' order by p.place), n.nspname, c.relname,
                          current_user)
            from (values ('select', 1), ('insert', 2), ('update', 3), ('delete', 4)) as p (privilege, place)
            where not has_table_privilege(c.oid, p.privilege)
            having count(*) > 0)
       ), '') as wants
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.oid = $1
