-- The scope of the ledger: endpoint, bucket, path and target schema. One database may hold the ledgers of several feeds, and
-- each sees its own rows only.
create table loader_scopes (
    id            bigint primary key,
    endpoint      text not null,
    bucket        text not null,
    path          text not null,
    target_schema text not null,
    started_at    timestamptz not null default clock_timestamp(),
    unique (endpoint, bucket, path, target_schema)
);

comment on table loader_scopes is
    'The feeds that were loaded into this database; id is a hash of endpoint, bucket, path and target schema.';
comment on column loader_scopes.endpoint is 'aws, or scheme, host and port of another store.';
comment on column loader_scopes.target_schema is 'TARGET_SCHEMA; empty for the schemas of the feed.';
comment on column loader_scopes.started_at is 'When a loader started with it for the first time.';

-- The identity of this database, drawn once: messages of two databases that load one feed differ by it.
create table loader_target (
    id       uuid not null,
    only_row boolean primary key default true check (only_row)
);

insert into loader_target (id) values (gen_random_uuid());

comment on table loader_target is
    'One row: the identity of this database, which is part of every message id. A restored backup keeps it.';

-- Empty in rows from before there were scopes: the first scope that starts and covers them takes them.
alter table loader_deliveries add column scope bigint;
alter table loader_notifications add column scope bigint;

comment on column loader_deliveries.scope is 'The feed that the file is of: loader_scopes (id).';
comment on column loader_notifications.scope is 'The feed whose loaders publish the message: loader_scopes (id).';

drop index if exists loader_deliveries_part, loader_deliveries_change, loader_deliveries_key, loader_deliveries_table,
    loader_deliveries_stops, loader_notifications_waiting, loader_notifications_published;
-- A snapshot part rewritten with the same bytes is a new delivery; a change file is what its bytes are.
create unique index loader_deliveries_part
    on loader_deliveries (scope, object_key, etag, last_modified) where kind = 'snapshot';
create unique index loader_deliveries_change
    on loader_deliveries (scope, object_key, etag) where kind = 'changes';
-- taking stock walks the ledger beside the bucket's listing, in key order
create index loader_deliveries_key on loader_deliveries (scope, object_key, id);
-- under the lease a table's own rows are read again
create index loader_deliveries_table on loader_deliveries (scope, schema_name, entity, id);
create index loader_deliveries_stops
    on loader_deliveries (scope, schema_name, entity) where status in ('failed', 'held', 'late');
-- what a scope may take when it starts for the first time
create index loader_deliveries_unclaimed on loader_deliveries (bucket, object_key) where scope is null;
create index loader_notifications_unclaimed on loader_notifications (delivery_id) where scope is null;
create index loader_notifications_waiting on loader_notifications (scope, id) where published_at is null;
create index loader_notifications_published
    on loader_notifications (scope, published_at) where published_at is not null;

create or replace function loader_table_head(
    of_scope bigint, of_schema text, of_entity text, of_kind text, own bigint[], follows bigint, draws boolean,
    out last_id bigint, out stopped boolean, out had_op boolean, out next_id bigint
) language plpgsql as $$
begin
    select id, case when status = 'loaded' and kind = of_kind and rows_read > 0 then claimed is not null end
    into last_id, had_op
    from public.loader_deliveries
    where scope = of_scope and schema_name = of_schema and entity = of_entity
    order by id desc limit 1;
    last_id := coalesce(last_id, 0);
    stopped := exists (
        select from public.loader_deliveries
        where scope = of_scope and schema_name = of_schema and entity = of_entity
          and status in ('failed', 'held', 'late') and requested is null
          and id <> all (own)
    );
    if draws and last_id = follows and not stopped then
        next_id := nextval('public.loader_deliveries_id_seq');
    end if;
end
$$;

comment on function loader_table_head is
    'Where a table of a scope stands: its last delivery, whether a delivery that is not among `own` stops it, whether the last
file of the kind had an op in front, and the next id, if one is to be drawn after `follows`.';

-- A loader of an earlier version that still runs asks this before each delivery. It would write rows without a scope. The
-- error counts as a temporary failure of the server, so that the loader tries again and blames no file.
create or replace function loader_head(
    of_bucket text, of_schema text, of_entity text, first_key text, end_key text,
    of_kind text, own bigint[], follows bigint, draws boolean,
    out last_id bigint, out stopped boolean, out had_op boolean, out next_id bigint
) language plpgsql as $$
begin
    raise exception 'the loader''s tables were upgraded; replace this loader by the new version' using errcode = '57P03';
end
$$;

comment on function loader_head is 'Refuses loaders of earlier versions, which know no scopes.';

-- Who may read or write the ledger may do the same with its scopes, and read the identity of the database.
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
        execute format('grant %s on loader_scopes to %s', found.what, found.who);
        if found.what = 'SELECT' then
            execute format('grant select on loader_target to %s', found.who);
        end if;
    end loop;
end
$$;
