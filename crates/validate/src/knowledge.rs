//! What a runtime can be expected to have.

use corten_cri::{
    ApiVersion,
    history::{History, Range, Release, Schema},
};

/// The RPCs that a runtime may leave out although its release has them: their documentation, or the kubelet's own
/// behaviour, says what happens then.
const OPTIONAL: [&str; 17] = [
    "RuntimeService/CheckpointContainer",
    "RuntimeService/CheckpointPod",
    "RuntimeService/RestorePod",
    // The kubelet goes on listing.
    "RuntimeService/GetContainerEvents",
    // The kubelet asks cAdvisor.
    "RuntimeService/ListMetricDescriptors",
    "RuntimeService/ListPodSandboxMetrics",
    "RuntimeService/PodSandboxStats",
    "RuntimeService/ListPodSandboxStats",
    // The kubelet takes its own setting.
    "RuntimeService/RuntimeConfig",
    // The kubelet ignores it.
    "RuntimeService/UpdatePodSandboxResources",
    // The kubelet takes the list.
    "RuntimeService/StreamPodSandboxes",
    "RuntimeService/StreamContainers",
    "RuntimeService/StreamContainerStats",
    "RuntimeService/StreamPodSandboxStats",
    "RuntimeService/StreamPodSandboxMetrics",
    "ImageService/StreamImages",
    // The kubelet has done without since it no longer gives pods their addresses.
    "RuntimeService/UpdateRuntimeConfig",
];

/// Something of the interface that a check needs: `Service/Method`, `Message.field`, `Message.field as type` or
/// `Enum=VALUE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need(pub &'static str);

impl Need {
    /// The releases that have it; none when the history does not know it.
    pub fn ranges<'a>(&self, schema: &'a Schema) -> Vec<&'a Range> {
        if let Some(rpc) = schema.rpcs.get(self.0) {
            return rpc.ranges.iter().collect();
        }
        if let Some((name, value)) = self.0.split_once('=') {
            let values = schema.enums.get(name).map(|found| found.values.as_slice()).unwrap_or_default();
            return values.iter().filter(|one| one.name == value).flat_map(|one| &one.ranges).collect();
        }
        let (path, wanted) = self.0.split_once(" as ").map_or((self.0, None), |(path, kind)| (path, Some(kind)));
        let Some((message, name)) = path.rsplit_once('.') else { return Vec::new() };
        let fields = schema.messages.get(message).map(|found| found.fields.as_slice()).unwrap_or_default();
        let fields = fields.iter().filter(|field| field.name == name);
        let fields = fields.filter(|field| wanted.is_none_or(|wanted| field.field_type.to_string() == wanted));
        fields.flat_map(|field| &field.ranges).collect()
    }

    /// The release that introduced it.
    pub fn since(&self, schema: &Schema) -> Option<Release> {
        self.ranges(schema).iter().map(|range| range.from).min()
    }
}

/// The release that introduced the last of several needs: the first of all when there is none.
pub fn since(needs: &[&'static str], schema: &Schema) -> Option<Release> {
    let first = schema.rpcs.values().flat_map(|rpc| &rpc.ranges).map(|range| range.from).min();
    needs.iter().filter_map(|need| Need(need).since(schema)).chain(first).max()
}

/// What is known of a runtime.
#[derive(Debug, Clone)]
pub struct Knowledge {
    api: ApiVersion,
    schema: &'static Schema,
    release: Option<Release>,
}

impl Knowledge {
    /// What is known of a runtime of this release; without one it is expected to have everything.
    pub fn of(history: &'static History, api: ApiVersion, release: Option<Release>) -> Self {
        let schema = match api {
            ApiVersion::V1 => &history.v1,
            ApiVersion::V1Alpha2 => &history.v1alpha2,
        };
        Self { api, schema, release }
    }

    /// The release of the CRI that the runtime is taken to implement.
    pub fn release(&self) -> Option<Release> {
        self.release
    }

    /// The version of the interface that is spoken.
    pub fn api(&self) -> ApiVersion {
        self.api
    }

    /// The table.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Why the runtime cannot be expected to have something.
    pub fn lacks(&self, need: &'static str) -> Option<String> {
        let release = self.release?;
        let ranges = Need(need).ranges(self.schema);
        if ranges.iter().any(|range| range.contains(release)) {
            return None;
        }
        let since = ranges.iter().map(|range| range.from).min();
        let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
        Some(format!("{need} is in the CRI{since}; the runtime is of {release}"))
    }

    /// Whether the runtime may answer that it does not implement an RPC.
    pub fn may_lack(&self, rpc: &'static str) -> bool {
        if OPTIONAL.contains(&rpc) {
            return true;
        }
        match self.release {
            Some(_) => self.lacks(rpc).is_some(),
            None => Need(rpc).since(self.schema) > since(&[], self.schema),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn history() -> &'static History {
        History::embedded().unwrap()
    }

    fn since_of(need: &'static str) -> String {
        Need(need).since(&history().v1).map(|release| release.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_release_that_introduced_a_need_comes_from_the_history() {
        assert_eq!(since_of("RuntimeService/Version"), "1.20.0");
        assert_eq!(since_of("Mount.image_sub_path"), "1.33.0");
        assert_eq!(since_of("KeyValue.value"), "1.20.0");
        assert_eq!(since_of("KeyValue.value as bytes"), "1.34.9");
        assert_eq!(since_of("NamespaceMode=TARGET"), "1.20.0");
        for nothing in ["", "Mount", "Mount.nothing", "No/Thing", "NamespaceMode=NOTHING", "KeyValue.value as bool"] {
            assert_eq!(since_of(nothing), "", "{nothing}");
        }
    }

    #[test]
    fn a_runtime_is_asked_for_what_its_release_has() {
        let at = |release: &str| Knowledge::of(history(), ApiVersion::V1, Some(release.parse().unwrap()));
        assert_eq!(
            at("1.32.0").lacks("Mount.image_sub_path").unwrap(),
            "Mount.image_sub_path is in the CRI since 1.33.0; the runtime is of 1.32.0"
        );
        assert!(at("1.33.0").lacks("Mount.image_sub_path").is_none());
        assert!(at("1.35.0").lacks("KeyValue.value as bytes").is_some(), "1.34.9 has it, 1.35.0 not");
        assert!(Knowledge::of(history(), ApiVersion::V1, None).lacks("Mount.image_sub_path").is_none());
    }

    #[test]
    fn what_may_be_missing_is_what_is_younger_or_optional() {
        let old = Knowledge::of(history(), ApiVersion::V1, Some("1.25.0".parse().unwrap()));
        assert!(!old.may_lack("RuntimeService/StopContainer"));
        assert!(old.may_lack("RuntimeService/RuntimeConfig"), "not there yet");
        assert!(old.may_lack("RuntimeService/GetContainerEvents"), "optional");
        assert!(!Knowledge::of(history(), ApiVersion::V1, None).may_lack("ImageService/ImageFsInfo"));
    }

    #[test]
    fn every_optional_rpc_exists() {
        for rpc in OPTIONAL {
            assert!(history().v1.rpcs.contains_key(rpc), "{rpc}");
        }
    }
}
