//! What the proxy does to calls beside versions: another image service, faults, recording, and replaying what was recorded.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use corten_cri::v1::*;
use corten_e2e::{
    cri::assert_refused,
    daemon::{Daemon, Network, Paths, Setup},
    image, lab, pods, programs,
};
use corten_skew::{
    proxy::{self, Faults},
    recording::Recorded,
};
use tonic::Code;

use crate::proxied::{Inside, Program};

#[test]
fn images_may_be_another_daemons() {
    lab::test(Setup::default(), async |lab| {
        let dir = tempfile::Builder::new().prefix("ce-images-").tempdir_in("/tmp").unwrap();
        let paths = Paths::new(dir.path());
        paths.plain_http(&lab.registry.host());
        let setup = Setup { network: Network::CniUnconfigured, ..Default::default() };
        let mut other = Daemon::start(&paths, &setup);
        let reference = lab.registry.push("busybox", "1", image::busybox()).await;
        let config = lab.pod("images");

        let elsewhere =
            Program::start(&lab.paths.socket(), &["--image-upstream", paths.socket().to_str().unwrap()]).await;
        let cri = elsewhere.cri().await;
        cri.pull(&reference).await.unwrap();
        assert!(lab.cri.list_images().await.is_empty());
        let pod = cri.run_pod(&config, "").await.unwrap();
        let container = pods::sleeper("sleeper", &reference);
        assert_refused(cri.create(&pod, &config, &container).await, Code::NotFound, &["image", &reference]);

        let same = Program::start(
            &lab.paths.socket(),
            &["--image-upstream", lab.paths.socket().to_str().unwrap(), "--runtime-as", "1.33"],
        )
        .await;
        let cri = same.cri().await;
        cri.pull(&reference).await.unwrap();
        let id = cri.create(&pod, &config, &container).await.unwrap();
        cri.start(&id).await.unwrap();
        assert_eq!(other.stop().await.code(), Some(0));
    });
}

#[test]
fn calls_fail_and_wait_as_they_are_told_to() {
    lab::test(Setup::default(), async |lab| {
        let faults = [
            r#"RuntimeService/ListPodSandbox: error=Unavailable "not now", skip=1, count=2"#,
            "RuntimeService/Status: delay=300ms, count=1",
            "RuntimeService/RunPodSandbox: error=DeadlineExceeded, at=answer, count=1",
            "RuntimeService/GetContainerEvents: error=Aborted, at=answer",
        ];
        let faults = Faults::new(faults.map(|fault| fault.parse().unwrap()), 0);
        let upstream = lab.paths.socket();
        let proxy = Inside::with(|listen| proxy::Setup {
            stages: vec![Box::new(faults)],
            ..proxy::Setup::plain(listen, upstream)
        })
        .await;
        let list = async || proxy.cri.list_pods(None).await;
        list().await.unwrap();
        for _ in 0..2 {
            assert_refused(list().await, Code::Unavailable, &["not now"]);
        }
        list().await.unwrap();

        let begun = Instant::now();
        proxy.cri.runtime().status(StatusRequest::default()).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300));

        let mut events = proxy.cri.runtime().get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        // The pod is there, the client does not know it, and finds it by trying again.
        let config = lab.pod("lost");
        assert_refused(proxy.cri.run_pod(&config, "").await, Code::DeadlineExceeded, &["injected"]);
        let there = lab.cri.list_pods(None).await.unwrap();
        assert_eq!(there, [proxy.cri.run_pod(&config, "").await.unwrap()]);
        assert_refused(events.message().await, Code::Aborted, &["injected"]);
    });
}

#[test]
fn a_side_newer_than_anything_known_changes_nothing() {
    lab::test(Setup::default(), async |lab| {
        let (image, config) = (lab.busybox().await, lab.pod("newer"));
        let proxy = Program::start(&lab.paths.socket(), &["--newer", "3"]).await;
        let cri = proxy.cri().await;
        let pod = cri.run_pod(&config, "").await.unwrap();
        let id = cri.create(&pod, &config, &pods::sleeper("sleeper", &image)).await.unwrap();
        cri.start(&id).await.unwrap();
        assert_eq!(cri.status(&id).await.unwrap(), lab.cri.status(&id).await.unwrap());
        assert_eq!(cri.exec(&id, &["echo", "works"]).await.stdout, "works\n");
        assert!(lab.daemon.log().contains("a client sends a field that this version does not know"));
        // A state that nobody has a word for is unknown, and not the first one there is.
        for (command, own) in [(&["pods"][..], "Ready"), (&["ps", "--all"], "Running")] {
            let mut program = Command::new(programs::built("corten"));
            let output = program.arg("--endpoint").arg(&proxy.socket).args(command).output().unwrap();
            let table = String::from_utf8(output.stdout).unwrap();
            let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_owned();
            assert!(row("corten-newer").contains("Unknown") && row(own).contains("newer"), "{table}");
        }
    });
}

fn replay(socket: &Path, file: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(programs::built("corten"));
    command.arg("--endpoint").arg(socket).args(["skew", "replay"]).arg(file).args(options).output().unwrap()
}

#[test]
fn what_is_recorded_is_replayed() {
    lab::test(Setup::default(), async |lab| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("calls");
        let reference = lab.registry.push("busybox", "1", image::busybox()).await;
        let proxy = Program::start(&lab.paths.socket(), &["--record", file.to_str().unwrap()]).await;
        let cri = proxy.cri().await;
        let mut pull = PullImageRequest { image: Some(corten_e2e::cri::spec(&reference)), ..Default::default() };
        pull.auth = Some(AuthConfig { username: "me".into(), password: "hunter2".into(), ..Default::default() });
        cri.images().pull_image(pull).await.unwrap();
        let config = lab.pod("recorded");
        let pod = cri.run_pod(&config, "").await.unwrap();
        let id = cri.create(&pod, &config, &pods::script("one", &reference, "exit 3")).await.unwrap();
        cri.start(&id).await.unwrap();
        lab.cri.wait_exited(&id).await;
        cri.status(&id).await.unwrap();
        assert_refused(cri.status("nothing").await, Code::NotFound, &[]);
        cri.remove(&id).await.unwrap();
        cri.stop_pod(&pod).await.unwrap();
        cri.remove_pod(&pod).await.unwrap();
        drop(cri);
        assert_eq!(proxy.stop().await, Some(0));

        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("hunter2") && text.contains("\"me\""), "{text}");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let mut calls: Vec<Recorded> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // A line is written when the call's last trace is gone, which may be after the next has begun.
        calls.sort_by_key(|call| call.time);
        // The first is the client's, which asks for the version before all else.
        let methods: Vec<_> = calls.iter().map(|call| call.path.rsplit('/').next().unwrap()).collect();
        let expected =
            ["Version", "PullImage", "RunPodSandbox", "CreateContainer", "StartContainer", "ContainerStatus"];
        assert_eq!(methods[..6], expected);
        assert_eq!(methods.len(), 10);
        assert_eq!(calls[3].requests[0].json.as_ref().unwrap()["podSandboxId"], pod);

        // The same again, with ids of its own. Whether the script has ended by the time of the status is its own affair.
        let socket = lab.paths.socket();
        let again = replay(&socket, &file, &[]);
        assert_eq!(again.status.code(), Some(0), "{again:?}");
        assert_eq!(String::from_utf8_lossy(&again.stdout), "10 calls replayed, 0 left out, 0 differences\n");
        let compared = replay(&socket, &file, &["--compare", "--only", "ImageService/PullImage"]);
        assert_eq!(compared.status.code(), Some(0), "{compared:?}");

        // Not against what answers otherwise.
        let broken = Program::start(&socket, &["--inject", "RuntimeService/StopPodSandbox: error=Internal"]).await;
        let otherwise = replay(&broken.socket, &file, &["-o", "json"]);
        assert_eq!(otherwise.status.code(), Some(1), "{otherwise:?}");
        let outcome: serde_json::Value = serde_json::from_slice(&otherwise.stdout).unwrap();
        assert_eq!(outcome["differences"][0]["path"], "/runtime.v1.RuntimeService/StopPodSandbox");
        assert_eq!(outcome["differences"][0]["now"], "Internal: injected by corten skew proxy");
    });
}
