//! One module per command.

mod attach;
mod check;
mod exec;
mod explain_pull;
mod image;
mod images;
mod info;
mod inspect;
mod interrupt;
mod logs;
mod pods;
mod port_forward;
mod ps;
mod pull;
mod rm;
mod rmi;
mod run;
mod skew;
mod stats;
mod stop;
mod validate;
mod version;

use std::process::ExitCode;

use crate::{
    args::{Cli, Command},
    error::Error,
    output,
    resolve::Known,
    runtime::Runtime,
};

/// Does what the command line says.
///
/// # Errors
/// [`Error`]: the first thing that failed, or how many did where each has been reported.
pub async fn run(cli: Cli) -> Result<ExitCode, Error> {
    // A manifest is checked before there is a connection: its mistakes do not depend on the runtime.
    let command = match cli.command {
        Command::Run(args) => return run::run(&cli.endpoint, limit(cli.timeout), args).await,
        Command::Skew(command) => return skew::run(&cli.endpoint, command).await,
        Command::Validate(args) => return validate::run(&cli.endpoint, args).await,
        other => other,
    };
    let runtime = Runtime::connect(&cli.endpoint, limit(cli.timeout)).await?;
    match command {
        Command::Run(_) | Command::Skew(_) | Command::Validate(_) => Ok(ExitCode::SUCCESS),
        Command::Exec(args) => exec::run(&runtime, args).await,
        Command::Attach(args) => attach::run(&runtime, args).await,
        Command::PortForward(args) => done(port_forward::run(&runtime, args).await),
        Command::Check(args) => check::run(&runtime, args).await,
        Command::Pull(args) => done(pull::run(&runtime, args).await),
        Command::ExplainPull(args) => done(explain_pull::run(&runtime, args).await),
        Command::Images(args) => done(images::run(&runtime, args).await),
        Command::Pods(args) => done(pods::run(&runtime, args).await),
        Command::Ps(args) => done(ps::run(&runtime, args).await),
        Command::Logs(args) => done(logs::run(&runtime, args).await),
        Command::Stop(args) => done(stop::run(&runtime, args).await),
        Command::Rm(args) => done(rm::run(&runtime, args).await),
        Command::Rmi(args) => done(rmi::run(&runtime, args).await),
        Command::Inspect(args) => done(inspect::run(&runtime, args).await),
        Command::Stats(args) => done(stats::run(&runtime, args).await),
        Command::Version(args) => done(version::run(&runtime, args).await),
        Command::Info(args) => done(info::run(&runtime, args).await),
        Command::Image(command) => done(image::run(&runtime, command).await),
    }
}

fn done(result: Result<(), Error>) -> Result<ExitCode, Error> {
    result.map(|()| ExitCode::SUCCESS)
}

/// 0 means no limit.
fn limit(timeout: std::time::Duration) -> Option<std::time::Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

/// Everything a name or id can mean.
async fn known(runtime: &Runtime) -> Result<Known, Error> {
    let pods = runtime.pods().await?.items;
    let containers = runtime.containers().await?.containers;
    Ok(Known { pods, containers })
}

/// One result per word: prints those that went well, reports the others and goes on.
struct Each {
    all: usize,
    errors: Vec<Error>,
}

impl Each {
    fn new() -> Self {
        Self { all: 0, errors: Vec::new() }
    }

    fn add(&mut self, word: &str, result: Result<(), Error>) -> Result<(), Error> {
        self.all += 1;
        match result {
            Ok(()) => output::line(word),
            Err(error) => {
                self.errors.push(error);
                Ok(())
            }
        }
    }

    /// The only error as it is; several are reported one by one.
    fn end(mut self) -> Result<(), Error> {
        match (self.errors.len(), self.errors.pop()) {
            (_, None) => Ok(()),
            (1, Some(error)) => Err(error),
            (failed, Some(last)) => {
                self.errors.iter().chain([&last]).for_each(|error| output::note(&error.to_string()));
                Err(Error::Several { failed, all: self.all })
            }
        }
    }
}
