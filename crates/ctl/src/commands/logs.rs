//! `corten logs`

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use corten_cri::v1;

use super::known;
use crate::{
    args::Logs,
    error::Error,
    logs::{Follower, Printer, Progress, Stream, View},
    output,
    runtime::Runtime,
};

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Prints a container's log: its standard output to ours, its standard error to ours.
pub async fn run(runtime: &Runtime, args: Logs) -> Result<(), Error> {
    let id = known(runtime).await?.container(&args.container)?.id;
    let path = log_path(runtime, &id).await?;
    let failed = |source| Error::File { operation: "read log", path: path.clone(), source };
    let mut follower = match wait_for(runtime, &id, &path, &args).await? {
        Some(follower) => follower.map_err(failed)?,
        None => return Ok(()),
    };
    let mut printer = Printer::new(View { timestamps: args.timestamps, since: args.since });
    let mut each = |line: &[u8]| print(&mut printer, line);
    loop {
        // The state is asked for before the file is read, so that nothing written before the end is missed.
        let going_on = args.follow && is_going_on(runtime, &id).await?;
        while follower.read(&mut each)? == Progress::Lines {}
        if !going_on {
            return follower.finish(&mut each);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The last lines of a log that may be anything, for an error message.
pub(super) fn excerpt(path: &Path, lines: usize) -> io::Result<String> {
    let mut follower = Follower::open(path, Some(lines))?;
    let mut printer = Printer::new(View::default());
    let mut text = Vec::new();
    let mut each = |line: &[u8]| {
        if let Ok(Some((_, bytes))) = printer.line(line) {
            text.extend_from_slice(&bytes);
        }
        io::Result::Ok(())
    };
    while follower.read(&mut each)? == Progress::Lines {}
    follower.finish(&mut each)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Opens the log; a container that is to be followed and has not started has none yet. `None` when it never got one.
async fn wait_for(
    runtime: &Runtime,
    id: &str,
    path: &Path,
    args: &Logs,
) -> Result<Option<io::Result<Follower>>, Error> {
    loop {
        let going_on = args.follow && is_going_on(runtime, id).await?;
        match Follower::open(path, args.tail) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && going_on => tokio::time::sleep(INTERVAL).await,
            Err(error) if error.kind() == io::ErrorKind::NotFound && args.follow => return Ok(None),
            other => return Ok(Some(other)),
        }
    }
}

async fn log_path(runtime: &Runtime, id: &str) -> Result<PathBuf, Error> {
    let status = runtime.container_status(id, false).await?.status.unwrap_or_default();
    if status.log_path.is_empty() {
        return Err(Error::condition(
            format!("logs of {id}"),
            "the container has no log (it was created without a path)",
        ));
    }
    Ok(PathBuf::from(status.log_path))
}

/// Whether the container may still write.
async fn is_going_on(runtime: &Runtime, id: &str) -> Result<bool, Error> {
    use v1::ContainerState::{ContainerCreated, ContainerRunning};
    match runtime.container_status(id, false).await {
        Err(error) if error.is_not_found() => Ok(false),
        other => Ok(matches!(other?.status.unwrap_or_default().state(), ContainerCreated | ContainerRunning)),
    }
}

fn print(printer: &mut Printer, line: &[u8]) -> Result<(), Error> {
    match printer.line(line) {
        Ok(None) => {}
        Ok(Some((Stream::Stdout, bytes))) => {
            let mut out = io::stdout().lock();
            out.write_all(&bytes)?;
            out.flush()?;
        }
        Ok(Some((Stream::Stderr, bytes))) => io::stderr().lock().write_all(&bytes)?,
        Err(error) => output::note(&format!("a line of the log was left out: {error}")),
    }
    Ok(())
}
