//! `corten skew lint`.

use clap::{Args, ValueEnum};
use corten_skew::lint::Source;

use super::Report;

/// Show what one version of the CRI breaks of another, by the rules of the policy.
///
/// Each is a release (1.25, 1.36.2, v1alpha2@1.23) or the path of an api.proto. The exit code is 1 if there is something to show
/// that --fail-on names. What a schema does not say is not seen: a comment that asks for more, a field that must now be set.
#[derive(Debug, Args)]
pub struct Lint {
    /// The older one.
    pub old: Source,
    /// The newer one.
    pub new: Source,
    /// What to fail on.
    #[arg(long, value_enum, default_value_t)]
    pub fail_on: FailOn,
    /// Also show what is new, which the policy allows.
    #[arg(short, long)]
    pub verbose: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Report,
}

/// From where on a difference is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum FailOn {
    /// What breaks the wire.
    Error,
    /// Also what breaks JSON or code.
    #[default]
    Warning,
}
