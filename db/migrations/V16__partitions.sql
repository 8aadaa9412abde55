-- A partitioned table's fingerprint covers the triggers of its partitions too: one of them may keep a row from being written.
create or replace function loader_fingerprint(of_table oid) returns text language plpgsql stable as $$
declare
    of_types text := '';
begin
    if exists (
        select from pg_catalog.pg_attribute
        where attrelid = of_table and attnum > 0 and not attisdropped and atttypid >= 16384
    ) then
        of_types := public.loader_types_fingerprint(of_table);
    end if;
    return pg_catalog.concat_ws(
        ';',
        pg_catalog.row_security_active(of_table),
        exists (
            select from pg_catalog.pg_constraint where contype = 'f' and conrelid = of_table and confrelid = of_table
        ),
        (select pg_catalog.string_agg(xmin::text, ',' order by attnum)
         from pg_catalog.pg_attribute where attrelid = of_table and attnum > 0),
        (select pg_catalog.string_agg(xmin::text, ',' order by indexrelid)
         from pg_catalog.pg_index where indrelid = of_table),
        of_types,
        (select pg_catalog.concat_ws(
                    ',',
                    c.relkind = 'r' and exists (select from pg_catalog.pg_inherits where inhparent = of_table),
                    case when c.relhasrules
                         then (select pg_catalog.string_agg(xmin::text, ',' order by oid)
                               from pg_catalog.pg_rewrite where ev_class = of_table) end,
                    case when c.relhastriggers
                         then (select pg_catalog.string_agg(xmin::text, ',' order by oid)
                               from pg_catalog.pg_trigger where tgrelid = of_table and not tgisinternal) end,
                    case when c.relkind = 'p'
                         then (with recursive part (id) as (
                                   select of_table
                                   union all
                                   select i.inhrelid from part join pg_catalog.pg_inherits i on i.inhparent = part.id
                               )
                               select pg_catalog.string_agg(t.xmin::text, ',' order by t.oid)
                               from part join pg_catalog.pg_trigger t on t.tgrelid = part.id
                               where part.id <> of_table and not t.tgisinternal) end
                )
         from pg_catalog.pg_class c where c.oid = of_table)
    );
end
$$;
