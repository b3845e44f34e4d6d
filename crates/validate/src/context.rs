//! What a check works with.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use corten_cri::{
    client::{Connection, ImageClient, RuntimeClient},
    v1::{StatusResponse, VersionResponse},
};
use tokio::sync::RwLock;

use crate::{
    knowledge::Knowledge,
    registry::TestRegistry,
    verdict::{Checked, Stop},
};

/// The label of everything that is made here; its value is the run's id.
pub const RUN_LABEL: &str = "validate.corten.dev/run";

/// The label that says by which check something was made.
pub const CHECK_LABEL: &str = "validate.corten.dev/check";

/// One run of the suite.
pub(crate) struct Run {
    pub(crate) connection: Connection,
    pub(crate) runtime: RuntimeClient,
    pub(crate) images: ImageClient,
    pub(crate) id: String,
    pub(crate) directory: PathBuf,
    pub(crate) handler: String,
    pub(crate) knowledge: Knowledge,
    pub(crate) version: VersionResponse,
    pub(crate) status: StatusResponse,
    pub(crate) registry: TestRegistry,
    /// The hosts of all registries whose images are the run's own.
    pub(crate) hosts: Mutex<BTreeSet<String>>,
    /// The checks' own registries. They go on until the run ends: a port that is given again would make an image of one
    /// check another's to a runtime that remembers where it is from.
    pub(crate) registries: Mutex<Vec<Arc<TestRegistry>>>,
    pub(crate) patience: Duration,
    pub(crate) seed: u64,
    /// How many random sequences are run.
    pub(crate) sequences: u64,
    /// How long a check may take.
    pub(crate) limit: Duration,
    /// Held to read by every call that makes something; who can write it knows that none is under way.
    pub(crate) making: Arc<RwLock<()>>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What belongs to one check.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) name: &'static str,
    pub(crate) directory: PathBuf,
    pub(crate) calls: Mutex<BTreeSet<&'static str>>,
    names: AtomicU32,
}

/// What a check works with: the runtime, names of its own, the test images and a directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ctx {
    run: Arc<Run>,
    own: Arc<Own>,
}

impl Ctx {
    pub(crate) fn new(run: Arc<Run>, name: &'static str) -> Self {
        let directory = run.directory.join(name.replace('/', "."));
        let own = Own { name, directory, calls: Mutex::default(), names: AtomicU32::new(0) };
        Self { run, own: Arc::new(own) }
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    /// A name that nothing else on the node has.
    pub fn unique(&self, name: &str) -> String {
        let number = self.own.names.fetch_add(1, Ordering::Relaxed);
        let check = self.own.name.replace('/', "-");
        format!("{check}-{name}-{}-{number}", self.run.id)
    }

    /// The check's own directory on the node, made when first asked for.
    ///
    /// # Errors
    /// [`Stop::Failed`] when it cannot be made.
    pub fn directory(&self) -> Checked<&Path> {
        std::fs::create_dir_all(&self.own.directory).map_err(|error| Stop::node("make a directory", error))?;
        Ok(&self.own.directory)
    }

    /// The full reference of a test image (see [`crate::image`]).
    pub fn image(&self, name: &str) -> String {
        self.run.registry.reference(name)
    }

    /// The registry that the test images are pulled from.
    pub fn registry(&self) -> &TestRegistry {
        &self.run.registry
    }

    /// A registry of the check's own, whose images nobody else pulls or removes.
    ///
    /// # Errors
    /// [`Stop::Failed`] when there is no port to be had.
    pub async fn own_registry(&self) -> Checked<Arc<TestRegistry>> {
        let registry = TestRegistry::serve(&self.unique("registry")).await;
        let registry = Arc::new(registry.map_err(|error| Stop::node("serve images", error))?);
        self.run.hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.host());
        self.run.registries.lock().unwrap_or_else(PoisonError::into_inner).push(registry.clone());
        Ok(registry)
    }

    /// What is known of the runtime.
    pub fn knowledge(&self) -> &Knowledge {
        &self.run.knowledge
    }

    /// Whether the runtime can be expected to have something (see [`crate::knowledge::Need`]).
    pub fn has(&self, need: &'static str) -> bool {
        self.run.knowledge.lacks(need).is_none()
    }

    /// The runtime's Version, as it was when the run began.
    pub fn runtime_version(&self) -> &VersionResponse {
        &self.run.version
    }

    /// The runtime's Status, as it was when the run began.
    pub fn runtime_status(&self) -> &StatusResponse {
        &self.run.status
    }

    /// The runtime handler of the checks' pods; empty for the default.
    pub fn handler(&self) -> &str {
        &self.run.handler
    }

    /// How long something may take to come about.
    pub fn patience(&self) -> Duration {
        self.run.patience
    }

    /// The seed of what is random.
    pub fn seed(&self) -> u64 {
        self.run.seed
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// Those of asking, and [`Stop::Failed`] when there is no answer within [`Ctx::patience`].
    pub async fn until<T, F>(&self, what: &str, mut ask: impl FnMut() -> F) -> Checked<T>
    where
        F: Future<Output = Checked<Option<T>>> + Send,
    {
        let deadline = tokio::time::Instant::now() + self.patience();
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Stop::failed(what, format!("it comes about within {:?}", self.patience()), "it does not"));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}
