-- Three roles, each with what it needs and no more. Idempotent; run it as a superuser or as one who may create roles.
--   paper_engine_owner   applies migrations and owns the tables
--   paper_engine_loader  loads: no DDL
--   paper_engine_reader  reads
do $$
declare
    wanted text;
begin
    foreach wanted in array array['paper_engine_owner', 'paper_engine_loader', 'paper_engine_reader'] loop
        if not exists (select from pg_roles where rolname = wanted) then
            execute format('create role %I nologin', wanted);
        end if;
    end loop;
end
$$;

grant usage on schema public to paper_engine_loader, paper_engine_reader;
grant usage, create on schema public to paper_engine_owner;

do $$
declare
    found record;
begin
    for found in
        select format('%I.%I', schemaname, tablename) as name from pg_tables
        where schemaname = 'public' and tablename like 'loader\_%'
    loop
        execute format('grant select on %s to paper_engine_reader, paper_engine_loader', found.name);
        if found.name not in ('public.loader_schema_history', 'public.loader_target') then
            execute format('grant insert, update, delete on %s to paper_engine_loader', found.name);
        end if;
    end loop;
    for found in
        select format('%I.%I', schemaname, sequencename) as name from pg_sequences
        where schemaname = 'public' and sequencename like 'loader\_%'
    loop
        execute format('grant usage, select on sequence %s to paper_engine_loader', found.name);
    end loop;
    for found in
        select oid::regprocedure as name from pg_proc
        where pronamespace = 'public'::regnamespace and proname like 'loader\_%'
    loop
        execute format('grant execute on function %s to paper_engine_loader', found.name);
    end loop;
    -- the example entities, where they are
    if exists (select from pg_namespace where nspname = 'dbo') then
        grant usage on schema dbo to paper_engine_loader, paper_engine_reader;
        grant select on all tables in schema dbo to paper_engine_reader;
        grant select, insert, update, delete on all tables in schema dbo to paper_engine_loader;
        -- a column that the feed does not have gets its default, which may draw a number
        grant usage on all sequences in schema dbo to paper_engine_loader;
    end if;
end
$$;
