//! Compiles the TLS of pe-postgres into this crate, until that crate makes it public.

pub(super) use pe_postgres::settings;

#[path = "../../../../pe-postgres/src/tls.rs"]
pub(super) mod tls;
