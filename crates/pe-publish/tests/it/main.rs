//! Runs the conformance suite on every destination of this package: NATS on the servers that `scripts/services.py` has
//! started, and on one that the test stops and starts.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, which is what it is for"
)]

mod console;
mod files;
mod jetstream;
mod nats_core;
mod nats_server;
mod websocket;
