//! `corten skew proxy`

use clap::Args;
use corten_cri::history::ReleaseName;
use corten_skew::proxy::Fault;

/// Stand between clients and a runtime.
///
/// Every call goes by as bytes: nothing is lost or changed that the options below do not say, services that are not the
/// CRI's included. With --runtime-as or --kubelet-as a version of the
/// API (v1, v1alpha2) that the runtime lacks is translated to the one it has. Ends with SIGTERM or Ctrl-C.
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
}
