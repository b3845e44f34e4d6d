//! What is left of units when a start does not come to its end, or finds some there.

use std::fs;

use corten_cri::v1::*;
use corten_e2e::{cri::assert_refused, cri::until, pods};
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

use crate::{
    node::{self, Node},
    test,
};

fn processes(unit: &str) -> Vec<Pid> {
    let file = format!("{}/cgroup.procs", node::directory(unit));
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
    text.lines().map(|line| Pid::from_raw(line.parse().unwrap()).unwrap()).collect()
}

/// A pod with a container that is not started yet.
async fn created(node: &Node, name: &str, container: &ContainerConfig) -> (String, String) {
    let config = node.pod(name);
    let pod = node.cri.run_pod(&config, "").await.unwrap();
    let id = node.cri.create(&pod, &config, container).await.unwrap();
    (pod, id)
}

#[test]
fn a_unit_with_the_name_of_a_new_one_is_ended() {
    test("a_unit_with_the_name_of_a_new_one_is_ended", async |node| {
        let (pod, id) = created(node, "leftover", &pods::sleeper("one", &node.image)).await;
        let scope = format!("corten-{id}.scope");
        let mut other = node::in_scope(&scope, &node::slice("leftover"));
        until("the other one", async || (node::show(&scope, "ActiveState") == "active").then_some(())).await;
        node.cri.start(&id).await.unwrap();
        assert!(!other.wait().unwrap().success(), "it was ended");
        assert_eq!(node::show(&scope, "Description"), "container one of pod e2e/leftover");
        assert_eq!(node::show(&scope, "TasksMax"), "infinity", "nobody asked for a limit");
        assert_eq!(node.cri.shell(&id, "echo here").await, "here\n");
        node.cri.end_pod(&pod).await;
    });
}

#[test]
fn a_start_that_fails_leaves_no_unit() {
    test("a_start_that_fails_leaves_no_unit", async |node| {
        // There is no CNI configuration.
        let mut config = node.pod("unconnected");
        config = pods::with_namespaces(config, |namespaces| namespaces.network = NamespaceMode::Pod as i32);
        assert_refused(node.cri.run_pod(&config, "").await, Code::Unknown, &["network"]);
        node.assert_nothing_left().await;
        let (pod, id) = created(node, "unstarted", &pods::container("one", &node.image, &["/nothing"])).await;
        assert_refused(node.cri.start(&id).await, Code::Unknown, &["/nothing"]);
        until("the scope is gone", async || node::units(&format!("corten-{id}.scope")).is_empty().then_some(())).await;
        node.cri.end_pod(&pod).await;
    });
}

/// The daemon is killed when it has had the scope made and asked the monitor, which is stopped, to launch the container.
#[test]
fn a_daemon_killed_between_scope_and_launch_leaves_neither_unit_nor_process() {
    test("a_daemon_killed_between_scope_and_launch_leaves_neither_unit_nor_process", async |node| {
        let (pod, id) = created(node, "killed", &pods::sleeper("one", &node.image)).await;
        let scope = format!("corten-{id}.scope");
        let monitor = processes(&format!("corten-monitor-{pod}.scope"));
        monitor.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
        let daemon = node::show("corten.service", "MainPID");
        let (cri, container) = (node.cri.clone(), id.clone());
        let start = tokio::spawn(async move { cri.start(&container).await });
        until("the scope", async || (node::show(&scope, "ActiveState") == "active").then_some(())).await;
        kill_process(Pid::from_raw(daemon.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        assert!(start.await.unwrap().is_err());
        monitor.iter().for_each(|pid| kill_process(*pid, Signal::CONT).unwrap());
        let node = Node::connect_to_another(&daemon).await;
        // Whether it was launched is the monitor's and the kernel's to say; the daemon's is to know it.
        let state = node.cri.status(&id).await.unwrap().state();
        match state {
            ContainerState::ContainerRunning => assert_eq!(node.cri.shell(&id, "echo here").await, "here\n"),
            ContainerState::ContainerExited => {
                until("the scope is gone", async || node::units(&scope).is_empty().then_some(())).await;
            }
            ContainerState::ContainerCreated | ContainerState::ContainerUnknown => panic!("{state:?}"),
        }
        node.cri.end_pod(&pod).await;
    });
}
