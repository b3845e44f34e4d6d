//! What a run is to be, and why there is none.

use std::time::Duration;

use corten_cri::{
    ApiVersion, client,
    history::{self, Release},
};

/// What to run, and against what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The runtime's socket.
    pub endpoint: String,
    /// The image service's socket, if it is another.
    pub image_endpoint: Option<String>,
    /// Patterns of the names of checks to run, `*` standing for anything; none means all.
    pub only: Vec<String>,
    /// How many checks run at once.
    pub jobs: usize,
    /// The seed of what is random.
    pub seed: u64,
    /// How many random sequences are run.
    pub sequences: u64,
    /// The runtime handler of the checks' pods; empty for the default.
    pub runtime_handler: String,
    /// The version of the interface to speak; by default the newest that both know.
    pub api: Option<ApiVersion>,
    /// The release of the CRI that the runtime is taken to implement; by default what it knows tells.
    pub as_release: Option<Release>,
    /// Whether what a failed check made is left for somebody to look at.
    pub keep_on_failure: bool,
    /// Whether the run ends with the first failure.
    pub fail_fast: bool,
    /// How long something may take to come about.
    pub patience: Duration,
    /// How long a check may take.
    pub limit: Duration,
}

impl Options {
    /// The defaults, against this endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            image_endpoint: None,
            only: Vec::new(),
            jobs: 4,
            seed: 0,
            sequences: 5,
            runtime_handler: String::new(),
            api: None,
            as_release: None,
            keep_on_failure: false,
            fail_fast: false,
            patience: Duration::from_secs(10),
            limit: Duration::from_secs(120),
        }
    }
}

/// Why the checks could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] client::Error),
    /// The table of the CRI's history is broken.
    #[error("{0}")]
    History(&'static history::Error),
    /// The release is not one.
    #[error(transparent)]
    Release(history::Error),
    /// No check has such a name.
    #[error("no check is called {0:?} (--list shows them)")]
    NoSuchCheck(String),
    /// The runtime does not answer what every run begins with.
    #[error("{rpc}: {status}")]
    Call {
        /// `Service/Method`.
        rpc: &'static str,
        /// The runtime's answer.
        status: Box<tonic::Status>,
    },
    /// The test image cannot be pulled.
    #[error(
        "the runtime does not pull the test image from {reference}, a registry of this program without TLS: {status}"
    )]
    Pull {
        /// The image.
        reference: String,
        /// The runtime's answer.
        status: Box<tonic::Status>,
    },
    /// This node does not let us work.
    #[error("{what}: {source}")]
    Node {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}
