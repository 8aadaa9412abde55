//! **paper-engine-replay** publishes the rows of database tables at the pace at which they happened.
//!
//! A [`source`] reads rows in time order, the [`pacer`] releases each at its time by the [`clock`], and one [`lane`] per
//! destination publishes what was released. [`cli`] is the program.

pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod clock_feed;
pub mod config;
pub mod control;
pub mod engine;
pub mod histogram;
pub mod lane;
pub mod metrics;
pub mod ops;
pub mod pacer;
pub mod place;
pub mod queue;
pub mod reader;
pub mod report;
pub mod schedule;
pub mod source;
pub mod spill;
pub mod timekeeper;
pub mod timestamp;
