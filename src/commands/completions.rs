//! `completions`: a script for the shell, made from the command line itself, so that it knows what this version knows.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::aot::Shell;

use crate::loader::service::End;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(paper-engine-orders completions bash)         for this shell only

To stay: write it where the shell looks for it, like
  /etc/bash_completion.d/paper-engine-orders             bash
  /usr/local/share/zsh/site-functions/_paper-engine-orders                zsh
  ~/.config/fish/completions/paper-engine-orders.fish    fish")]
pub(super) struct Args {
    /// Whose
    shell: Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<End> {
    let mut command = super::Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(End::Done)
}
