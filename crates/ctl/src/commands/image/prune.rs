//! `corten image prune`

use corten_cri::node::{PruneImagesRequest, PruneImagesResponse};

use crate::{args::Prune, error::Error, output, runtime::Runtime, table::size};

/// Clears up, and prints what was removed.
pub async fn run(runtime: &Runtime, args: Prune) -> Result<(), Error> {
    let Prune { all, dry_run } = args;
    let answer = runtime.prune_images(PruneImagesRequest { all, dry_run }).await?;
    output::print(&text(&answer, dry_run))
}

fn text(answer: &PruneImagesResponse, dry_run: bool) -> String {
    let mut text = String::new();
    for image in &answer.images {
        let names = if image.references.is_empty() { "(no tag)".to_owned() } else { image.references.join(" ") };
        text.push_str(&format!("{} {names}\n", image.id));
    }
    let (freed, count) = (size(answer.freed_bytes), answer.images.len());
    let (what, verb) =
        (if count == 1 { "image" } else { "images" }, if dry_run { "would be removed" } else { "removed" });
    text.push_str(&format!("{count} {what} {verb}, {freed} of disk space in {} files\n", answer.freed_inodes));
    text
}

#[cfg(test)]
mod tests {
    use corten_cri::node::LoadedImage;

    use super::*;

    #[test]
    fn what_went_is_told_with_its_size() {
        let image = LoadedImage { id: "sha256:1".into(), references: Vec::new() };
        let answer = PruneImagesResponse { images: vec![image], freed_bytes: 4096, freed_inodes: 2 };
        assert_eq!(text(&answer, false), "sha256:1 (no tag)\n1 image removed, 4.09kB of disk space in 2 files\n");
        let nothing = text(&PruneImagesResponse::default(), true);
        assert_eq!(nothing, "0 images would be removed, 0B of disk space in 0 files\n");
    }
}
