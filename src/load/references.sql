-- The table at the other end of a reference that was violated, which feed table it is as far as the ledger knows, and the newest
-- file of it that was loaded. `$1` schema, `$2` table and `$3` name of the constraint, `$4` the table that was written, `$5` the
-- scope, `$6` true if the feed's schemas are not those of the target.
with violated as (
    select coalesce(pg_partition_root(f.conrelid), f.conrelid)::oid as referring,
           coalesce(pg_partition_root(f.confrelid), f.confrelid)::oid as referred,
           exists (select from pg_index i
                   where i.indrelid = f.confrelid and i.indisprimary and i.indkey::smallint[] @> f.confkey
                     and f.confkey @> i.indkey::smallint[]) as by_key
    from pg_constraint f
    join pg_class c on c.oid = f.conrelid and c.relname = $2
    join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
    where f.contype = 'f' and f.conname = $3
),
other as (
    select case when v.referring = $4 then v.referred else v.referring end as oid, v.referring = $4 as lacks, v.by_key
    from violated v
    where (v.referring = $4) <> (v.referred = $4)
    limit 1
)
select n.nspname::text as schema, c.relname::text as name, o.lacks, o.by_key, l.schema_name, l.entity, l.newest
from other o
join pg_class c on c.oid = o.oid
join pg_namespace n on n.oid = c.relnamespace
left join lateral (
    select d.schema_name, d.entity,
           max(extract(epoch from d.last_modified)) filter (where d.status = 'loaded')::float8 as newest
    from public.loader_deliveries d
    where d.scope = $5 and left(lower(d.entity), 63) = lower(c.relname)
      and ($6 or left(lower(d.schema_name), 63) = lower(n.nspname))
    group by d.schema_name, d.entity
    order by max(d.id) desc
    limit 1
) l on true
