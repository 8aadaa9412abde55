-- The columns that a file fills, in their order, and their place in the key: the primary key,
-- else the only unique index over columns that cannot be null.
with candidate as (
    select i.indexrelid, i.indisprimary, i.indkey::smallint[] as columns, i.indnkeyatts as width
    from pg_index i
    where i.indrelid = $1
      and i.indisunique and i.indisvalid and i.indimmediate
      and i.indpred is null and i.indexprs is null
      and not exists (
          select from unnest((i.indkey::smallint[])[0 : i.indnkeyatts - 1]) as k (attnum)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
          where not a.attnotnull
      )
),
key as (
    select columns, width from candidate where indisprimary
    union all
    select min(columns), min(width) from candidate
    where not exists (select from candidate where indisprimary)
    having count(*) = 1
)
select a.attname::text as name,
       a.atttypid as type_oid,
       a.atttypmod as typmod,
       format_type(a.atttypid, a.atttypmod) as type_name,
       t.typarray as array_oid,
       a.attnotnull as not_null,
       exists (select from pg_collation c where c.oid = a.attcollation and not c.collisdeterministic) as loose,
       (select k.position::int
        from key, unnest((key.columns)[0 : key.width - 1]) with ordinality as k (attnum, position)
        where k.attnum = a.attnum) as key_position
from pg_attribute a
join pg_type t on t.oid = a.atttypid
where a.attrelid = $1
  and a.attnum > 0
  and not a.attisdropped
  and a.attgenerated = ''
order by a.attnum
