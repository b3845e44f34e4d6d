//! The proxy that changes nothing.

use std::os::unix::fs::PermissionsExt;

use corten_cri::{node::LoadImageRequest, v1::*};
use corten_e2e::{
    cri::{Cri, PATIENCE, assert_refused, until},
    daemon::Setup,
    image,
    lab::{self, Lab},
    pods, streaming,
};
use corten_streaming::{client::Transport, remote_command::Wanted};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::proxied::Program;

const OUTPUT: Wanted = Wanted { stdin: false, stdout: true, stderr: false, tty: false };

#[test]
fn a_whole_pod_through_the_proxy() {
    lab::test(Setup::default(), async |lab| {
        let proxy = Program::start(&lab.paths.socket(), &[]).await;
        assert_eq!(proxy.socket.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        let cri = proxy.cri().await;
        let reference = lab.registry.push("busybox", "1", image::busybox()).await;
        cri.pull(&reference).await.unwrap();
        let config = lab.pod("through");
        let mut events = cri.runtime().get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        let pod = cri.run_pod(&config, "").await.unwrap();
        let id = cri.create(&pod, &config, &pods::sleeper("sleeper", &reference)).await.unwrap();
        cri.start(&id).await.unwrap();
        for whose in [&pod, &pod, &id, &id] {
            let event = tokio::time::timeout(PATIENCE, events.message()).await.unwrap().unwrap().unwrap();
            assert_eq!(&event.container_id, whose);
        }
        exec_works(&cri, &id).await;
        many_at_once(&cri, &id).await;
        listed_in_streams(&cri, &pod, &id).await;
        assert_eq!(load_images(&cri).await, 1, "client streaming");
        what_is_refused_is_refused(&cri).await;
        drop(events);
        cri.stop_pod(&pod).await.unwrap();
        cri.remove_pod(&pod).await.unwrap();
        drop(cri);
        assert_eq!(proxy.stop().await, Some(0));
    });
}

async fn exec_works(cri: &Cri, id: &str) {
    assert_eq!(cri.exec(id, &["echo", "sync"]).await.stdout, "sync\n");
    let url = cri.exec_url(id, &["echo", "streamed"], OUTPUT).await.unwrap();
    let session = streaming::remote_command(&url, Transport::WebSocket, OUTPUT).await.unwrap();
    assert_eq!(streaming::to_end(session).await.text(), "streamed\n");
}

/// Large and small answers, all at once on one connection.
async fn many_at_once(cri: &Cri, id: &str) {
    let large = async || {
        let script = "head -c 3000000 /dev/zero | tr '\\0' x";
        let answer = cri.exec_sync(id, &["/bin/sh", "-c", script], 60).await.unwrap();
        assert!(answer.stdout.len() == 3_000_000 && answer.stdout.iter().all(|byte| *byte == b'x'));
    };
    let small = async || {
        for _ in 0..50 {
            assert_eq!(cri.runtime().version(VersionRequest::default()).await.unwrap().into_inner().version, "0.1.0");
        }
    };
    tokio::join!(large(), small(), small(), large());
}

async fn listed_in_streams(cri: &Cri, pod: &str, id: &str) {
    let pods = cri.runtime().stream_pod_sandboxes(StreamPodSandboxesRequest::default()).await.unwrap().into_inner();
    let pods: Vec<_> = pods.map(Result::unwrap).collect().await;
    assert!(format!("{pods:?}").contains(pod));
    let all = cri.runtime().stream_containers(StreamContainersRequest::default()).await.unwrap().into_inner();
    let all: Vec<_> = all.map(Result::unwrap).collect().await;
    assert!(format!("{all:?}").contains(id));
}

async fn load_images(cri: &Cri) -> usize {
    let mut archive = Vec::new();
    image::busybox().write_archive("loaded.example.org/busybox:1", &mut archive).unwrap();
    let chunks: Vec<_> = archive.chunks(50_000).map(|chunk| LoadImageRequest { chunk: chunk.to_vec() }).collect();
    cri.node().load_image(tokio_stream::iter(chunks)).await.unwrap().into_inner().images.len()
}

async fn what_is_refused_is_refused(cri: &Cri) {
    assert_refused(cri.status("nothing").await, Code::NotFound, &["nothing"]);
}

#[test]
fn who_gives_up_gives_up_at_the_runtime_too() {
    lab::test(Setup::default(), async |lab| {
        let proxy = Program::start(&lab.paths.socket(), &[]).await;
        let (cri, id) = (proxy.cri().await, running(lab).await);
        let events = cri.runtime().get_container_events(GetEventsRequest {}).await.unwrap();
        let command = ["/bin/sh", "-c", "touch /tmp/begun; sleep 1000"];
        let call = cri.exec_sync(&id, &command, 0);
        let begun = until("the command to run", async || {
            (lab.cri.exec(&id, &["test", "-e", "/tmp/begun"]).await.code == 0).then_some(())
        });
        tokio::select! {
            ended = call => panic!("{ended:?}"),
            () = begun => {}
        }
        // The daemon's log has every frame that it gets.
        let cancelled = async |times| {
            let frame = "error_code: CANCEL }";
            until("the runtime to be told", async || (lab.daemon.log().matches(frame).count() >= times).then_some(()))
                .await;
        };
        cancelled(1).await;
        drop(events);
        cancelled(2).await;
    });
}

/// A container that does nothing.
async fn running(lab: &Lab) -> String {
    let (image, config) = (lab.busybox().await, lab.pod("running"));
    let pod = lab.run_pod(&config).await;
    lab.start(&pod, &config, &pods::script("sleeper", &image, "while :; do sleep 3600; done")).await
}

#[test]
fn a_runtime_that_goes_is_unavailable_and_one_that_comes_back_is_found() {
    lab::test(Setup::default(), async |lab| {
        let proxy = Program::start(&lab.paths.socket(), &[]).await;
        let cri = proxy.cri().await;
        let version = async || cri.runtime().version(VersionRequest::default()).await;
        version().await.unwrap();
        let mut events = cri.runtime().get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        lab.daemon.crash();
        assert_refused(events.message().await, Code::Unavailable, &["error reading from server: EOF"]);
        let dialing = format!(
            "connection error: desc = \"transport: Error while dialing: dial unix {}: connect: connection refused\"",
            lab.paths.socket().display()
        );
        assert_refused(version().await, Code::Unavailable, &[&dialing]);
        lab.restart().await;
        until("the runtime to be found", async || version().await.ok()).await;
    });
}
