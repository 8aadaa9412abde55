-- The quarantine: rows that could not be loaded, as they stand in their files.
create table loader_rejects (
    delivery_id bigint not null references loader_deliveries (id) on delete cascade,
    object_key  text collate "C" not null,
    line        bigint not null,
    column_name text,
    reason      text not null,
    raw         bytea not null,
    primary key (delivery_id, object_key, line)
);

comment on table loader_rejects is
    'The quarantine of the loader: rows that could not be loaded, each with its place, its reason and its bytes.';
