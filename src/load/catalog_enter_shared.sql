-- What loader_lock_table says, for a table that is locked already and lets others write: whether it is still the one that was
-- found, whether it is what the last delivery left, and whether it has no row, if that is asked. `$4` is of no use here.
select coalesce(to_regclass($2) = $1 and public.loader_fingerprint($1) = $3, false),
       coalesce(public.loader_table_stands($6, $7, $8, $1, $9), false),
       case when $5 then not exists (select from $name) end,
       $4
