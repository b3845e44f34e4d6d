//! `corten exec`

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use corten_cri::v1;
use corten_streaming::{
    client,
    remote_command::{Outcome, Wanted},
};

use super::known;
use crate::{
    args::{Exec, Streaming},
    error::Error,
    output,
    remote::{
        open::{self, Way},
        session::{self, End, Local, Screen},
    },
    runtime::Runtime,
    table::short_id,
};

impl From<Streaming> for Way {
    fn from(streaming: Streaming) -> Self {
        Self { choice: streaming.transport, ca: streaming.tls_ca }
    }
}

/// Runs a command in a container; its exit code becomes ours.
pub async fn run(runtime: &Runtime, args: Exec) -> Result<ExitCode, Error> {
    let container = known(runtime).await?.running_container(&args.container)?;
    if args.sync { sync(runtime, container.id, args).await } else { streamed(runtime, container.id, args).await }
}

async fn sync(runtime: &Runtime, container_id: String, args: Exec) -> Result<ExitCode, Error> {
    let timeout = args.timeout.unwrap_or_default().into();
    let answer = runtime.exec_sync(v1::ExecSyncRequest { container_id, cmd: args.command, timeout }).await?;
    io::stderr().lock().write_all(&answer.stderr)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&answer.stdout)?;
    stdout.flush()?;
    Ok(exit_code(answer.exit_code))
}

async fn streamed(runtime: &Runtime, container_id: String, args: Exec) -> Result<ExitCode, Error> {
    let what = format!("run {} in container {}", args.command.join(" "), short_id(&container_id));
    let wanted = wanted(args.stdin, terminal(args.stdin, args.tty));
    let request = v1::ExecRequest {
        container_id,
        cmd: args.command,
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let url = async || runtime.exec(request.clone()).await;
    let start = async |io, uri, transport| client::remote_command(io, &uri, transport, wanted).await;
    let remote = open::open(&what, &args.streaming.into(), url, start).await?;
    let local = Local { screen: wanted.tty.then_some(Screen::New), detach_keys: args.detach_keys };
    match session::run(remote, local).await? {
        End::Command(Outcome::Exited(code)) => Ok(exit_code(code)),
        End::Command(Outcome::Failed(why)) => Err(Error::condition(what, why)),
        End::Lost => Err(Error::condition(what, LOST)),
        End::Detached => Ok(detached()),
        End::Signal(signal) => Ok(signalled(signal)),
    }
}

/// What is wrong when a session breaks off.
pub(super) const LOST: &str = "the streaming connection was lost";

/// Whether the command gets a terminal: as kubectl does it, not one that we would have to type at without having one.
fn terminal(stdin: bool, tty: bool) -> bool {
    if tty && stdin && !io::stdin().is_terminal() {
        output::note("unable to use a terminal: standard input is none; the command gets plain streams");
        return false;
    }
    tty
}

/// The streams of a command. A terminal has no standard error of its own.
pub(super) fn wanted(stdin: bool, tty: bool) -> Wanted {
    Wanted { stdin, stdout: true, stderr: !tty, tty }
}

/// What the keys say and exit with.
pub(super) fn detached() -> ExitCode {
    // The cursor may be anywhere.
    let _ = writeln!(io::stderr());
    output::note("detached");
    ExitCode::SUCCESS
}

/// A code that does not fit a process's is a failure all the same.
pub(super) fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// What a shell expects of a program ended by a signal.
pub(super) fn signalled(signal: rustix::process::Signal) -> ExitCode {
    exit_code(128_i32.saturating_add(signal.as_raw()))
}
