//! The annotations by which other tools (NRI plug-ins, kata, monitoring) recognise Kubernetes' containers.

use std::collections::HashMap;

use super::SpecInput;

pub(super) fn annotations(input: &SpecInput<'_>) -> HashMap<String, String> {
    let pod = &input.pod.metadata;
    let image = &input.config.image;
    let image = if image.user_specified_image.is_empty() { &image.image } else { &image.user_specified_image };
    [
        ("container-type", "container"),
        ("container-name", input.config.metadata.name.as_str()),
        ("image-name", image.as_str()),
        ("sandbox-id", input.pod_id),
        ("sandbox-name", pod.name.as_str()),
        ("sandbox-namespace", pod.namespace.as_str()),
        ("sandbox-uid", pod.uid.as_str()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("io.kubernetes.cri.{name}"), value.to_owned()))
    .collect()
}
