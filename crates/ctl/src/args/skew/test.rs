//! `corten skew test`

use std::{path::PathBuf, time::Duration};

use clap::Args;
use corten_cri::history::ReleaseName;

use super::Report;
use crate::args::duration;

/// Try every pair of releases that the policy lets meet.
///
/// The checks of `corten validate` are run against the runtime for every ordered pair of minor versions at most three
/// apart, through a proxy that makes the one side look like a kubelet of one release and the other like a runtime of
/// another; then with either side newer than anything known, and in v1alpha2. What a release did not have yet is counted as
/// not supported. The exit code is 1 if a check fails for any pair, 2 if nothing could be tried.
#[derive(Debug, Args)]
pub struct Test {
    /// The oldest release; by default three minors older than the runtime.
    #[arg(long, value_name = "RELEASE")]
    pub from: Option<ReleaseName>,
    /// The newest release; by default three minors newer than the runtime, as far as known. With the newest one known,
    /// sides newer than that are tried too.
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<ReleaseName>,
    /// The release that the runtime is of; by default it is asked.
    #[arg(long, value_name = "RELEASE")]
    pub as_release: Option<ReleaseName>,
    /// The socket of the image service, if it is not the runtime's.
    #[arg(long, value_name = "SOCKET")]
    pub image_endpoint: Option<String>,
    /// Only the checks with such names (containers/*); may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// How many checks run at once.
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// How long something may take to come about ("10s").
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub patience: Duration,
    /// The runtime handler of the checks' pods; by default the runtime's own choice.
    #[arg(long, value_name = "HANDLER", default_value = "")]
    pub runtime_handler: String,
    /// Only list the pairs.
    #[arg(long)]
    pub list: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Report,
    /// Also write the results to a file, as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}
