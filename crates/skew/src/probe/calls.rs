//! Calls that tell an RPC which is there from one that is also implemented.
//!
//! Servers built with cri-api may have RPCs in their tables that answer `Unimplemented` all the same. What is called
//! only reads, or is about an id that nobody has, which is the first thing every runtime looks at.

use std::time::Duration;

use corten_cri::{
    ApiVersion,
    client::{Connection, is_unimplemented, raw},
    survey::{Finding, Survey},
    v1::{
        CheckpointContainerRequest, CheckpointPodRequest, ContainerStatsRequest, PodSandboxStatsRequest,
        UpdatePodSandboxResourcesRequest,
    },
};
use prost::Message;

use super::call;

/// An id that no pod and no container has: ids are hexadecimal.
const NOBODY: &str = "corten-skew-probe-asks-for-nobody";

/// How long a stream of events is waited for: without any, an open stream says nothing.
const LISTEN: Duration = Duration::from_secs(1);

/// An undecodable request.
const UNDECODABLE: [u8; 1] = [0];

/// RPCs that take no argument and only read.
const READERS: [&str; 8] = [
    "ImageService/StreamImages",
    "RuntimeService/ListContainerStats",
    "RuntimeService/ListMetricDescriptors",
    "RuntimeService/ListPodSandboxMetrics",
    "RuntimeService/StreamContainerStats",
    "RuntimeService/StreamContainers",
    "RuntimeService/StreamPodSandboxStats",
    "RuntimeService/StreamPodSandboxes",
];

/// Restoring cannot be tried without effect. It came with CheckpointPod, and goes by that.
const RESTORE: (&str, &str) = ("RuntimeService/RestorePod", "RuntimeService/CheckpointPod");

const EVENTS: &str = "RuntimeService/GetContainerEvents";

/// The versions of the interface that are served, the newest first.
pub(super) async fn versions(connection: &Connection) -> Vec<ApiVersion> {
    let mut served = vec![connection.version()];
    // From a connection in v1alpha2 there is nothing to ask: v1 was tried first.
    if connection.version() == ApiVersion::V1 {
        let path = ApiVersion::V1Alpha2.path("RuntimeService/Version");
        let answer = raw::call(connection, &path, UNDECODABLE.to_vec(), super::LIMIT).await;
        let has =
            answer.err().is_some_and(|status| !is_unimplemented(&status) && status.code() == tonic::Code::Internal);
        served.extend(has.then_some(ApiVersion::V1Alpha2));
    }
    served
}

/// The RPCs that the runtime knows and does not implement. Answers of calls that only read become part of the survey.
pub(super) async fn unimplemented(connection: &Connection, survey: &mut Survey) -> Vec<&'static str> {
    let events = has(survey, EVENTS);
    let (listened, events) = tokio::join!(survey.listen(connection), async { events && no_events(connection).await });
    let refused = listened.into_iter().filter(|(_, status)| is_unimplemented(status));
    let mut found: Vec<&'static str> = refused.map(|(rpc, _)| rpc).collect();
    found.extend(events.then_some(EVENTS));
    let readers = READERS.into_iter().map(|rpc| (rpc, Vec::new()));
    for (rpc, message) in readers.chain(about_nobody()) {
        if has(survey, rpc) && call(connection, rpc, message).await.is_err_and(|status| is_unimplemented(&status)) {
            found.push(rpc);
        }
    }
    let (restore, checkpoint) = RESTORE;
    if has(survey, restore) && found.contains(&checkpoint) {
        found.push(restore);
    }
    found
}

fn has(survey: &Survey, rpc: &str) -> bool {
    survey.rpcs.get(rpc) == Some(&Finding::Has)
}

async fn no_events(connection: &Connection) -> bool {
    let answer = raw::call(connection, &ApiVersion::V1.path(EVENTS), Vec::new(), LISTEN).await;
    answer.is_err_and(|status| is_unimplemented(&status))
}

fn about_nobody() -> [(&'static str, Vec<u8>); 5] {
    let nobody = || NOBODY.to_owned();
    [
        (
            "RuntimeService/CheckpointContainer",
            CheckpointContainerRequest { container_id: nobody(), ..Default::default() }.encode_to_vec(),
        ),
        (
            "RuntimeService/CheckpointPod",
            CheckpointPodRequest { pod_sandbox_id: nobody(), ..Default::default() }.encode_to_vec(),
        ),
        ("RuntimeService/ContainerStats", ContainerStatsRequest { container_id: nobody() }.encode_to_vec()),
        ("RuntimeService/PodSandboxStats", PodSandboxStatsRequest { pod_sandbox_id: nobody() }.encode_to_vec()),
        (
            "RuntimeService/UpdatePodSandboxResources",
            UpdatePodSandboxResourcesRequest { pod_sandbox_id: nobody(), ..Default::default() }.encode_to_vec(),
        ),
    ]
}
