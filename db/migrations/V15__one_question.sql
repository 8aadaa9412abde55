-- What a delivery asks, in three statements: one when it begins, one that locks its table, one that writes what it did. Each
-- statement that is parsed, planned and answered alone costs more than the rows of a small file.

-- Rows are looked up one by one: for `id = any (…)` Postgres makes a new plan each time.
create or replace function loader_table_state(
    of_scope bigint, of_schema text, of_entity text, of_kind text, own bigint[], wanted bigint[],
    out last_revision bigint, out stopped boolean, out taken boolean, out had_op boolean
) language plpgsql as $$
declare
    one bigint;
begin
    select revision, case when status = 'loaded' and kind = of_kind and rows_read > 0 then claimed is not null end
    into last_revision, had_op
    from public.loader_deliveries
    where scope = of_scope and schema_name = of_schema and entity = of_entity and revision is not null
    order by revision desc limit 1;
    last_revision := coalesce(last_revision, 0);
    stopped := exists (
        select from public.loader_deliveries
        where scope = of_scope and schema_name = of_schema and entity = of_entity
          and (status in ('failed', 'held', 'late') or (status = 'gone' and kind = 'changes'))
          and requested is null and id <> all (own)
    );
    taken := false;
    foreach one in array wanted loop
        taken := exists (
            select from public.loader_deliveries
            where id = one and status in ('loaded', 'skipped')
              and not (status = 'skipped' and actor = 'loader' and reason like 'superseded:%')
        );
        exit when taken;
    end loop;
end
$$;

create or replace function loader_begin_delivery(
    lease_class integer, lease_number integer,
    of_scope bigint, of_schema text, of_entity text, of_kind text, own bigint[], wanted bigint[],
    out leased boolean, out last_revision bigint, out stopped boolean, out taken boolean, out had_op boolean,
    out rule text, out basis text, out words text[], out empty_cells bigint, out null_words bigint, out example text,
    out is_loaded boolean, out contrary text
) language plpgsql as $$
declare
    idle interval := current_setting('idle_in_transaction_session_timeout')::interval;
    state record;
    nulls record;
begin
    if idle > interval '0' and idle < interval '10 minutes' then
        perform pg_catalog.set_config('idle_in_transaction_session_timeout', '10min', true);
    end if;
    leased := pg_catalog.pg_try_advisory_xact_lock(lease_class, lease_number);
    if not leased then
        return;
    end if;
    state := public.loader_table_state(of_scope, of_schema, of_entity, of_kind, own, wanted);
    last_revision := state.last_revision;
    stopped := state.stopped;
    taken := state.taken;
    had_op := state.had_op;
    nulls := public.loader_null_rule(of_scope, of_schema, of_entity);
    rule := nulls.rule;
    basis := nulls.basis;
    words := nulls.words;
    empty_cells := nulls.empty_cells;
    null_words := nulls.null_words;
    example := nulls.example;
    is_loaded := nulls.is_loaded;
    contrary := nulls.contrary;
end
$$;

comment on function loader_begin_delivery is
    'Takes a table''s lease until the transaction ends, and gives loader_table_state and loader_null_rule under it. Raises
idle_in_transaction_session_timeout to ten minutes, where less is asked for.';

create or replace function loader_lock_table(
    of_table oid, quoted_name text, known text, lock_wait text, asks_for_rows boolean,
    of_scope bigint, of_schema text, of_entity text, of_kind text,
    out is_same boolean, out stands boolean, out is_empty boolean
) language plpgsql as $$
declare
    waited text := pg_catalog.current_setting('lock_timeout');
begin
    if lock_wait = 'short' then
        perform pg_catalog.set_config(
            'lock_timeout',
            least(10000, ceil(extract(epoch from pg_catalog.current_setting('deadlock_timeout')::interval) * 800))::int::text,
            true
        );
    end if;
    execute 'lock table ' || quoted_name || ' in share row exclusive mode';
    if lock_wait = 'short' then
        perform pg_catalog.set_config('lock_timeout', waited, true);
    end if;
    is_same := coalesce(
        pg_catalog.to_regclass(quoted_name) = of_table and public.loader_fingerprint(of_table) = known, false
    );
    stands := is_same and public.loader_table_stands(of_scope, of_schema, of_entity, of_table, of_kind);
    if is_same and asks_for_rows then
        execute 'select not exists (select from ' || quoted_name || ')' into is_empty;
    end if;
end
$$;

comment on function loader_lock_table is
    'Locks a table: readers go on, writers wait. Says whether it is still the table that was found, whether it is what the last
delivery left, and, if asked for, whether it has no row. A short wait never outlasts deadlock_timeout.';

create or replace function loader_write_delivery(
    new_id bigint, new_bucket text, new_key text, new_etag text, new_size bigint, new_modified double precision,
    new_schema text, new_entity text, new_kind text, new_generation integer, new_status text,
    new_read bigint, new_create bigint, new_amend bigint, new_remove bigint, new_unchanged bigint, new_rejected bigint,
    new_claimed json, new_event_id bigint, new_started double precision, new_host text, new_version text,
    new_error text, new_actor text, new_reason text, new_scope bigint, new_revision bigint, new_content bytea
) returns void language plpgsql as $$
begin
    insert into public.loader_deliveries as l
        (id, bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind, generation, status,
         rows_read, rows_create, rows_amend, rows_remove, rows_unchanged, rows_rejected, claimed, max_event_id,
         started_at, committed_at, host, version, error, actor, reason, scope, revision, content_hash)
    values
        (new_id, new_bucket, new_key, new_etag, new_size, to_timestamp(new_modified), new_schema, new_entity, new_kind,
         new_generation, new_status,
         new_read, new_create, new_amend, new_remove, new_unchanged, new_rejected, new_claimed, new_event_id,
         to_timestamp(new_started), clock_timestamp(), new_host, new_version, new_error, new_actor, new_reason, new_scope,
         new_revision, new_content)
    on conflict (id) do update set
        generation = excluded.generation,
        last_modified = excluded.last_modified,
        status = excluded.status,
        rows_read = excluded.rows_read,
        rows_create = excluded.rows_create,
        rows_amend = excluded.rows_amend,
        rows_remove = excluded.rows_remove,
        rows_unchanged = excluded.rows_unchanged,
        rows_rejected = excluded.rows_rejected,
        revision = excluded.revision,
        claimed = excluded.claimed,
        max_event_id = excluded.max_event_id,
        started_at = excluded.started_at,
        committed_at = excluded.committed_at,
        host = excluded.host,
        version = excluded.version,
        attempts = l.attempts + 1,
        requested = null,
        superseded_by = null,
        error = excluded.error,
        content_hash = coalesce(excluded.content_hash, l.content_hash),
        -- who asked for this try, and why, if somebody did; a reason is that of a load, not of what went wrong after all
        actor = coalesce(excluded.actor, case when l.requested is not null then l.actor end),
        reason = coalesce(excluded.reason,
                          case when l.requested is not null and excluded.status = 'loaded' then l.reason end);
end
$$;

comment on function loader_write_delivery is
    'Writes a row of the ledger. One that is there already is updated in place and counts one attempt more.';

create or replace function loader_write_message(
    of_delivery bigint, new_subject text, new_id text, new_payload text, of_scope bigint, draws boolean
) returns void language plpgsql as $$
declare
    -- two databases that load one feed publish different messages; asked each time, so that a database that was replaced
    -- under a running loader is not taken for the other
    own_id text := pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
        coalesce((select id::text from public.loader_target limit 1), '') || E'\n' || new_id, 'UTF8')), 'hex'), 32);
begin
    if draws then
        insert into public.loader_notifications (delivery_id, subject, message_id, payload, scope)
        values (of_delivery, new_subject, own_id, new_payload, of_scope);
    else
        insert into public.loader_notifications (id, delivery_id, subject, message_id, payload, scope)
        values ((select coalesce(max(id), 0) + 1 from public.loader_notifications),
                of_delivery, new_subject, own_id, new_payload, of_scope);
    end if;
end
$$;

comment on function loader_write_message is
    'Writes a message to the outbox. Its id is a hash of `new_id` and the identity of the database. Without `draws` no number is
drawn, for a dry run.';
