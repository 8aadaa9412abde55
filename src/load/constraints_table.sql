-- What else says in which order the rows of a table may be written, and how. `$1` is the table; `parts` are it and its partitions.
with recursive parts (id) as (
    select $1::oid
    union all
    select i.inhrelid from parts p join pg_class h on h.oid = p.id and h.relkind = 'p'
    join pg_inherits i on i.inhparent = p.id
)
select exists (select from pg_constraint f
               where f.condeferrable and $1 in (f.conrelid, f.confrelid)) as deferrable,
       exists (select from pg_constraint f
               where f.contype = 'f' and f.confrelid = $1) as referred_to,
       exists (select from pg_constraint f
               where f.contype = 'f' and f.confrelid = $1 and f.conrelid = $1 and f.confdeltype in ('c', 'n', 'd')) as acts,
       exists (select from pg_trigger t
               where t.tgrelid in (select id from parts) and not t.tgisinternal and t.tgenabled <> 'D' and t.tgtype & (4 | 8) <> 0) as triggers,
       coalesce((select array_agg(distinct a.attname::text)
                 from pg_constraint f
                 join pg_attribute a on a.attrelid = f.conrelid and a.attnum = any (f.conkey) and not a.attnotnull
                 where f.contype = 'f' and f.confrelid = $1 and f.conrelid = $1), '{}') as loosened
