//! The rows themselves: what row number n of an entity reads in version v. The parts fit together:
//! events belong to orders that the full load has, and come in the order of an order's life. Every
//! version differs from every other one of its row, so what counts as changed has in fact changed.

use super::text::{self, BROKERS, STYLES};
use super::{Entity, cells::Cells, mix::Draws};
use time::macros::{date, datetime};
use time::{Duration, PrimitiveDateTime};

/// The highest event id in the mission's full load.
pub const MAX_EVENT_ID: u64 = 1_020_487_673;

/// The rows of an entity under one seed.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    entity: Entity,
    seed: u64,
}

impl Rows {
    pub(super) fn new(entity: Entity, seed: u64) -> Self {
        Self { entity, seed }
    }

    pub(super) fn entity(&self) -> Entity {
        self.entity
    }

    /// Puts the row's cells and returns its event id.
    pub(super) fn write(&self, row: u64, version: u64, cells: &mut Cells<'_>) -> u64 {
        match self.entity {
            Entity::Orders => self.order(row, version, cells),
            Entity::Events => self.event(row, version, cells),
            Entity::Strategies => self.strategy(row, version, cells),
        }
    }

    /// Puts the key and NULL for all the rest.
    pub(super) fn write_key(&self, row: u64, cells: &mut Cells<'_>) {
        cells.int(key(self.entity, row));
        cells.nulls(self.entity.columns().len() - 1);
    }

    /// Returns the key of a row.
    pub(super) fn key(&self, row: u64) -> u64 {
        key(self.entity, row)
    }

    fn order(&self, row: u64, version: u64, cells: &mut Cells<'_>) -> u64 {
        let (mut fixed, mut moving) = (self.fixed(row), self.moving(row, version));
        let event_id = later(first_event_id() + last_event(row), version, &mut moving);
        let order = Order::draw(&mut fixed);
        let placed = placed(row, &mut fixed);
        cells.int(key(Entity::Orders, row));
        cells.int(1 + fixed.below(Entity::Strategies.full_size()));
        cells.uuid(uuid(&mut fixed));
        cells.numbered(order.class, order.symbol, 4);
        cells.plain(if order.buys { "B" } else { "S" });
        cells.decimal(order.units(version), 4);
        cells.flag(moving.once_in(20));
        cells.moment(placed);
        amended(placed, version, &mut moving, cells);
        text::remark(&mut moving, cells);
        terms(&order, &mut moving, cells);
        cells.int(event_id);
        event_id
    }

    fn event(&self, row: u64, version: u64, cells: &mut Cells<'_>) -> u64 {
        let (order_row, stage) = order_of(row);
        let order = Order::draw(&mut self.order_draws(order_row));
        let mut draws = self.moving(row, version);
        let event_id = key(Entity::Events, row);
        let (kind, priced) = kind(stage, &mut draws);
        cells.int(event_id);
        cells.int(key(Entity::Orders, order_row));
        cells.plain(kind);
        cells.decimal(order.units(version), 4);
        if priced {
            cells.decimal(order.price + draws.below(16) * 10_000, 6);
        } else {
            cells.null();
        }
        cells.moment(happened(row, self.fixed(row).next()));
        reference(order_row, &mut draws, cells);
        event_id
    }

    fn strategy(&self, row: u64, version: u64, cells: &mut Cells<'_>) -> u64 {
        let (mut fixed, mut moving) = (self.fixed(row), self.moving(row, version));
        let last = first_event_id() + fixed.below(Entity::Events.full_size());
        let event_id = later(last, version, &mut moving);
        let style = STYLES[(row % STYLES.len() as u64) as usize];
        cells.int(key(Entity::Strategies, row));
        cells.plain(&format!("{style} {:02}", row / STYLES.len() as u64 + 1));
        cells.plain(fixed.pick(BROKERS));
        cells.decimal((1 + fixed.below(40)) * 2_500_000 + version * 100, 2);
        cells.flag(!moving.once_in(10));
        cells.date(date!(2019 - 01 - 07).saturating_add(Duration::days(fixed.below(1000) as i64)));
        settings(&mut fixed, &mut moving, cells);
        cells.int(event_id);
        event_id
    }

    /// Draws for what a row keeps through all its versions.
    fn fixed(&self, row: u64) -> Draws {
        Draws::new(&[self.seed, self.entity as u64, row])
    }

    /// Draws for what a version has of its own.
    fn moving(&self, row: u64, version: u64) -> Draws {
        Draws::new(&[self.seed, self.entity as u64, row, version])
    }

    fn order_draws(&self, row: u64) -> Draws {
        Draws::new(&[self.seed, Entity::Orders as u64, row])
    }
}

/// Data that an order and its events share.
struct Order {
    class: &'static str,
    symbol: u64,
    buys: bool,
    lots: u64,
    /// Price in millionths.
    price: u64,
}

impl Order {
    fn draw(draws: &mut Draws) -> Self {
        let (symbol, bits) = (draws.below(500), draws.next());
        Self {
            class: ["EQ.", "EQ.", "FU.", "FX."][(symbol % 4) as usize],
            symbol,
            buys: bits & 1 == 0,
            lots: 1 + (bits >> 8) % 20,
            price: 5_000_000 + symbol * 790_000 + (bits >> 16) % 20 * 50_000,
        }
    }

    /// Ten-thousandths of a unit. The version is in it: no two versions of a row are alike.
    fn units(&self, version: u64) -> u64 {
        self.lots * 1_000_000 + version
    }
}

fn key(entity: Entity, row: u64) -> u64 {
    match entity {
        Entity::Orders => 7_000_001 + row,
        Entity::Events => first_event_id() + row,
        Entity::Strategies => 1 + row,
    }
}

/// Returns the first event id, so that the last row of the full load has `MAX_EVENT_ID`.
const fn first_event_id() -> u64 {
    MAX_EVENT_ID + 1 - Entity::Events.full_size()
}

/// Returns the event id of a version: a rewritten row has a later event.
fn later(event_id: u64, version: u64, draws: &mut Draws) -> u64 {
    if version == 0 { event_id } else { MAX_EVENT_ID + 1 + draws.below(100_000) }
}

/// Returns the order of an event, and the stage of the order's life. Eight orders are interleaved: nine or ten events
/// make a stage of all eight, eight stages a life. A second event of an order within one stage has no stage.
fn order_of(event: u64) -> (u64, Option<u64>) {
    let turn = event * Entity::Orders.full_size() / Entity::Events.full_size();
    let order = turn & !7 | (turn ^ event) & 7;
    let stage = (event - first_event(turn) < 8).then_some(turn & 7);
    let missing = event < Entity::Events.full_size() && order >= Entity::Orders.full_size();
    (if missing { turn } else { order }, stage)
}

/// Returns the first event of the turn with the order's number.
fn first_event(turn: u64) -> u64 {
    (turn * Entity::Events.full_size()).div_ceil(Entity::Orders.full_size())
}

/// Returns the last event of the order; the full load ends with its last event.
fn last_event(order: u64) -> u64 {
    let end = first_event((order | 7) + 1);
    let full = order < Entity::Orders.full_size();
    let end = if full { end.min(Entity::Events.full_size()) } else { end };
    (0..end).rev().find(|&event| order_of(event).0 == order).unwrap_or_default()
}

/// Returns a time within ten minutes before the first event of the order's group of eight.
fn placed(order: u64, draws: &mut Draws) -> PrimitiveDateTime {
    let before = Duration::microseconds(draws.below(600_000_000) as i64);
    happened(first_event(order & !7), 0).saturating_sub(before)
}

/// Returns the time of an event: one every 16.5 seconds, in whole milliseconds.
fn happened(event: u64, draw: u64) -> PrimitiveDateTime {
    const STEP: u64 = 16_500;
    let millis = event * STEP + draw % STEP;
    datetime!(2021-12-09 08:31:04).saturating_add(Duration::milliseconds(millis as i64))
}

/// Returns the kind of an event in a stage, and `true` if it has a price.
fn kind(stage: Option<u64>, draws: &mut Draws) -> (&'static str, bool) {
    match stage {
        None => ("status", false),
        Some(0) => ("sent", true),
        Some(1) => ("accepted", false),
        Some(7) => draws.pick(&[("filled", true), ("filled", true), ("cancelled", false)]),
        Some(_) => draws.pick(&[("partially filled", true), ("partially filled", true), ("amended", true)]),
    }
}

fn amended(placed: PrimitiveDateTime, version: u64, draws: &mut Draws, cells: &mut Cells<'_>) {
    if version == 0 && !draws.once_in(4) {
        return cells.null();
    }
    let after = Duration::microseconds(draws.below(1 << 32) as i64 + version as i64);
    let moment = placed.saturating_add(after);
    // Some sources write UTC, some their own zone.
    if draws.once_in(2) { cells.zoned(moment, 0) } else { cells.zoned(moment, 2) }
}

fn terms(order: &Order, draws: &mut Draws, cells: &mut Cells<'_>) {
    if draws.once_in(3) {
        return cells.null();
    }
    let cents = order.price / 10_000;
    let valid = draws.pick(&["day", "until cancelled", "fill or kill"]);
    let (whole, part) = (cents / 100, cents % 100);
    cells.text(&format!(r#"{{"type": "limit", "limit": {whole}.{part:02}, "valid": "{valid}"}}"#));
}

fn settings(fixed: &mut Draws, moving: &mut Draws, cells: &mut Cells<'_>) {
    let (days, threshold) = (5 * (1 + fixed.below(20)), 5 * (1 + moving.below(9)));
    let from = 4 * fixed.below(124);
    cells.text(&format!(
        r#"{{"days": {days}, "threshold": 0.{threshold:02}, "symbols": ["EQ.{from:04}", "EQ.{:04}"]}}"#,
        from + 4
    ));
}

/// Appends the order's number at the broker, or a remark in its place.
fn reference(order: u64, draws: &mut Draws, cells: &mut Cells<'_>) {
    match draws.below(200) {
        0 => text::odd(draws, cells),
        1..16 => cells.null(),
        _ => cells.numbered("paper-eu/2022/", order, 7),
    }
}

fn uuid(draws: &mut Draws) -> u128 {
    let bits = u128::from(draws.next()) << 64 | u128::from(draws.next());
    // Version 4, variant 1: what a source that draws them would have.
    bits & !(0xf << 76) & !(3 << 62) | 4 << 76 | 2 << 62
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(entity: Entity, row: u64, version: u64) -> (u64, String) {
        let mut out = Vec::new();
        let mut cells = Cells::new(&mut out);
        let event_id = Rows::new(entity, 1).write(row, version, &mut cells);
        (event_id, String::from_utf8(out).unwrap())
    }

    #[test]
    fn rows_read_like_this() {
        let order = r#"7000001,13,e90499a9-b3c8-4e3d-9f42-30ce26fb2180,EQ.0129,B,1000.0000,false,"#;
        let terms = r#""{""type"": ""limit"", ""limit"": 107.56, ""valid"": ""fill or kill""}""#;
        let times = "2021-12-09 08:26:59.475465,NULL,NULL";
        let order = format!("{order}{times},{terms},1018992770");
        assert_eq!(line(Entity::Orders, 0, 0), (1_018_992_770, order));
        let event = "1020487673,7159961,status,300.0000,NULL,2022-09-20 20:28:55.417000";
        let event = format!("{event},paper-eu/2022/0159960");
        assert_eq!(line(Entity::Events, 1_494_974, 0), (MAX_EVENT_ID, event));
        let settings = r#"{""days"": 25, ""threshold"": 0.35, ""symbols"": [""EQ.0376"", ""EQ.0380""]}"#;
        let strategy = format!("1,breakout 01,paper-us,275000.00,true,2020-08-10,\"{settings}\"");
        let strategy = format!("{strategy},1019692418");
        assert_eq!(line(Entity::Strategies, 0, 0), (1_019_692_418, strategy));
    }

    #[test]
    fn lasting_columns_last_and_no_others() {
        for entity in Entity::ALL {
            let mut lasting: Vec<_> = (1..entity.columns().len()).collect();
            for row in 0..90 {
                let cells = |version| line(entity, row, version).1.replace(", \"\"", "; \"\"");
                let (first, other) = (cells(0), cells(1_000 + row));
                let pairs: Vec<_> = first.split(',').zip(other.split(',')).collect();
                lasting.retain(|&at| pairs[at].0 == pairs[at].1);
            }
            assert!(entity.lasting().iter().all(|at| lasting.contains(at)), "{entity:?}: {lasting:?}");
            assert!(entity.lasting().len() >= 2);
        }
    }

    #[test]
    fn every_event_has_an_order_of_the_full_load() {
        let mut events = vec![0_u32; Entity::Orders.full_size() as usize];
        (0..Entity::Events.full_size()).for_each(|event| events[order_of(event).0 as usize] += 1);
        assert!(events.iter().all(|&count| (7..17).contains(&count)));
    }

    #[test]
    fn the_highest_event_id_is_the_missions() {
        assert_eq!(line(Entity::Events, 1_494_974, 0).0, MAX_EVENT_ID);
        let orders = Entity::Orders.full_size();
        let last = (orders - 100..orders).map(|row| line(Entity::Orders, row, 0).0).max();
        assert_eq!(last, Some(MAX_EVENT_ID));
        assert!((0..90).all(|row| line(Entity::Strategies, row, 0).0 <= MAX_EVENT_ID));
    }

    #[test]
    fn an_order_names_the_last_of_its_events() {
        for order in [0, 7, 8, 4_711, 159_966] {
            let last = last_event(order);
            assert_eq!(order_of(last).0, order);
            let later = last + 1..Entity::Events.full_size();
            assert!(later.into_iter().all(|event| order_of(event).0 != order));
        }
    }

    #[test]
    fn an_order_is_placed_before_its_events() {
        for event in 0..2_000 {
            let placed = placed(order_of(event).0, &mut Draws::new(&[event]));
            assert!(placed <= happened(event, 0));
        }
    }

    #[test]
    fn no_two_versions_of_a_row_are_alike() {
        for entity in Entity::ALL {
            for row in 0..90 {
                let mut lines: Vec<_> = (0..12).map(|version| line(entity, row, version).1).collect();
                lines.sort_unstable();
                lines.dedup();
                assert_eq!(lines.len(), 12, "{entity:?}, row {row}");
            }
        }
    }
}
