-- What the loader asks of every delivery. As functions, because Postgres keeps a function's plans for as long as a session
-- lasts: to plan these questions each time takes longer than the rows of a small file.

create or replace function loader_head(
    of_bucket text, of_schema text, of_entity text, first_key text, end_key text,
    of_kind text, own bigint[], follows bigint, draws boolean,
    out last_id bigint, out stopped boolean, out had_op boolean, out next_id bigint
) language plpgsql as $$
begin
    select id, case when status = 'loaded' and kind = of_kind and rows_read > 0 then claimed is not null end
    into last_id, had_op
    from public.loader_deliveries
    where bucket = of_bucket and schema_name = of_schema and entity = of_entity
      and object_key >= first_key and (end_key is null or object_key < end_key)
    order by id desc limit 1;
    last_id := coalesce(last_id, 0);
    stopped := exists (
        select from public.loader_deliveries
        where bucket = of_bucket and schema_name = of_schema and entity = of_entity
          and object_key >= first_key and (end_key is null or object_key < end_key)
          and status in ('failed', 'held', 'late') and requested is null
          and id <> all (own)
    );
    if draws and last_id = follows and not stopped then
        next_id := nextval('public.loader_deliveries_id_seq');
    end if;
end
$$;

comment on function loader_head is
    'Where a table of a feed stands: its last delivery, whether a delivery that is not among `own` stops it, whether the last
file of the kind had an op in front, and the next id, if one is to be drawn after `follows`.';

create or replace function loader_fingerprint(of_table oid) returns text language plpgsql stable as $$
begin
    return pg_catalog.concat_ws(
        ';',
        pg_catalog.row_security_active(of_table),
        exists (
            select from pg_catalog.pg_constraint where contype = 'f' and conrelid = of_table and confrelid = of_table
        ),
        (select pg_catalog.string_agg(xmin::text, ',' order by attnum)
         from pg_catalog.pg_attribute where attrelid = of_table and attnum > 0),
        (select pg_catalog.string_agg(xmin::text, ',' order by indexrelid)
         from pg_catalog.pg_index where indrelid = of_table)
    );
end
$$;

comment on function loader_fingerprint is 'Changes with every change of a table that loading it depends on.';
