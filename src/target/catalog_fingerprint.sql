concat(
    (select string_agg(a.xmin::text, ',' order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),
    ';',
    (select string_agg(i.xmin::text, ',' order by i.indexrelid) from pg_index i where i.indrelid = c.oid)
)
