//! Images that are saved as they came, from the blobs that are kept. One that is damaged is not used: its image is packed
//! again, as if nothing were kept.

use std::fs;

use super::{Archive, Chosen, layer::Layer};
use crate::{
    archive::write::{Form, Image},
    digest::Digest,
    index::Original,
    manifest::Content,
    reference::Reference,
};

impl Archive<'_> {
    /// An image once for each manifest that it came by, if the form has room for them, each with its names. Nothing if it
    /// is not kept.
    pub(super) fn as_it_came(&mut self, chosen: &Chosen) -> Vec<Image> {
        match self.form {
            Form::Oci => self.with_manifests(chosen),
            Form::Docker => self.decompressed(chosen).into_iter().collect(),
        }
    }

    fn with_manifests(&mut self, chosen: &Chosen) -> Vec<Image> {
        let kept =
            chosen.originals.iter().filter_map(|original| Some((original, self.with_manifest(chosen, original)?)));
        let mut kept: Vec<_> = kept.collect();
        for name in &chosen.names {
            let place = kept.iter().position(|(original, _)| chosen.came_by(name, original)).unwrap_or(0);
            if let Some((_, image)) = kept.get_mut(place) {
                image.names.push(name.clone());
            }
        }
        if chosen.names.is_empty() {
            kept.truncate(1);
        } else {
            kept.retain(|(_, image)| !image.names.is_empty());
            // Whatever the order in which they came.
            kept.sort_by(|(_, one), (_, other)| one.names.cmp(&other.names));
        }
        kept.into_iter().map(|(_, image)| image).collect()
    }

    fn with_manifest(&mut self, chosen: &Chosen, original: &Original) -> Option<Image> {
        let layers = self.undamaged(&original.layers)?;
        let documents = original.documents.iter().map(|document| self.document(document)).collect::<Option<_>>()?;
        for layer in &layers {
            self.layers.insert(layer.digest, Layer::Blob(self.inner.blob_path(&layer.digest)));
        }
        Some(Image { documents, ..chosen.image(layers) })
    }

    /// Not every version of Docker reads each compression, and its archives have no manifest.
    fn decompressed(&mut self, chosen: &Chosen) -> Option<Image> {
        let blobs = chosen.originals.iter().find_map(|original| self.undamaged(&original.layers))?;
        let mut layers = Vec::new();
        for (blob, diff_id) in blobs.iter().zip(&chosen.layers) {
            let layer = Layer::Decompressed(self.inner.blob_path(&blob.digest));
            let content = layer.measure(self.out).ok().filter(|content| content.digest == *diff_id)?;
            self.layers.insert(*diff_id, layer);
            layers.push(content);
        }
        let names = chosen.names.iter().cloned().collect();
        (layers.len() == chosen.layers.len()).then(|| Image { names, ..chosen.image(layers) })
    }

    fn undamaged(&mut self, blobs: &[Digest]) -> Option<Vec<Content>> {
        blobs.iter().map(|blob| self.blob(blob)).collect()
    }

    /// What a kept blob comes to, if it is what its name says.
    fn blob(&mut self, blob: &Digest) -> Option<Content> {
        if let Some(known) = self.blobs.get(blob) {
            return *known;
        }
        let found = Layer::Blob(self.inner.blob_path(blob)).measure(self.out);
        let content = found.as_ref().ok().copied().filter(|content| content.digest == *blob);
        if content.is_none() && !self.out.is_closed() {
            tracing::error!(%blob, ?found, "a kept blob is damaged: its images are not saved as they came");
        }
        self.blobs.insert(*blob, content);
        content
    }

    fn document(&mut self, document: &Digest) -> Option<Vec<u8>> {
        self.blob(document)?;
        fs::read(self.inner.blob_path(document)).ok().filter(|bytes| Digest::of(bytes) == *document)
    }
}

impl Chosen {
    /// Whether a name of the image came with this manifest or index.
    fn came_by(&self, name: &str, original: &Original) -> bool {
        let (Ok(name), Some(top)) = (name.parse::<Reference>(), original.documents.first()) else { return false };
        self.repo_digests.contains(&name.with_digest(*top).to_string())
    }

    /// It, with its configuration as it is, and without names.
    fn image(&self, layers: Vec<Content>) -> Image {
        let (config, annotations) = (self.config.clone(), self.annotations.clone());
        Image { config, layers, names: Vec::new(), annotations, documents: Vec::new() }
    }
}
