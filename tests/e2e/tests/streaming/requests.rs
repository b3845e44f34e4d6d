//! Exec, Attach and PortForward that are refused by their RPC.

use corten_cri::v1::ContainerConfig;
use corten_e2e::{
    cri::{PATIENCE, assert_refused},
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods,
    streaming::{OUTPUT, TRANSPORTS, dial, remote_command, to_end, uri},
};
use corten_streaming::{
    client::{self, Transport},
    remote_command::{Outcome, Wanted},
};
use tokio::time::timeout;
use tonic::Code;

use super::{Running, running};

for_each_launcher!(a_container_that_does_not_run_is_refused, a_container_that_ends_meanwhile_fails_the_session);

const NOTHING: Wanted = Wanted { stdin: false, stdout: false, stderr: false, tty: false };

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: true };

async fn demo(lab: &Lab) -> Running {
    running(lab, |image| pods::sleeper("c", image)).await
}

#[test]
fn streams_that_cannot_be_are_refused() {
    lab::test(Setup::default(), async |lab| {
        let id = demo(lab).await.container;
        for wanted in [NOTHING, Wanted { tty: true, ..NOTHING }] {
            let names = ["stdin", "stdout", "stderr"];
            assert_refused(lab.cri.exec_url(&id, &["true"], wanted).await, Code::InvalidArgument, &names);
            assert_refused(lab.cri.attach_url(&id, wanted).await, Code::InvalidArgument, &names);
        }
        for wanted in [ALL, Wanted { stdin: false, ..ALL }, Wanted { stdout: false, ..ALL }] {
            let names = ["stderr", "tty"];
            assert_refused(lab.cri.exec_url(&id, &["true"], wanted).await, Code::InvalidArgument, &names);
            assert_refused(lab.cri.attach_url(&id, wanted).await, Code::InvalidArgument, &names);
        }
        assert_refused(lab.cri.exec_url(&id, &[], OUTPUT).await, Code::InvalidArgument, &["cmd"]);
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    lab::test(Setup::default(), async |lab| {
        let Running { pod, container } = demo(lab).await;
        let unknown = "0".repeat(64);
        for id in [unknown.as_str(), &pod, "no such container"] {
            assert_refused(lab.cri.exec_url(id, &["true"], OUTPUT).await, Code::NotFound, &[id]);
            assert_refused(lab.cri.attach_url(id, OUTPUT).await, Code::NotFound, &[id]);
        }
        for id in [unknown.as_str(), &container, "no such pod"] {
            assert_refused(lab.cri.port_forward_url(id, &[80]).await, Code::NotFound, &[id]);
        }
    });
}

#[test]
fn ports_that_cannot_be_are_refused() {
    lab::test(Setup::default(), async |lab| {
        let pod = demo(lab).await.pod;
        for port in [0, -1, 65536, 70000, i32::MIN, i32::MAX] {
            let text = port.to_string();
            assert_refused(lab.cri.port_forward_url(&pod, &[port]).await, Code::InvalidArgument, &["port", &text]);
            assert_refused(lab.cri.port_forward_url(&pod, &[80, port]).await, Code::InvalidArgument, &["port", &text]);
        }
        for ports in [&[][..], &[1], &[80, 65535]] {
            lab.cri.port_forward_url(&pod, ports).await.unwrap();
        }
    });
}

#[test]
fn a_pod_that_is_not_ready_is_refused() {
    lab::test(Setup::default(), async |lab| {
        let Running { pod, container } = demo(lab).await;
        lab.cri.stop_pod(&pod).await.unwrap();
        assert_refused(lab.cri.port_forward_url(&pod, &[80]).await, Code::FailedPrecondition, &[&pod]);
        assert_refused(lab.cri.exec_url(&container, &["true"], OUTPUT).await, Code::FailedPrecondition, &[&container]);
        assert_refused(lab.cri.attach_url(&container, OUTPUT).await, Code::FailedPrecondition, &[&container]);
        lab.cri.remove_pod(&pod).await.unwrap();
        assert_refused(lab.cri.port_forward_url(&pod, &[80]).await, Code::NotFound, &[&pod]);
    });
}

fn a_container_that_does_not_run_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("not");
        let pod = lab.run_pod(&config).await;
        let container = ContainerConfig { stdin: true, ..pods::script("c", &image, "read line") };
        let id = lab.cri.create(&pod, &config, &container).await.unwrap();
        let refused = async || {
            assert_refused(lab.cri.exec_url(&id, &["true"], OUTPUT).await, Code::FailedPrecondition, &[&id]);
            assert_refused(lab.cri.attach_url(&id, OUTPUT).await, Code::FailedPrecondition, &[&id]);
        };
        refused().await;
        lab.cri.start(&id).await.unwrap();
        lab.cri.exec_url(&id, &["true"], OUTPUT).await.unwrap();
        lab.cri.attach_url(&id, OUTPUT).await.unwrap();
        lab.cri.stop(&id, 0).await.unwrap();
        refused().await;
    });
}

/// Between the RPC and the client's coming.
fn a_container_that_ends_meanwhile_fails_the_session(setup: Setup) {
    lab::test(setup, async |lab| {
        let Running { pod, container } = demo(lab).await;
        let mut urls = Vec::new();
        for transport in TRANSPORTS {
            urls.push((transport, lab.cri.exec_url(&container, &["true"], OUTPUT).await.unwrap()));
            urls.push((transport, lab.cri.attach_url(&container, OUTPUT).await.unwrap()));
        }
        let late = lab.cri.port_forward_url(&pod, &[80]).await.unwrap();
        lab.cri.stop(&container, 0).await.unwrap();
        for (transport, url) in urls {
            let session = remote_command(&url, transport, OUTPUT).await.unwrap();
            let outcome = to_end(session).await.outcome;
            assert!(matches!(&outcome, Outcome::Failed(why) if why.contains(&container)), "{url}: {outcome:?}");
        }
        lab.cri.stop_pod(&pod).await.unwrap();
        if let Ok(mut session) = client::port_forward(dial(&late).await, &uri(&late), Transport::Spdy).await {
            timeout(PATIENCE, session.ended()).await.expect("the session goes on");
        }
    });
}
