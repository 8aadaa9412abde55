from public.loader_deliveries a
where a.id = $1
  and (l.id = a.id
       or (a.kind = 'snapshot' and a.status = 'held' and l.status = 'held' and l.kind = 'snapshot'
           and l.bucket = a.bucket and l.schema_name = a.schema_name and l.entity = a.entity
           and l.generation = a.generation))
