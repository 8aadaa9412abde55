-- entity_1: the paper engine's orders, as the feed shows them.
--
-- No foreign keys, here and in the other two: the feed has no order across tables, so an event may
-- arrive hours before its order, and the order's strategy later still. The tables mirror the source;
-- what the source allows must load.

create schema if not exists dbo;

create table if not exists dbo.entity_1 (
    order_id    bigint         primary key,
    strategy_id integer        not null,
    reference   uuid           not null,
    symbol      varchar(12)    not null,
    side        char(1)        not null,
    quantity    numeric(18, 4) not null,
    is_open     boolean        not null,
    placed_at   timestamp(6)   not null,
    amended_at  timestamptz(6),
    note        varchar(200),
    terms       jsonb,
    event_id    bigint         not null
);

comment on table dbo.entity_1 is 'Orders that strategies placed with a simulated broker.';
comment on column dbo.entity_1.order_id is 'The key: the number of the order.';
comment on column dbo.entity_1.strategy_id is 'The strategy that placed the order (entity_3).';
comment on column dbo.entity_1.reference is 'The order''s name outside this database.';
comment on column dbo.entity_1.symbol is 'What is traded: asset class, dot, number.';
comment on column dbo.entity_1.side is 'B buys, S sells.';
comment on column dbo.entity_1.quantity is 'Units ordered.';
comment on column dbo.entity_1.is_open is 'Whether the order can still be filled.';
comment on column dbo.entity_1.placed_at is 'When the order was placed, in UTC; the source keeps no zone here.';
comment on column dbo.entity_1.amended_at is 'When the order was last amended; null if never.';
comment on column dbo.entity_1.note is 'Free text; null is "none was given", empty is "an empty one was given".';
comment on column dbo.entity_1.terms is 'Limit and validity; null is a market order for the day.';
comment on column dbo.entity_1.event_id is 'The last event that touched the order (entity_2).';
