//! How containers ended and by what they are stopped, as ContainerStatus tells it.

use std::path::Path;

use corten_cri::v1::*;
use corten_e2e::{
    cri::until,
    daemon::Setup,
    for_each_launcher, image,
    lab::{self, Lab},
    pods::{self, with_resources},
};
use serde_json::json;

for_each_launcher!(
    a_child_killed_for_memory_makes_the_end_an_oom_kill,
    a_kill_for_no_memory_is_no_oom_kill,
    the_stop_signal_is_the_requests_or_the_images_however_it_is_spelled,
    what_could_not_start_says_why_and_when,
    logs_are_where_the_pod_and_the_container_say,
);

fn a_child_killed_for_memory_makes_the_end_an_oom_kill(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("child");
        let pod = lab.run_pod(&config).await;
        // The init is small, and does not mind.
        let script = pods::script("c", &image, "tail /dev/zero; echo child: $?; exit 3");
        let (status, log) =
            lab.run_to_end(&pod, &config, &with_resources(script, |r| r.memory_limit_in_bytes = 16 << 20)).await;
        assert_eq!((status.reason.as_str(), status.exit_code), ("OOMKilled", 3));
        assert!(log.contains("child: 137\n"), "{log}");
        assert!(status.started_at >= status.created_at && status.finished_at >= status.started_at, "{status:?}");
    });
}

fn a_kill_for_no_memory_is_no_oom_kill(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("killed");
        let pod = lab.run_pod(&config).await;
        let script = pods::script("c", &image, "trap '' TERM; while :; do sleep 1000 & wait; done");
        let id = lab.start(&pod, &config, &with_resources(script, |r| r.memory_limit_in_bytes = 64 << 20)).await;
        lab.cri.stop(&id, 0).await.unwrap();
        let status = lab.cri.status(&id).await.unwrap();
        assert_eq!((status.reason.as_str(), status.exit_code), ("Error", 137));
    });
}

/// An image whose configuration names a stop signal.
async fn image_with(lab: &Lab, name: &str, signal: &str) -> String {
    let mut settings = image::busybox_config();
    settings["StopSignal"] = json!(signal);
    let layers = vec![image::busybox_layer().to_vec()];
    lab.image(name, &image::Image::of(layers).config(settings).build()).await
}

fn the_stop_signal_is_the_requests_or_the_images_however_it_is_spelled(setup: Setup) {
    lab::test(setup, async |lab| {
        let config = lab.pod("stop");
        let pod = lab.run_pod(&config).await;
        let text = "for s in 1 10 12 15 37; do trap \"exit $((100 + s))\" $s; done; echo ready; while :; do sleep 1000 & wait; done";
        for (name, of_image, asked, number, told) in [
            ("name", "SIGUSR1", Signal::RuntimeDefault, 10, Signal::Sigusr1),
            ("short", "hup", Signal::RuntimeDefault, 1, Signal::Sighup),
            ("number", "12", Signal::RuntimeDefault, 12, Signal::Sigusr2),
            ("real-time", "SIGRTMIN+3", Signal::RuntimeDefault, 37, Signal::Sigrtminplus3),
            ("request", "SIGUSR1", Signal::Sighup, 1, Signal::Sighup),
            ("request-real-time", "SIGUSR1", Signal::Sigrtminplus3, 37, Signal::Sigrtminplus3),
        ] {
            let image = image_with(lab, name, of_image).await;
            let container = ContainerConfig { stop_signal: asked.into(), ..pods::script(name, &image, text) };
            let id = lab.start(&pod, &config, &container).await;
            let status = lab.cri.status(&id).await.unwrap();
            assert_eq!(status.stop_signal(), told, "{name}");
            until("the traps", async || lab.log(&status).contains("ready").then_some(())).await;
            lab.cri.stop(&id, 60).await.unwrap();
            assert_eq!(lab.cri.status(&id).await.unwrap().exit_code, 100 + number, "{name}");
        }
    });
}

fn what_could_not_start_says_why_and_when(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("unstartable");
        let pod = lab.run_pod(&config).await;
        let id = lab.cri.create(&pod, &config, &pods::container("c", &image, &["/no/such"])).await.unwrap();
        let error = lab.cri.start(&id).await.unwrap_err();
        let status = lab.cri.status(&id).await.unwrap();
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 128));
        assert_eq!((status.reason.as_str(), status.message.as_str()), ("StartError", error.message()));
        assert!(status.message.contains("/no/such"), "{}", status.message);
        assert!(status.started_at == 0 && status.finished_at >= status.created_at, "{status:?}");
    });
}

fn logs_are_where_the_pod_and_the_container_say(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("logs");
        let pod = lab.run_pod(&config).await;
        // As the kubelet names them: the container's name and its attempt.
        let nested = ContainerConfig { log_path: "c/0.log".to_owned(), ..pods::script("c", &image, "echo here") };
        let (status, log) = lab.run_to_end(&pod, &config, &nested).await;
        let expected = Path::new(&config.log_directory).join("c/0.log");
        assert_eq!((status.log_path.as_str(), log.as_str()), (expected.to_str().unwrap(), "here\n"));
        let none = ContainerConfig { log_path: String::new(), ..pods::script("none", &image, "echo nowhere") };
        let id = lab.start(&pod, &config, &none).await;
        assert_eq!(lab.cri.wait_exited(&id).await.log_path, "");
        let mut config = lab.pod("no-logs");
        config.log_directory.clear();
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::script("c", &image, "echo nowhere")).await;
        assert_eq!(lab.cri.wait_exited(&id).await.log_path, "");
        for bad in ["/absolute.log", "../outside.log"] {
            let container = ContainerConfig { log_path: bad.to_owned(), ..pods::sleeper("bad", &image) };
            let refused = lab.cri.create(&pod, &config, &container).await;
            corten_e2e::cri::assert_refused(refused, tonic::Code::InvalidArgument, &["config.log_path", bad]);
        }
    });
}
