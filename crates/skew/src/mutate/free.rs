//! What is no mutation of a correct answer because the answer stays correct: values that are the runtime's own choice.
//!
//! A field is meant by its whole path, as in `ListContainersResponse.containers[].id`; a reason for one answer is none for another.

use super::change::Change;

/// Where answers have the statistics of a container.
const CONTAINERS: [&str; 6] = [
    "ContainerStatsResponse.stats",
    "ListContainerStatsResponse.stats[]",
    "StreamContainerStatsResponse.container_stats[]",
    "PodSandboxStatsResponse.stats.linux.containers[]",
    "ListPodSandboxStatsResponse.stats[].linux.containers[]",
    "StreamPodSandboxStatsResponse.pod_sandbox_stats[].linux.containers[]",
];

/// Where answers have the statistics of a sandbox.
const SANDBOXES: [&str; 3] = [
    "PodSandboxStatsResponse.stats.linux",
    "ListPodSandboxStatsResponse.stats[].linux",
    "StreamPodSandboxStatsResponse.pod_sandbox_stats[].linux",
];

/// Where answers have extra information.
const VERBOSE: [&str; 4] =
    ["StatusResponse", "PodSandboxStatusResponse", "ContainerStatusResponse", "ImageStatusResponse"];

/// Where answers have metrics.
const METRICS: [&str; 4] = [
    "ListPodSandboxMetricsResponse.pod_metrics[].metrics[]",
    "ListPodSandboxMetricsResponse.pod_metrics[].container_metrics[].metrics[]",
    "StreamPodSandboxMetricsResponse.pod_sandbox_metrics[].metrics[]",
    "StreamPodSandboxMetricsResponse.pod_sandbox_metrics[].container_metrics[].metrics[]",
];

/// A field that may be changed in some ways.
struct Free {
    /// What it is a field of: each of these.
    roots: &'static [&'static str],
    /// Its path from there.
    path: &'static str,
    /// How it may be changed; in no other way.
    changes: &'static [Change],
    /// Why the answer stays correct.
    why: &'static str,
}

const CHANGED: &[Change] = &[Change::Changed];
const LOST: &[Change] = &[Change::Lost];
const EITHER: &[Change] = &[Change::Changed, Change::Lost];
const MAY_BE_0: &str = "may be 0: nothing has been counted yet";

const FREE: &[Free] = &[
    Free { roots: &["VersionResponse"], path: "runtime_name", changes: CHANGED, why: "any name will do" },
    Free { roots: &["VersionResponse"], path: "runtime_version", changes: CHANGED, why: "any version will do" },
    Free {
        roots: &VERBOSE,
        path: "info",
        changes: &[Change::Changed, Change::LastLost],
        why: "what verbose tells is the runtime's own; only that it tells something is documented",
    },
    Free {
        roots: &["StatusResponse"],
        path: "runtime_handlers[].name",
        changes: CHANGED,
        why: "what handlers are called is the runtime's configuration; the default one has no name and keeps it",
    },
    Free { roots: &["ListMetricDescriptorsResponse"], path: "descriptors[].help", changes: CHANGED, why: "for people" },
    Free { roots: &METRICS, path: "value.value", changes: EITHER, why: "measured; a gauge may be anything" },
    Free { roots: &CONTAINERS, path: "cpu.usage_nano_cores", changes: LOST, why: "needs a second measurement" },
    Free { roots: &CONTAINERS, path: "cpu.usage_nano_cores.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &SANDBOXES, path: "cpu.usage_nano_cores", changes: LOST, why: "needs a second measurement" },
    Free { roots: &SANDBOXES, path: "cpu.usage_nano_cores.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &CONTAINERS, path: "memory.page_faults.value", changes: EITHER, why: "counted, without a bound" },
    Free {
        roots: &CONTAINERS,
        path: "memory.major_page_faults.value",
        changes: EITHER,
        why: "counted, without a bound",
    },
    Free { roots: &SANDBOXES, path: "memory.page_faults.value", changes: EITHER, why: "counted, without a bound" },
    Free {
        roots: &SANDBOXES,
        path: "memory.major_page_faults.value",
        changes: EITHER,
        why: "counted, without a bound",
    },
    Free { roots: &CONTAINERS, path: "writable_layer.used_bytes.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &CONTAINERS, path: "writable_layer.inodes_used.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &CONTAINERS, path: "swap.swap_usage_bytes.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &CONTAINERS, path: "swap.swap_available_bytes.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &SANDBOXES, path: "network.default_interface.rx_bytes.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &SANDBOXES, path: "network.default_interface.tx_bytes.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &SANDBOXES, path: "network.default_interface.rx_errors.value", changes: LOST, why: MAY_BE_0 },
    Free { roots: &SANDBOXES, path: "network.default_interface.tx_errors.value", changes: LOST, why: MAY_BE_0 },
];

/// What depends on the kernel, with all that is in it: pressure is not measured by every one.
const KERNELS: [(&[&str], &str); 6] = [
    (&CONTAINERS, "cpu.psi"),
    (&CONTAINERS, "memory.psi"),
    (&CONTAINERS, "io"),
    (&SANDBOXES, "cpu.psi"),
    (&SANDBOXES, "memory.psi"),
    (&SANDBOXES, "io"),
];

/// Why a change of a field leaves an answer correct, if it does. The path begins with a dot.
pub fn reason(message: &str, path: &str, change: Change) -> Option<&'static str> {
    let whole = format!("{message}{path}");
    let below = |roots: &[&str]| -> Vec<String> {
        let roots = roots.iter().filter_map(|root| whole.strip_prefix(root)?.strip_prefix('.'));
        roots.map(str::to_owned).collect()
    };
    let is_free = |free: &&Free| free.changes.contains(&change) && below(free.roots).iter().any(|at| at == free.path);
    if let Some(free) = FREE.iter().find(is_free) {
        return Some(free.why);
    }
    let is_in =
        |at: &str, field: &str| at.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let kernels = KERNELS.iter().any(|(roots, field)| below(roots).iter().any(|at| is_in(at, field)));
    kernels.then_some("depends on the kernel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_free_by_its_whole_path_and_in_the_ways_that_are_named() {
        let free = [
            ("VersionResponse", ".runtime_name", Change::Changed),
            ("ContainerStatusResponse", ".info", Change::LastLost),
            ("ContainerStatsResponse", ".stats.cpu.usage_nano_cores", Change::Lost),
            ("ListPodSandboxStatsResponse", ".stats[].linux.containers[].memory.psi.Full.total", Change::Changed),
        ];
        for (message, path, change) in free {
            assert!(reason(message, path, change).is_some(), "{message}{path} {change}");
        }
        let not_free = [
            ("VersionResponse", ".runtime_name", Change::Lost),
            ("ContainerStatusResponse", ".info", Change::Lost),
            ("ContainerStatusResponse", ".status.reason", Change::Changed),
            ("ContainerStatsResponse", ".stats.cpu.timestamp", Change::Changed),
            ("ContainerStatsResponse", ".stats.cpu.usage_core_nano_seconds.value", Change::Changed),
            ("ContainerStatsResponse", ".stats.memory.psill", Change::Changed),
            ("ImageFsInfoResponse", ".image_filesystems[].used_bytes.value", Change::Lost),
        ];
        for (message, path, change) in not_free {
            assert_eq!(reason(message, path, change), None, "{message}{path} {change}");
        }
    }

    #[test]
    fn every_free_field_is_one_of_the_schema() {
        let known = super::super::catalog::places();
        let free = FREE.iter().flat_map(|free| free.roots.iter().map(|root| format!("{root}.{}", free.path)));
        let kernels = KERNELS.iter().flat_map(|(roots, field)| roots.iter().map(move |root| format!("{root}.{field}")));
        for path in free.chain(kernels) {
            assert!(known.contains(&path), "{path}");
        }
    }
}
