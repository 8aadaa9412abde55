-- entity_3: the strategies that place orders.
--
-- No foreign keys: the feed has no order across tables. event_id is therefore a plain number too.

create schema if not exists dbo;

create table if not exists dbo.entity_3 (
    strategy_id integer        primary key,
    name        varchar(64)    not null,
    broker      varchar(32)    not null,
    capital     numeric(20, 2) not null,
    active      boolean        not null,
    started     date           not null,
    settings    jsonb          not null,
    event_id    bigint         not null
);

comment on table dbo.entity_3 is 'Strategies that trade on paper.';
comment on column dbo.entity_3.strategy_id is 'The key: the number of the strategy.';
comment on column dbo.entity_3.name is 'What the strategy does, and its number within its kind.';
comment on column dbo.entity_3.broker is 'The simulated broker that takes its orders.';
comment on column dbo.entity_3.capital is 'Paper money it may use.';
comment on column dbo.entity_3.active is 'Whether it places orders today.';
comment on column dbo.entity_3.started is 'Its first day.';
comment on column dbo.entity_3.settings is 'Its parameters.';
comment on column dbo.entity_3.event_id is 'The last event of any of its orders (entity_2).';
