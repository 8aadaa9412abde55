insert into public.loader_deliveries as l
    (id, bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind, generation, status,
     rows_read, rows_create, rows_amend, rows_remove, rows_unchanged, claimed, max_event_id,
     started_at, committed_at, host, version, error, actor, reason, rows_rejected)
values
    ($1, $2, $3, $4, $5, to_timestamp($6), $7, $8, $9, $10, $11,
     $12, $13, $14, $15, $16, $17, $18,
     to_timestamp($19), clock_timestamp(), $20, $version, $21, $22, $23, $24)
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
    -- who asked for this try, and why, if somebody did; a reason is that of a load, not of what went wrong after all
    actor = coalesce(excluded.actor, case when l.requested is not null then l.actor end),
    reason = coalesce(excluded.reason,
                      case when l.requested is not null and excluded.status = 'loaded' then l.reason end)
