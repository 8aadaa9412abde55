-- Every listed file has a row before the first delivery: `pending`. Ids no longer tell what was written after what, so a table's
-- rows are numbered by the deliveries that wrote them: `revision`, one more for each, under the table's lease; null while a row
-- is only pending. `occurrence` tells a version that came back from the same version before it.
alter table loader_deliveries add column revision bigint, add column occurrence integer not null default 1;
update loader_deliveries set revision = id;

comment on column loader_deliveries.revision is
    'Numbers a table''s deliveries in the order in which their rows were written; empty while a row is pending.';
comment on column loader_deliveries.occurrence is
    '1, and one more each time that this version of the file came back after another one was loaded.';

alter table loader_deliveries drop constraint loader_deliveries_status_check;
alter table loader_deliveries add constraint loader_deliveries_status_check
    check (status in ('pending', 'loaded', 'failed', 'held', 'late', 'skipped', 'gone'));

-- A change file that is gone stops its table from now on. Those of earlier versions of the program stopped nothing, and what
-- came after them was loaded long ago; listed again they are pending, as before.
update loader_deliveries
set status = 'skipped', actor = 'loader',
    reason = 'superseded: gone from the bucket before it was loaded; an earlier version of the loader went on without it'
where status = 'gone' and kind = 'changes';

drop index loader_deliveries_part, loader_deliveries_change, loader_deliveries_stops;
create unique index loader_deliveries_part
    on loader_deliveries (scope, object_key, etag, last_modified, occurrence) where kind = 'snapshot';
create unique index loader_deliveries_change
    on loader_deliveries (scope, object_key, etag, occurrence) where kind = 'changes';
create index loader_deliveries_stops on loader_deliveries (scope, schema_name, entity)
    where status in ('failed', 'held', 'late') or (status = 'gone' and kind = 'changes');
-- what was written last of a table, however many files are pending
create index loader_deliveries_revision
    on loader_deliveries (scope, schema_name, entity, revision, id) where revision is not null;

create or replace function loader_table_state(
    of_scope bigint, of_schema text, of_entity text, of_kind text, own bigint[], wanted bigint[],
    out last_revision bigint, out stopped boolean, out taken boolean, out had_op boolean
) language plpgsql as $$
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
    taken := exists (
        select from public.loader_deliveries
        where id = any (wanted) and status in ('loaded', 'skipped')
          and not (status = 'skipped' and actor = 'loader' and reason like 'superseded:%')
    );
end
$$;

comment on function loader_table_state is
    'Where a table of a scope stands: its last revision, whether a delivery that is not among `own` stops it, whether one that is
`wanted` is accounted for already, and whether the last file of the kind had an op in front.';

-- A loader of an earlier version that still runs asks this before each delivery. It would write rows without a revision. The
-- error counts as a temporary failure of the server, so that the loader tries again and blames no file.
create or replace function loader_table_head(
    of_scope bigint, of_schema text, of_entity text, of_kind text, own bigint[], follows bigint, draws boolean,
    out last_id bigint, out stopped boolean, out had_op boolean, out next_id bigint
) language plpgsql as $$
begin
    raise exception 'the loader''s tables were upgraded; replace this loader by the new version' using errcode = '57P03';
end
$$;

comment on function loader_table_head is
    'Refuses loaders of earlier versions, which write no revision.';
