//! Tests the timer against real servers: Postgres and MariaDB, each test on both unless it says why not.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, which is what it is for"
)]

mod api;
mod environment;
mod firing;
mod kills;
mod leases;
mod page;
mod pods;
mod support;
mod table;
