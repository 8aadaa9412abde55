-- Whether a table has no row, whether it is still the one that was found, and whether it is what the last delivery left:
-- asked under its lock.
select $empty, to_regclass($2) = $1 and public.loader_fingerprint($1) = $3,
       public.loader_table_stands($4, $5, $6, $1, $7)
