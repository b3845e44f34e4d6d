//! The proxy that makes either side look like another release.

use corten_cri::{
    ApiVersion, client,
    history::{History, Release, Snapshot},
    v1::*,
};
use corten_e2e::{
    cri::{Cri, PATIENCE, assert_refused},
    daemon::Setup,
    lab::{self, Lab},
    pods,
};
use corten_skew::proxy::{self, Versions};
use prost::Message;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use crate::proxied::Inside;

/// No message begins with such a tag: what knows the RPC cannot decode it.
const UNDECODABLE: [u8; 1] = [0];

fn history() -> &'static History {
    History::embedded().unwrap()
}

/// A proxy that makes the lab's daemon look like a release's, or its clients like kubelets of a release.
async fn like(lab: &Lab, kubelet: Option<&str>, runtime: Option<&str>) -> Inside {
    let name = |name: Option<&str>| name.map(|name| name.parse().unwrap());
    let versions = Versions::new(name(kubelet), name(runtime)).unwrap();
    Inside::with(|listen| proxy::Setup {
        stages: vec![Box::new(versions)],
        translate: true,
        ..proxy::Setup::plain(listen, lab.paths.socket())
    })
    .await
}

async fn call(proxy: &Inside, api: ApiVersion, method: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
    let connection = client::connect(&format!("unix://{}", proxy.socket.display())).await.unwrap();
    client::raw::call(&connection, &api.path(method), message.to_vec(), PATIENCE).await
}

fn snapshot(api: ApiVersion, at: Release) -> Option<Snapshot<'static>> {
    match api {
        ApiVersion::V1 => history().v1.in_release(at).ok(),
        ApiVersion::V1Alpha2 => history().v1alpha2.in_release(at).ok(),
    }
}

/// Whether a release has a field.
fn has(at: Release, message: &str, field: &str) -> bool {
    let snapshot = snapshot(ApiVersion::V1, at).unwrap();
    snapshot.messages.get(message).is_some_and(|fields| fields.values().any(|known| known.name == field))
}

#[test]
fn each_release_has_its_rpcs_and_fields() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        for at in &history().v1.releases {
            let proxy = like(lab, None, Some(&at.to_string())).await;
            for api in ApiVersion::ALL {
                rpcs_are_those_of(&proxy, api, *at).await;
            }
            // Every other release as the kubelet's: the fields are dropped by the same table.
            if at.minor % 2 == 0 {
                a_pod_of(lab, &proxy.cri, &image, *at).await;
            } else {
                a_pod_of(lab, &like(lab, Some(&at.to_string()), None).await.cri, &image, *at).await;
            }
        }
    });
}

async fn rpcs_are_those_of(proxy: &Inside, api: ApiVersion, at: Release) {
    let has = snapshot(api, at);
    let connection = client::connect(&format!("unix://{}", proxy.socket.display())).await.unwrap();
    for rpc in history().v1.rpcs.keys() {
        let answer = client::raw::call(&connection, &api.path(rpc), UNDECODABLE.into(), PATIENCE).await;
        let error = answer.unwrap_err();
        let (service, method) = rpc.split_once('/').unwrap();
        let expected = match &has {
            Some(snapshot) if snapshot.rpcs.contains_key(&rpc[..]) => {
                assert_eq!(error.code(), Code::Internal, "{at} {api} {rpc}: {error}");
                continue;
            }
            Some(_) => format!("unknown method {method} for service {}.{service}", api.package()),
            None => format!("unknown service {}.{service}", api.package()),
        };
        assert_eq!((error.code(), error.message()), (Code::Unimplemented, &expected[..]), "{at} {api} {rpc}");
    }
}

/// A pod's life. What a release does not have does not come to the daemon, nor to the client.
async fn a_pod_of(lab: &Lab, cri: &Cri, image: &str, at: Release) {
    let config = lab.pod("aged");
    let pod = cri.run_pod(&config, "").await.unwrap();
    let mut sleeper = pods::sleeper("sleeper", image);
    sleeper.stop_signal = Signal::Sigusr1.into();
    let id = cri.create(&pod, &config, &sleeper).await.unwrap();
    cri.start(&id).await.unwrap();
    let at_the_daemon = lab.cri.status(&id).await.unwrap();
    let expected = if has(at, "ContainerConfig", "stop_signal") { Signal::Sigusr1 } else { Signal::RuntimeDefault };
    let told = |signal: Signal| if signal == Signal::RuntimeDefault { Signal::Sigterm } else { signal };
    assert_eq!(told(at_the_daemon.stop_signal()), told(expected), "{at}");
    let at_the_client = cri.status(&id).await.unwrap();
    assert_eq!(at_the_client.id, id);
    assert_eq!(!at_the_client.image_id.is_empty(), has(at, "ContainerStatus", "image_id"), "{at}");
    assert_eq!(at_the_client.user.is_some(), has(at, "ContainerStatus", "user"), "{at}");
    assert!(!at_the_daemon.image_id.is_empty() && at_the_daemon.user.is_some());
    assert_eq!(cri.exec(&id, &["echo", "works"]).await.stdout, "works\n");
    cri.remove_pod(&pod).await.unwrap();
}

#[test]
fn streams_are_lowered_message_by_message() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let (older, kubelet) = (like(lab, None, Some("1.36.0")).await, like(lab, Some("1.25"), None).await);
        let events = async |cri: &Cri| cri.runtime().get_container_events(GetEventsRequest {}).await.unwrap();
        let (newer, mut older_events) = (events(&lab.cri).await, events(&kubelet.cri).await.into_inner());
        let config = lab.pod("streamed");
        let pod = lab.run_pod(&config).await;
        lab.start(&pod, &config, &pods::sleeper("sleeper", &image)).await;
        let event = newer.into_inner().message().await.unwrap().unwrap();
        assert!(event.pod_sandbox_status.is_some());
        // In 1.25 the same number was another message.
        let event = older_events.message().await.unwrap().unwrap();
        assert_eq!((&event.container_id, event.pod_sandbox_status), (&pod, None));
        let request = StreamContainersRequest::default();
        let listed = older.cri.runtime().stream_containers(request).await.unwrap().into_inner();
        let listed: Vec<_> = listed.map(Result::unwrap).collect().await;
        assert!(!listed.is_empty());
    });
}

#[test]
fn environments_that_are_no_text_are_refused_before_they_were_bytes() {
    lab::test(Setup::default(), async |lab| {
        let (image, config) = (lab.busybox().await, lab.pod("bytes"));
        let pod = lab.run_pod(&config).await;
        let mut container = pods::sleeper("sleeper", &image);
        container.envs.push(KeyValue { key: "KEY".into(), value: vec![0xff] });
        for (kubelet, runtime, why) in [
            (None, Some("1.36.1"), "grpc: error unmarshalling request: string field contains invalid UTF-8"),
            (Some("1.35.5"), None, "grpc: error while marshaling: string field contains invalid UTF-8"),
        ] {
            let error = like(lab, kubelet, runtime).await.cri.create(&pod, &config, &container).await.unwrap_err();
            assert_eq!((error.code(), error.message()), (Code::Internal, why));
        }
        // cortend has its own reason.
        let newer = like(lab, Some("1.36.2"), Some("1.36.2")).await;
        let refused = newer.cri.create(&pod, &config, &container).await;
        assert_refused(refused, Code::InvalidArgument, &["config.envs[0].value"]);
    });
}

#[test]
fn a_version_that_the_runtime_lacks_is_translated() {
    lab::test(Setup::default(), async |lab| {
        // What serves one version only, in front of the daemon that serves both.
        let only_v1 = like(lab, None, Some("1.26")).await;
        let versions = Versions::new(None, Some("1.24".parse().unwrap())).unwrap();
        let proxy = Inside::with(|listen| proxy::Setup {
            stages: vec![Box::new(versions)],
            translate: true,
            ..proxy::Setup::plain(listen, &only_v1.socket)
        })
        .await;
        for api in ApiVersion::ALL {
            let answer = call(&proxy, api, "RuntimeService/Version", &[]).await.unwrap();
            assert_eq!(VersionResponse::decode(&answer[..]).unwrap().runtime_api_version, api.name());
            let answer = call(&proxy, api, "ImageService/ListImages", &[]).await.unwrap();
            assert!(ListImagesResponse::decode(&answer[..]).unwrap().images.is_empty());
        }
        let error = call(&only_v1, ApiVersion::V1Alpha2, "RuntimeService/Version", &[]).await.unwrap_err();
        assert_eq!(error.message(), "unknown service runtime.v1alpha2.RuntimeService");
    });
}
