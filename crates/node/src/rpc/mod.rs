//! The CRI's RPCs, a file each: a request is taken apart exhaustively (no `..`: a new field is a compile error until
//! somebody decides about it), the work is done by the modules that the daemon is made of, the answer is put together.

pub mod attach;
pub mod check_images;
pub mod container_stats;
pub mod container_status;
pub mod create_container;
pub mod exec;
pub mod exec_sync;
pub mod explain_pull;
pub mod get_container_events;
pub mod image_fs_info;
pub mod image_status;
pub mod inspect_image;
pub mod list_container_stats;
pub mod list_containers;
pub mod list_images;
pub mod list_metric_descriptors;
pub mod list_pod_sandbox;
pub mod list_pod_sandbox_metrics;
pub mod list_pod_sandbox_stats;
pub mod load_image;
pub mod pod_sandbox_stats;
pub mod pod_sandbox_status;
pub mod pod_timeline;
pub mod port_forward;
pub mod prune_images;
pub mod pull;
pub mod pull_image;
pub mod remove_container;
pub mod remove_image;
pub mod remove_pod_sandbox;
pub mod reopen_container_log;
pub mod run_pod_sandbox;
pub mod runtime_config;
pub mod save_images;
pub mod start_container;
pub mod status;
pub mod stop_container;
pub mod stop_pod_sandbox;
pub mod stream_container_stats;
pub mod stream_containers;
pub mod stream_images;
pub mod stream_pod_sandbox_metrics;
pub mod stream_pod_sandbox_stats;
pub mod stream_pod_sandboxes;
pub mod tag_image;
pub mod untag_image;
pub mod update_container_resources;
pub mod update_pod_sandbox_resources;
pub mod update_runtime_config;
pub mod version;

mod batches;
mod container_config_message;
pub(crate) mod container_message;
mod image_message;
mod pod_config_message;
mod pod_info;
pub(crate) mod pod_message;
mod security_message;
mod stats_message;
mod streams;

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Verbose information by its one name, `info`, as `crictl` reads it.
fn verbose(info: &serde_json::Value) -> Result<BTreeMap<String, String>> {
    let info = serde_json::to_string(info).map_err(|error| Error::node("verbose information", error))?;
    Ok(BTreeMap::from([("info".to_owned(), info)]))
}

/// Whether `labels` has every pair of `selector`.
fn selected(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_selector_selects_what_has_all_its_labels() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let labels = map(&[("app", "web"), ("tier", "front")]);
        assert!(selected(&map(&[]), &labels));
        assert!(selected(&map(&[("app", "web")]), &labels));
        assert!(!selected(&map(&[("app", "web"), ("tier", "back")]), &labels));
        assert!(!selected(&map(&[("zone", "")]), &labels));
    }
}
