-- Makes loaded rows pending, to be loaded again. What a row says of its load beside its counts is kept in its reason.
update public.loader_deliveries
set status = 'skipped', actor = 'loader', requested = null,
    reason = 'superseded: to be loaded again by `tables reload`'
             || case when actor is null and reason is null then ''
                     else '; before: ' || pg_catalog.json_build_object('actor', actor, 'reason', reason) end
where id = any($1) and status = 'loaded'
