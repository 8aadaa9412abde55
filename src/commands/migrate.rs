//! `migrate`: the loader's own tables, and on request the roles and a model's tables; each is idempotent.

use std::path::PathBuf;

use anyhow::Context;

use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::load::settings::Settings;
use crate::load::{Feed, Target};
use crate::loader::service::End;
use crate::log::LogFormat;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: paper-engine-orders migrate --roles --model db/model")]
pub(super) struct Args {
    /// Also create the owner, loader and reader roles, and grant their rights
    #[arg(long)]
    roles: bool,
    /// Also apply the SQL files of a directory, in name order, like db/model
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<End> {
    let settings = Settings { migrate: true, ..Config::target_from_env()? };
    crate::log::init(LogFormat::default());
    // the ledger's own tables are the same for every feed
    let target = Target::new(&settings, Feed::default(), &app::hostname(), Clock::system());
    let target = target.map_err(crate::loader::Error::from)?;
    let applied = target.prepare().await.map_err(crate::loader::Error::from)?;
    tracing::info!("The loader's tables are up to date ({applied} migrations applied).");
    if let Some(dir) = &args.model {
        for file in sql_files(dir)? {
            let sql = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            target
                .execute(&sql)
                .await
                .map_err(crate::loader::Error::from)
                .with_context(|| file.display().to_string())?;
            tracing::info!("Applied {}.", file.display());
        }
    }
    if args.roles {
        target.execute(include_str!("../../db/roles.sql")).await.map_err(crate::loader::Error::from)?;
        tracing::info!("The roles are there: paper_engine_owner, paper_engine_loader, paper_engine_reader.");
    }
    Ok(End::Done)
}

fn sql_files(dir: &PathBuf) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read the folder {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    files.sort();
    anyhow::ensure!(!files.is_empty(), "no .sql file is in {}. Give --model a folder like db/model", dir.display());
    Ok(files)
}
