-- The SHA-256 of an object's bytes as they were downloaded: etags change with encryption and with the parts of an upload. Rows
-- from before this column have none.
alter table loader_deliveries add column content_hash bytea;

comment on column loader_deliveries.content_hash is 'SHA-256 of the object''s bytes as they lie in the bucket.';
