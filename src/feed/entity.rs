//! The mission's three entities: their names in the feed, their columns, their sizes in its full load.
//! `db/model/` holds their tables; a test holds the two together.

/// Tables of the example feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    /// `entity_1`: orders.
    Orders,
    /// `entity_2`: what happened to them.
    Events,
    /// `entity_3`: the strategies that placed them.
    Strategies,
}

impl Entity {
    /// All three, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Orders, Self::Events, Self::Strategies];

    /// The schema of all three.
    pub const SCHEMA: &str = "dbo";

    /// Returns the table's name: `entity_1`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "entity_1",
            Self::Events => "entity_2",
            Self::Strategies => "entity_3",
        }
    }

    /// Returns the table's folder in the feed: `dbo/entity_1`.
    pub fn folder(self) -> String {
        format!("{}/{}", Self::SCHEMA, self.name())
    }

    /// Returns the number of rows in the original full load.
    pub const fn full_size(self) -> u64 {
        match self {
            Self::Orders => 159_967,
            Self::Events => 1_494_975,
            Self::Strategies => 90,
        }
    }

    /// Returns the columns in the order of the feed; the first one is the key.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Orders => ORDERS,
            Self::Events => EVENTS,
            Self::Strategies => STRATEGIES,
        }
    }

    /// Returns the indexes of columns with one value for all versions of a row, which an update need not supply. The
    /// key is not among them.
    pub(super) const fn lasting(self) -> &'static [usize] {
        match self {
            Self::Orders => &[1, 2, 3, 4, 7],
            Self::Events => &[1, 5],
            Self::Strategies => &[1, 2, 5],
        }
    }
}

#[rustfmt::skip]
const ORDERS: &[&str] = &[
    "order_id", "strategy_id", "reference", "symbol", "side", "quantity",
    "is_open", "placed_at", "amended_at", "note", "terms", "event_id",
];

const EVENTS: &[&str] = &["event_id", "order_id", "kind", "quantity", "price", "happened_at", "note"];

const STRATEGIES: &[&str] = &["strategy_id", "name", "broker", "capital", "active", "started", "settings", "event_id"];

#[cfg(test)]
mod tests {
    use super::*;

    fn model(entity: Entity) -> &'static str {
        match entity {
            Entity::Orders => include_str!("../../db/model/entity_1.sql"),
            Entity::Events => include_str!("../../db/model/entity_2.sql"),
            Entity::Strategies => include_str!("../../db/model/entity_3.sql"),
        }
    }

    /// Returns the names in the `create table` of the entity's file.
    fn in_the_model(entity: Entity) -> Vec<&'static str> {
        let create = format!("create table if not exists {}.{} (\n", Entity::SCHEMA, entity.name());
        let (_, columns) = model(entity).split_once(&create).unwrap();
        let (columns, _) = columns.split_once("\n);").unwrap();
        columns.lines().filter_map(|line| line.split_whitespace().next()).collect()
    }

    #[test]
    fn the_feed_has_the_columns_of_the_model() {
        for entity in Entity::ALL {
            assert_eq!(in_the_model(entity), entity.columns());
            assert!(entity.columns().contains(&"event_id"));
        }
    }

    #[test]
    fn every_table_and_column_has_its_comment() {
        for entity in Entity::ALL {
            let table = format!("dbo.{}", entity.name());
            assert!(model(entity).contains(&format!("comment on table {table} is")));
            for column in entity.columns() {
                let comment = format!("comment on column {table}.{column} is");
                assert!(model(entity).contains(&comment), "{comment}");
            }
        }
    }

    #[test]
    fn folders() {
        assert_eq!(Entity::Orders.folder(), "dbo/entity_1");
        assert_eq!(Entity::Strategies.folder(), "dbo/entity_3");
    }
}
