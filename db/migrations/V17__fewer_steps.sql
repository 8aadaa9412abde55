-- What a delivery asks, in fewer steps: each query within a function costs more than the row that it finds.

create or replace function loader_begin_delivery(
    lease_class integer, lease_number integer,
    of_scope bigint, of_schema text, of_entity text, of_kind text, own bigint[], wanted bigint[],
    out leased boolean, out last_revision bigint, out stopped boolean, out taken boolean, out had_op boolean,
    out rule text, out basis text, out words text[], out empty_cells bigint, out null_words bigint, out example text,
    out is_loaded boolean, out contrary text
) language plpgsql as $$
declare
    idle interval := pg_catalog.current_setting('idle_in_transaction_session_timeout');
    setting text;
    one bigint;
begin
    -- what is asked of the ledger must not read all of it, however little there was when it was planned
    setting := pg_catalog.set_config('enable_seqscan', 'off', true);
    setting := pg_catalog.set_config('jit', 'off', true);
    if idle > '0' and idle < '10 minutes' then
        setting := pg_catalog.set_config('idle_in_transaction_session_timeout', '10min', true);
    end if;
    leased := pg_catalog.pg_try_advisory_xact_lock(lease_class, lease_number);
    if not leased then
        return;
    end if;
    select r.rule, r.basis, r.words, r.empty_cells, r.null_words, r.example,
           case when r.basis = 'assumed' then (
               select o.example from public.loader_null_rules o
               where o.scope = of_scope and o.rule = 'empty' and o.basis = 'own' limit 1
           ) end,
           coalesce(last.revision, 0), last.had_op,
           exists (
               select from public.loader_deliveries l
               where l.scope = of_scope and l.schema_name = of_schema and l.entity = of_entity
                 and (l.status in ('failed', 'held', 'late') or (l.status = 'gone' and l.kind = 'changes'))
                 and l.requested is null and l.id <> all (own)
           )
    into rule, basis, words, empty_cells, null_words, example, contrary, last_revision, had_op, stopped
    from (select) as one_row
    left join public.loader_null_rules r on r.scope = of_scope and r.schema_name = of_schema and r.entity = of_entity
    left join lateral (
        select l.revision,
               case when l.status = 'loaded' and l.kind = of_kind and l.rows_read > 0 then l.claimed is not null end as had_op
        from public.loader_deliveries l
        where l.scope = of_scope and l.schema_name = of_schema and l.entity = of_entity and l.revision is not null
        order by l.revision desc limit 1
    ) last on true;
    is_loaded := rule is not null or exists (
        select from public.loader_deliveries l
        where l.scope = of_scope and l.schema_name = of_schema and l.entity = of_entity and l.status = 'loaded'
    );
    taken := false;
    -- one by one: for `id = any (…)` Postgres makes a new plan each time
    foreach one in array wanted loop
        taken := exists (
            select from public.loader_deliveries l
            where l.id = one and l.status in ('loaded', 'skipped')
              and not (l.status = 'skipped' and l.actor = 'loader' and l.reason like 'superseded:%')
        );
        exit when taken;
    end loop;
end
$$;

comment on function loader_begin_delivery is
    'Takes a table''s lease until the transaction ends, and says under it what loader_table_state and loader_null_rule say. Until
then rows are looked up by an index. Raises idle_in_transaction_session_timeout to ten minutes, where less is asked for.';

create or replace function loader_lock_table(
    of_table oid, quoted_name text, known text, lock_wait text, asks_for_rows boolean,
    of_scope bigint, of_schema text, of_entity text, of_kind text,
    out is_same boolean, out stands boolean, out is_empty boolean
) language plpgsql as $$
declare
    usual_wait text := pg_catalog.current_setting('lock_timeout');
    setting text;
begin
    if lock_wait = 'short' then
        setting := pg_catalog.set_config(
            'lock_timeout',
            least(10000, ceil(extract(epoch from pg_catalog.current_setting('deadlock_timeout')::interval) * 800))::int::text,
            true
        );
    end if;
    execute 'lock table ' || quoted_name || ' in share row exclusive mode';
    if lock_wait = 'short' then
        setting := pg_catalog.set_config('lock_timeout', usual_wait, true);
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

create or replace function loader_table_stands(
    of_scope bigint, of_schema text, of_entity text, of_table oid, of_kind text
) returns boolean language plpgsql as $$
declare
    stop text;
    request text;
    is_as_left boolean;
begin
    select t.status, t.requested,
           t.table_oid = of_table and t.storage is not distinct from public.loader_storage(of_table)
           and not exists (
               select from public.loader_tables o
               where o.table_oid = of_table and o.scope <> of_scope and o.left_at > t.left_at
           )
    into stop, request, is_as_left
    from public.loader_tables t
    where t.scope = of_scope and t.schema_name = of_schema and t.entity = of_entity;
    if not found then
        return not exists (select from public.loader_tables where table_oid = of_table and scope <> of_scope);
    end if;
    if stop is not null or request = 'reload' then
        return coalesce(request = 'reload' and of_kind = 'snapshot', false);
    end if;
    return coalesce(is_as_left, false);
end
$$;
