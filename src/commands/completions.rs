//! `completions`: a script for the shell, made from the command line itself, so that it knows what this version knows.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::aot::Shell;

use crate::loader::service::End;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(paper-engine-orders completions bash)    for this shell only

To stay: write it where the shell looks for it, like
  bash  /etc/bash_completion.d/paper-engine-orders
  zsh   /usr/local/share/zsh/site-functions/_paper-engine-orders
  fish  ~/.config/fish/completions/paper-engine-orders.fish")]
pub(super) struct Args {
    /// Shell to generate completions for
    shell: Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<End> {
    let mut command = super::Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name.as_str(), &mut script);
    // clap's script for bash jumps to one name and waits under another if the program has a hyphen: clap-rs/clap#6421
    let (waits, jumps) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    let script = String::from_utf8_lossy(&script).replace(&waits, &jumps);
    std::io::stdout().write_all(script.as_bytes())?;
    Ok(End::Done)
}
