-- What each delivery asks and writes, with fewer queries: a query that finds nothing costs as much as one that finds a row.

-- A table without triggers, rules or children is not asked for them. The hints of pg_class stay true for a while after the last
-- of them is gone, and are never false while there is one. The triggers of constraints count too: a foreign key that another table
-- gets meanwhile may act upon rows that refer to the table's rows.
create or replace function loader_fingerprint(of_table oid) returns text language plpgsql stable as $$
declare
    kind "char";
    has_rules boolean;
    has_triggers boolean;
    has_children boolean;
    columns text;
    has_own_types boolean;
    indexes text;
    refers_to_itself boolean := false;
    inherited boolean := false;
    rules text;
    triggers text;
    triggers_of_partitions text;
    types text := '';
begin
    select c.relkind, c.relhasrules, c.relhastriggers or c.relkind = 'p', c.relhassubclass
    into kind, has_rules, has_triggers, has_children
    from pg_catalog.pg_class c where c.oid = of_table;
    select pg_catalog.string_agg(xmin::text, ',' order by attnum),
           pg_catalog.bool_or(atttypid >= 16384 and not attisdropped)
    into columns, has_own_types
    from pg_catalog.pg_attribute where attrelid = of_table and attnum > 0;
    select pg_catalog.string_agg(xmin::text, ',' order by indexrelid)
    into indexes
    from pg_catalog.pg_index where indrelid = of_table;
    if has_own_types then
        types := public.loader_types_fingerprint(of_table);
    end if;
    if has_triggers then
        refers_to_itself := exists (
            select from pg_catalog.pg_constraint where contype = 'f' and conrelid = of_table and confrelid = of_table
        );
        select pg_catalog.string_agg(xmin::text, ',' order by oid)
        into triggers
        from pg_catalog.pg_trigger where tgrelid = of_table;
    end if;
    if has_rules then
        select pg_catalog.string_agg(xmin::text, ',' order by oid)
        into rules
        from pg_catalog.pg_rewrite where ev_class = of_table;
    end if;
    if has_children and kind = 'r' then
        inherited := exists (select from pg_catalog.pg_inherits where inhparent = of_table);
    end if;
    if kind = 'p' then
        with recursive part (id) as (
            select of_table
            union all
            select i.inhrelid from part join pg_catalog.pg_inherits i on i.inhparent = part.id
        )
        select pg_catalog.string_agg(t.xmin::text, ',' order by t.oid)
        into triggers_of_partitions
        from part join pg_catalog.pg_trigger t on t.tgrelid = part.id
        where part.id <> of_table and not t.tgisinternal;
    end if;
    return pg_catalog.concat_ws(
        ';', pg_catalog.row_security_active(of_table), kind, refers_to_itself, columns, indexes, types, inherited,
        rules, triggers, triggers_of_partitions
    );
end
$$;

-- Nearly every delivery has its row already.
create or replace function loader_write_delivery(
    new_id bigint, new_bucket text, new_key text, new_etag text, new_size bigint, new_modified double precision,
    new_schema text, new_entity text, new_kind text, new_generation integer, new_status text,
    new_read bigint, new_create bigint, new_amend bigint, new_remove bigint, new_unchanged bigint, new_rejected bigint,
    new_claimed json, new_event_id bigint, new_started double precision, new_host text, new_version text,
    new_error text, new_actor text, new_reason text, new_scope bigint, new_revision bigint, new_content bytea
) returns void language plpgsql as $$
begin
    update public.loader_deliveries l set
        generation = new_generation,
        last_modified = to_timestamp(new_modified),
        status = new_status,
        rows_read = new_read,
        rows_create = new_create,
        rows_amend = new_amend,
        rows_remove = new_remove,
        rows_unchanged = new_unchanged,
        rows_rejected = new_rejected,
        revision = new_revision,
        claimed = new_claimed,
        max_event_id = new_event_id,
        started_at = to_timestamp(new_started),
        committed_at = clock_timestamp(),
        host = new_host,
        version = new_version,
        attempts = l.attempts + 1,
        requested = null,
        superseded_by = null,
        error = new_error,
        content_hash = coalesce(new_content, l.content_hash),
        -- who asked for this try, and why, if somebody did; a reason is that of a load, not of what went wrong after all
        actor = coalesce(new_actor, case when l.requested is not null then l.actor end),
        reason = coalesce(new_reason,
                          case when l.requested is not null and new_status = 'loaded' then l.reason end)
    where l.id = new_id;
    if found then
        return;
    end if;
    insert into public.loader_deliveries
        (id, bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind, generation, status,
         rows_read, rows_create, rows_amend, rows_remove, rows_unchanged, rows_rejected, claimed, max_event_id,
         started_at, committed_at, host, version, error, actor, reason, scope, revision, content_hash)
    values
        (new_id, new_bucket, new_key, new_etag, new_size, to_timestamp(new_modified), new_schema, new_entity, new_kind,
         new_generation, new_status,
         new_read, new_create, new_amend, new_remove, new_unchanged, new_rejected, new_claimed, new_event_id,
         to_timestamp(new_started), clock_timestamp(), new_host, new_version, new_error, new_actor, new_reason, new_scope,
         new_revision, new_content);
end
$$;

-- A table whose nulls were read by an assumption that another table contradicts is stopped.
alter table loader_tables drop constraint loader_tables_status_check;
alter table loader_tables add constraint loader_tables_status_check
    check (status in ('emptied', 'changed', 'moved', 'misread'));

-- A pending row with an error waits for another table, since started_at.
create index loader_deliveries_waits on loader_deliveries (scope, schema_name, entity)
    where status = 'pending' and error is not null;
