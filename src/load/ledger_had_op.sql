-- Whether the last loaded file of a kind had an op in front.
select claimed is not null from public.loader_deliveries
where scope = $1 and schema_name = $2 and entity = $3
  and revision is not null and status = 'loaded' and kind = $4 and rows_read > 0
order by revision desc limit 1
