//! `corten skew proxy` and `corten skew replay`

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};
use corten_cri::history::ReleaseName;
use corten_skew::proxy::Fault;

use super::Report;

#[derive(Debug, Args)]
pub struct Proxy {
    /// The socket to listen on (unix:///path or a path); a stale one is replaced.
    #[arg(long, value_name = "SOCKET")]
    pub listen: String,
    /// The runtime's socket. It need not be there yet.
    #[arg(long, value_name = "SOCKET")]
    pub upstream: String,
    /// The socket of the image service, where it is another's than the runtime's.
    #[arg(long, value_name = "SOCKET")]
    pub image_upstream: Option<String>,
    /// Make the runtime look like one of this release (1.33, its newest patch release, or 1.33.2): younger RPCs are
    /// Unimplemented, younger fields and values are dropped, v1alpha2 is there up to 1.25 only.
    #[arg(long, value_name = "RELEASE")]
    pub runtime_as: Option<ReleaseName>,
    /// Make the clients look like a kubelet of this release: what is younger goes in neither direction.
    #[arg(long, value_name = "RELEASE")]
    pub kubelet_as: Option<ReleaseName>,
    /// Make both sides look this many minors (1 to 3) newer than anything known: unknown fields in every message, and from the
    /// runtime events, pods, containers and metrics with values that nobody knows.
    #[arg(long, value_name = "MINORS", value_parser = value_parser!(u32).range(1..=3), conflicts_with_all = ["runtime_as", "kubelet_as"])]
    pub newer: Option<u32>,
    /// Let calls fail or wait, as in 'RuntimeService/StopContainer: error=Unavailable "gone", delay=500ms, rate=0.1'.
    ///
    /// RPC: WHAT[, WHAT]... where RPC is Service/Method, Service/* or *, and WHAT is error=CODE ["TEXT"] (a gRPC code by
    /// name), delay=TIME, rate=SHARE (0 to 1: only so many of the calls), count=NUMBER (at most), skip=NUMBER (not the first)
    /// or at=answer (only after the runtime has done its work). May be given more than once.
    #[arg(long, value_name = "FAULT")]
    pub inject: Vec<Fault>,
    /// What the rates of --inject are drawn from: of the same number come the same faults.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// Write every call to a file, as the client sees it: a line of JSON each, once it has ended.
    ///
    /// Credentials of registries are blanked, everything else is there: the file is its owner's alone (mode 0600). What was in
    /// it is gone.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Replay {
    /// What `corten skew proxy --record` wrote.
    pub file: PathBuf,
    /// Only calls of this method (ListImages or ImageService/ListImages).
    #[arg(long, value_name = "METHOD")]
    pub only: Option<String>,
    /// How many times as fast as recorded (1 is as it was); as fast as possible without.
    #[arg(long, value_name = "NUMBER", value_parser = speed)]
    pub speed: Option<f64>,
    /// Compare the answers too, but for times, measurements and addresses.
    #[arg(long)]
    pub compare: bool,
    /// How long one call may take.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = super::super::duration)]
    pub limit: Duration,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Report,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| "must be a number above 0".to_owned())
}
