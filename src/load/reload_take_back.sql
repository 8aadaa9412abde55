-- Makes what was to be loaded again loaded, as it was. `$1` scope, `$2` schema and `$3` name of the table. Only of its newest
-- generation: if that was loaded again already, what is marked of older ones is to follow it.
with kept as (
    select id, generation, status,
           case when strpos(reason, '; before: ') > 0
                then substr(reason, strpos(reason, '; before: ') + length('; before: '))::json end as before
    from (
        select id, generation, status, case when status <> 'loaded' then reason end as reason
        from public.loader_deliveries
        where scope = $1 and schema_name = $2 and entity = $3
          and (status = 'loaded'
               or (status in ('skipped', 'gone') and actor = 'loader' and reason like 'superseded: to be loaded again%'))
    ) d
)
update public.loader_deliveries l
set status = 'loaded', error = null, actor = k.before ->> 'actor', reason = k.before ->> 'reason'
from kept k
where l.id = k.id and k.status <> 'loaded' and k.generation = (select max(generation) from kept)
