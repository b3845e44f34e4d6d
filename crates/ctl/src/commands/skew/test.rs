//! `corten skew test`

use std::{fs, process::ExitCode};

use corten_cri::{
    client,
    history::{History, Release, ReleaseName},
    survey::survey,
};
use corten_skew::matrix::{self, SKEW, Tried};
use corten_validate::run::Options;

use crate::{
    args::{Report, Test},
    commands::interrupt::Interrupt,
    error::Error,
    output,
};

/// Tries the pairs.
pub async fn run(endpoint: &str, args: Test) -> Result<ExitCode, Error> {
    let history = History::embedded().map_err(refused)?;
    let named = |name: Option<ReleaseName>| name.map(|name| history.v1.release(name)).transpose().map_err(refused);
    let newest = history.v1.newest().map_err(refused)?;
    let actual = match named(args.as_release)? {
        Some(release) => release,
        None => asked(endpoint).await?,
    };
    let near = |minor: u32| history.v1.newest_of_minor(minor);
    let oldest = history.v1.releases.iter().min().copied().unwrap_or(newest);
    let from = named(args.from)?.or_else(|| near(actual.minor.saturating_sub(SKEW))).unwrap_or(oldest);
    let to = named(args.to)?.or_else(|| near(actual.minor + SKEW)).unwrap_or(newest);
    let cells = matrix::all(history, from, to, actual).map_err(refused)?;
    if args.list {
        for cell in &cells {
            output::line(&cell.to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let options = options(endpoint, &args, actual);
    let interrupt = Interrupt::listen()?;
    // Who does not read the results any more does not want us to go on.
    let mut lost = None;
    let each = |tried: &Tried| match args.output {
        Report::Text if lost.is_none() => lost = output::line(&tried.line()).err(),
        Report::Text => {}
        Report::Json => output::note(&tried.line()),
    };
    let matrix = matrix::run(&options, &cells, each, interrupt.wanted()).await.map_err(refused)?;
    if let Some(path) = &args.junit {
        let failed = |source| Error::File { operation: "write", path: path.clone(), source };
        fs::write(path, matrix.junit()).map_err(failed)?;
    }
    lost.map_or(Ok(()), Err)?;
    match args.output {
        Report::Text => output::print(&format!("\n{}", matrix.text()))?,
        Report::Json => super::json(&matrix.json())?,
    }
    Ok(if matrix.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The newest release that the runtime may be of, by what it knows.
async fn asked(endpoint: &str) -> Result<Release, Error> {
    let connection = client::connect(endpoint).await?;
    let fit = survey(&connection).await.map_err(refused)?.release().map_err(refused)?;
    Ok(fit.newest)
}

fn options(endpoint: &str, args: &Test, actual: Release) -> Options {
    Options {
        image_endpoint: args.image_endpoint.clone(),
        only: args.only.clone(),
        jobs: usize::from(args.jobs),
        as_release: Some(actual),
        runtime_handler: args.runtime_handler.clone(),
        patience: args.patience,
        ..Options::new(endpoint)
    }
}

fn refused(error: impl ToString) -> Error {
    Error::condition("skew test", error.to_string())
}
