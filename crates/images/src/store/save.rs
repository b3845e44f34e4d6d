//! Image archives for elsewhere: the layers are packed again, so their digests are new, and with them the images' ids.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::Sender;

use super::{Inner, Store, check, pull::Hold};
use crate::{
    Error,
    archive::write::{self, Form, Part},
    digest::{Digest, Hasher},
    error::blocking,
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
}

impl Store {
    /// Writes an archive of images, in chunks; it ends when nobody takes them any more. An image asked for by a tag is
    /// in the archive by that tag, one asked for otherwise by all its tags. The same images always give the same bytes.
    pub async fn save(&self, images: &[String], form: Form, out: Sender<Bytes>) -> Result<Vec<Saved>, Error> {
        let chosen = images.iter().try_fold(Vec::new(), |chosen, name| self.inner.choose(chosen, name))?;
        let layers: BTreeSet<Digest> = chosen.iter().flat_map(|image| image.layers.iter().copied()).collect();
        let hold = Hold::new(&self.inner, layers.iter().copied());
        let packings = layers.into_iter().map(|layer| Ok((layer, self.inner.packing(layer)?)));
        let packings = packings.collect::<Result<BTreeMap<_, _>, Error>>()?;
        blocking("save images", move || {
            let saved = save(&chosen, &packings, form, out);
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
        chosen.push(Chosen { id, config, annotations: image.annotations.clone(), layers, names });
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

/// Twice over each layer: an archive names and measures a file before its content, which is known when it has been packed.
fn save(
    chosen: &[Chosen],
    packings: &BTreeMap<Digest, Packing>,
    form: Form,
    out: Sender<Bytes>,
) -> Result<Vec<Saved>, Error> {
    let mut packed = BTreeMap::new();
    for (layer, packing) in packings {
        packed.insert(*layer, measure(packing, &out)?);
    }
    let mut images = Vec::new();
    for image in chosen {
        let layers: Vec<_> = image.layers.iter().filter_map(|layer| packed.get(layer).copied()).collect();
        let config = with_layers(&image.config, &image.layers, &layers);
        let names = image.names.iter().cloned().collect();
        images.push(write::Image { config, layers, names, annotations: image.annotations.clone() });
    }
    let by_digest: BTreeMap<Digest, &Packing> =
        packed.iter().filter_map(|(layer, content)| Some((content.digest, packings.get(layer)?))).collect();
    let mut chunks = Chunks { sender: out, buffer: BytesMut::with_capacity(CHUNK) };
    for part in write::parts(&images, form) {
        match part {
            Part::Bytes(name, bytes) => write::member(&name, &bytes, &mut chunks)?,
            Part::Layer(name, content) => {
                let Some(packing) = by_digest.get(&content.digest) else { continue };
                write::begin(&name, content.size, &mut chunks)?;
                let mut hashed = Hashed { hasher: Hasher::default(), out: &mut chunks };
                packing.write(&mut hashed)?;
                let (digest, size) = hashed.hasher.finish();
                if (digest, size) != (content.digest, content.size) {
                    let changed = io::Error::other("the layer was changed while it was packed");
                    return Err(Error::io("pack", &packing.directory)(changed));
                }
                write::end(size, &mut chunks)?;
            }
        }
    }
    write::finish(&mut chunks)?;
    let saved = chosen.iter().zip(&images).map(|(chosen, image)| Saved {
        id: chosen.id.to_string(),
        saved_id: Digest::of(image.config.as_bytes()).to_string(),
        names: image.names.clone(),
    });
    Ok(saved.collect())
}

fn measure(packing: &Packing, out: &Sender<Bytes>) -> Result<Content, Error> {
    let mut hashed = Hashed { hasher: Hasher::default(), out: &mut Nobody(out) };
    packing.write(&mut hashed)?;
    let (digest, size) = hashed.hasher.finish();
    Ok(Content { digest, size })
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

/// Hashes what goes through.
struct Hashed<'a, W> {
    hasher: Hasher,
    out: &'a mut W,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Takes everything, as long as somebody waits for what comes after.
struct Nobody<'a>(&'a Sender<Bytes>);

impl Write for Nobody<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.is_closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands on what is written, in chunks.
struct Chunks {
    sender: Sender<Bytes>,
    buffer: BytesMut,
}

impl Write for Chunks {
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
