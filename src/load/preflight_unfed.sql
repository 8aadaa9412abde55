select format('%I.%I', n.nspname, c.relname) as object
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where lower(n.nspname) in (select lower(wanted) from unnest($1) as wanted)
  and c.relkind in ('r', 'p') and not c.relispartition
  and c.oid <> all ($2)
  and not (n.nspname = 'public' and c.relname like 'loader\_%')
order by 1
