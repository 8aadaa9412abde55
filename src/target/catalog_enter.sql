-- Whether a table has no row, and whether it is still the one that was found: asked under its lock.
select $empty,
       not row_security_active(c.oid)
       and exists (select from pg_constraint f where f.contype = 'f' and f.conrelid = c.oid and f.confrelid = c.oid) = $3
       and $fingerprint = $2
from pg_class c
where c.oid = $1 and c.oid = to_regclass($4)
