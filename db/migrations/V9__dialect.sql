-- A table's fingerprint covers the types that its columns are made of: a domain that becomes nullable, or a row type that
-- gets another column, changes what a file must look like though the table itself stays as it is. Types of Postgres itself
-- do not change, so most tables cost nothing more.

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
        of_types
    );
end
$$;

comment on function loader_fingerprint is 'Changes with every change of a table that loading it depends on.';

create or replace function loader_types_fingerprint(of_table oid) returns text language plpgsql stable as $$
begin
    return pg_catalog.concat_ws(
        ';',
        -- types are named as the search path needs it
        pg_catalog.current_setting('search_path'),
        (with recursive part (type_oid) as (
            select a.atttypid
            from pg_catalog.pg_attribute a
            where a.attrelid = of_table and a.attnum > 0 and not a.attisdropped and a.atttypid >= 16384
            union
            select n.type_oid
            from part p
            join pg_catalog.pg_type t on t.oid = p.type_oid
            cross join lateral (
                select t.typbasetype as type_oid
                union all
                select t.typelem
                union all
                select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid
                union all
                select a.atttypid
                from pg_catalog.pg_attribute a
                where a.attrelid = nullif(t.typrelid, 0) and a.attnum > 0 and not a.attisdropped
            ) n
            where n.type_oid >= 16384
        )
        select pg_catalog.string_agg(
                   pg_catalog.concat_ws(
                       ':', t.xmin, n.xmin,
                       (select pg_catalog.string_agg(a.xmin::text, ',' order by a.attnum)
                        from pg_catalog.pg_attribute a
                        where a.attrelid = nullif(t.typrelid, 0) and a.attnum > 0),
                       (select pg_catalog.string_agg(c.xmin::text, ',' order by c.oid)
                        from pg_catalog.pg_constraint c where c.contypid = t.oid),
                       (select pg_catalog.string_agg(e.xmin::text, ',' order by e.oid)
                        from pg_catalog.pg_enum e where e.enumtypid = t.oid)
                   ), ',' order by t.oid
               )
        from part p
        join pg_catalog.pg_type t on t.oid = p.type_oid
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace)
    );
end
$$;

comment on function loader_types_fingerprint is
    'Changes with every change of the types, other than those of Postgres itself, that the columns of a table are made of.';
