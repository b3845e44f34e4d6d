//! GetContainerEvents, and the lists as streams.

use corten_cri::{
    client::RuntimeClient,
    v1::{ContainerEventType::*, *},
};
use corten_e2e::{cri::PATIENCE, daemon::Setup, lab, pods};
use tonic::Streaming;

/// The next event, as its kind and whose it is.
async fn next(events: &mut Streaming<ContainerEventResponse>) -> ContainerEventResponse {
    tokio::time::timeout(PATIENCE, events.message()).await.expect("an event").unwrap().expect("the stream goes on")
}

async fn expect(
    events: &mut Streaming<ContainerEventResponse>,
    kind: ContainerEventType,
    id: &str,
) -> ContainerEventResponse {
    let event = next(events).await;
    assert_eq!((event.container_event_type(), event.container_id.as_str()), (kind, id));
    assert!(event.created_at > 0);
    let metadata = event.pod_sandbox_status.as_ref().and_then(|status| status.metadata.as_ref());
    assert_eq!(metadata.map(|metadata| metadata.name.as_str()), Some("told"), "whose pod it is is always said");
    event
}

#[test]
fn a_life_is_told_in_order_with_statuses() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let mut runtime = lab.cri.runtime();
        let mut events = runtime.get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        let pod_config = lab.pod("told");
        let pod = lab.run_pod(&pod_config).await;
        expect(&mut events, ContainerCreatedEvent, &pod).await;
        let started = expect(&mut events, ContainerStartedEvent, &pod).await;
        assert_eq!(started.pod_sandbox_status.unwrap().state(), PodSandboxState::SandboxReady);

        let short = lab.start(&pod, &pod_config, &pods::script("short", &image, "exit 7")).await;
        expect(&mut events, ContainerCreatedEvent, &short).await;
        expect(&mut events, ContainerStartedEvent, &short).await;
        let stopped = expect(&mut events, ContainerStoppedEvent, &short).await;
        let status = stopped.containers_statuses.iter().find(|status| status.id == short).unwrap();
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 7));

        lab.cri.remove(&short).await.unwrap();
        let deleted = expect(&mut events, ContainerDeletedEvent, &short).await;
        assert!(deleted.containers_statuses.is_empty());
        lab.cri.stop_pod(&pod).await.unwrap();
        let stopped = expect(&mut events, ContainerStoppedEvent, &pod).await;
        assert_eq!(stopped.pod_sandbox_status.unwrap().state(), PodSandboxState::SandboxNotready);
        lab.cri.remove_pod(&pod).await.unwrap();
        expect(&mut events, ContainerDeletedEvent, &pod).await;
    });
}

/// Their ends may be told before their starts are answered.
#[test]
fn what_ends_at_once_started_when_its_status_says_so() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let pod_config = lab.pod("told");
        let pod = lab.run_pod(&pod_config).await;
        let mut events = lab.cri.runtime().get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        for number in 0..10 {
            let config = pods::script(&format!("short-{number}"), &image, "exit 0");
            let short = lab.start(&pod, &pod_config, &config).await;
            let stopped = loop {
                let event = next(&mut events).await;
                if event.container_event_type() == ContainerStoppedEvent {
                    break event;
                }
            };
            let told = stopped.containers_statuses.iter().find(|status| status.id == short).unwrap();
            let status = lab.cri.status(&short).await.unwrap();
            assert_eq!((told.started_at, told.finished_at), (status.started_at, status.finished_at));
        }
    });
}

#[test]
fn everybody_who_listens_is_told_and_a_listener_may_go() {
    lab::test(Setup::default(), async |lab| {
        let listen = async || lab.cri.runtime().get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        let (mut one, two) = (listen().await, listen().await);
        drop(two);
        let mut three = listen().await;
        let pod = lab.run_pod(&lab.pod("told")).await;
        for events in [&mut one, &mut three] {
            expect(events, ContainerCreatedEvent, &pod).await;
            expect(events, ContainerStartedEvent, &pod).await;
        }
    });
}

async fn all<T>(mut stream: Streaming<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(batch) = stream.message().await.unwrap() {
        all.push(batch);
    }
    all
}

#[test]
fn streams_say_what_lists_say() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let mut runtime = lab.cri.runtime();
        let none = runtime.stream_containers(StreamContainersRequest::default()).await.unwrap().into_inner();
        assert!(all(none).await.is_empty(), "nothing is no message at all");

        let (one, two) = (lab.pod("one"), lab.pod("two"));
        let (first, second) = (lab.run_pod(&one).await, lab.run_pod(&two).await);
        lab.start(&first, &one, &pods::sleeper("a", &image)).await;
        lab.start(&second, &two, &pods::sleeper("b", &image)).await;

        let listed = runtime.list_containers(ListContainersRequest::default()).await.unwrap().into_inner().containers;
        let streamed = runtime.stream_containers(StreamContainersRequest::default()).await.unwrap().into_inner();
        let streamed: Vec<_> = all(streamed).await.into_iter().flat_map(|batch| batch.containers).collect();
        assert_eq!((streamed.len(), &streamed), (2, &listed));

        let filter = Some(ContainerFilter { pod_sandbox_id: second.clone(), ..Default::default() });
        let streamed = runtime.stream_containers(StreamContainersRequest { filter }).await.unwrap().into_inner();
        assert_eq!(all(streamed).await.iter().map(|batch| batch.containers.len()).sum::<usize>(), 1);

        let listed = runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner().items;
        let streamed = runtime.stream_pod_sandboxes(StreamPodSandboxesRequest::default()).await.unwrap().into_inner();
        let streamed: Vec<_> = all(streamed).await.into_iter().flat_map(|batch| batch.pod_sandboxes).collect();
        assert_eq!((streamed.len(), &streamed), (2, &listed));

        let streamed = runtime.stream_container_stats(StreamContainerStatsRequest::default()).await.unwrap();
        let streamed = all(streamed.into_inner()).await.into_iter().flat_map(|batch| batch.container_stats);
        assert!(streamed.map(|stats| stats.attributes.unwrap().id).eq(listed_ids(&mut runtime).await));
        let streamed = runtime.stream_pod_sandbox_stats(StreamPodSandboxStatsRequest::default()).await.unwrap();
        let streamed = all(streamed.into_inner()).await.into_iter().flat_map(|batch| batch.pod_sandbox_stats);
        let mut ids: Vec<_> = streamed.map(|stats| stats.attributes.unwrap().id).collect();
        ids.sort();
        let mut pods = vec![first.clone(), second.clone()];
        pods.sort();
        assert_eq!(ids, pods);
        let streamed = runtime.stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest {}).await.unwrap();
        let streamed = all(streamed.into_inner()).await.into_iter().flat_map(|batch| batch.pod_sandbox_metrics);
        let mut ids: Vec<_> = streamed.map(|metrics| metrics.pod_sandbox_id).collect();
        ids.sort();
        assert_eq!(ids, pods);

        let mut images = lab.cri.images();
        let listed = images.list_images(ListImagesRequest::default()).await.unwrap().into_inner().images;
        let streamed = images.stream_images(StreamImagesRequest::default()).await.unwrap().into_inner();
        let streamed: Vec<_> = all(streamed).await.into_iter().flat_map(|batch| batch.images).collect();
        assert_eq!(streamed, listed);
    });
}

async fn listed_ids(runtime: &mut RuntimeClient) -> Vec<String> {
    let listed = runtime.list_container_stats(ListContainerStatsRequest::default()).await.unwrap().into_inner().stats;
    listed.into_iter().map(|stats| stats.attributes.unwrap().id).collect()
}

/// More than one message can carry: 16 MiB. Annotations may have 256 KiB each in all.
#[test]
fn a_list_beyond_sixteen_mebibytes_comes_whole_as_a_stream() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let pod_config = lab.pod("many");
        let pod = lab.run_pod(&pod_config).await;
        let large = "x".repeat(250 * 1024);
        let mut made = Vec::new();
        for number in 0..70 {
            let mut config = pods::sleeper(&format!("c{number}"), &image);
            config.annotations.insert("large".into(), large.clone());
            made.push(lab.cri.create(&pod, &pod_config, &config).await.unwrap());
        }
        let mut runtime = lab.cri.runtime();
        let streamed = runtime.stream_containers(StreamContainersRequest::default()).await.unwrap().into_inner();
        let mut ids: Vec<_> =
            all(streamed).await.into_iter().flat_map(|batch| batch.containers).map(|container| container.id).collect();
        ids.sort();
        made.sort();
        assert_eq!(ids, made);
        // A client that takes messages as large gets the list at once, too.
        let mut patient = lab.cri.runtime().max_decoding_message_size(64 << 20);
        let listed = patient.list_containers(ListContainersRequest::default()).await.unwrap().into_inner().containers;
        assert_eq!(listed.len(), made.len());
        lab.cri.remove_pod(&pod).await.unwrap();
    });
}
