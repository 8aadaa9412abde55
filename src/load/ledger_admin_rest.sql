-- a part of the generation of `$1` that the ledger does not account for yet: skipped with it
insert into public.loader_deliveries as l
    (bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind, generation, status,
     started_at, host, version, actor, reason, scope, occurrence)
select bucket, $2, $3, $4, to_timestamp($5), schema_name, entity, kind, generation, 'skipped',
       clock_timestamp(), $6, $7, $8, $9, scope, $10
from public.loader_deliveries
where id = $1
on conflict (scope, object_key, etag, last_modified, occurrence) where kind = 'snapshot' do update set
    status = 'skipped', generation = excluded.generation, requested = null, actor = excluded.actor,
    reason = excluded.reason, committed_at = clock_timestamp(), rows_remove = 0
where l.status <> 'loaded'
returning row_to_json(l)::text
