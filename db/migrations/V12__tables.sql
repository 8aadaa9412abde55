-- What the loader left in each table of a feed: whoever empties, drops or replaces the table, the next delivery must not be
-- applied to what is no longer there.
create table loader_tables (
    scope          bigint not null,
    schema_name    text not null,
    entity         text not null,
    target_schema  text not null,
    target_table   text not null,
    table_oid      oid,
    storage        text,
    rows_left      bigint,
    left_at        timestamptz not null default clock_timestamp(),
    dialect        text,
    null_rule      text,
    null_evidence  text,
    status         text check (status in ('emptied', 'changed', 'moved')),
    stop_reason    text,
    stopped_at     timestamptz,
    judged_storage text,
    requested      text check (requested in ('reload', 'accept')),
    actor          text,
    reason         text,
    primary key (scope, schema_name, entity)
) with (fillfactor = 50);

create index loader_tables_oid on loader_tables (table_oid);

comment on table loader_tables is
    'What the loader left in each table of a feed after its last delivery, and what stops the table itself.';
comment on column loader_tables.scope is 'The feed: loader_scopes (id).';
comment on column loader_tables.storage is
    'Which files of the server held the table: loader_storage (table_oid) after the last delivery.';
comment on column loader_tables.rows_left is 'The rows after the last delivery; empty where they were never counted.';
comment on column loader_tables.left_at is 'When the loader wrote or accepted the table last.';
comment on column loader_tables.dialect is 'What was decided about the dialect of the table''s files; empty where nothing was.';
comment on column loader_tables.null_rule is 'How the table''s files write null; empty where nothing was decided.';
comment on column loader_tables.null_evidence is 'What the rule was decided by.';
comment on column loader_tables.status is
    'What stops the table: emptied (it lost all rows, or is gone), changed (it holds another number of rows than were left), '
    'moved (another feed loaded it last); empty if nothing does.';
comment on column loader_tables.judged_storage is 'The storage for which the stop was decided: it is not decided again.';
comment on column loader_tables.requested is 'What an operator asked for; the next iteration acts.';
comment on column loader_tables.actor is 'Who asked last, and `reason` why.';

create or replace function loader_storage(of_table oid) returns text language plpgsql stable as $$
declare
    found record;
begin
    -- no function that locks the partitions; after a crash an unlogged table is empty and has the files that it had
    select c.relkind, pg_catalog.concat_ws(
               ':', c.oid, pg_catalog.pg_relation_filenode(c.oid),
               case when c.relpersistence = 'u' and pg_catalog.pg_relation_size(c.oid) = 0 then 'empty' end
           ) as leaf
    into found
    from pg_catalog.pg_class c where c.oid = of_table;
    if found.relkind is distinct from 'p' then
        return found.leaf;
    end if;
    return (
        with recursive part (id) as (
            select of_table
            union all
            select i.inhrelid from part join pg_catalog.pg_inherits i on i.inhparent = part.id
            join pg_catalog.pg_class p on p.oid = part.id and p.relkind = 'p'
        )
        select count(*) || ' partitions ' || pg_catalog.md5(pg_catalog.string_agg(leaf, ',' order by oid))
        from (
            select c.oid, pg_catalog.concat_ws(
                       ':', c.oid, pg_catalog.pg_relation_filenode(c.oid),
                       case when c.relpersistence = 'u' and pg_catalog.pg_relation_size(c.oid) = 0 then 'empty' end
                   ) as leaf
            from part join pg_catalog.pg_class c on c.oid = part.id and c.relkind <> 'p'
        ) leaves
    );
end
$$;

comment on function loader_storage is
    'Which files of the server hold a table, or all its partitions: others after a TRUNCATE, a VACUUM FULL or a restore.';

create or replace function loader_table_stands(
    of_scope bigint, of_schema text, of_entity text, of_table oid, of_kind text
) returns boolean language plpgsql as $$
declare
    kept record;
begin
    select * into kept from public.loader_tables
    where scope = of_scope and schema_name = of_schema and entity = of_entity;
    if kept.status is not null or kept.requested = 'reload' then
        return coalesce(kept.requested = 'reload' and of_kind = 'snapshot', false);
    end if;
    if exists (
        select from public.loader_tables
        where table_oid = of_table and scope <> of_scope and left_at > coalesce(kept.left_at, '-infinity')
    ) then
        return false;
    end if;
    return kept.scope is null or (kept.table_oid = of_table and kept.storage is not distinct from public.loader_storage(of_table));
end
$$;

comment on function loader_table_stands is
    'True if a table may be loaded: it is what was left, and nothing stops it; or it is to be loaded again, and this is a full load.';

create or replace function loader_table_left(
    of_scope bigint, of_schema text, of_entity text, of_table oid, in_schema text, in_table text, rows_now bigint, more bigint
) returns void language plpgsql as $$
begin
    update public.loader_tables
    set target_schema = in_schema, target_table = in_table, table_oid = of_table,
        storage = public.loader_storage(of_table), rows_left = coalesce(rows_now, rows_left + more),
        left_at = pg_catalog.clock_timestamp(), status = null, stop_reason = null, stopped_at = null,
        judged_storage = null, requested = null
    where scope = of_scope and schema_name = of_schema and entity = of_entity;
    if found then
        return;
    end if;
    -- counting a small table takes no time; a large one is left uncounted
    if rows_now is null and pg_catalog.pg_total_relation_size(of_table) < 4194304 then
        execute pg_catalog.format('select count(*) from %I.%I', in_schema, in_table) into rows_now;
    end if;
    insert into public.loader_tables
        (scope, schema_name, entity, target_schema, target_table, table_oid, storage, rows_left)
    values
        (of_scope, of_schema, of_entity, in_schema, in_table, of_table, public.loader_storage(of_table), rows_now);
end
$$;

comment on function loader_table_left is
    'Notes what a delivery left in its table: `rows_now` if they were counted, else `more` than before.';

-- A table's fingerprint covers also what else decides what becomes of a row: rules, triggers, and tables that inherit.
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
                               from pg_catalog.pg_trigger where tgrelid = of_table and not tgisinternal) end
                )
         from pg_catalog.pg_class c where c.oid = of_table)
    );
end
$$;

-- Who may read or write the ledger may do the same with this table.
do $$
declare
    found record;
begin
    for found in
        select case when acl.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end as who,
               acl.privilege_type as what
        from pg_class c cross join aclexplode(c.relacl) acl
        where c.oid = 'loader_deliveries'::regclass and acl.grantee <> c.relowner
          and acl.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    loop
        execute format('grant %s on loader_tables to %s', found.what, found.who);
    end loop;
end
$$;
