//! `corten skew`: 0 is good, 1 is bad, 2 says that it could not be told.

mod history;
mod lint;
mod mutate;
mod probe;
mod proxy;
mod replay;
mod test;

use std::process::ExitCode;

use serde::Serialize;

use crate::{args::Skew, error::Error, output};

/// Does what was asked for.
///
/// # Errors
/// Only when nobody reads the output any more: every other error is reported here, and ends with the code 2.
pub async fn run(endpoint: &str, command: Skew) -> Result<ExitCode, Error> {
    let result = match command {
        Skew::History(args) => history::run(&args),
        Skew::Probe(args) => probe::run(endpoint, &args).await,
        Skew::Proxy(args) => proxy::run(args).await,
        Skew::Replay(args) => replay::run(endpoint, args).await,
        Skew::Test(args) => test::run(endpoint, args).await,
        Skew::Lint(args) => lint::run(&args),
        Skew::Mutate(args) => mutate::run(endpoint, args).await,
    };
    match result {
        Err(error) if !error.is_broken_pipe() => {
            output::note(&error.to_string());
            Ok(ExitCode::from(2))
        }
        other => other,
    }
}

/// Writes what was found as JSON.
fn json(found: &impl Serialize) -> Result<(), Error> {
    output::line(&serde_json::to_string_pretty(found).map_err(|error| Error::Show(error.to_string()))?)
}
