//! Clients of the streaming server: exec, attach and port-forward as the kubelet and kubectl would have them.

use std::time::Duration;

use corten_cri::v1::*;
use corten_streaming::{
    client::{self, Error, PortForward, RemoteCommand, Transport},
    remote_command::{Outcome, Wanted},
    stream::{Gone, Incoming, Outgoing},
};
use http::Uri;
use tokio::{net::TcpStream, time::timeout};
use tonic::Status;

use crate::cri::{Cri, PATIENCE};

/// Both transports.
pub const TRANSPORTS: [Transport; 2] = [Transport::Spdy, Transport::WebSocket];

/// Standard output and standard error.
pub const OUTPUT: Wanted = Wanted { stdin: false, stdout: true, stderr: true, tty: false };

/// All three streams.
pub const PIPES: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };

/// A terminal.
pub const TERMINAL: Wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: true };

/// A terminal that is only looked at.
pub const SCREEN: Wanted = Wanted { stdin: false, stdout: true, stderr: false, tty: true };

impl Cri {
    /// Exec; the URL.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn exec_url(&self, container: &str, command: &[&str], wanted: Wanted) -> Result<String, Status> {
        let Wanted { stdin, stdout, stderr, tty } = wanted;
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecRequest { container_id: container.to_owned(), cmd, tty, stdin, stdout, stderr };
        Ok(self.runtime().exec(request).await?.into_inner().url)
    }

    /// Attach; the URL.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn attach_url(&self, container: &str, wanted: Wanted) -> Result<String, Status> {
        let Wanted { stdin, stdout, stderr, tty } = wanted;
        let request = AttachRequest { container_id: container.to_owned(), stdin, tty, stdout, stderr };
        Ok(self.runtime().attach(request).await?.into_inner().url)
    }

    /// PortForward; the URL.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn port_forward_url(&self, pod: &str, ports: &[i32]) -> Result<String, Status> {
        let request = PortForwardRequest { pod_sandbox_id: pod.to_owned(), port: ports.to_vec() };
        Ok(self.runtime().port_forward(request).await?.into_inner().url)
    }

    /// Runs a command in a container, connected to its streams.
    ///
    /// # Panics
    /// If the runtime or the streaming server refuses.
    pub async fn exec_session(
        &self,
        container: &str,
        command: &[&str],
        wanted: Wanted,
        transport: Transport,
    ) -> RemoteCommand {
        let url = self.exec_url(container, command, wanted).await.unwrap_or_else(|e| panic!("Exec {command:?}: {e}"));
        remote_command(&url, transport, wanted).await.unwrap_or_else(|e| panic!("exec {command:?}: {e}"))
    }

    /// Runs a command in a container to its end. With `stdin` wanted, it gets these bytes and then the end of them.
    ///
    /// # Panics
    /// If the runtime or the streaming server refuses, or the session is lost.
    pub async fn exec_to_end(
        &self,
        container: &str,
        command: &[&str],
        wanted: Wanted,
        transport: Transport,
        input: &[u8],
    ) -> Said {
        let mut session = self.exec_session(container, command, wanted, transport).await;
        let stdin = session.stdin.take();
        let ((), said) = tokio::join!(put(stdin, input), to_end(session));
        said
    }

    /// Attaches to a container.
    ///
    /// # Panics
    /// If the runtime or the streaming server refuses.
    pub async fn attach_session(&self, container: &str, wanted: Wanted, transport: Transport) -> RemoteCommand {
        let url = self.attach_url(container, wanted).await.unwrap_or_else(|e| panic!("Attach: {e}"));
        remote_command(&url, transport, wanted).await.unwrap_or_else(|e| panic!("attach: {e}"))
    }

    /// Forwards to ports of a pod.
    ///
    /// # Panics
    /// If the runtime or the streaming server refuses.
    pub async fn port_forward_session(&self, pod: &str, transport: Transport) -> PortForward {
        let url = self.port_forward_url(pod, &[]).await.unwrap_or_else(|e| panic!("PortForward: {e}"));
        let io = dial(&url).await;
        client::port_forward(io, &uri(&url), transport).await.unwrap_or_else(|e| panic!("port-forward: {e}"))
    }
}

/// A URL, taken apart.
///
/// # Panics
/// If it is none.
pub fn uri(url: &str) -> Uri {
    url.parse().unwrap_or_else(|e| panic!("{url}: {e}"))
}

/// A connection to the server of a URL.
///
/// # Panics
/// If nothing listens there.
pub async fn dial(url: &str) -> TcpStream {
    let uri = uri(url);
    let address = uri.authority().unwrap_or_else(|| panic!("{url} names no host")).as_str();
    TcpStream::connect(address).await.unwrap_or_else(|e| panic!("connect to {address}: {e}"))
}

/// Goes to the URL of an exec or attach.
///
/// # Errors
/// What the streaming server says.
pub async fn remote_command(url: &str, transport: Transport, wanted: Wanted) -> Result<RemoteCommand, Error> {
    client::remote_command(dial(url).await, &uri(url), transport, wanted).await
}

/// What a session said, from where it was listened to up to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Standard output, if it was wanted.
    pub stdout: Vec<u8>,
    /// Standard error, if it was wanted.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Said {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Why it failed.
    ///
    /// # Panics
    /// If it did not.
    pub fn failure(&self) -> &str {
        match &self.outcome {
            Outcome::Failed(why) => why,
            Outcome::Exited(_) => panic!("it did not fail: {self:?}"),
        }
    }
}

/// Sends bytes and the end of them. A command that does not take them all is let be.
pub async fn put(stdin: Option<Outgoing>, input: &[u8]) {
    if let Some(stdin) = stdin {
        let _ = stdin.send(input.to_vec().into()).await;
        let _ = stdin.finish().await;
    }
}

/// Listens to a session up to its end.
///
/// # Panics
/// If it is lost before, or its streams do not end, or it takes longer than [`LONG`].
pub async fn to_end(session: RemoteCommand) -> Said {
    let RemoteCommand { stdin, stdout, stderr, resize, outcome } = session;
    let all = async { tokio::join!(take(stdout), take(stderr), outcome.wait()) };
    let (stdout, stderr, outcome) = timeout(LONG, all).await.expect("the session goes on and on");
    drop((stdin, resize));
    Said {
        stdout: stdout.expect("standard output is lost before its end"),
        stderr: stderr.expect("standard error is lost before its end"),
        outcome: outcome.expect("the session is lost before its end"),
    }
}

/// How long a session may take to its end.
pub const LONG: Duration = Duration::from_secs(300);

async fn take(stream: Option<Incoming>) -> Result<Vec<u8>, Gone> {
    match stream {
        Some(mut stream) => everything(&mut stream).await,
        None => Ok(Vec::new()),
    }
}

/// Reads a stream to its end.
///
/// # Errors
/// [`Gone`]: the connection ended before the stream.
pub async fn everything(stream: &mut Incoming) -> Result<Vec<u8>, Gone> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// Reads a stream until this text has come; everything up to where it was noticed.
///
/// # Panics
/// If it does not come within [`PATIENCE`], or the stream ends before, with what came.
pub async fn read_until(stream: &mut Incoming, text: &str) -> String {
    let mut come = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&come).contains(text) {
            let Ok(Some(bytes)) = stream.next().await else { return false };
            come.extend_from_slice(&bytes);
        }
        true
    };
    let found = timeout(PATIENCE, reading).await;
    let come = String::from_utf8_lossy(&come).into_owned();
    assert_eq!(found, Ok(true), "{text:?} does not come, but {come:?}");
    come
}
