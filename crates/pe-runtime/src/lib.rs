//! What every program of paper-engine starts with: the log, the clock, the shutdown signal, waits between tries, the forms
//! in which settings are written, and the terminal. Knows neither Postgres nor S3 nor any program.

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
