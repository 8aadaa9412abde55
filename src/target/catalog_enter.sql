-- Whether a table has no row, and whether it is still the one that was found: asked under its lock.
select $empty, to_regclass($2) = $1 and public.loader_fingerprint($1) = $3
