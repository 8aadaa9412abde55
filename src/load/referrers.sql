-- The foreign keys that act upon the rows that refer to rows of a table. `$1` is the table; `$2` is true for those that act when a
-- row is removed, false for those that act when a value changes.
select n.nspname::text as schema, c.relname::text as name, f.conname::text as constraint, f.conrelid = f.confrelid as own,
       (select array_agg(a.attname::text order by k.place)
        from unnest(f.conkey) with ordinality as k (attnum, place)
        join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum) as columns,
       (select array_agg(a.attname::text order by k.place)
        from unnest(f.confkey) with ordinality as k (attnum, place)
        join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.attnum) as referred
from pg_constraint f
join pg_class c on c.oid = f.conrelid
join pg_namespace n on n.oid = c.relnamespace
where f.contype = 'f' and f.confrelid = $1
  and case when $2 then f.confdeltype else f.confupdtype end in ('c', 'n', 'd')
  -- those of the partitions of a table that refers are in its own
  and not exists (select from pg_constraint p where p.oid = f.conparentid and p.confrelid = f.confrelid)
order by n.nspname, c.relname, f.conname
