-- The columns that a file may fill, in their order, with what is needed to carry their types, and their place in the key:
-- the primary key, else the only unique index over columns that cannot be null. A domain is carried as the type below it.
-- A key may hold more columns (`key_width`) than a file can fill.
with recursive candidate as (
    select i.indexrelid, i.indisprimary, i.indkey::smallint[] as columns, i.indnkeyatts as width
    from pg_index i
    where i.indrelid = $1
      and i.indisunique and i.indisvalid
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
),
-- domains over domains: the first type modifier from the top down counts
step (attnum, type_oid, typmod, not_null) as (
    select a.attnum, a.atttypid, a.atttypmod, a.attnotnull
    from pg_attribute a
    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    union all
    select s.attnum, t.typbasetype, case when s.typmod = -1 then t.typtypmod else s.typmod end,
           s.not_null or t.typnotnull
    from step s
    join pg_type t on t.oid = s.type_oid and t.typtype = 'd'
),
base as (
    select s.attnum, t.oid as type_oid, s.typmod, s.not_null, t.typtype, t.typcategory, t.typarray, t.typelem,
           t.typsend, t.typreceive
    from step s
    join pg_type t on t.oid = s.type_oid and t.typtype <> 'd'
),
-- the types that a value of a column is made of: below domains, in arrays, ranges and rows
part (attnum, type_oid, is_leaf) as (
    select attnum, type_oid, false from base
    union
    select p.attnum, n.type_oid, n.is_leaf
    from part p
    join pg_type t on t.oid = p.type_oid and not p.is_leaf
    cross join lateral (
        select t.typbasetype as type_oid, false as is_leaf where t.typtype = 'd'
        union all
        select t.typelem, false where t.typelem <> 0 and t.typlen = -1 and t.typcategory = 'A'
        union all
        select r.rngsubtype, false from pg_range r where r.rngtypid = t.oid
        union all
        select c.atttypid, false
        from pg_attribute c
        where c.attrelid = nullif(t.typrelid, 0) and c.attnum > 0 and not c.attisdropped
        union all
        select t.oid, true
        where t.typtype not in ('d', 'r', 'c') and not (t.typelem <> 0 and t.typlen = -1 and t.typcategory = 'A')
    ) n
),
-- values are equal by `=` and read differently only in the scale of numbers
scaled as (
    select attnum
    from part
    where is_leaf
    group by attnum
    having bool_and(type_oid = any (array['numeric', 'jsonb', 'smallint', 'integer', 'bigint', 'boolean', 'uuid', 'date',
                                          'timestamp', 'timestamptz']::regtype[]))
       and bool_or(type_oid = any (array['numeric', 'jsonb']::regtype[]))
)
select a.attname::text as name,
       b.type_oid,
       b.typmod,
       format_type(a.atttypid, a.atttypmod) as type_name,
       format_type(b.type_oid, b.typmod) as base_name,
       -- without the modifier: a cast with one could change the value
       format_type(b.type_oid, null) as bare_name,
       a.atttypid <> b.type_oid and b.typtype in ('e', 'r', 'm') as is_domain,
       -- `unnest` would take a composite value apart
       case when b.typtype = 'c' then 0 else b.typarray end as array_oid,
       b.typcategory = 'S' as text,
       b.not_null,
       b.typtype <> 'p' and b.typsend <> 0 and b.typreceive <> 0 as travels,
       quote_ident(sn.nspname) || '.' || quote_ident(sp.proname) as send,
       exists (select from scaled where scaled.attnum = b.attnum) as scaled,
       -- equal values have equal bytes, so it can be a key
       b.typtype = 'e'
       or b.type_oid = any (array['inet', 'cidr', 'macaddr', 'macaddr8', 'bit', 'varbit', 'money', 'timetz', 'name',
                                  '"char"', 'oid', 'xid', 'xid8', 'pg_lsn', 'int4range', 'int8range', 'daterange', 'tsrange',
                                  'tstzrange']::regtype[]) as canonical,
       exists (select from pg_collation c where c.oid = a.attcollation and not c.collisdeterministic) as loose,
       a.attidentity = 'a' as always,
       a.atthasdef or a.attidentity <> '' as has_default,
       (select array_agg(g.attname::text order by g.attnum)
        from pg_attribute g
        where g.attrelid = $1 and g.attnum > 0 and not g.attisdropped and g.attgenerated <> '') as generated,
       (select width::int from key) as key_width,
       (select k.position::int
        from key, unnest((key.columns)[0 : key.width - 1]) with ordinality as k (attnum, position)
        where k.attnum = a.attnum) as key_position
from base b
join pg_attribute a on a.attrelid = $1 and a.attnum = b.attnum
left join pg_proc sp on sp.oid = b.typsend
left join pg_namespace sn on sn.oid = sp.pronamespace
order by b.attnum
