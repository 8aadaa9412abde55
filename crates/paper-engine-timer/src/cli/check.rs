//! Tries what a run needs, one line each, and brings the tables up to date.

use std::io::Write;

use crate::config::Config;
use crate::store::{Facts, Prepare, Store};

use super::Failure;

/// Looks at database, table and rights. Changes nothing; ends with 1 or 69 where a run would.
pub(super) async fn run<S: Store>(config: &Config, store: &S) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ok    configuration")?;
    match store.prepare(Prepare::Look).await {
        Ok(facts) => tell(&mut out, config, &facts),
        Err(error) => {
            writeln!(out, "FAIL  database {}: {error}", config.database)?;
            Err(error.into())
        }
    }
}

/// Creates what is missing.
pub(super) async fn migrate<S: Store>(store: &S) -> Result<(), Failure> {
    let facts = store.prepare(Prepare::Create).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "The tables are up to date.")?;
    for warning in &facts.warnings {
        writeln!(out, "note: {warning}")?;
    }
    Ok(())
}

fn tell(out: &mut impl Write, config: &Config, facts: &Facts) -> Result<(), Failure> {
    writeln!(out, "ok    database {} ({})", config.database, facts.server)?;
    writeln!(out, "ok    table timers, due times to 1/{} s", 10_u32.pow(u32::from(facts.precision)))?;
    if facts.zoneless {
        writeln!(out, "ok    due times are read as {} (TIMER_ZONE)", config.zone)?;
    }
    for warning in &facts.warnings {
        writeln!(out, "note  {warning}")?;
    }
    Ok(())
}
