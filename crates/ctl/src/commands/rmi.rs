//! `corten rmi`

use corten_cri::v1;

use super::Each;
use crate::{args::Rmi, error::Error, resolve, runtime::Runtime, table::short_id};

/// The fewest characters of an id that are taken for one: shorter ones are more likely names.
const MIN_PREFIX: usize = 4;

/// Removes images, and prints what was removed.
pub async fn run(runtime: &Runtime, args: Rmi) -> Result<(), Error> {
    let mut each = Each::new();
    for word in &args.images {
        let result = remove(runtime, word).await;
        each.add(word, result)?;
    }
    each.end()
}

/// The runtime normalises names and would call removing an absent image a success, so it is looked for first.
async fn remove(runtime: &Runtime, word: &str) -> Result<(), Error> {
    let images = runtime.images().await?.images;
    let id = match by_prefix(&images, word)? {
        Some(id) => id,
        None => runtime.image(word).await?.map(|image| image.id).ok_or_else(|| none(word))?,
    };
    runtime.remove_image(&id).await
}

fn none(word: &str) -> resolve::Error {
    resolve::Error::None { word: word.to_owned(), kind: "image" }
}

fn by_prefix(images: &[v1::Image], word: &str) -> Result<Option<String>, resolve::Error> {
    let digits = word.strip_prefix("sha256:").unwrap_or(word);
    if digits.len() < MIN_PREFIX || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let fits = |image: &&v1::Image| image.id.rsplit(':').next().is_some_and(|id| id.starts_with(digits));
    let fitting: Vec<_> = images.iter().filter(fits).collect();
    match fitting.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.id.clone())),
        several => {
            let candidates: Vec<_> = several.iter().map(|image| short_id(&image.id)).collect();
            Err(resolve::Error::Ambiguous { word: word.to_owned(), candidates: candidates.join(", ") })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ids_can_be_shortened_as_long_as_they_are_clear() {
        let image = |id: &str| v1::Image { id: format!("sha256:{id}"), ..v1::Image::default() };
        let images = [image("abcd1"), image("abcd2"), image("ef0123")];
        assert_eq!(by_prefix(&images, "ef01").unwrap().as_deref(), Some("sha256:ef0123"));
        assert_eq!(by_prefix(&images, "sha256:abcd1").unwrap().as_deref(), Some("sha256:abcd1"));
        assert!(by_prefix(&images, "abcd").is_err());
        assert_eq!(by_prefix(&images, "ef0").unwrap(), None, "too short");
        assert_eq!(by_prefix(&images, "busybox").unwrap(), None);
    }
}
