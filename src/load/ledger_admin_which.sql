from public.loader_deliveries a
where a.id = $1 and a.scope = $3
  and (l.id = a.id
       or (a.kind = 'snapshot' and l.kind = 'snapshot' and a.status = any($2) and l.status = any($2)
           and l.scope = a.scope and l.schema_name = a.schema_name and l.entity = a.entity
           and l.generation = a.generation))
  and l.status = any($4)
returning row_to_json(l)::text
