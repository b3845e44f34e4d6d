//! The command line. The doc comments are the help texts.

mod image;
mod skew;
mod streams;
mod validate;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use jiff::{SignedDuration, Timestamp};

pub use self::{
    image::{Form, Image, ImageInspect, ImageRm, ImageSave, Prune, Tag},
    skew::{Api, FailOn, History, Lint, Mutate, Probe, Proxy, Replay, Report, Skew, Test},
    streams::{Attach, Exec, PortForward, Streaming},
    validate::Validate,
};
use crate::output::Format;

/// Pods, containers and images of a Kubernetes node, through the Container Runtime Interface.
#[derive(Debug, Parser)]
#[command(name = "corten", version, propagate_version = false, disable_help_subcommand = true)]
pub struct Cli {
    /// The runtime's socket.
    #[arg(long, global = true, env = "CONTAINER_RUNTIME_ENDPOINT", default_value = "unix:///run/corten/corten.sock")]
    pub endpoint: String,
    /// How long one request may take ("30s", "2m"; 0: as long as it takes). Running a pod may take twice as long, a stop
    /// its grace period more; pulls, loads, checks and sessions have no limit.
    #[arg(long, env = "CORTEN_TIMEOUT", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Pull(Pull),
    /// Show how an image would be pulled: every host that cortend would ask, in order, and who says so. Only cortend can.
    ExplainPull(ExplainPull),
    /// List the images.
    Images(Images),
    /// Run the pods of a Kubernetes manifest.
    Run(Run),
    /// List the pods.
    Pods(List),
    /// List the containers.
    Ps(Ps),
    /// Show a container's log.
    Logs(Logs),
    /// Run a command in a container; the exit code is the command's.
    Exec(Exec),
    /// Connect to the output, and with -i to the input, of a running container.
    Attach(Attach),
    /// Forward local ports to ports of a pod.
    PortForward(PortForward),
    /// Stop pods (with their containers) or containers.
    Stop(Stop),
    /// Remove pods (with their containers) or containers.
    Rm(Rm),
    /// Remove images.
    Rmi(Rmi),
    /// Show everything about a pod or container.
    Inspect(Inspect),
    /// Show what containers use.
    Stats(Stats),
    /// Show the versions of this program and of the runtime.
    Version(OutputOnly),
    /// Show whether the runtime is ready, and its configuration.
    Info(OutputOnly),
    Check(Check),
    /// Work with images.
    #[command(subcommand)]
    Image(Image),
    /// Work with the CRI's version skew policy.
    #[command(subcommand)]
    Skew(Skew),
    Validate(Validate),
}

#[derive(Debug, Args)]
pub struct Credentials {
    /// The registry's credentials, USER or USER:PASSWORD. Better in the environment, where `ps` does not show them.
    #[arg(long = "creds", value_name = "USER[:PASSWORD]", env = "CORTEN_CREDS", hide_env_values = true)]
    pub creds: Option<String>,
    /// The same as a base64 string, as in the "auth" of a docker config.json.
    #[arg(long, value_name = "BASE64", env = "CORTEN_AUTH", hide_env_values = true, conflicts_with = "creds")]
    pub auth: Option<String>,
}

/// Pull an image and print the reference of what came.
///
/// Standard output has the reference alone. How far each layer is goes to standard error: progress bars on a terminal, else
/// a line per finished layer. Ctrl-C ends the pull (where the runtime is cortend).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  corten pull busybox
  corten pull registry.example.org/team/app@sha256:...
  image=$(CORTEN_CREDS=me:secret corten pull -q registry.example.org/team/app:1)")]
pub struct Pull {
    /// The image, as in registry.example.org/name:tag.
    pub image: String,
    /// Only the reference.
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub credentials: Credentials,
}

/// Verify the files of images on disk.
///
/// Every layer is compared with what was recorded when it was unpacked. The exit code is 1 if something is broken and
/// stays so: no container is created on it until it is pulled again.
#[derive(Debug, Args)]
pub struct Check {
    /// Only the layers of these images.
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Pull what is broken anew, by a digest of an image that has it.
    #[arg(long)]
    pub repair: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct ExplainPull {
    /// The image, as in registry.example.org/name:tag.
    pub image: String,
    /// Ask each host for the manifest, and show what it says.
    #[arg(long = "try")]
    pub ask: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct Images {
    /// Only images whose name begins so.
    pub name: Option<String>,
    /// Only the ids.
    #[arg(short, long)]
    pub quiet: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Where `run` keeps things, and `rm` finds them again.
#[derive(Debug, Args)]
pub struct Places {
    /// The directory of the pods' logs.
    #[arg(long, value_name = "DIR", env = "CORTEN_LOG_DIR", default_value = "/var/log/pods")]
    pub log_dir: PathBuf,
    /// The directory of the pods' emptyDir volumes.
    #[arg(long, value_name = "DIR", env = "CORTEN_DATA_DIR", default_value = "/var/lib/corten-run")]
    pub data_dir: PathBuf,
}

/// Run the pods of a Kubernetes manifest.
///
/// Missing images are pulled as imagePullPolicy says, the init containers run one after another, then the containers
/// start. Nothing is ever restarted, whatever restartPolicy says: there is no kubelet. What cannot be done is refused
/// by the name of its field. If a pod does not come up, everything made for it is removed again.
#[derive(Debug, Args)]
pub struct Run {
    /// The manifest (YAML or JSON, one or more v1 Pods), - for standard input.
    pub manifest: PathBuf,
    /// Wait until the containers have ended; the exit code is the first that is not 0.
    #[arg(long)]
    pub wait: bool,
    /// Remove the pods when their containers have ended, or on Ctrl-C. Implies --wait.
    #[arg(long)]
    pub rm: bool,
    /// Print only the pods' ids.
    #[arg(short, long)]
    pub quiet: bool,
    /// The cgroup to run the pods in, as the kubelet would give it.
    #[arg(long, value_name = "PATH", default_value = "")]
    pub cgroup_parent: String,
    #[command(flatten)]
    pub places: Places,
    #[command(flatten)]
    pub credentials: Credentials,
}

#[derive(Debug, Args)]
pub struct List {
    /// Only the ids.
    #[arg(short, long)]
    pub quiet: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// Also those that do not run.
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub list: List,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The container: its name, POD/NAME, its id or the beginning of it.
    pub container: String,
    /// Go on until the container has ended.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
    /// Put the time before each line.
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only lines since a time (2026-01-31T12:00:00Z) or from as long ago (10m).
    #[arg(long, value_parser = since)]
    pub since: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub struct Stop {
    /// How long to wait before killing; by default what the pod says, else 30.
    #[arg(short, long, value_name = "SECONDS")]
    pub time: Option<u32>,
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "POD|CONTAINER")]
    pub targets: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// Also what still runs.
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub places: Places,
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "POD|CONTAINER")]
    pub targets: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Rmi {
    /// Names, ids or beginnings of ids.
    #[arg(required = true)]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// Names, ids or beginnings of ids.
    #[arg(value_name = "POD|CONTAINER")]
    pub target: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Json)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct Stats {
    /// Only these containers.
    pub containers: Vec<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub struct OutputOnly {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// A length of time: "30s", "1h 30m", or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let parsed: SignedDuration = text.parse().map_err(|_| "must be like 30s or 2m".to_owned())?;
    parsed.try_into().map_err(|_| "must not be negative".to_owned())
}

fn since(text: &str) -> Result<Timestamp, String> {
    let refuse = || "must be a time (2026-01-31T12:00:00Z) or a length of time (10m)".to_owned();
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = duration(text).map_err(|_| refuse())?;
    Timestamp::now().checked_sub(ago).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lengths_of_time() {
        for (text, seconds) in [("30", 30), ("30s", 30), ("2m", 120), ("1h 30m", 5400), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "-1s", "soon", "1 fortnight"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn since_is_a_time_or_a_length_of_time() {
        assert_eq!(since("2026-01-31T12:00:00Z").unwrap().as_second(), 1_769_860_800);
        assert!(since("10m").unwrap() < Timestamp::now());
        assert!(since("yesterday").is_err());
    }
}
