-- entity_2: what happened to the orders, one row an event.
--
-- No foreign key to entity_1: the feed has no order across tables, so an event may arrive before its
-- order. The key is also the column that a delivery's highest event id is read from.

create schema if not exists dbo;

create table if not exists dbo.entity_2 (
    event_id    bigint         primary key,
    order_id    bigint         not null,
    kind        varchar(16)    not null,
    quantity    numeric(18, 4) not null,
    price       numeric(18, 6),
    happened_at timestamp(6)   not null,
    note        text
);

comment on table dbo.entity_2 is 'Events of orders: sent, accepted, filled, cancelled and so on.';
comment on column dbo.entity_2.event_id is 'The key: rises with time, over all orders.';
comment on column dbo.entity_2.order_id is 'The order that the event belongs to (entity_1).';
comment on column dbo.entity_2.kind is 'What happened.';
comment on column dbo.entity_2.quantity is 'Units that the event is about.';
comment on column dbo.entity_2.price is 'Price of one unit; null where the event has none.';
comment on column dbo.entity_2.happened_at is 'When it happened, in UTC; the source keeps no zone here.';
comment on column dbo.entity_2.note is 'The broker''s reference or a remark; null and empty are two things.';
