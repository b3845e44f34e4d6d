//! The URLs and the HTTP upgrade.

use std::collections::HashSet;

use corten_e2e::{
    daemon::Setup,
    lab,
    streaming::{OUTPUT, TRANSPORTS, dial, remote_command, to_end, uri},
};
use corten_streaming::{
    client::Error,
    remote_command::{Outcome, Wanted},
};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::sleeping;

/// An upgrade to SPDY.
const SPDY: &str = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";

/// An upgrade to WebSocket.
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Asks for the path of a URL; the whole answer, which must be the last on its connection.
async fn ask(url: &str, method: &str, path: &str, headers: &str) -> String {
    let mut io = dial(url).await;
    io.write_all(format!("{method} {path} HTTP/1.1\r\nHost: node\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// The status of an answer.
fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// Whether an answer has this header, with this value, in whatever case.
fn has(answer: &str, name: &str, value: &str) -> bool {
    answer.to_ascii_lowercase().contains(&format!("{name}: {value}\r\n").to_ascii_lowercase())
}

#[test]
fn a_url_is_good_for_one_use() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            let url = lab.cri.exec_url(&id, &["echo", "once"], OUTPUT).await.unwrap();
            let session = remote_command(&url, transport, OUTPUT).await.unwrap();
            // The second comes while the first is there, the third after it.
            let refused = async || match remote_command(&url, transport, OUTPUT).await {
                Err(Error::Refused { status, body }) => {
                    assert_eq!(status, StatusCode::NOT_FOUND);
                    assert!(body.contains("one use"), "{body}");
                }
                other => panic!("a second use of a URL: {other:?}"),
            };
            refused().await;
            let said = to_end(session).await;
            assert_eq!((said.text().as_str(), said.outcome), ("once\n", Outcome::Exited(0)));
            refused().await;
        }
    });
}

#[test]
fn a_url_cannot_be_guessed() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        let mut seen = HashSet::new();
        for _ in 0..20 {
            let url = lab.cri.exec_url(&id, &["true"], OUTPUT).await.unwrap();
            let token = url.strip_prefix("http://127.0.0.1:").unwrap().split_once("/exec/").unwrap().1.to_owned();
            // 256 bits.
            assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{url}");
            assert!(seen.insert(token), "a token was given twice");
        }
        let url = lab.cri.exec_url(&id, &["true"], OUTPUT).await.unwrap();
        let token = url.rsplit('/').next().unwrap();
        let last = if token.ends_with('0') { "1" } else { "0" };
        for path in [
            format!("/exec/{}", "0".repeat(64)),
            format!("/exec/{}{last}", &token[..63]),
            format!("/exec/{}", &token[..63]),
            format!("/exec/{token}0"),
            format!("/Exec/{token}"),
            format!("/exec/{token}/"),
            format!("/exec//{token}"),
            format!("/{token}"),
            format!("//exec/{token}"),
            format!("/x/../exec/{token}"),
            format!("/exec/?token={token}"),
            "/exec/".into(),
            "/exec".into(),
            "/".into(),
            "*".into(),
        ] {
            let answer = ask(&url, "GET", &path, WEBSOCKET).await;
            assert_eq!(status(&answer), "404", "{path}: {answer}");
        }
        let session = remote_command(&url, TRANSPORTS[0], OUTPUT).await.unwrap();
        assert_eq!(to_end(session).await.outcome, Outcome::Exited(0), "the URL is as good as before");
    });
}

#[test]
fn a_url_is_good_for_what_was_asked() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            let url = lab.cri.exec_url(&id, &["true"], OUTPUT).await.unwrap();
            for other in ["attach", "portforward", "EXEC", "cri"] {
                let wrong = url.replace("/exec/", &format!("/{other}/"));
                let refused = remote_command(&wrong, transport, OUTPUT).await;
                assert!(matches!(refused, Err(Error::Refused { status: StatusCode::NOT_FOUND, .. })), "{refused:?}");
            }
            let session = remote_command(&url, transport, OUTPUT).await.unwrap();
            assert_eq!(to_end(session).await.outcome, Outcome::Exited(0), "that does not use it up");
        }
    });
}

#[test]
fn what_is_no_upgrade_is_refused() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        let fresh = async || lab.cri.exec_url(&id, &["touch", "/tmp/ran"], OUTPUT).await.unwrap();
        for (method, headers, expected) in [
            ("GET", "", "400"),
            ("POST", "Content-Length: 0\r\n", "400"),
            ("GET", "Upgrade: SPDY/3.1\r\n", "400"),
            ("GET", "Connection: Upgrade\r\n", "400"),
            ("GET", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "400"),
            ("GET", "Connection: Upgrade\r\nUpgrade: SPDY/2\r\n", "400"),
            ("PUT", SPDY, "405"),
            ("DELETE", WEBSOCKET, "405"),
            ("HEAD", SPDY, "405"),
            ("OPTIONS", "", "405"),
        ] {
            let url = fresh().await;
            let answer = ask(&url, method, uri(&url).path(), headers).await;
            assert_eq!(status(&answer), expected, "{method} {headers}: {answer}");
            assert!(has(&answer, "connection", "close"), "{answer}");
            assert!(expected != "405" || has(&answer, "allow", "GET, POST"), "{answer}");
        }
        assert_ne!(lab.cri.exec(&id, &["ls", "/tmp/ran"]).await.code, 0, "a refused client's command ran");
    });
}

#[test]
fn an_unknown_protocol_is_refused() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        let exec = lab.cri.exec_url(&id, &["true"], OUTPUT).await.unwrap();
        let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: v6.channel.k8s.io, chat\r\n");
        let answer = ask(&exec, "GET", uri(&exec).path(), &headers).await;
        assert_eq!(status(&answer), "403", "{answer}");
        assert!(answer.contains("v6.channel.k8s.io") && answer.contains("v5.channel.k8s.io"), "{answer}");
        let exec = lab.cri.exec_url(&id, &["true"], OUTPUT).await.unwrap();
        let headers = format!("{SPDY}X-Stream-Protocol-Version: v5.channel.k8s.io\r\n");
        let answer = ask(&exec, "POST", uri(&exec).path(), &headers).await;
        assert_eq!(status(&answer), "403", "{answer}");
        assert!(has(&answer, "x-accepted-stream-protocol-versions", "v4.channel.k8s.io"), "{answer}");
        let pods = lab.cri.list_pods(None).await.unwrap();
        for (upgrade, header) in [
            (SPDY, "X-Stream-Protocol-Version: portforward2.k8s.io"),
            (WEBSOCKET, "Sec-WebSocket-Protocol: portforward.k8s.io"),
        ] {
            let forward = lab.cri.port_forward_url(&pods[0], &[80]).await.unwrap();
            let answer = ask(&forward, "POST", uri(&forward).path(), &format!("{upgrade}{header}\r\n")).await;
            assert_eq!(status(&answer), "403", "{answer}");
            assert!(answer.contains("portforward"), "{answer}");
        }
        // Channels need their ports beforehand.
        let forward = lab.cri.port_forward_url(&pods[0], &[]).await.unwrap();
        let headers = format!("{WEBSOCKET}Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n");
        let answer = ask(&forward, "GET", uri(&forward).path(), &headers).await;
        assert_eq!(status(&answer), "400", "{answer}");
        assert!(answer.contains("ports"), "{answer}");
    });
}

#[test]
fn a_bad_key_is_refused() {
    lab::test(Setup::default(), async |lab| {
        let id = sleeping(lab).await;
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";
        for headers in [
            "Sec-WebSocket-Version: 13\r\n",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \r\n",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: not base64 at all\r\n",
            "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ] {
            let wanted = Wanted { stdin: true, ..OUTPUT };
            let url = lab.cri.exec_url(&id, &["true"], wanted).await.unwrap();
            let answer = ask(&url, "GET", uri(&url).path(), &format!("{upgrade}{headers}")).await;
            assert_eq!(status(&answer), "400", "{headers}: {answer}");
            assert!(has(&answer, "sec-websocket-version", "13"), "{answer}");
        }
    });
}
