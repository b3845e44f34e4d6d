//! `corten skew probe` against the real daemon, and that a survey runs nothing.

use corten_cri::{
    ApiVersion,
    client::{self, Answer, Deadlines, Lists, Streams},
    history::{History, Release},
    node::PodTimelineRequest,
    survey::{Finding, survey},
    v1::*,
};
use corten_e2e::{
    daemon::Setup,
    lab::{self, Lab},
    pods, programs,
};
use corten_skew::proxy::{self, Versions};
use serde_json::Value;
use tokio::process::Command;

use crate::proxied::Inside;

/// Runs the probe on a socket: its exit code and what it found.
async fn probe(socket: &std::path::Path, options: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(programs::built("corten"))
        .args(["--endpoint", &format!("unix://{}", socket.display()), "skew", "probe", "-o", "json"])
        .args(options)
        .output()
        .await
        .unwrap();
    let found = serde_json::from_slice(&output.stdout);
    (output.status.code(), found.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

fn names(found: &Value) -> Vec<&str> {
    found.as_array().unwrap().iter().map(|lack| lack["name"].as_str().unwrap()).collect()
}

/// Everything that a caller can see of pods, containers and images, and what the pod's timeline holds.
async fn everything(lab: &Lab, pod: &str) -> String {
    let (mut runtime, mut images) = (lab.cri.runtime(), lab.cri.images());
    let pods = runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner();
    let containers = runtime.list_containers(ListContainersRequest::default()).await.unwrap().into_inner();
    let images = images.list_images(ListImagesRequest::default()).await.unwrap().into_inner();
    let timeline = PodTimelineRequest { pod_sandbox_id: pod.to_owned() };
    let timeline = lab.cri.node().pod_timeline(timeline).await.unwrap().into_inner();
    format!("{pods:#?}\n{containers:#?}\n{images:#?}\n{timeline:#?}")
}

/// What the daemon itself has logged, debugging included.
fn said(lab: &Lab) -> Vec<String> {
    let log = lab.daemon.log();
    log.lines().filter(|line| line.contains(" corten_node::")).map(str::to_owned).collect()
}

#[test]
fn a_survey_runs_nothing() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("here");
        let pod = lab.run_pod(&config).await;
        lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        let (before, log) = (everything(lab, &pod).await, said(lab));
        assert!(log.iter().any(|line| line.contains("serving")), "{log:?}");
        let connection = client::connect(&format!("unix://{}", lab.paths.socket().display())).await.unwrap();
        let survey = survey(&connection).await.unwrap();
        assert_eq!(everything(lab, &pod).await, before);
        // A handler that had got an empty id, or none, would have refused, and every refusal is logged.
        assert_eq!(said(lab), log);
        assert_eq!(survey.rpcs.len(), History::embedded().unwrap().v1.rpcs.len());
        assert!(survey.rpcs.values().all(|finding| *finding == Finding::Has));
    });
}

#[test]
fn cortend_is_the_newest_release_and_lacks_checkpoints() {
    lab::test(Setup::default(), async |lab| {
        let (code, found) = probe(&lab.paths.socket(), &["--kubelet", "1.37"]).await;
        assert_eq!(found["runtime"]["name"], "corten");
        assert_eq!(found["versions"], serde_json::json!(["v1", "v1alpha2"]));
        assert_eq!(
            (&found["implements"]["oldest"], &found["implements"]["newest"]),
            (&"1.37.0".into(), &"1.37.0".into())
        );
        assert_eq!(found["implements"]["contradictions"], serde_json::json!([]));
        let checkpoints =
            ["RuntimeService/CheckpointContainer", "RuntimeService/CheckpointPod", "RuntimeService/RestorePod"];
        assert_eq!(names(&found["lacking_rpcs"]), checkpoints);
        assert_eq!(names(&found["lacking_fields"]), Vec::<&str>::new());
        assert_eq!(found["unclear"], serde_json::json!([]));
        assert_eq!((&found["kubelets"]["oldest"], &found["kubelets"]["newest"]), (&34.into(), &40.into()));
        assert_eq!((code, &found["with_kubelet"]["policy"]), (Some(0), &"fits".into()));

        let (code, found) = probe(&lab.paths.socket(), &["--kubelet", "1.33"]).await;
        assert_eq!((code, &found["with_kubelet"]["policy"]), (Some(1), &"kubelet_too_old".into()));

        // By its other version it is the last release that had that.
        let endpoint = format!("unix://{}", lab.paths.socket().display());
        let alpha = client::connect_as(&endpoint, ApiVersion::V1Alpha2).await.unwrap();
        let survey = survey(&alpha).await.unwrap();
        assert!(survey.rpcs.values().all(|finding| *finding == Finding::Has), "{:?}", survey.rpcs);
        let lists = Lists::new(alpha, Deadlines::default(), Streams::Prefer);
        match lists.containers(None).await.unwrap() {
            Answer::Degraded { answer, used, .. } => {
                assert_eq!((answer.len(), used), (0, "RuntimeService/ListContainers"));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn the_proxy_looks_to_the_probe_like_the_release_it_plays() {
    lab::test(Setup::default(), async |lab| {
        for minor in [24, 25, 28, 31, 33, 36, 37] {
            let name = format!("1.{minor}");
            let versions = Versions::new(None, Some(name.parse().unwrap())).unwrap();
            let proxy = Inside::with(|listen| proxy::Setup {
                stages: vec![Box::new(versions)],
                translate: true,
                ..proxy::Setup::plain(listen, lab.paths.socket())
            })
            .await;
            let connection = client::connect(&format!("unix://{}", proxy.socket.display())).await.unwrap();
            let mut survey = survey(&connection).await.unwrap();
            survey.listen(&connection).await;
            let fit = survey.release().unwrap();
            let played: Release = History::embedded().unwrap().v1.newest_of_minor(minor).unwrap();
            assert_eq!(fit.contradictions, [], "{name}");
            assert!(fit.oldest <= played && played <= fit.newest, "{name}: {fit:?}");
        }
    });
}

#[test]
fn what_cannot_be_asked_is_said() {
    lab::test(Setup::default(), async |_| {
        let output = Command::new(programs::built("corten"))
            .args(["--endpoint", "unix:///nowhere.sock", "skew", "probe"])
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "corten: probe: connect to /nowhere.sock: no such socket (is the runtime running?)\n"
        );
    });
}
