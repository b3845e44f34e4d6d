//! Exec and attach by clients that speak what ours does not: the older versions of the protocol, as a client wrote them that is
//! not ours.

use corten_cri::v1::ContainerConfig;
use corten_e2e::{
    daemon::Setup,
    lab, pods,
    streaming::{OUTPUT, PIPES, TERMINAL, dial, everything, put, uri},
};
use corten_streaming::{
    remote_command::Wanted,
    spdy::{self, Headers},
    stream::{Connection, Incoming, Outgoing},
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{channels::Channels, running, sleeping};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// The subprotocols of every age.
const SUBPROTOCOLS: [Option<&str>; 11] = [
    None,
    Some("channel.k8s.io"),
    Some("v2.channel.k8s.io"),
    Some("v3.channel.k8s.io"),
    Some("v4.channel.k8s.io"),
    Some("v5.channel.k8s.io"),
    Some("base64.channel.k8s.io"),
    Some("v2.base64.channel.k8s.io"),
    Some("v3.base64.channel.k8s.io"),
    Some("v4.base64.channel.k8s.io"),
    Some("v5.base64.channel.k8s.io"),
];

/// Whether the error channel carries a `metav1.Status`.
fn has_status(protocol: Option<&str>) -> bool {
    protocol.is_some_and(|name| name.starts_with("v4") || name.starts_with("v5"))
}

/// Asserts that the error stream says exit code 42, as this version says it.
#[track_caller]
fn assert_42(error: &[u8], status: bool, protocol: Option<&str>) {
    if !status {
        let text = String::from_utf8_lossy(error);
        assert!(text.contains("exit status 42") || text.contains("exit code 42"), "{protocol:?}: {text:?}");
        return;
    }
    let status: Value = serde_json::from_slice(error).unwrap();
    assert_eq!((&status["status"], &status["reason"]), (&"Failure".into(), &"NonZeroExitCode".into()), "{status}");
    let cause = &status["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["message"]), (&"ExitCode".into(), &"42".into()), "{status}");
    assert!(status["metadata"].is_object(), "{status}");
}

#[test]
fn every_subprotocol_of_websocket_is_spoken() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        for protocol in SUBPROTOCOLS {
            let script = "read line; echo \"got $line\"; echo err >&2; exit 42";
            let url = lab.cri.exec_url(&id, &["sh", "-c", script], PIPES).await.unwrap();
            let mut client = Channels::open(&url, protocol).await;
            let first = client.next().await.unwrap();
            assert_eq!(first, (STDOUT, vec![]), "an empty message says that the client is connected");
            client.say(STDIN, b"a line\n").await;
            let heard = client.rest().await;
            assert_eq!((heard.text(STDOUT), heard.text(STDERR)), ("got a line\n".into(), "err\n".into()));
            assert_42(heard.on(ERROR), has_status(protocol), protocol);
            assert!(heard.close.is_some_and(|close| u16::from(close.code) == 1000), "{protocol:?}");
            // Success.
            let url = lab.cri.exec_url(&id, &["true"], OUTPUT).await.unwrap();
            let heard = Channels::open(&url, protocol).await.rest().await;
            match has_status(protocol) {
                true => {
                    let status: Value = serde_json::from_slice(heard.on(ERROR)).unwrap();
                    assert_eq!(status["status"], "Success");
                }
                false => assert_eq!(heard.text(ERROR), "", "before the fourth version success is silence"),
            }
            // What cannot be run.
            let url = lab.cri.exec_url(&id, &["/no/such/program"], OUTPUT).await.unwrap();
            let heard = Channels::open(&url, protocol).await.rest().await;
            assert!(heard.text(ERROR).contains("/no/such/program"), "{protocol:?}");
        }
    });
}

#[test]
fn a_terminal_is_resized_over_a_channel() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        for protocol in ["v3.channel.k8s.io", "v4.base64.channel.k8s.io", "v5.channel.k8s.io"] {
            let script = "until [ \"$(stty size)\" = '50 132' ]; do sleep 0.02; done; echo resized";
            let url = lab.cri.exec_url(&id, &["sh", "-c", script], TERMINAL).await.unwrap();
            let mut client = Channels::open(&url, Some(protocol)).await;
            client.say(RESIZE, b"{\"Width\":132,\"Height\":50}").await;
            assert!(client.rest().await.text(STDOUT).ends_with("resized\r\n"));
        }
    });
}

#[test]
fn the_fifth_version_ends_input_by_a_signal() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        let url = lab.cri.exec_url(&id, &["sha256sum"], PIPES).await.unwrap();
        let mut client = Channels::open(&url, Some("v5.channel.k8s.io")).await;
        client.say(STDIN, b"hello").await;
        client.end(STDIN).await;
        let heard = client.rest().await;
        let sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(heard.text(STDOUT), format!("{sum}  -\n"));
    });
}

#[test]
fn before_the_fifth_version_input_ends_with_the_connection() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("once");
        let pod = lab.run_pod(&config).await;
        let protocols = [None, Some("v4.channel.k8s.io"), Some("base64.channel.k8s.io")];
        for (number, protocol) in protocols.into_iter().enumerate() {
            let container = ContainerConfig {
                stdin: true,
                stdin_once: true,
                ..pods::script(&format!("c{number}"), &image, "cat; echo ended; exit 3")
            };
            let id = lab.start(&pod, &config, &container).await;
            let url = lab.cri.attach_url(&id, PIPES).await.unwrap();
            let mut client = Channels::open(&url, protocol).await;
            client.say(STDIN, b"a line\n").await;
            client.wait_for(STDOUT, "a line\n").await;
            client.close().await;
            let status = lab.cri.wait_exited(&id).await;
            assert_eq!((status.exit_code, lab.log(&status).as_str()), (3, "a line\nended\n"));
            lab.cri.remove(&id).await.unwrap();
        }
    });
}

#[test]
fn a_container_is_attached_to_over_channels() {
    lab::test(Setup::default(), async |lab| {
        let script = "while read line; do echo \"got $line\"; echo err >&2; done";
        let make = |image: &str| ContainerConfig { stdin: true, ..pods::script("c", image, script) };
        let id = running(lab, make).await.container;
        for protocol in SUBPROTOCOLS {
            let url = lab.cri.attach_url(&id, PIPES).await.unwrap();
            let mut client = Channels::open(&url, protocol).await;
            client.say(STDIN, b"a line\n").await;
            client.wait_for(STDERR, "err\n").await;
            client.close().await;
        }
    });
}

/// A SPDY connection made by hand.
pub struct Spdy {
    /// The connection.
    pub connection: Connection,
    /// Opens its streams.
    pub opener: spdy::Opener,
}

/// Upgrades to SPDY, offering this protocol or none; the server must choose the same.
pub async fn spdy(url: &str, protocol: Option<&str>) -> Spdy {
    let mut io = dial(url).await;
    let offer = protocol.map(|name| format!("X-Stream-Protocol-Version: {name}\r\n")).unwrap_or_default();
    let path = uri(url).path().to_owned();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{offer}\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("\r\nupgrade: spdy/3.1\r\n"), "{head}");
    let chosen = head.lines().find_map(|line| line.strip_prefix("x-stream-protocol-version: "));
    assert_eq!(chosen, protocol);
    let (connection, opener) = spdy::connect(io);
    Spdy { connection, opener }
}

/// Opens a stream with these headers.
pub async fn open(spdy: &Spdy, headers: &[(&str, &str)]) -> (Incoming, Outgoing) {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    spdy.opener.open(headers.collect::<Headers>()).await.unwrap()
}

#[test]
fn every_version_over_spdy_is_spoken() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        let versions = [
            None,
            Some("channel.k8s.io"),
            Some("v2.channel.k8s.io"),
            Some("v3.channel.k8s.io"),
            Some("v4.channel.k8s.io"),
        ];
        for version in versions {
            let command = ["sh", "-c", "cat; echo err >&2; exit 42"];
            let url = lab.cri.exec_url(&id, &command, PIPES).await.unwrap();
            let spdy = spdy(&url, version).await;
            let (mut error, _) = open(&spdy, &[("streamType", "error")]).await;
            let (_, stdin) = open(&spdy, &[("streamType", "stdin")]).await;
            let (mut stdout, _) = open(&spdy, &[("streamType", "stdout")]).await;
            let (mut stderr, _) = open(&spdy, &[("streamType", "stderr")]).await;
            put(Some(stdin), b"input").await;
            assert_eq!(everything(&mut stdout).await.unwrap(), b"input");
            assert_eq!(everything(&mut stderr).await.unwrap(), b"err\n");
            let error = everything(&mut error).await.unwrap();
            assert_42(&error, has_status(version), version);
            drop(spdy.connection);
        }
    });
}

/// The streams may come in any order, and only those that are wanted.
#[test]
fn streams_over_spdy_come_in_any_order() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        let wanted = Wanted { stdin: false, ..TERMINAL };
        for order in [["resize", "stdout", "error"], ["stdout", "error", "resize"], ["error", "resize", "stdout"]] {
            let url = lab.cri.exec_url(&id, &["echo", "hello"], wanted).await.unwrap();
            let spdy = spdy(&url, Some("v4.channel.k8s.io")).await;
            let mut streams = Vec::new();
            for kind in order {
                streams.push((kind, open(&spdy, &[("streamType", kind)]).await));
            }
            for (kind, (incoming, _)) in &mut streams {
                let all = String::from_utf8(everything(incoming).await.unwrap()).unwrap();
                match *kind {
                    "stdout" => assert_eq!(all, "hello\r\n"),
                    "error" => assert!(all.contains("Success"), "{all}"),
                    _ => assert_eq!(all, ""),
                }
            }
        }
    });
}
