//! `corten`: the Container Runtime Interface from the command line.

mod args;
mod commands;
mod error;
mod logs;
mod manifest;
mod output;
mod pod;
mod remote;
mod resolve;
mod runtime;
mod table;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match commands::run(args::Cli::parse()).await {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
