from public.loader_deliveries a
where a.id = $1
  and (l.id = a.id
       or (a.kind = 'snapshot' and l.kind = 'snapshot' and a.status = any($2) and l.status = any($2)
           and l.bucket = a.bucket and l.schema_name = a.schema_name and l.entity = a.entity
           and l.generation = a.generation
           and l.object_key >= $3 and ($4 is null or l.object_key < $4)))
  and l.status = any($5)
returning row_to_json(l)::text
