//! The program: parse, run, exit code. The guided tour begins in `lib.rs`.

use std::process::ExitCode;

use clap::Parser;
use paper_engine_orders::commands::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(commands::run(cli));
            // a thread that still waits for the network is not waited for
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("paper-engine-orders: cannot start the runtime: {error}");
            ExitCode::from(69)
        }
    }
}
