//! Getting an image: manifest, configuration, and its layers all at once.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{io::AsyncRead, task::JoinSet};

use super::{Inner, State, fetch::Wanted, hold::Hold, progress::Progress, source::Source};
use crate::{
    Auth, Error, Fault, Image,
    archive::Layout,
    covered::{self, Layer},
    digest::Digest,
    error::blocking,
    image::ImageLayer,
    index::{ImageRecord, Original, Step},
    manifest::{self, Content, Manifest},
    reference::{Reference, Version},
    registry::{Fetched, Session},
};

/// An index may lead to another index, but not forever.
const INDEX_DEPTH: usize = 3;
/// Of what one image came as, so many are kept.
const ORIGINALS: usize = 8;

/// One image, as its manifest describes it.
struct Plan {
    id: Digest,
    config: String,
    layers: Vec<(Content, Digest)>,
    /// Bytes of manifest, configuration and compressed layers.
    size: u64,
    annotations: BTreeMap<String, String>,
    /// What it comes as.
    original: Original,
    /// Whether that is kept.
    keep: bool,
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
        let (mut plan, documents) = self.plan(&source, top, shown).await?;
        let id = plan.id;
        let diff_ids = || plan.layers.iter().map(|(_, diff_id)| *diff_id);
        let hold = Hold::new(&self, diff_ids().chain(plan.original.blobs().copied()));
        plan.keep = source.has_originals() && self.state().keeps(&id, &plan.original, &plan.layers);
        self.layers(&source, &plan, shown, progress).await?;
        // Somebody who keeps nothing may have got a layer meanwhile.
        let in_vain = plan.keep && !self.state().can_keep(&id, &plan.original);
        plan.keep &= !in_vain;
        let documents = if plan.keep { documents } else { Vec::new() };
        let covered = self.covered(plan.layers.iter().map(|(_, diff_id)| *diff_id).collect(), shown).await?;
        self.keep_documents(documents).await?;
        let turn = self.turn().await;
        let (mut steps, too_many) = self.state().steps_to_put(&plan, covered);
        steps.extend(name.map(|name| State::steps_to_name(name, Some(digest), id)).into_iter().flatten());
        self.apply(turn, steps).await?;
        drop(hold);
        let image = self.state().get(&id);
        if (in_vain || too_many)
            && let Err(error) = self.collect().await
        {
            tracing::warn!(image = %id, %error, "blobs that nothing needs stay until the next start");
        }
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

    /// Follows indexes to this machine's image and reads its configuration. Returns also the documents, in that order.
    async fn plan(&self, source: &Source, top: Fetched, shown: &str) -> Result<(Plan, Vec<Fetched>), Error> {
        let limits = &self.config.limits;
        let (mut fetched, mut documents) = (top, Vec::new());
        for _ in 0..=INDEX_DEPTH {
            let digest = fetched.digest;
            let bad = |why: String| Error::Image { reference: shown.to_owned(), why: format!("{digest}: {why}") };
            match Manifest::parse(&fetched.bytes, fetched.content_type.as_deref(), limits).map_err(bad)? {
                Manifest::Index(image) => {
                    let next = source.manifest(&Version::Digest(image.digest), limits, shown).await?;
                    documents.push(std::mem::replace(&mut fetched, next));
                    if fetched.bytes.len() as u64 != image.size {
                        let got = fetched.bytes.len();
                        return Err(bad(format!("{} has {got} bytes, want {}", image.digest, image.size)));
                    }
                }
                Manifest::Image { config, layers, annotations } => {
                    let bytes = source.blob(&config, limits.config_bytes, shown).await?;
                    documents.push(fetched);
                    let plan = Plan::new(&documents, config, layers, annotations, bytes).map_err(bad)?;
                    return Ok((plan, documents));
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
            let (inner, source) = (self.clone(), source.clone());
            let unpacking = self.state().unpacking(source.registry(), diff_id);
            progress.watch(content.digest, content.size, unpacking.clone());
            let wanted = Wanted { content, diff_id, keep: plan.keep, shown: shown.to_owned() };
            tasks.spawn(async move { inner.layer(&source, &wanted, &unpacking).await });
        }
        while let Some(result) = tasks.join_next().await {
            result.map_err(|error| Error::Task { operation: "get a layer", why: error.to_string() })??;
        }
        Ok(())
    }
}

impl Plan {
    fn new(
        documents: &[Fetched],
        config: Content,
        layers: Vec<Content>,
        annotations: BTreeMap<String, String>,
        bytes: Vec<u8>,
    ) -> Result<Self, String> {
        let (_, diff_ids) = manifest::parse_config(&bytes, layers.len())?;
        let text = String::from_utf8(bytes).map_err(|_| "the configuration is not UTF-8".to_owned())?;
        let manifest = documents.last().map_or(0, |manifest| manifest.bytes.len() as u64);
        let size = layers.iter().fold(manifest + config.size, |sum, layer| sum.saturating_add(layer.size));
        let original = Original {
            documents: documents.iter().map(|document| document.digest).collect(),
            layers: layers.iter().map(|layer| layer.digest).collect(),
        };
        let layers = layers.into_iter().zip(diff_ids).collect();
        Ok(Self { id: config.digest, config: text, layers, size, annotations, original, keep: false })
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

impl State {
    /// What records an image, and whether that lets go of something it came as. The latest of that are kept.
    fn steps_to_put(&self, plan: &Plan, covered: BTreeMap<String, Digest>) -> (Vec<Step>, bool) {
        let mut record = plan.record(covered);
        record.originals = self.originals(&plan.id).to_vec();
        let mut steps = Vec::new();
        if plan.keep {
            record.originals.retain(|original| *original != plan.original);
            record.originals.insert(0, plan.original.clone());
            steps = self.steps_to_keep(&plan.original);
        }
        let too_many = record.originals.len() > ORIGINALS;
        record.originals.truncate(ORIGINALS);
        steps.push(Step::PutImage(plan.id, record));
        (steps, too_many)
    }
}
