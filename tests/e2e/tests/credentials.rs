//! `AuthConfig`, as a registry sees it on the wire.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use corten_cri::v1::*;
use corten_e2e::{cri, cri::assert_refused, daemon::Setup, lab};
use tonic::Code;

/// A request that the registry got: its first line, `Authorization` if there was one, and the body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    request: String,
    authorization: Option<String>,
    body: String,
}

/// A registry that has nothing, for those whom it knows.
struct Registry {
    host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Registry {
    /// Starts one that asks for `scheme` (`Basic` or `Bearer`). Its thread ends with the test's process.
    fn start(scheme: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (all, realm) = (seen.clone(), format!("{scheme} realm=\"http://{host}/token\",service=\"s\""));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let Some(request) = read(&connection) else { continue };
                let (status, more, body) = match (&request.authorization, request.request.contains("/token")) {
                    (_, true) => ("200 OK", String::new(), r#"{"token": "exchanged"}"#),
                    (None, false) => ("401 Unauthorized", format!("WWW-Authenticate: {realm}\r\n"), ""),
                    (Some(_), false) => ("404 Not Found", String::new(), ""),
                };
                all.lock().unwrap().push(request);
                let head = format!(
                    "HTTP/1.1 {status}\r\n{more}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = (&connection).write_all(head.as_bytes());
            }
        });
        Self { host, seen }
    }

    /// What it has seen since it was last asked.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn read(connection: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(connection);
    let (mut request, mut authorization, mut length) = (String::new(), None, 0);
    reader.read_line(&mut request).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { request, authorization, body: String::from_utf8(body).ok()? })
}

fn basic(text: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(text))
}

#[test]
fn a_registry_is_shown_what_the_request_says_and_another_nothing() {
    lab::test(Setup::default(), async |lab| {
        let (asks_basic, asks_bearer) = (Registry::start("Basic"), Registry::start("Bearer"));
        lab.paths.plain_http(&asks_basic.host);
        lab.paths.plain_http(&asks_bearer.host);
        let pull = async |registry: &Registry, auth: AuthConfig| {
            let image = Some(cri::spec(&format!("{}/private:1", registry.host)));
            let request = PullImageRequest { image, auth: Some(auth), ..Default::default() };
            let refused = lab.cri.images().pull_image(request).await.unwrap_err();
            (refused, registry.seen())
        };
        let with = |change: &dyn Fn(&mut AuthConfig)| {
            let mut auth = AuthConfig::default();
            change(&mut auth);
            auth
        };
        let user = with(&|auth| (auth.username, auth.password) = ("user".into(), "secret".into()));
        let packed = with(&|auth| auth.auth = BASE64_STANDARD.encode("user:secret"));
        let here = AuthConfig { server_address: format!("http://{}/v1/", asks_basic.host), ..user.clone() };
        for auth in [&user, &packed, &here] {
            let (refused, seen) = pull(&asks_basic, auth.clone()).await;
            assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
            let shown: Vec<_> = seen.iter().map(|seen| seen.authorization.clone()).collect();
            assert_eq!((shown.first(), shown.last()), (Some(&None), Some(&Some(basic("user:secret")))), "{seen:?}");
        }
        let elsewhere = AuthConfig { server_address: "elsewhere.example".into(), ..user.clone() };
        let (_, seen) = pull(&asks_basic, elsewhere).await;
        assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");

        let bearer = |token: &str| Some(format!("Bearer {token}"));
        let (_, seen) = pull(&asks_bearer, with(&|auth| auth.registry_token = "whole".into())).await;
        assert!(seen.iter().all(|seen| !seen.request.contains("/token")), "{seen:?}");
        assert_eq!(seen.last().unwrap().authorization, bearer("whole"));
        let (_, seen) = pull(&asks_bearer, with(&|auth| auth.identity_token = "refreshing".into())).await;
        let token = seen.iter().find(|seen| seen.request.starts_with("POST /token")).unwrap();
        assert!(token.body.contains("refresh_token=refreshing") && token.authorization.is_none(), "{token:?}");
        assert_eq!(seen.last().unwrap().authorization, bearer("exchanged"));
        let (_, seen) = pull(&asks_bearer, user).await;
        let token = seen.iter().find(|seen| seen.request.starts_with("GET /token")).unwrap();
        assert_eq!(token.authorization, Some(basic("user:secret")));
        assert_eq!(seen.last().unwrap().authorization, bearer("exchanged"));

        for (field, auth) in [
            ("auth.auth", with(&|auth| auth.auth = "hunter2".into())),
            ("auth.auth", with(&|auth| auth.auth = BASE64_STANDARD.encode("hunter2"))),
            ("auth.password", with(&|auth| auth.password = "hunter2".into())),
            ("auth.registry_token", with(&|auth| auth.registry_token = "hunter2\n".into())),
        ] {
            let (refused, seen) = pull(&asks_basic, auth).await;
            assert!(!refused.message().contains("hunter2"), "{refused:?}");
            assert_refused(Err::<(), _>(refused), Code::InvalidArgument, &[field]);
            assert_eq!(seen, []);
        }
        assert!(!lab.daemon.log().contains("secret") && !lab.daemon.log().contains("hunter2"));
    });
}
