//! Tries what a run needs, one line each, and brings the tables up to date.

use std::io::Write;

use crate::config::{Config, Database, Env, Faults, RunConfig};
use crate::http::{EndpointGroups, SenderSettings};
use crate::store::mysql::MySql;
use crate::store::postgres::Postgres;
use crate::store::{Facts, Prepare, Store};

use super::{Failure, run};

/// Looks at the configuration with the files that it names, at database, table and rights, and at the tasks that are due next.
/// Changes nothing; ends with the code with which a run would end.
pub(super) async fn check(args: &run::Args, mut env: Env) -> Result<(), Failure> {
    args.set(&mut env);
    let (config, run) = RunConfig::read(&env)?;
    pe_runtime::log::init_at(config.log_format, "warn");
    let mut out = std::io::stdout().lock();
    writeln!(out, "ok    configuration")?;
    tell_sender(&mut out, &run.sender)?;
    drop(out);
    match config.database.clone() {
        Database::Postgres(settings) => look(&config, &run, Postgres::new(*settings, config.zone.clone())).await,
        Database::MySql(settings) => look(&config, &run, MySql::new(settings, config.zone.clone())).await,
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

/// Says what the settings of the sender come to. They have been read before, so a fault here is one that just came up.
fn tell_sender(out: &mut impl Write, sender: &SenderSettings) -> Result<(), Failure> {
    let policy = sender.policy().map_err(|fault| Faults(vec![fault]))?;
    if policy.is_public_only() {
        writeln!(out, "ok    only public addresses may be called (ALLOW_PRIVATE is not set)")?;
    } else {
        let networks: Vec<String> = policy.allowed().iter().map(ToString::to_string).collect();
        writeln!(out, "ok    public addresses may be called, and {} (ALLOW_PRIVATE)", networks.join(", "))?;
    }
    if let Some(path) = &sender.endpoints {
        let groups = EndpointGroups::load(path).map_err(|fault| Faults(vec![fault.to_string()]))?;
        writeln!(out, "ok    {} endpoint groups in {} (ENDPOINTS)", groups.len(), path.display())?;
    }
    if let Some(path) = &sender.ca_file {
        writeln!(out, "ok    the certificates in {} are trusted too (CA_FILE)", path.display())?;
    }
    Ok(())
}

async fn look<S: Store>(config: &Config, run: &RunConfig, store: S) -> Result<(), Failure> {
    let looked = store.prepare(Prepare::Look).await;
    let mut out = std::io::stdout();
    match looked {
        Ok(facts) => tell(&mut out, config, &facts)?,
        Err(error) => {
            writeln!(out, "FAIL  database {}: {error}", config.database)?;
            return Err(error.into());
        }
    }
    let policy = run.sender.policy().map_err(|fault| Faults(vec![fault]))?;
    run::judge(&store, &policy).await.inspect_err(|failure| {
        let _ = writeln!(std::io::stdout(), "FAIL  the tasks that are due next: {failure}");
    })
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
