//! Which of an index's images runs here (OCI image specification, image-index.md; names are Go's GOOS and GOARCH).

use crate::manifest::{Descriptor, Platform};

/// Go's name of this machine's architecture.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// The image for this machine and its number, and otherwise the platforms there are.
pub(crate) fn choose(images: &[Descriptor]) -> Result<(usize, &Descriptor), String> {
    choose_for(architecture(), images)
}

fn choose_for<'a>(architecture: &str, images: &'a [Descriptor]) -> Result<(usize, &'a Descriptor), String> {
    let ranked = images
        .iter()
        .enumerate()
        .filter_map(|(number, image)| Some((rank(architecture, image.platform.as_ref())?, (number, image))));
    // The first of the best: publishers list what they prefer first.
    let best = ranked.reduce(|best, next| if next.0 < best.0 { next } else { best });
    best.map(|(_, image)| image).ok_or_else(|| {
        let there: Vec<_> = images.iter().filter_map(|image| image.platform.as_ref()).map(spell).collect();
        format!("no image for linux/{architecture}, only for [{}]", there.join(", "))
    })
}

/// How well a platform suits, less being better; nothing if it does not.
fn rank(architecture: &str, platform: Option<&Platform>) -> Option<usize> {
    // An index of one image need not say.
    let Some(platform) = platform else { return Some(usize::MAX) };
    if platform.os != "linux" || platform.architecture != architecture {
        return None;
    }
    let variant = platform.variant.as_deref().unwrap_or_default();
    variants(architecture).iter().position(|&known| known == variant)
}

/// Variants that every machine of an architecture runs, best first.
fn variants(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "amd64" => &["", "v1"],
        "arm64" => &["v8", "", "v8.0"],
        "arm" => &["v7", "", "v6", "v5"],
        _ => &[""],
    }
}

fn spell(platform: &Platform) -> String {
    let variant = platform.variant.as_deref().map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn index(platforms: &[(&str, &str, &str)]) -> Vec<Descriptor> {
        let image = |(number, (os, architecture, variant)): (usize, &(&str, &str, &str))| {
            let mut platform = serde_json::json!({"os": os, "architecture": architecture});
            if !variant.is_empty() {
                platform["variant"] = (*variant).into();
            }
            serde_json::from_value(serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": format!("sha256:{:064x}", number), "size": 1, "platform": platform,
            }))
            .unwrap()
        };
        platforms.iter().enumerate().map(image).collect()
    }

    fn chosen(architecture: &str, platforms: &[(&str, &str, &str)]) -> Option<usize> {
        let images = index(platforms);
        choose_for(architecture, &images).ok().map(|(number, _)| number)
    }

    #[test]
    fn the_same_architecture_is_chosen() {
        let there = [("windows", "amd64", ""), ("linux", "arm64", "v8"), ("linux", "amd64", "")];
        assert_eq!(chosen("amd64", &there), Some(2));
        assert_eq!(chosen("arm64", &there), Some(1));
    }

    #[test]
    fn an_older_variant_runs_and_a_newer_does_not() {
        let arm = [("linux", "arm", "v5"), ("linux", "arm", "v7"), ("linux", "arm", "v6")];
        assert_eq!(chosen("arm", &arm), Some(1));
        assert_eq!(chosen("amd64", &[("linux", "amd64", "v3")]), None);
    }

    #[test]
    fn attestations_are_not_images() {
        assert_eq!(chosen("amd64", &[("unknown", "unknown", "")]), None);
    }

    #[test]
    fn the_error_names_what_there_is() {
        let error = choose_for("amd64", &index(&[("linux", "arm", "v7")])).unwrap_err();
        assert_eq!(error, "no image for linux/amd64, only for [linux/arm/v7]");
    }
}
