//! What the service manager that started the daemon is told: that it is ready, ends, and is alive. sd_notify(3).

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use corten_cri::client;
use tokio::time::{sleep, timeout};

/// How long after a look that failed the next one is.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the service manager listens, and how often it wants to hear of us.
pub struct Manager {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that started this process, if one did.
    pub fn of_environment() -> Self {
        let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| is_ours && *time > 0).map(Duration::from_micros);
        Self { socket: env::var_os("NOTIFY_SOCKET"), watchdog }
    }

    /// Calls are taken from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// They are not any longer.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says that the daemon is alive for as long as it is: it does blocking work, and answers a call on its own socket, as it would
    /// the kubelet's. Looks four times in the time after which it would be killed, and each second once it was found wanting.
    pub async fn watch(self, socket: &Path) {
        let Some(time) = self.watchdog else { return };
        let endpoint = format!("unix://{}", socket.display());
        let often = time / 4;
        loop {
            match timeout(often, probe(&endpoint)).await.unwrap_or_else(|_| Err(format!("not in {often:?}"))) {
                Ok(()) => {
                    self.tell("WATCHDOG=1");
                    sleep(often).await;
                }
                Err(error) => {
                    tracing::error!(error, "the daemon does not answer itself");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    fn tell(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, state) {
            tracing::warn!(state, %error, "the service manager cannot be told");
        }
    }
}

/// Whether there is a thread for blocking work, and an answer. Connecting asks for the version.
async fn probe(endpoint: &str) -> Result<(), String> {
    tokio::task::spawn_blocking(|| ()).await.map_err(|error| error.to_string())?;
    client::connect(endpoint).await.map(drop).map_err(|error| error.to_string())
}

/// A name that begins with `@` is in the abstract namespace.
fn send(socket: &OsString, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(listener: &UnixDatagram) -> String {
        let mut text = [0; 64];
        let length = listener.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("corten-test-{}", std::process::id());
        let listeners = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
                OsString::from(format!("@{name}")),
            ),
        ];
        for (listener, socket) in listeners {
            let manager = Manager { socket: Some(socket), watchdog: None };
            manager.ready();
            manager.stopping();
            assert_eq!([said(&listener), said(&listener)], ["READY=1", "STOPPING=1"]);
        }
    }

    #[test]
    fn without_one_nobody_is_told() {
        let manager = Manager { socket: None, watchdog: None };
        manager.ready();
    }
}
