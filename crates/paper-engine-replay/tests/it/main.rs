//! Tests the replay as a program, against the servers that `scripts/services.py` has started.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, which is what it is for"
)]

mod control;
mod faults;
mod kills;
mod pace;
mod range;
mod support;
mod values;
