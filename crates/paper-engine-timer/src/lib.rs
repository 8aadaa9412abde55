//! **paper-engine-timer** fires a webhook for each due task of a database table, on time, from any number of pods.
//!
//! The [`engine`] claims tasks from a [`store`] (Postgres or MySQL) and hands each at its time to a sender, which [`attempt`]
//! describes and [`http`] implements. [`cli`] is the program.

pub mod api;
pub mod attempt;
pub mod cli;
pub mod config;
pub mod durations;
pub mod engine;
pub mod http;
pub mod metrics;
pub mod page;
pub mod probes;
pub mod schedule;
pub mod store;
pub mod task;
