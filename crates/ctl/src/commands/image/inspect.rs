//! `corten image inspect`

use corten_cri::node::InspectImageResponse;
use serde_json::{Value, json};

use crate::{args::ImageInspect, error::Error, output, runtime::Runtime};

/// Prints everything about images: one list of them.
pub async fn run(runtime: &Runtime, args: ImageInspect) -> Result<(), Error> {
    let mut images = Vec::new();
    for name in &args.images {
        images.push(value(&runtime.inspect_image(name).await?));
    }
    output::value(&Value::from(images), args.output)
}

fn value(image: &InspectImageResponse) -> Value {
    let config: Value = serde_json::from_str(&image.config).unwrap_or(Value::Null);
    let field = |name: &str| config.get(name).cloned().unwrap_or(Value::Null);
    let layers = image.layers.iter().map(|layer| {
        json!({
            "diffId": layer.diff_id, "digest": layer.digest, "size": layer.size,
            "diskBytes": layer.disk_bytes, "diskInodes": layer.disk_inodes,
        })
    });
    json!({
        "id": image.id,
        "repoTags": image.repo_tags,
        "repoDigests": image.repo_digests,
        "size": image.size,
        "diskBytes": image.layers.iter().map(|layer| layer.disk_bytes).sum::<u64>(),
        "pinned": image.pinned,
        "platform": {"os": field("os"), "architecture": field("architecture"), "variant": field("variant")},
        "annotations": image.annotations,
        "layers": layers.collect::<Vec<_>>(),
        "containers": image.containers,
        "config": config,
    })
}
