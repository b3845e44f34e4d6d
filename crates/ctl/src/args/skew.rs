//! `corten skew`: the version skew policy of the CRI.

mod lint;
mod proxy;
mod test;

use clap::{Args, Subcommand, ValueEnum};
use corten_cri::history::ReleaseName;

pub use self::{
    lint::{FailOn, Lint},
    proxy::{Proxy, Replay},
    test::Test,
};

/// What of the skew policy.
#[derive(Debug, Subcommand)]
pub enum Skew {
    /// Show what came, went and changed in the CRI, release by release.
    History(History),
    /// Find out which CRI the runtime implements, what it lacks, and which kubelets it fits. Changes nothing.
    Probe(Probe),
    /// Stand between clients and a runtime: as another release of either, with faults, or writing everything down.
    ///
    /// Every call goes by as bytes: nothing is lost or changed that the options do not say, services that are not the CRI's
    /// included. With --runtime-as or --kubelet-as a version of the API (v1, v1alpha2) that the runtime lacks is translated to
    /// the one it has. Ends with SIGTERM or Ctrl-C.
    Proxy(Proxy),
    /// Send calls that the proxy has written down to another runtime, and tell what goes otherwise.
    ///
    /// The calls are sent one after another in the order they were made; those that their client gave up are left out. The
    /// ids that the runtime gives to pods, containers and images take the places of the recorded ones. The exit code is 1 if
    /// a call ended with another status than recorded (or, with --compare, with another answer).
    Replay(Replay),
    /// Try every pair of releases that the policy lets meet against a runtime.
    Test(Test),
    /// Show what one version of the CRI breaks of another, by the rules of the policy.
    Lint(Lint),
    /// Run the checks of `corten validate` against a runtime whose answers are made wrong, one fault after the other.
    ///
    /// For those who write checks: which fault does no check notice? Needs a runtime that passes them, and that nobody else uses meanwhile.
    #[command(hide = true)]
    Mutate(Mutate),
}

/// How to print what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Report {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// A version of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Api {
    /// `runtime.v1`.
    #[default]
    V1,
    /// `runtime.v1alpha2`, until 1.25.
    V1alpha2,
}

#[derive(Debug, Args)]
pub struct History {
    /// From this release on (1.33 or 1.33.2; a minor whole).
    #[arg(long, value_name = "RELEASE")]
    pub since: Option<ReleaseName>,
    /// Up to this release (a minor whole).
    #[arg(long, value_name = "RELEASE")]
    pub until: Option<ReleaseName>,
    /// Only what became of this message or enum.
    #[arg(long, value_name = "NAME")]
    pub message: Option<String>,
    /// Of which version of the interface.
    #[arg(long, value_enum, default_value_t)]
    pub api: Api,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Report,
}

/// Find out which CRI the runtime implements, what it lacks, and which kubelets it fits. Changes nothing.
///
/// Exits with 0 if the runtime fits the kubelet (or none was given), 1 if something breaks, 2 if it could not be asked.
#[derive(Debug, Args)]
pub struct Probe {
    /// Also tell what degrades or breaks with this kubelet (1.33 or 1.33.2).
    #[arg(long, value_name = "RELEASE")]
    pub kubelet: Option<ReleaseName>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Report,
}

#[derive(Debug, Args)]
pub struct Mutate {
    /// Only the mutations with this in their name.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// Only every so many of them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub every: u16,
    /// Leave out so many at the beginning; with --every, to share them among several runtimes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub from: u16,
}
