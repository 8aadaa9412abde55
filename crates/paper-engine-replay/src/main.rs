//! Starts the program; everything is in the library, so that it is compiled once.

use std::process::ExitCode;

fn main() -> ExitCode {
    paper_engine_replay::cli::main()
}
