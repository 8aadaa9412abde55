//! `completions`: a script for the shell, made from the command line itself, so that it knows what this version knows.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::aot::Shell;

use crate::loader::service::End;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paper-engine-orders completions bash > /etc/bash_completion.d/paper-engine-orders
  paper-engine-orders completions zsh > /usr/local/share/zsh/site-functions/_paper-engine-orders
  paper-engine-orders completions fish > ~/.config/fish/completions/paper-engine-orders.fish

For this shell only: source <(paper-engine-orders completions bash)")]
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
