-- The scope that loaded the target table `$4`.`$5`, if another one did and this one never did. Where there is a table
-- loader_tables, that one says which scope loaded a table last, and this question has no answer.
select l.scope
from public.loader_scopes s
cross join lateral (
    select scope, id from public.loader_deliveries
    where scope = s.id and lower(entity) = lower($5)
      and lower(coalesce(nullif(s.target_schema, ''), schema_name)) = lower($4) and status = 'loaded'
    order by id desc limit 1
) l
where s.id <> $1 and to_regclass('public.loader_tables') is null
  and not exists (
      select from public.loader_deliveries
      where scope = $1 and schema_name = $2 and entity = $3 and status = 'loaded'
  )
order by l.id desc limit 1
