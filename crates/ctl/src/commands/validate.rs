//! `corten validate`: 0 is good, 1 says that a check failed, 2 that nothing could be checked.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    process::ExitCode,
    time::Duration,
};

use corten_cri::history::{History, Release, ReleaseName};
use corten_validate::{
    check::Check,
    knowledge,
    report::{self, Finished},
    run::{self, Options},
};
use serde_json::json;

use super::interrupt::Interrupt;
use crate::{
    args::{Report, Validate},
    error::Error,
    output::{self, Format},
};

/// Runs the checks.
///
/// # Errors
/// Only when nobody reads the output any more: every other error is reported here, and ends with the code 2.
pub async fn run(endpoint: &str, args: Validate) -> Result<ExitCode, Error> {
    match checked(endpoint, &args).await {
        Err(error) if !error.is_broken_pipe() => {
            output::note(&error.to_string());
            Ok(ExitCode::from(2))
        }
        other => other,
    }
}

async fn checked(endpoint: &str, args: &Validate) -> Result<ExitCode, Error> {
    let history = History::embedded().map_err(|error| refused(&error))?;
    if args.list {
        list(args, history)?;
        return Ok(ExitCode::SUCCESS);
    }
    let release = |name: ReleaseName| history.v1.release(name);
    let options = Options {
        image_endpoint: args.image_endpoint.clone(),
        only: args.only.clone(),
        jobs: usize::from(args.jobs),
        seed: args.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()),
        sequences: args.random.into(),
        // Far more than they take.
        limit: Duration::from_secs(120).max(Duration::from_secs(10) * args.random),
        runtime_handler: args.runtime_handler.clone(),
        as_release: args.as_release.map(release).transpose().map_err(|error| refused(&error))?,
        keep_on_failure: args.keep_on_failure,
        fail_fast: args.fail_fast,
        patience: args.patience,
        ..Options::new(endpoint)
    };
    let interrupt = Interrupt::listen()?;
    // Who does not read the results any more does not want us to go on.
    let mut lost = None;
    let each = |finished: &Finished| {
        if args.output == Report::Text && lost.is_none() {
            lost = output::line(&report::line(finished)).err();
        }
    };
    let report = run::run(&options, each, interrupt.wanted()).await.map_err(|error| refused(&error))?;
    if let Some(path) = &args.junit {
        let failed = |source| Error::File { operation: "write", path: path.clone(), source };
        fs::write(path, report::junit(&report)).map_err(failed)?;
    }
    lost.map_or(Ok(()), Err)?;
    match args.output {
        Report::Text => output::print(&report::summary(&report))?,
        Report::Json => output::value(&report::json(&report), Format::Json)?,
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(args: &Validate, history: &'static History) -> Result<(), Error> {
    let checks = run::selected(&args.only).map_err(|error| refused(&error))?;
    let since = |check: &Check| knowledge::since(check.needs, &history.v1);
    if args.output == Report::Json {
        let entry = |check: &Check| json!({"name": check.name, "says": check.says, "needs": check.needs, "since": since(check).as_ref().map(Release::to_string)});
        return output::value(&checks.iter().map(entry).collect(), Format::Json);
    }
    for check in &checks {
        let since = since(check).map(|since| since.to_string()).unwrap_or_default();
        output::line(&format!("{:<8} {}\n         {}", since, check.name, check.says))?;
    }
    Ok(())
}

fn refused(error: &impl ToString) -> Error {
    Error::condition("validate", error.to_string())
}
