//! The survey against servers that decode as the three decoders do, by the schema of any release.

#![allow(clippy::unwrap_used, clippy::panic)]

mod decoder;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tonic::{body::Body, server::Grpc};
use tower::service_fn;

use self::decoder::{Decoder, Flavour};
use super::*;
use crate::{
    client::{connect, raw::Raw},
    history::Release,
};

/// A server with a decoder, and what its handlers did.
struct Peer {
    directory: TempDir,
    ran: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn start(flavour: Flavour, at: Release) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let snapshot = History::embedded().unwrap().v1.in_release(at).unwrap();
        let (decoder, ran) = (Arc::new(Decoder { flavour, snapshot }), Arc::new(Mutex::new(Vec::new())));
        let peer = Self { directory, ran: ran.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (decoder, ran) = (decoder.clone(), ran.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (decoder, ran) = (decoder.clone(), ran.clone());
                    async move { Ok::<_, Infallible>(answer(request.map(Body::new), decoder, ran).await) }
                });
                let service = TowerToHyperService::new(service);
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        peer
    }

    async fn survey(&self) -> Survey {
        let endpoint = self.directory.path().join("s").display().to_string();
        survey(&connect(&endpoint).await.unwrap()).await.unwrap()
    }
}

async fn answer(request: Request<Body>, decoder: Arc<Decoder>, ran: Arc<Mutex<Vec<String>>>) -> Response<Body> {
    let name = request.uri().path().trim_start_matches("/runtime.v1.").to_owned();
    let Some(rpc) = decoder.snapshot.rpcs.get(name.as_str()) else {
        return Status::unimplemented(format!("unknown method {name}")).into_http();
    };
    let handler = service_fn(|request: tonic::Request<Vec<u8>>| {
        let decoded = decoder.decode(&rpc.request, request.get_ref());
        let answer = match decoded {
            Ok(()) => {
                ran.lock().unwrap().push(name.clone());
                Ok(tonic::Response::new(Vec::new()))
            }
            Err(said) => Err(Status::internal(format!("grpc: error unmarshalling request: {said}"))),
        };
        std::future::ready(answer)
    });
    Grpc::new(Raw).unary(handler, request).await
}

fn unclear(survey: &Survey) -> Vec<&FieldKey> {
    let unclear = survey.fields.iter().filter(|(_, finding)| matches!(finding, Finding::Unclear { .. }));
    unclear.map(|(key, _)| key).collect()
}

/// Surveys a server of a release, and holds that against the release.
async fn surveyed(flavour: Flavour, at: &str) -> (Survey, Fit) {
    let release: Release = at.parse().unwrap();
    let peer = Peer::start(flavour, release);
    let survey = peer.survey().await;
    assert_eq!(*peer.ran.lock().unwrap(), ["RuntimeService/Version"], "the handshake alone reached a handler");
    let fit = survey.release().unwrap();
    assert_eq!(fit.contradictions, [], "{at}");
    assert!(fit.oldest <= release && release <= fit.newest, "{at}: {fit:?}");
    (survey, fit)
}

#[tokio::test]
async fn gogo_tells_everything_but_what_a_text_may_hold() {
    // 1.21 changed nothing, and 1.34 and 1.35 what a text may hold.
    for (at, oldest, newest) in
        [("1.20.15", 20, 21), ("1.23.17", 23, 23), ("1.26.15", 26, 26), ("1.30.14", 30, 30), ("1.33.13", 33, 35)]
    {
        let (survey, fit) = surveyed(Flavour::Gogo, at).await;
        let open: Vec<_> = unclear(&survey).iter().map(|key| format!("{}.{}", key.message, key.name)).collect();
        assert_eq!(open, ["KeyValue.value", "KeyValue.value"]);
        assert_eq!((fit.oldest.minor, fit.newest.minor), (oldest, newest), "{at}");
    }
}

#[tokio::test]
async fn prost_tells_everything() {
    for (at, oldest, newest) in
        [("1.25.16", "1.25.0", "1.25.16"), ("1.36.1", "1.36.0", "1.36.0"), ("1.36.3", "1.36.2", "1.36.3")]
    {
        let release: Release = at.parse().unwrap();
        let survey = Peer::start(Flavour::Prost, release).survey().await;
        assert_eq!(unclear(&survey), Vec::<&FieldKey>::new());
        let fit = survey.release().unwrap();
        assert_eq!((fit.oldest.to_string(), fit.newest.to_string()), (oldest.into(), newest.into()), "{at}");
        assert_eq!(fit.contradictions, []);
    }
}

#[tokio::test]
async fn protobuf_go_tells_all_but_plain_numbers() {
    for at in ["1.32.13", "1.34.10", "1.36.3", "1.37.0"] {
        let (survey, fit) = surveyed(Flavour::Go, at).await;
        let open = unclear(&survey);
        assert!(open.iter().all(|key| !key.field_type.contains("string")), "{open:?}");
        assert!(open.len() < survey.fields.len() / 3, "{} of {}", open.len(), survey.fields.len());
        // 1.34 and 1.35 both got the one change that there was, in patch releases.
        assert!(fit.oldest.minor == fit.newest.minor || at == "1.34.10", "{at}: {fit:?}");
    }
}

#[tokio::test]
async fn a_runtime_between_releases_is_said_to_be_one() {
    let peer = Peer::start(Flavour::Gogo, "1.30.14".parse().unwrap());
    let mut survey = peer.survey().await;
    survey.rpcs.insert("RuntimeService/RuntimeConfig", Finding::Lacks);
    let fit = survey.release().unwrap();
    let said: Vec<_> = fit.contradictions.iter().map(ToString::to_string).collect();
    assert_eq!((fit.oldest.minor, said), (30, vec!["it lacks RuntimeService/RuntimeConfig".to_owned()]));
}

#[tokio::test]
async fn answers_are_evidence_too() {
    let peer = Peer::start(Flavour::Gogo, "1.30.14".parse().unwrap());
    let mut survey = peer.survey().await;
    // StatusResponse.features came with 1.31.
    survey.heard.push(Heard { rpc: "RuntimeService/Status", message: "StatusResponse", bytes: vec![0x22, 0x00] });
    let said = survey.release().unwrap().contradictions;
    assert!(said.iter().any(|contradiction| contradiction.what.starts_with("StatusResponse")), "{said:?}");
}
