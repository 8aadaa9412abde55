//! **paper-engine-orders** keeps Postgres tables identical to a feed of gzip CSV files in an S3 bucket,
//! file by file, and reports what each file changed.
//!
//! # One delivery
//!
//! Each step returns one value, which the next step takes:
//!
//! ```text
//! known   = target.known(…)                what the ledger has
//! pending = source.pending(known)          what to load next, in feed order
//! work    = target.begin(&pending)         lease taken, ledger read again
//! object  = source.open(&pending)          pinned by etag, bytes counted
//! rows    = decode::rows(object, shape)    checked to the last byte of the last gzip member
//! changes = work.apply(rows)               guarded, compared, applied; four counts
//! news    = notifier.compose(&changes)     subject, message id, payload
//! receipt = work.seal(changes, news)       ledger row, outbox row, commit
//!           notifier.announce(&receipt)    published, and the loader counts it
//! ```
//!
//! `loader/delivery.rs` runs these steps. A module may use only the modules below it in this list, which
//! `tests/house.rs` checks. ARCHITECTURE.md says what each module is for.

// ── the program
pub mod commands;

pub mod app;

pub mod config;

// ── the loader
pub mod ops;

pub mod loader;

pub mod status;

pub mod notifier;

pub mod load;

pub mod source;

pub mod decode;

pub mod feed;

// ── ground: knows nothing of the loader
pub use pe_postgres as pg;

pub mod metrics_file;

pub mod metrics;

pub use pe_runtime::log;

pub use pe_runtime::terminal;

pub mod health;

pub use pe_runtime::backoff as retry;

pub use pe_runtime::shutdown as stop;

pub use pe_runtime::clock;

pub use pe_runtime::key_value as pairs;

pub mod per_table;

pub use pe_runtime::multi_host_url as url;

pub use pe_runtime::secret;

pub use pe_runtime::sanitize as visible;

pub use pe_runtime::failpoint;
