//! The commands of `portreeve`: thin, each calls the library.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 5 invalid input or configuration, 6 there are findings, 7
//! conflict; of `agent` also 8 the price was not agreed to, 9 a person must act in a browser, 10 the provider failed, 11 the outcome is
//! not known.

mod commands;

use std::process::ExitCode;

use clap::Parser as _;

/// Much of what a request costs is small pieces of memory, asked for in one thread and given back in another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::Failure::failed(error).report(),
    };
    match runtime.block_on(commands::run(commands::Cli::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
