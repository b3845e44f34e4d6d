//! Image archives for elsewhere. An image whose blobs are kept is in them as it came. The layers of others are packed again,
//! so their digests are new, and with them the images' ids.

mod layer;
mod original;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use bytes::{Bytes, BytesMut};
use layer::Layer;
use tokio::sync::mpsc::Sender;

use super::{Inner, Store, check, hold::Hold};
use crate::{
    Error,
    archive::write::{self, Form, Part},
    digest::Digest,
    error::blocking,
    index::Original,
    layer::Packing,
    manifest::Content,
    reference::{Reference, Version},
};

/// Bytes of an archive that are handed on at once.
const CHUNK: usize = 256 << 10;

/// An image of a saved archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its id here.
    pub id: String,
    /// Its id in the archive, and wherever that is loaded.
    pub saved_id: String,
    /// The tags it has in the archive.
    pub names: Vec<String>,
}

/// An image to be saved.
struct Chosen {
    id: Digest,
    config: String,
    annotations: BTreeMap<String, String>,
    /// Lowest first.
    layers: Vec<Digest>,
    names: BTreeSet<String>,
    repo_digests: Vec<String>,
    /// What it came as, where all of that is kept, the latest first.
    originals: Vec<Original>,
}

impl Store {
    /// Writes an archive of images, in chunks; it ends when nobody takes them any more. An image asked for by a tag is
    /// in the archive by that tag, one asked for otherwise by all its tags. The same images always give the same bytes.
    pub async fn save(&self, images: &[String], form: Form, out: Sender<Bytes>) -> Result<Vec<Saved>, Error> {
        let chosen = images.iter().try_fold(Vec::new(), |chosen, name| self.inner.choose(chosen, name))?;
        let layers = chosen.iter().flat_map(|image| image.layers.iter());
        let blobs = chosen.iter().flat_map(|image| image.originals.iter().flat_map(Original::blobs));
        let hold = Hold::of_images(&self.inner, layers.chain(blobs).copied());
        let inner = self.inner.clone();
        blocking("save images", move || {
            let (packed, blobs, layers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
            let saved = Archive { inner: &inner, form, out: &out, packed, blobs, layers }.save(&chosen);
            drop(hold);
            saved
        })
        .await
    }
}

impl Inner {
    /// Adds the image that a name means, by the tags that it is to have.
    fn choose(&self, mut chosen: Vec<Chosen>, name: &str) -> Result<Vec<Chosen>, Error> {
        let missing = || Error::NotFound { reference: name.to_owned() };
        let state = self.state();
        let image = state.resolve(name)?.ok_or_else(missing)?;
        let id = image.id.parse().map_err(|_| missing())?;
        let tag = name.parse::<Reference>().ok().filter(|name| matches!(name.version(), Version::Tag(_)));
        let tag = tag.map(|tag| tag.to_string()).filter(|tag| image.repo_tags.contains(tag));
        let names = tag.map_or_else(|| image.repo_tags.iter().cloned().collect(), |tag| BTreeSet::from([tag]));
        if let Some(known) = chosen.iter_mut().find(|known| known.id == id) {
            known.names.extend(names);
            return Ok(chosen);
        }
        check::refuse(&state.layers, name, image.layers.iter().map(|layer| &layer.diff_id))?;
        let layers = image.layers.iter().map(|layer| layer.diff_id).collect();
        let config = state.config(&id).ok_or_else(missing)?;
        let originals = state.originals(&id).iter().filter(|original| state.is_whole(original)).cloned().collect();
        let (annotations, repo_digests) = (image.annotations.clone(), image.repo_digests.clone());
        chosen.push(Chosen { id, config, annotations, layers, names, repo_digests, originals });
        Ok(chosen)
    }

    fn packing(&self, layer: Digest) -> Result<Packing, Error> {
        let state = self.state();
        let record = state.layers.get(&layer).ok_or_else(|| Error::NotFound { reference: layer.to_string() })?;
        Ok(Packing {
            directory: self.layer_path(record.directory),
            has_root: record.has_root,
            implied: record.implied.iter().cloned().collect(),
        })
    }
}

/// An archive that is put together. Each layer is gone over twice: its digest and size come before its content.
struct Archive<'a> {
    inner: &'a Inner,
    form: Form,
    out: &'a Sender<Bytes>,
    /// What layers come to when they are packed again, by diff id.
    packed: BTreeMap<Digest, Content>,
    /// What kept blobs come to; nothing if they are damaged.
    blobs: BTreeMap<Digest, Option<Content>>,
    /// By their digest in the archive.
    layers: BTreeMap<Digest, Layer>,
}

impl Archive<'_> {
    fn save(mut self, chosen: &[Chosen]) -> Result<Vec<Saved>, Error> {
        let (mut images, mut saved) = (Vec::new(), Vec::new());
        for image in chosen {
            let mut forms = self.as_it_came(image);
            if forms.is_empty() {
                forms.push(self.packed_again(image)?);
            }
            let config = forms.first().map_or(&image.config, |form| &form.config);
            let saved_id = Digest::of(config.as_bytes()).to_string();
            let names = image.names.iter().cloned().collect();
            saved.push(Saved { id: image.id.to_string(), saved_id, names });
            images.extend(forms);
        }
        self.write(&images)?;
        Ok(saved)
    }

    fn write(&self, images: &[write::Image]) -> Result<(), Error> {
        let mut chunks = Chunks { sender: self.out, buffer: BytesMut::with_capacity(CHUNK) };
        for part in write::parts(images, self.form) {
            match part {
                Part::Bytes(name, bytes) => write::member(&name, &bytes, &mut chunks)?,
                Part::Layer(name, content) => {
                    let Some(layer) = self.layers.get(&content.digest) else { continue };
                    write::begin(&name, content.size, &mut chunks)?;
                    layer.write_measured(content, &mut chunks)?;
                    write::end(content.size, &mut chunks)?;
                }
            }
        }
        write::finish(&mut chunks)
    }

    fn packed_again(&mut self, chosen: &Chosen) -> Result<write::Image, Error> {
        let layers = chosen.layers.iter().map(|layer| self.pack(*layer)).collect::<Result<Vec<_>, _>>()?;
        let config = with_layers(&chosen.config, &chosen.layers, &layers);
        let (names, annotations) = (chosen.names.iter().cloned().collect(), chosen.annotations.clone());
        Ok(write::Image { config, layers, names, annotations, documents: Vec::new() })
    }

    fn pack(&mut self, diff_id: Digest) -> Result<Content, Error> {
        if let Some(content) = self.packed.get(&diff_id) {
            return Ok(*content);
        }
        let layer = Layer::Packed(self.inner.packing(diff_id)?);
        let content = layer.measure(self.out)?;
        self.layers.insert(content.digest, layer);
        self.packed.insert(diff_id, content);
        Ok(content)
    }
}

/// A configuration that names the layers as they are packed now: byte for byte the same if that is how they came.
pub(crate) fn with_layers(config: &str, before: &[Digest], now: &[Content]) -> String {
    let diff_ids: Vec<_> = now.iter().map(|layer| layer.digest).collect();
    if diff_ids == before {
        return config.to_owned();
    }
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(config) else { return config.to_owned() };
    value["rootfs"]["diff_ids"] = diff_ids.iter().map(Digest::to_string).collect();
    value.to_string()
}

/// Hands on what is written, in chunks.
struct Chunks<'a> {
    sender: &'a Sender<Bytes>,
    buffer: BytesMut,
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_configuration_changes_in_its_layers_alone() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let config = format!("{{\"os\": \"linux\",  \"rootfs\": {{\"type\": \"layers\", \"diff_ids\": [\"{old}\"]}}}}");
        let content = |digest| Content { digest, size: 0 };
        assert_eq!(with_layers(&config, &[old], &[content(old)]), config);
        let changed: serde_json::Value = serde_json::from_str(&with_layers(&config, &[old], &[content(new)])).unwrap();
        let wanted = serde_json::json!({"type": "layers", "diff_ids": [new.to_string()]});
        assert_eq!((&changed["os"], &changed["rootfs"]), (&"linux".into(), &wanted));
    }
}
