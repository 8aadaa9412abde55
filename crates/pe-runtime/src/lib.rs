//! Foundation of every program of paper-engine: log, clock, shutdown signal, delays between attempts, forms of
//! settings, and terminal. Depends neither on Postgres nor on S3 nor on any program.

pub mod backoff;
pub mod clock;
pub mod failpoint;
pub mod key_value;
pub mod log;
pub mod multi_host_url;
pub mod sanitize;
pub mod secret;
pub mod shutdown;
pub mod terminal;
