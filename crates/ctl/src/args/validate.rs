//! The arguments of `corten validate`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use corten_cri::history::ReleaseName;

use super::Report;

/// Check whether a CRI runtime does what the CRI documents.
///
/// Black-box checks of every part of the interface, against any runtime, on the node it runs on. Everything that is made
/// is removed again, and nothing else is touched. What the runtime lacks and need not have is told apart from what it
/// does wrong; the exit code is 1 if there is anything of the latter, 2 if nothing could be checked.
#[derive(Debug, Args)]
pub struct Validate {
    /// The socket of the image service, if it is not the runtime's.
    #[arg(long, env = "IMAGE_SERVICE_ENDPOINT")]
    pub image_endpoint: Option<String>,
    /// Only the checks with such names (containers/*); may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Show the checks with what the CRI documents and since when, and run none.
    #[arg(long)]
    pub list: bool,
    /// How many checks run at once.
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// How many random sequences of calls are tried, with calls in any order.
    #[arg(long, value_name = "SEQUENCES", default_value_t = 5)]
    pub random: u32,
    /// The seed of the random sequences; by default a different one each time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Report,
    /// Also write the results to a file, as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// The runtime handler of the checks' pods; by default the runtime's own choice.
    #[arg(long, value_name = "HANDLER", default_value = "")]
    pub runtime_handler: String,
    /// The release of the CRI (1.33 or 1.33.2) that the runtime is to be taken for: what is younger is not asked of it. By
    /// default the runtime is asked what it knows (see skew probe).
    #[arg(long, value_name = "RELEASE")]
    pub as_release: Option<ReleaseName>,
    /// Leave what failed checks made, to look at.
    #[arg(long)]
    pub keep_on_failure: bool,
    /// End with the first failure.
    #[arg(long)]
    pub fail_fast: bool,
    /// How long something may take to come about ("10s").
    #[arg(long, default_value = "10s", value_parser = super::duration)]
    pub patience: Duration,
}
