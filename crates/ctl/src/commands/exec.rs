//! `corten exec`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use corten_cri::v1;

use super::known;
use crate::{args::Exec, error::Error, runtime::Runtime};

/// Runs a command in a container; its exit code becomes ours.
pub async fn run(runtime: &Runtime, args: Exec) -> Result<ExitCode, Error> {
    let container = known(runtime).await?.running_container(&args.container)?;
    let request = v1::ExecSyncRequest { container_id: container.id, cmd: args.command, timeout: args.timeout.into() };
    let answer = runtime.exec_sync(request).await?;
    io::stderr().lock().write_all(&answer.stderr)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&answer.stdout)?;
    stdout.flush()?;
    Ok(exit_code(answer.exit_code))
}

/// A code that does not fit a process's is a failure all the same.
pub(super) fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
