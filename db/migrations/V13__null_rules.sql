-- How null is written in the files of each table: decided with a table's first delivery and again with each full load that is
-- compared as a whole. A loaded table without a row was loaded before this was decided by evidence: the word NULL is null there.
create table loader_null_rules (
    scope       bigint not null,
    schema_name text not null,
    entity      text not null,
    rule        text not null check (rule in ('words', 'empty', 'given')),
    basis       text not null check (basis in ('own', 'feed', 'assumed', 'given')),
    words       text[],
    empty_cells bigint not null default 0,
    null_words  bigint not null default 0,
    example     text,
    delivery_id bigint not null,
    decided_at  timestamptz not null default clock_timestamp(),
    primary key (scope, schema_name, entity),
    check ((rule = 'given') = (words is not null))
);

comment on table loader_null_rules is
    'How null is written in the files of a table of a feed, and how that is known.';
comment on column loader_null_rules.rule is
    'Null in text columns: words (NULL), empty (an empty cell, where the column may be null) or given (the words of FEED null=).';
comment on column loader_null_rules.basis is
    'own: the table''s own files show it; feed: other tables of the feed do; assumed: nothing shows it; given: FEED says it.';
comment on column loader_null_rules.empty_cells is
    'How many nulls of columns other than texts were seen as an empty cell, in the first rows of the table''s own files.';
comment on column loader_null_rules.null_words is 'The same, as the word NULL.';
comment on column loader_null_rules.example is 'Where the first of them stands: file, line and column.';
comment on column loader_null_rules.delivery_id is 'The delivery with which it was decided.';

create or replace function loader_null_rule(
    of_scope bigint, of_schema text, of_entity text,
    out rule text, out basis text, out words text[], out empty_cells bigint, out null_words bigint, out example text,
    out is_loaded boolean, out contrary text
) language plpgsql stable as $$
begin
    select r.rule, r.basis, r.words, r.empty_cells, r.null_words, r.example
    into rule, basis, words, empty_cells, null_words, example
    from public.loader_null_rules r
    where r.scope = of_scope and r.schema_name = of_schema and r.entity = of_entity;
    is_loaded := found;
    if not found then
        is_loaded := exists (
            select from public.loader_deliveries l
            where l.scope = of_scope and l.schema_name = of_schema and l.entity = of_entity and l.status = 'loaded'
        );
    elsif basis = 'assumed' then
        contrary := (
            select r.example from public.loader_null_rules r
            where r.scope = of_scope and r.rule = 'empty' and r.basis = 'own' limit 1
        );
    end if;
end
$$;

comment on function loader_null_rule is
    'How null is written in the files of a table, if that was decided; whether a file of it was loaded; and what other tables of
the feed show to the contrary, if it was only assumed.';

-- Who may read or write the ledger may do the same with the rules.
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
        execute format('grant %s on loader_null_rules to %s', found.what, found.who);
    end loop;
end
$$;
