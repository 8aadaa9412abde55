select current_setting('server_version') as version,
       current_setting('server_version_num')::int as number,
       current_user::text as role,
       (select rolsuper from pg_roles where rolname = current_user) as superuser,
       pg_is_in_recovery() as standby,
       current_setting('transaction_read_only') = 'on' as read_only,
       (select version::text from pg_stat_ssl where pid = pg_backend_pid() and ssl) as tls,
       coalesce((select has_schema_privilege(oid, 'create') from pg_namespace where nspname = 'public'), false) as creates
