select c.oid, n.nspname::text as schema, c.relname::text as name,
       row_security_active(c.oid) as row_security,
       exists (select from pg_constraint f where f.contype = 'f' and f.conrelid = c.oid and f.confrelid = c.oid)
           as refers_to_itself,
       exists (select from pg_index i
               where i.indrelid = c.oid and (i.indisunique or i.indisexclusion) and not i.indisprimary) as constrained,
       $fingerprint as fingerprint
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where $which
  and c.relkind in ('r', 'p')
