//! Publishes records to destinations: the console, files, NATS (with JetStream where a stream covers the subject) and the
//! clients of a websocket. Kafka is in `pe-kafka`, so that nobody else links librdkafka.
//!
//! A [`Record`] has an id that stays the same across retries. A [`Publisher`] takes records in order and returns an
//! [`Outcome`] for each. `conformance` is the test suite that every destination runs.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod console;
pub mod destination;
pub mod file;
mod json_indent;
pub mod nats;
pub mod publisher;
pub mod record;
pub mod template;
pub mod ws;

pub use destination::Destination;
pub use publisher::{Capabilities, Error, Outcome, Publisher};
pub use record::Record;
