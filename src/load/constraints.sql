-- The columns of the indexes beside the key in which no two rows may be alike, an index's own columns first; one row for each
-- index and column. `$1` is the table.
select i.indexrelid as index_oid,
       a.attname::text as name,
       (coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false'))::boolean as nulls_alike,
       a.attnum = any ((i.indkey::smallint[])[0 : i.indnkeyatts - 1]) as own,
       exists (select from pg_constraint f
               where f.contype = 'f' and f.conrelid = i.indrelid and a.attnum = any (f.conkey)) as refers,
       exists (select from pg_constraint f
               where f.contype = 'f' and f.confrelid = i.indrelid and a.attnum = any (f.confkey)) as referred_to
from pg_index i
join pg_attribute a on a.attrelid = i.indrelid and a.attnum > 0 and a.attgenerated = ''
where i.indrelid = $1
  and (i.indisunique or i.indisexclusion)
  and i.indislive
  and (a.attnum = any ((i.indkey::smallint[])[0 : i.indnkeyatts - 1])
       or exists (select from pg_depend d
                  where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
                    and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid and d.refobjsubid = a.attnum))
order by i.indexrelid, own desc, a.attnum
