insert into public.loader_deliveries as l
    (id, bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind, generation, status,
     rows_read, rows_create, rows_amend, rows_remove, rows_unchanged, claimed, max_event_id,
     started_at, committed_at, host, version, error, actor, reason, rows_rejected, scope, revision, content_hash)
values
    ($1, $2, $3, $4, $5, to_timestamp($6), $7, $8, $9, $10, $11,
     $12, $13, $14, $15, $16, $17, $18,
     to_timestamp($19), clock_timestamp(), $20, $version, $21, $22, $23, $24, $25, $26, $27)
