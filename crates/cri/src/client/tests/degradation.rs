use tonic::Code;

use super::{Place, server::Server};
use crate::{
    client::{Answer, Deadlines, Event, Lists, POLLING, PodStats, Streams, connect},
    v1::{CgroupDriver, Container, UpdatePodSandboxResourcesRequest},
};

async fn lists(place: &Place, streams: Streams) -> Lists {
    Lists::new(connect(&place.endpoint()).await.unwrap(), Deadlines::default(), streams)
}

fn ids(containers: Vec<Container>) -> Vec<String> {
    containers.into_iter().map(|container| container.id).collect()
}

#[tokio::test]
async fn streams_are_collected() {
    let place = Place::new();
    let server = Server::start(&place.path(), |_| true);
    let answer = lists(&place, Streams::Prefer).await.containers(None).await.unwrap();
    match answer {
        Answer::Answered(containers) => assert_eq!(ids(containers), ["first", "second"]),
        other => panic!("{other:?}"),
    }
    assert_eq!((server.count("StreamContainers"), server.count("ListContainers")), (1, 0));

    let unary = lists(&place, Streams::Never).await.containers(None).await.unwrap();
    assert_eq!(unary.into_inner().map(ids).unwrap(), ["unary"]);
}

#[tokio::test]
async fn a_missing_stream_is_remembered_for_its_service() {
    let place = Place::new();
    let server = Server::start(&place.path(), |path| !path.contains("/Stream"));
    let lists = lists(&place, Streams::Prefer).await;
    for _ in 0..2 {
        match lists.containers(None).await.unwrap() {
            Answer::Degraded { answer, lacking, used } => {
                assert_eq!(ids(answer), ["unary"]);
                assert_eq!((lacking, used), ("RuntimeService/StreamContainers", "RuntimeService/ListContainers"));
            }
            other => panic!("{other:?}"),
        }
        lists.clone().pods(None).await.unwrap();
    }
    assert_eq!((server.count("StreamContainers"), server.count("StreamPodSandboxes")), (1, 0));
    lists.images(None).await.unwrap();
    lists.images(None).await.unwrap();
    assert_eq!(server.count("StreamImages"), 1, "the other service is asked for itself");
}

#[tokio::test]
async fn what_a_runtime_lacks_is_said() {
    let place = Place::new();
    let _server =
        Server::start(&place.path(), |path| path.ends_with("Version") || path.ends_with("/ListContainerStats"));
    let lists = lists(&place, Streams::Prefer).await;
    assert!(matches!(
        lists.cgroup_driver().await.unwrap(),
        Answer::Unsupported { lacking: "RuntimeService/RuntimeConfig", .. }
    ));
    let update = UpdatePodSandboxResourcesRequest::default();
    assert!(matches!(
        lists.update_pod_resources(update).await.unwrap(),
        Answer::Unsupported { lacking: "RuntimeService/UpdatePodSandboxResources", .. }
    ));
    assert!(matches!(
        lists.metric_descriptors().await.unwrap(),
        Answer::Unsupported { lacking: "RuntimeService/ListMetricDescriptors", .. }
    ));
    assert!(matches!(
        lists.pod_metrics().await.unwrap(),
        Answer::Unsupported { lacking: "RuntimeService/ListPodSandboxMetrics", .. }
    ));
    assert_eq!(
        lists.pod_stats(None).await.unwrap(),
        Answer::Degraded {
            answer: PodStats::Containers(Vec::new()),
            lacking: "RuntimeService/ListPodSandboxStats",
            used: "RuntimeService/ListContainerStats"
        }
    );
    assert_eq!(lists.events().next().await.unwrap(), Event::Poll(POLLING));
    // What every runtime has to have is no question of degrading.
    assert_eq!(lists.containers(None).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn what_a_runtime_has_is_used() {
    let place = Place::new();
    let _server = Server::start(&place.path(), |path| !path.contains("/Stream"));
    let lists = lists(&place, Streams::Never).await;
    assert_eq!(lists.cgroup_driver().await.unwrap(), Answer::Answered(CgroupDriver::Cgroupfs));
    assert_eq!(lists.pod_stats(None).await.unwrap(), Answer::Answered(PodStats::Pods(Vec::new())));
    let mut events = lists.events();
    match events.next().await.unwrap() {
        Event::Happened(event) => assert_eq!(event.container_id, "c"),
        other => panic!("{other:?}"),
    }
    assert_eq!(events.next().await.unwrap(), Event::Ended);
}
