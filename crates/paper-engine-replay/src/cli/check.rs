//! Tries what a run needs, one line each. Publishes nothing.

use std::io::{self, Write};

use crate::config::{Config, Env};
use crate::engine::{self, Failure};

pub(super) async fn run(env: &Env) -> Result<(), Failure> {
    let config = Config::read(env)?;
    pe_runtime::log::init_at(config.log_format, "warn");
    let mut out = io::stdout();
    writeln!(out, "ok    configuration")?;
    let mut lost = None;
    let checked = engine::check(&config, |state, line| {
        let written = writeln!(out, "{state:<5} {}", pe_runtime::sanitize::text(&line));
        lost = lost.take().or(written.err());
    });
    let checked = checked.await;
    if let Some(error) = lost {
        return Err(error.into());
    }
    match checked {
        Ok(_) => Ok(()),
        Err(failure) => {
            writeln!(io::stdout(), "FAIL  {}", pe_runtime::sanitize::text(&failure.to_string()))?;
            Err(failure)
        }
    }
}
