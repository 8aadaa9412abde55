-- True if autovacuum workers, and nobody else, hold locks of a table or its partitions that keep others from taking the loader's
-- lock. `$1` is the table. Who may not see what other sessions do sees at least that a worker has no user.
with recursive parts (id) as (
    select $1::oid
    union all
    select i.inhrelid from parts p join pg_class h on h.oid = p.id and h.relkind = 'p'
    join pg_inherits i on i.inhparent = p.id
)
select coalesce(bool_and(
           l.mode = 'ShareUpdateExclusiveLock'
           and coalesce(a.backend_type = 'autovacuum worker', a.pid is not null and a.usesysid is null)
       ), false) as vacuumed
from pg_locks l
left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation'
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and l.relation in (select id from parts)
  and l.granted
  and l.pid is distinct from pg_backend_pid()
  and l.mode in ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                 'AccessExclusiveLock')
