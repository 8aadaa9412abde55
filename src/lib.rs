//! **paper-engine-orders** keeps Postgres tables identical to a feed of gzip CSV files in an S3 bucket,
//! file by file, and tells the world exactly what each file changed.
//!
//! # The corridor
//!
//! A delivery walks one way. Each room makes one noun; the next room takes that noun and nothing else:
//!
//! ```text
//! known   = target.known(…)                what the ledger has
//! pending = source.pending(known)          what to load next, in feed order
//! work    = target.begin(&pending)         lease taken, ledger read again
//! object  = source.open(&pending)          pinned by etag, bytes counted
//! rows    = decode::rows(object, shape)    checked to the last byte of the last gzip member
//! changes = work.apply(rows)               guarded, diffed, applied; four counts
//! news    = notifier.compose(&changes)     subject, message id, payload
//! receipt = work.seal(changes, news)       ledger row, outbox row, commit
//!           notifier.announce(&receipt)    published, and the loader counts it
//! ```
//!
//! `loader/mod.rs` is that corridor in code. Read the modules below from top to bottom: each may use
//! only what stands *below* it, and `tests/house.rs` holds that.

// ── roof: what a person runs
pub mod commands;

pub mod boot;

pub mod config;

// ── the loader wing
pub mod ops;

pub mod loader;

pub mod standing;

pub mod notifier;

pub mod load;

pub mod source;

pub mod decode;

pub mod feed;

// ── ground: knows nothing of the wings
pub use pe_postgres as pg;

pub mod textfile;

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
