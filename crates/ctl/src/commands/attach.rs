//! `corten attach`

use std::{process::ExitCode, time::Duration};

use corten_cri::v1;
use corten_streaming::{client, remote_command::Outcome};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    exec::{LOST, detached, exit_code, signalled, wanted},
    known,
};
use crate::{
    args::Attach,
    error::Error,
    output,
    remote::{
        open,
        session::{self, End, Local, Screen},
    },
    runtime::Runtime,
    table::short_id,
};

/// How long a container whose streams have ended may take until its status says that it has.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked for.
const INTERVAL: Duration = Duration::from_millis(20);

/// Connects to a container until it ends, and exits as it does.
pub async fn run(runtime: &Runtime, args: Attach) -> Result<ExitCode, Error> {
    let id = known(runtime).await?.running_container(&args.container)?.id;
    let what = format!("attach to container {}", short_id(&id));
    let tty = tty(&runtime.container_status(&id, true).await?, args.tty);
    let wanted = wanted(args.stdin, tty);
    let request = v1::AttachRequest {
        container_id: id.clone(),
        stdin: wanted.stdin,
        tty,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let url = async || runtime.attach(request.clone()).await;
    let start = async |io, uri, transport| client::remote_command(io, &uri, transport, wanted).await;
    let remote = open::open(&what, &args.streaming.into(), url, start).await?;
    let local = Local { screen: tty.then_some(Screen::Repaint), detach_keys: args.detach_keys };
    match session::run(remote, local).await? {
        End::Command(Outcome::Failed(why)) => Err(Error::condition(what, why)),
        End::Command(Outcome::Exited(code)) => Ok(ended(runtime, &id).await.unwrap_or(exit_code(code))),
        // A server that ends with its container may not say so.
        End::Lost => ended(runtime, &id).await.ok_or_else(|| Error::condition(what, LOST)),
        End::Detached => Ok(detached()),
        End::Signal(signal) => Ok(signalled(signal)),
    }
}

/// The exit code of a container that has ended, if the runtime knows it soon.
async fn ended(runtime: &Runtime, id: &str) -> Option<ExitCode> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let status = runtime.container_status(id, false).await.ok()?.status?;
        if status.state() == v1::ContainerState::ContainerExited {
            return Some(exit_code(status.exit_code));
        }
        if Instant::now() >= patience {
            return None;
        }
        sleep(INTERVAL).await;
    }
}

/// Whether a container has a terminal: what its status says, else what the flag does.
fn tty(status: &v1::ContainerStatusResponse, flag: bool) -> bool {
    let info = status.info.get("info").and_then(|info| serde_json::from_str(info).ok());
    let Some(known) = info.as_ref().and_then(has_terminal) else { return flag };
    if flag && !known {
        output::note("the container has no terminal: -t is ignored");
    }
    known
}

/// cortend, containerd and CRI-O show the container's OCI spec, some also its CRI configuration. In both a terminal that is
/// not mentioned is none.
fn has_terminal(info: &Value) -> Option<bool> {
    let of = |holder: &Value, field: &str| match holder.as_object()?.get(field) {
        None | Some(Value::Null) => Some(false),
        Some(value) => value.as_bool(),
    };
    let process = info.get("runtimeSpec").and_then(|spec| spec.get("process"));
    process.and_then(|process| of(process, "terminal")).or_else(|| of(info.get("config")?, "tty"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whether_there_is_a_terminal_is_in_the_spec_or_the_configuration() {
        for (info, expected) in [
            (json!({"runtimeSpec": {"process": {"terminal": true}}}), Some(true)),
            (json!({"runtimeSpec": {"process": {"args": ["sh"]}}}), Some(false)),
            (json!({"runtimeSpec": null, "config": {"tty": true}}), Some(true)),
            (json!({"config": {"image": {}}}), Some(false)),
            (json!({"runtimeSpec": {"process": {"terminal": "yes"}}}), None),
            (json!({"sandboxID": "x"}), None),
            (json!([1]), None),
        ] {
            assert_eq!(has_terminal(&info), expected, "{info}");
        }
    }

    #[test]
    fn what_is_unknown_is_what_the_flag_says() {
        let mut status = v1::ContainerStatusResponse::default();
        assert!(tty(&status, true) && !tty(&status, false));
        status.info.insert("info".to_owned(), "not JSON".to_owned());
        assert!(tty(&status, true));
        status.info.insert("info".to_owned(), json!({"config": {"tty": true}}).to_string());
        assert!(tty(&status, false));
        status.info.insert("info".to_owned(), json!({"config": {}}).to_string());
        assert!(!tty(&status, true));
    }
}
