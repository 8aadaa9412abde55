//! The program: everything is in the library, so that it is compiled once. The guided tour begins in `lib.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    paper_engine_orders::commands::main()
}
