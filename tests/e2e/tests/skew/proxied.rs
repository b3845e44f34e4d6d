//! Proxies in front of a lab's daemon.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use corten_e2e::{
    cri::{Cri, until},
    programs,
};
use corten_skew::proxy::{Proxy, Setup};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// `corten skew proxy` as a process of its own. Killed when dropped.
pub struct Program {
    process: Child,
    pub socket: PathBuf,
    _dir: TempDir,
}

impl Program {
    /// Starts it with more options, and waits until it listens.
    pub async fn start(upstream: &Path, options: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("ce-proxy-").tempdir_in("/tmp").unwrap();
        let socket = dir.path().join("p.sock");
        // Somebody's that did not clean up.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let process = Command::new(programs::built("corten"))
            .args(["skew", "proxy", "--listen"])
            .arg(&socket)
            .arg("--upstream")
            .arg(upstream)
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let proxy = Self { process, socket, _dir: dir };
        until("the proxy to listen", async || UnixStream::connect(&proxy.socket).is_ok().then_some(())).await;
        proxy
    }

    pub async fn cri(&self) -> Cri {
        Cri::connect(&self.socket).await
    }

    /// Ends it by SIGTERM; its exit code.
    pub async fn stop(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let status = until("the proxy to end", async || self.process.try_wait().unwrap()).await;
        assert!(!self.socket.exists(), "the socket is left");
        status.code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A proxy of this process. Ends when dropped.
pub struct Inside {
    pub cri: Cri,
    pub socket: PathBuf,
    _end: oneshot::Sender<()>,
    _dir: TempDir,
}

impl Inside {
    /// As it is set up for a socket.
    pub async fn with(setup: impl FnOnce(PathBuf) -> Setup) -> Self {
        let dir = tempfile::Builder::new().prefix("ce-proxy-").tempdir_in("/tmp").unwrap();
        let socket = dir.path().join("p.sock");
        let proxy = Proxy::bind(setup(socket.clone())).unwrap();
        let (end, ended) = oneshot::channel::<()>();
        tokio::spawn(proxy.serve(async {
            let _ = ended.await;
        }));
        Self { cri: Cri::connect(&socket).await, socket, _end: end, _dir: dir }
    }
}
