//! Exec, Attach and PortForward: the URL that the RPC gives, and the session behind it.

mod attach;
mod attach_input;
mod channels;
mod exec;
mod http;
mod lifetime;
mod old_clients;
mod port_forward;
mod port_forward_old_clients;
mod requests;
mod terminal;
mod tls;

use corten_cri::v1::ContainerConfig;
use corten_e2e::{cri::until, lab::Lab, pods};

/// A pod and its one container.
struct Running {
    pod: String,
    container: String,
}

/// Runs a pod with the container that `make` makes of the busybox image.
async fn running(lab: &Lab, make: impl FnOnce(&str) -> ContainerConfig) -> Running {
    let image = lab.busybox().await;
    let config = lab.pod("streams");
    let pod = lab.run_pod(&config).await;
    let container = lab.start(&pod, &config, &make(&image)).await;
    Running { pod, container }
}

/// Runs a pod with a container that sleeps; the container's id.
async fn sleeping(lab: &Lab) -> String {
    running(lab, |image| pods::sleeper("c", image)).await.container
}

/// Bytes without a pattern that a mistake could repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Waits until no process of a container has this in its command line.
async fn wait_gone(lab: &Lab, container: &str, words: &str) {
    until(&format!("{words} to be gone"), async || {
        // `ps` shows itself, but not these words.
        (!lab.cri.shell(container, "ps -o args").await.contains(words)).then_some(())
    })
    .await;
}

/// Waits until a process of a container has this in its command line.
async fn wait_runs(lab: &Lab, container: &str, words: &str) {
    until(&format!("{words} to run"), async || {
        lab.cri.shell(container, "ps -o args").await.contains(words).then_some(())
    })
    .await;
}
