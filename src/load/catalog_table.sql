with recursive found as (
    select c.*
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where $which
      and c.relkind in ('r', 'p', 'v', 'm', 'f')
),
-- the table itself and its partitions
parts (of_table, id) as (
    select oid, oid from found
    union all
    select p.of_table, i.inhrelid from parts p join pg_class h on h.oid = p.id and h.relkind = 'p'
    join pg_inherits i on i.inhparent = p.id
)
select c.oid, n.nspname::text as schema, c.relname::text as name,
       row_security_active(c.oid) as row_security,
       exists (select from pg_constraint f where f.contype = 'f' and f.conrelid = c.oid and f.confrelid = c.oid)
           as refers_to_itself,
       exists (select from pg_constraint f
               where f.contype = 'f' and f.confrelid = c.oid
                 and (f.confdeltype in ('c', 'n', 'd') or f.confupdtype in ('c', 'n', 'd'))) as referred_with_action,
       exists (select from pg_index i
               where i.indrelid = c.oid and (i.indisunique or i.indisexclusion) and not i.indisprimary) as constrained,
       case c.relkind when 'v' then 'a view' when 'm' then 'a materialized view' when 'f' then 'a foreign table' end as kind,
       case when c.relkind = 'r'
            then (select min(i.inhrelid::regclass::text) from pg_inherits i where i.inhparent = c.oid) end as child,
       (select min(p.id::regclass::text) from parts p join pg_class f on f.oid = p.id
        where p.of_table = c.oid and f.relkind = 'f' and c.relkind = 'p') as foreign_part,
       (select min(r.rulename::text) from pg_rewrite r
        where r.ev_class = c.oid and r.ev_type <> '1' and r.ev_enabled in ('O', 'A') and c.relkind in ('r', 'p')) as rule,
       -- before each row, written in SQL as 1 + 2: what they return is written, or nothing is
       (select string_agg(distinct quote_ident(t.tgname), ', ') from pg_trigger t join parts p on p.id = t.tgrelid
        where p.of_table = c.oid and not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype::int & 3 = 3) as triggers,
       $fingerprint as fingerprint
from found c
join pg_namespace n on n.oid = c.relnamespace
