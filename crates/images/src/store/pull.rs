//! Getting an image: manifest, configuration, and its layers all at once.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio::{io::AsyncRead, sync::mpsc::Sender, task::JoinSet};

use super::{
    Inner, State,
    progress::{Phase, Progress, Unpacking},
    source::{Source, Stream},
};
use crate::{
    Auth, Error, Fault, Image,
    archive::Layout,
    covered::{self, Layer},
    digest::{Digest, Hasher},
    disk::Workspace,
    error::blocking,
    image::ImageLayer,
    index::{ImageRecord, Step},
    layer::{Blob, LayerError, Target, Unpacked, unpack_blob},
    manifest::{self, Content, Manifest},
    reference::{Reference, Version},
    registry::{Fetched, Session},
};

/// Chunks in flight between the network and the disk, each up to 128 KiB.
const CHUNKS: usize = 8;
/// An index may lead to another index, but not forever.
const INDEX_DEPTH: usize = 3;

/// One image, as its manifest describes it.
struct Plan {
    id: Digest,
    config: String,
    layers: Vec<(Content, Digest)>,
    /// Bytes of manifest, configuration and compressed layers.
    size: u64,
    annotations: BTreeMap<String, String>,
}

/// Keeps layers from being collected while an image that needs them is put together.
pub(super) struct Hold {
    inner: Arc<Inner>,
    layers: Vec<Digest>,
}

impl Hold {
    pub fn new(inner: &Arc<Inner>, layers: impl Iterator<Item = Digest>) -> Self {
        let layers: Vec<_> = layers.collect();
        let mut state = inner.state();
        layers.iter().for_each(|layer| *state.held.entry(*layer).or_default() += 1);
        drop(state);
        Self { inner: inner.clone(), layers }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        for layer in &self.layers {
            if let Some(count) = state.held.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(layer);
                }
            }
        }
    }
}

impl Inner {
    /// Pulls an image and names it.
    pub async fn pull(
        self: Arc<Self>,
        reference: Reference,
        auth: Option<Auth>,
        progress: &Progress,
    ) -> Result<Arc<Image>, Error> {
        let session = Session::open(&self.config, reference.clone(), auth).await?;
        let source = Arc::new(Source::Registry(session));
        let name = reference.to_string();
        let top = source.manifest(reference.version(), &self.config.limits, &name).await?;
        let digest = top.digest;
        let image = self.clone().import(source, top, &name, Some(&reference), progress).await;
        if image.as_ref().is_err_and(|error| error.fault() != Fault::Unavailable) {
            // What came before the fault is of no use; after a mere interruption it is.
            self.clone().collect().await?;
        }
        tracing::debug!(reference = name, %digest, ok = image.is_ok(), "pulled");
        image
    }

    /// Loads the images of an archive.
    pub async fn load(self: Arc<Self>, archive: impl AsyncRead + Unpin + Send) -> Result<Vec<Arc<Image>>, Error> {
        let layout = Layout::read(self.trash.clone(), archive, self.config.limits.clone()).await?;
        let entries = layout.images(&self.config.limits)?;
        let source = Arc::new(Source::Archive(layout));
        let mut images = Vec::new();
        for (digest, name) in entries {
            let shown = name.as_ref().map_or_else(|| digest.to_string(), Reference::to_string);
            let top = source.manifest(&Version::Digest(digest), &self.config.limits, &shown).await?;
            let image = self.clone().import(source.clone(), top, &shown, name.as_ref(), &Progress::default()).await;
            if image.is_err() {
                self.clone().collect().await?;
            }
            let image = image?;
            // It may have several names, and is told once with all of them.
            images.retain(|known: &Arc<Image>| known.id != image.id);
            images.push(image);
        }
        Ok(images)
    }

    /// Gets everything that a manifest leads to, then records it under the name.
    async fn import(
        self: Arc<Self>,
        source: Arc<Source>,
        top: Fetched,
        shown: &str,
        name: Option<&Reference>,
        progress: &Progress,
    ) -> Result<Arc<Image>, Error> {
        let digest = top.digest;
        let plan = self.plan(&source, top, shown).await?;
        let id = plan.id;
        let hold = Hold::new(&self, plan.layers.iter().map(|(_, diff_id)| *diff_id));
        self.layers(&source, &plan, shown, progress).await?;
        let covered = self.covered(plan.layers.iter().map(|(_, diff_id)| *diff_id).collect(), shown).await?;
        let mut steps = vec![Step::PutImage(id, plan.record(covered))];
        steps.extend(name.map(|name| State::steps_to_name(name, Some(digest), id)).into_iter().flatten());
        self.apply(self.turn().await, steps).await?;
        drop(hold);
        let image = self.state().get(&id);
        image.ok_or_else(|| Error::NotFound { reference: shown.to_owned() })
    }

    /// The directories whose attributes a layer hides without meaning to. Layers come lowest first.
    async fn covered(
        self: &Arc<Self>,
        mut diff_ids: Vec<Digest>,
        shown: &str,
    ) -> Result<BTreeMap<String, Digest>, Error> {
        diff_ids.reverse();
        let layers = {
            let state = self.state();
            let known = diff_ids.iter().filter_map(|diff_id| state.layers.get(diff_id));
            known.map(|layer| (self.layer_path(layer.directory), layer.implied.clone())).collect::<Vec<_>>()
        };
        let layers = layers.into_iter().map(|(path, implied)| Layer { path, implied: implied.into_iter().collect() });
        let layers: Vec<_> = layers.collect();
        let shown = shown.to_owned();
        let covered = blocking("compare layers", move || covered::find(&layers, &shown)).await?;
        Ok(covered.into_iter().filter_map(|(path, layer)| Some((path, *diff_ids.get(layer)?))).collect())
    }

    /// Follows indexes to this machine's image and reads its configuration.
    async fn plan(&self, source: &Source, top: Fetched, shown: &str) -> Result<Plan, Error> {
        let limits = &self.config.limits;
        let mut fetched = top;
        for _ in 0..=INDEX_DEPTH {
            let digest = fetched.digest;
            let bad = |why: String| Error::Image { reference: shown.to_owned(), why: format!("{digest}: {why}") };
            match Manifest::parse(&fetched.bytes, fetched.content_type.as_deref(), limits).map_err(bad)? {
                Manifest::Index(image) => {
                    fetched = source.manifest(&Version::Digest(image.digest), limits, shown).await?;
                    if fetched.bytes.len() as u64 != image.size {
                        let got = fetched.bytes.len();
                        return Err(bad(format!("{} has {got} bytes, want {}", image.digest, image.size)));
                    }
                }
                Manifest::Image { config, layers, annotations } => {
                    let bytes = source.blob(&config, limits.config_bytes, shown).await?;
                    return Plan::new(fetched.bytes.len(), config, layers, annotations, bytes).map_err(bad);
                }
            }
        }
        let why = format!("indexes are nested deeper than {INDEX_DEPTH}");
        Err(Error::Image { reference: shown.to_owned(), why })
    }

    /// Gets all layers, in parallel. The first failure ends them all.
    async fn layers(
        self: &Arc<Self>,
        source: &Arc<Source>,
        plan: &Plan,
        shown: &str,
        progress: &Progress,
    ) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for (content, diff_id) in plan.layers.clone() {
            let (inner, source, shown) = (self.clone(), source.clone(), shown.to_owned());
            let unpacking = self.state().unpacking(source.registry(), diff_id);
            progress.watch(content.digest, content.size, unpacking.clone());
            tasks.spawn(async move { inner.layer(&source, content, diff_id, &shown, &unpacking).await });
        }
        while let Some(result) = tasks.join_next().await {
            result.map_err(|error| Error::Task { operation: "get a layer", why: error.to_string() })??;
        }
        Ok(())
    }

    /// Gets one layer, unless it is there or somebody else gets it first.
    async fn layer(
        self: &Arc<Self>,
        source: &Source,
        content: Content,
        diff_id: Digest,
        shown: &str,
        unpacking: &Unpacking,
    ) -> Result<(), Error> {
        let _mine = unpacking.turn.lock().await;
        if self.state().has_layer(&diff_id) {
            unpacking.found();
            return Ok(());
        }
        // Who had the turn may have failed.
        unpacking.enter(Phase::Waiting);
        let permit = self.downloads.acquire().await;
        let (workspace, unpacked) = self.unpack_from_any(source, &content, diff_id, shown, unpacking).await?;
        drop(permit);
        unpacking.enter(Phase::Syncing);
        self.commit_layer(workspace, unpacked).await?;
        unpacking.enter(Phase::Done);
        Ok(())
    }

    /// Where the content is wrong, the next host may have the right one. A download asks all hosts that are left itself, so
    /// its other failures are final; what is wrong with the content is worth more to know than who else is away.
    async fn unpack_from_any(
        self: &Arc<Self>,
        source: &Source,
        content: &Content,
        diff_id: Digest,
        shown: &str,
        unpacking: &Unpacking,
    ) -> Result<(Workspace, Unpacked), Error> {
        let mut told: Option<Error> = None;
        for attempt in 0..source.count() {
            match self.unpack(source, attempt, content, diff_id, shown, unpacking).await {
                Err(error @ Error::Layer { .. }) if error.fault() != Fault::Node => {
                    tracing::debug!(%error, "wrong content");
                    told.get_or_insert(error);
                }
                Err(error) if error.fault() != Fault::Node => return Err(told.unwrap_or(error)),
                result => return result,
            }
        }
        Err(told.unwrap_or_else(|| Error::NotFound { reference: shown.to_owned() }))
    }

    /// Streams a blob from its source through both hashes into a fresh directory.
    async fn unpack(
        self: &Arc<Self>,
        source: &Source,
        attempt: usize,
        content: &Content,
        diff_id: Digest,
        shown: &str,
        progress: &Unpacking,
    ) -> Result<(Workspace, Unpacked), Error> {
        progress.enter(Phase::Downloading);
        let stream = source.open(attempt, content).await?;
        let (sender, blob) = Blob::channel(CHUNKS);
        let workspace = self.trash.workspace_in(&self.root.join("l"))?;
        let (trash, limits) = (self.trash.clone(), self.config.limits.clone());
        let unpacking = tokio::task::spawn_blocking(move || {
            let target = Target { directory: workspace.path(), trash: &trash, limits: &limits };
            unpack_blob(blob, &target).map(|unpacked| (workspace, unpacked))
        });
        let received = feed(stream, sender, content.size, progress).await;
        progress.enter(Phase::Unpacking);
        // Also after a failure: when a pull has ended, nothing of it goes on.
        let unpacked =
            unpacking.await.map_err(|error| Error::Task { operation: "unpack a layer", why: error.to_string() })?;
        verdict(received?, content, unpacked, diff_id).map_err(|source| Error::Layer {
            reference: shown.to_owned(),
            digest: content.digest.to_string(),
            source,
        })
    }
}

/// What of a blob arrived.
enum Received {
    All(Digest, u64),
    /// The unpacker gave up, and says why.
    Part,
    /// It is longer than its descriptor says.
    TooMuch(u64),
}

/// Passes a blob on to the unpacker, hashing it.
async fn feed(mut stream: Stream, sender: Sender<Bytes>, size: u64, progress: &Unpacking) -> Result<Received, Error> {
    let (mut hasher, mut received) = (Hasher::default(), 0);
    while let Some(chunk) = stream.chunk().await? {
        received += chunk.len() as u64;
        progress.arrived(chunk.len());
        if received > size {
            return Ok(Received::TooMuch(received));
        }
        hasher.update(&chunk);
        if sender.send(chunk).await.is_err() {
            return Ok(Received::Part);
        }
    }
    let (digest, size) = hasher.finish();
    Ok(Received::All(digest, size))
}

/// Whether a layer is what it should be. A blob that is not may fail to unpack in any way, so that is said first.
fn verdict(
    received: Received,
    content: &Content,
    unpacked: Result<(Workspace, Unpacked), LayerError>,
    diff_id: Digest,
) -> Result<(Workspace, Unpacked), LayerError> {
    match (received, unpacked) {
        (_, Err(error)) if error.fault() == Fault::Node => Err(error),
        (Received::TooMuch(got), _) => Err(mismatch("size", content.size, format!("at least {got}"))),
        (Received::All(_, size), _) if size != content.size => Err(mismatch("size", content.size, size)),
        (Received::All(digest, _), _) if digest != content.digest => Err(mismatch("digest", content.digest, digest)),
        (_, Ok((_, unpacked))) if unpacked.diff_id != diff_id => {
            Err(mismatch("digest of the uncompressed layer (diff id)", diff_id, unpacked.diff_id))
        }
        (Received::Part, Ok(_)) => Err(mismatch("size", content.size, "less")),
        (_, result) => result,
    }
}

fn mismatch(what: &'static str, want: impl ToString, got: impl ToString) -> LayerError {
    LayerError::Mismatch { what, want: want.to_string(), got: got.to_string() }
}

impl Plan {
    fn new(
        manifest: usize,
        config: Content,
        layers: Vec<Content>,
        annotations: BTreeMap<String, String>,
        bytes: Vec<u8>,
    ) -> Result<Self, String> {
        let (_, diff_ids) = manifest::parse_config(&bytes, layers.len())?;
        let text = String::from_utf8(bytes).map_err(|_| "the configuration is not UTF-8".to_owned())?;
        let size = layers.iter().fold(manifest as u64 + config.size, |sum, layer| sum.saturating_add(layer.size));
        let layers = layers.into_iter().zip(diff_ids).collect();
        Ok(Self { id: config.digest, config: text, layers, size, annotations })
    }

    fn record(&self, covered: BTreeMap<String, Digest>) -> ImageRecord {
        let layer = |(content, diff_id): &(Content, Digest)| ImageLayer {
            diff_id: *diff_id,
            blob: content.digest,
            size: content.size,
        };
        let layers = self.layers.iter().map(layer).collect();
        let mut record = ImageRecord::new(self.config.clone(), self.size, layers, covered);
        record.annotations.clone_from(&self.annotations);
        record
    }
}
