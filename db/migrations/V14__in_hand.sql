-- Which file a loader had in hand when it died: a file that kills the program must be found, and must not keep other tables
-- from being loaded at every start.
create table loader_processes (
    id         bigint generated always as identity primary key,
    scope      bigint not null,
    host       text not null,
    version    text not null,
    started_at timestamptz not null default clock_timestamp()
);

comment on table loader_processes is
    'Loaders that began and did not end in an orderly way yet: those that run, and those that died.';
comment on column loader_processes.scope is 'The feed: loader_scopes (id).';

create table loader_in_hand (
    scope       bigint not null,
    schema_name text not null,
    entity      text not null,
    object_key  text not null,
    etag        text not null,
    times       integer not null,
    process     bigint not null,
    host        text not null,
    since       timestamptz not null default clock_timestamp(),
    primary key (scope, schema_name, entity)
);

comment on table loader_in_hand is
    'The file of a table that a loader works at, or worked at when it died. Written only after a loader died.';
comment on column loader_in_hand.times is 'How often in a row the file was begun and its loader did not live to see the end.';
comment on column loader_in_hand.process is 'The loader: loader_processes (id).';

-- Who may read or write the ledger may do the same with these tables.
do $$
declare
    found record;
begin
    for found in
        select case when acl.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end as who,
               acl.privilege_type as what
        from pg_class c cross join aclexplode(c.relacl) acl
        where c.oid = 'loader_deliveries'::regclass and acl.grantee <> c.relowner
          and acl.privilege_type in ('SELECT', 'INSERT', 'UPDATE')
    loop
        execute format('grant %s on loader_processes, loader_in_hand to %s', found.what, found.who);
        if found.what = 'INSERT' then
            execute format('grant delete on loader_processes, loader_in_hand to %s', found.who);
        end if;
    end loop;
end
$$;
