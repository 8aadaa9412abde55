//! `man`: the manual page. Commands and flags come from clap, variables from `config.env.sample`, so that nothing is
//! described twice.

use std::io::Write;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{EXAMPLES, EXIT_CODES};
use crate::loader::service::End;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paper-engine-orders man | man -l -
  paper-engine-orders man > /usr/local/share/man/man1/paper-engine-orders.1")]
pub(super) struct Args {}

pub(super) fn run() -> anyhow::Result<End> {
    std::io::stdout().write_all(&page()?)?;
    Ok(End::Done)
}

fn page() -> std::io::Result<Vec<u8>> {
    let command = super::Cli::command();
    let mut out = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    section("COMMANDS", &mut out)?;
    for (path, leaf) in leaves(&command) {
        about(&path, &leaf, &mut out)?;
    }
    section("ENVIRONMENT", &mut out)?;
    environment(include_str!("../../config.env.sample")).to_writer(&mut out)?;
    section("EXIT STATUS", &mut out)?;
    exit_status().to_writer(&mut out)?;
    section("FILES", &mut out)?;
    files().to_writer(&mut out)?;
    section("EXAMPLES", &mut out)?;
    as_it_is(EXAMPLES.trim_start_matches("Examples:\n")).to_writer(&mut out)?;
    Ok(out)
}

fn section(title: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    roff.to_writer(out)
}

/// Returns every command that can be run, with its full name.
fn leaves(command: &Command) -> Vec<(String, Command)> {
    let mut found = Vec::new();
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        let path = format!("{} {}", command.get_bin_name().unwrap_or(command.get_name()), inner.get_name());
        let inner = inner.clone().bin_name(path.clone());
        if inner.has_subcommands() {
            found.extend(leaves(&inner));
        } else {
            found.push((path, inner));
        }
    }
    found
}

/// Writes the section of one command: usage, description, flags, example.
fn about(path: &str, leaf: &Command, out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut leaf = leaf.clone().disable_help_flag(true);
    let mut roff = Roff::new();
    roff.control("SS", [path.split_once(' ').map_or(path, |(_, name)| name)]);
    let usage = leaf.render_usage().to_string();
    roff.text([bold(usage.trim_start_matches("Usage: "))]);
    let words = leaf.get_long_about().or(leaf.get_about()).map(ToString::to_string).unwrap_or_default();
    for paragraph in words.split("\n\n") {
        roff.control("PP", []);
        roff.text([roman(paragraph)]);
    }
    roff.to_writer(out)?;
    flags(leaf.clone(), out)?;
    let example = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
    example.split("\n\n").try_for_each(|part| words_or_lines(part).to_writer(out))
}

/// Formats a part of the text below a command's flags: examples are kept as they are, sentences are filled.
fn words_or_lines(part: &str) -> Roff {
    if part.contains('\n') || part.starts_with("Example") {
        return as_it_is(part);
    }
    let mut roff = Roff::new();
    roff.control("PP", []).text([roman(part)]);
    roff
}

/// Writes the flags with clap's generator, without its section headings.
fn flags(leaf: Command, out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut options = Vec::new();
    Man::new(leaf).render_options_section(&mut options)?;
    let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "").replace("\n.SH ", "\n.PP\n.B ");
    let options = options.strip_prefix(".SH ").map_or(options.clone(), |rest| format!(".PP\n.B {rest}"));
    out.extend(options.replace('…', "...").as_bytes());
    Ok(())
}

/// Formats lines without filling them.
fn as_it_is(text: &str) -> Roff {
    let mut roff = Roff::new();
    if !text.is_empty() {
        roff.control("PP", []).control("nf", []);
        for line in text.lines() {
            // an empty line would be no line
            roff.text([roman(if line.is_empty() { " " } else { line })]);
        }
        roff.control("fi", []);
    }
    roff
}

/// Formats the variables of the sample: a comment applies to all variables that follow it without a gap.
fn environment(sample: &str) -> Roff {
    let mut roff = Roff::new();
    for block in sample.split("\n\n") {
        let (names, words): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| variable(line).is_some());
        if names.is_empty() {
            continue;
        }
        let terms = names.iter().map(|name| term(name));
        let terms = terms.reduce(|all, next| all.into_iter().chain([roman(", ")]).chain(next).collect());
        roff.control("TP", []).text(terms.unwrap_or_default());
        describe(&words, &mut roff);
    }
    for (name, meaning) in OTHERS {
        roff.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
    }
    roff
}

/// Variables that other programs define.
const OTHERS: &[(&str, &str)] = &[
    ("NO_COLOR", "Not empty: no colour. There is none either where the output is no terminal, or TERM is dumb."),
    ("RUST_LOG", "How much the log says: warn, debug, or info,hyper=debug."),
    ("TMPDIR", "Where large files are sorted, if memory does not do; nothing stays there."),
];

/// Parses `NAME=default`, also if it is commented out.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, default) = line.trim_start_matches('#').split_once('=')?;
    let ours = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    ours.then_some((name, default))
}

fn term(line: &str) -> Vec<Inline> {
    let (name, default) = variable(line).unwrap_or_default();
    let default = if default.is_empty() { String::new() } else { format!(" ({default})") };
    vec![bold(name), roman(default)]
}

/// Formats comment lines as one paragraph, and indented ones as a list of words with their meanings.
fn describe(lines: &[&str], roff: &mut Roff) {
    let mut listed = false;
    for line in lines {
        let line = line.trim_start_matches('#');
        match line.strip_prefix("   ").map(str::trim_start).and_then(|item| item.split_once("  ")) {
            Some((word, meaning)) => {
                if !std::mem::replace(&mut listed, true) {
                    roff.control("RS", []);
                }
                roff.control("TP", ["26"]).text([bold(word)]).text([roman(meaning.trim())]);
            }
            None => _ = roff.text([roman(line.trim())]),
        }
    }
    if listed {
        roff.control("RE", []);
    }
}

fn exit_status() -> Roff {
    let mut roff = Roff::new();
    roff.text([roman("The highest that applies, 78 over 69 over 1 over 75 over 0:")]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", ["6"]).text([bold(*code)]).text([roman(*meaning)]);
    }
    roff
}

fn files() -> Roff {
    let mut roff = Roff::new();
    let files = [
        ("config.env.sample", "every variable with its default: copy it, fill it in, give it to docker run --env-file"),
        ("METRICS_FILE", "what it names: the metrics after each iteration; replaced whole"),
    ];
    for (name, meaning) in files {
        roff.control("TP", []).text([bold(name)]).text([roman(meaning)]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_below_examples_are_filled() {
        let page = String::from_utf8(page().expect("a page")).expect("text");
        assert!(page.contains("\n.PP\nEnds with 0 if nothing failed, warnings aside, else with"), "{page}");
    }

    #[test]
    fn the_page_has_every_command_flag_variable_and_code() {
        let page = String::from_utf8(page().expect("a page")).expect("text").replace("\\-", "-");
        for (path, leaf) in leaves(&super::super::Cli::command()) {
            let name = path.split_once(' ').expect("a name").1;
            assert!(page.contains(&format!(".SS \"{name}\"")) || page.contains(&format!(".SS {name}\n")), "{name}");
            for flag in leaf.get_arguments().filter_map(clap::Arg::get_long).filter(|flag| *flag != "help") {
                assert!(page.contains(&format!("--{flag}")), "{name} --{flag}");
            }
        }
        let sample = include_str!("../../config.env.sample");
        let names: Vec<&str> = sample.lines().filter_map(variable).map(|(name, _)| name).collect();
        assert!(names.len() > 20 && names.contains(&"METRICS"), "{names:?}");
        for name in names {
            assert!(page.contains(&format!("\\fB{name}\\fR")), "{name}");
        }
        for (code, meaning) in EXIT_CODES {
            assert!(page.contains(&format!("\\fB{code}\\fR")) && page.contains(&meaning[..20]), "{code}");
        }
    }
}
