//! The integration tests: the real binary against real Postgres, S3 and NATS. One binary, so that it links once.
//!
//! `./justw test` starts the servers and sets the variables that `support` reads.

#![allow(clippy::disallowed_methods, reason = "tests read their environment and the time")]

mod browser;
mod bytes;
mod cells;
mod check;
mod config;
mod constraints;
mod copies;
mod corpus;
mod deploy;
mod dialect;
mod documents;
mod dry_run;
mod encode;
mod equality;
mod exits;
mod faults;
mod hints;
mod histories;
mod hostile;
mod hosts;
mod in_hand;
mod interplay;
mod job;
mod kill;
mod limits;
mod make;
mod many;
mod messages;
mod monitoring;
mod moves;
mod operator;
mod order;
mod page;
mod path;
mod pgbouncer;
mod plan;
mod postgres;
mod proof;
mod quarantine;
mod reserved;
mod scarce;
mod scope;
mod secrets;
mod service;
mod settings;
mod signals;
mod soak;
mod states;
mod steering;
mod store;
mod stream;
mod support;
mod tables;
mod terminal;
mod tls;
mod twice;
mod types;
mod verify;
