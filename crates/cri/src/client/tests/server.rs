//! A runtime that serves the RPCs it is told to, in the versions it is told to, as a real server on a real socket.

use std::{
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use prost::Message;
use tokio::{
    net::UnixListener,
    task::{JoinHandle, JoinSet},
};
use tokio_stream::iter;
use tonic::{Status, body::Body, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::v1::*;

/// Whether a path is served: an RPC of a version.
type Serves = fn(&str) -> bool;

/// A runtime. Dropping it ends its connections as a killed process does.
pub struct Server {
    task: JoinHandle<()>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Listens. A socket that another left is replaced.
    pub fn start(path: &Path, serves: Serves) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, serves, calls.clone()));
        Self { task, calls }
    }

    /// Ends, and waits until its connections have.
    pub async fn stop(self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// The paths called so far.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    pub fn count(&self, rpc: &str) -> usize {
        self.calls().iter().filter(|path| path.ends_with(rpc)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, serves: Serves, calls: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let calls = calls.clone();
        let service = TowerToHyperService::new(service_fn(move |request: Request<Incoming>| {
            calls.lock().unwrap().push(request.uri().path().to_owned());
            async move { Ok::<_, Infallible>(answer(request.map(Body::new), serves).await) }
        }));
        connections.spawn(async move {
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn unary<Q, A>(request: Request<Body>, message: A) -> Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + Clone + 'static,
{
    let answer = service_fn(move |_: tonic::Request<Q>| {
        let message = message.clone();
        async move { Ok::<_, Status>(tonic::Response::new(message)) }
    });
    Grpc::new(ProstCodec::<A, Q>::default()).unary(answer, request).await
}

async fn streamed<Q, A>(request: Request<Body>, messages: Vec<A>) -> Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + Clone + 'static,
{
    let answer = service_fn(move |_: tonic::Request<Q>| {
        let messages = messages.clone();
        async move { Ok::<_, Status>(tonic::Response::new(iter(messages.into_iter().map(Ok)))) }
    });
    Grpc::new(ProstCodec::<A, Q>::default()).server_streaming(answer, request).await
}

async fn answer(request: Request<Body>, serves: Serves) -> Response<Body> {
    assert_eq!(request.uri().authority().map(http::uri::Authority::as_str), Some("localhost"));
    let path = request.uri().path().to_owned();
    let method = path.rsplit('/').next().unwrap();
    if !serves(&path) {
        return Status::unimplemented(format!("unknown method {method}")).into_http();
    }
    match method {
        "Version" => unary::<VersionRequest, _>(request, version()).await,
        "ImageFsInfo" => unary::<ImageFsInfoRequest, _>(request, ImageFsInfoResponse::default()).await,
        "ListContainers" => {
            let containers = vec![container("unary")];
            unary::<ListContainersRequest, _>(request, ListContainersResponse { containers }).await
        }
        "StreamContainers" => {
            let part = |id| StreamContainersResponse { containers: vec![container(id)] };
            streamed::<StreamContainersRequest, _>(request, vec![part("first"), part("second")]).await
        }
        "ListPodSandbox" => unary::<ListPodSandboxRequest, _>(request, ListPodSandboxResponse::default()).await,
        "ListImages" => unary::<ListImagesRequest, _>(request, ListImagesResponse::default()).await,
        "ListContainerStats" => {
            unary::<ListContainerStatsRequest, _>(request, ListContainerStatsResponse::default()).await
        }
        "ListPodSandboxStats" => {
            unary::<ListPodSandboxStatsRequest, _>(request, ListPodSandboxStatsResponse::default()).await
        }
        "RuntimeConfig" => {
            let linux = Some(LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs.into() });
            unary::<RuntimeConfigRequest, _>(request, RuntimeConfigResponse { linux }).await
        }
        "GetContainerEvents" => {
            let event = ContainerEventResponse { container_id: "c".into(), ..Default::default() };
            streamed::<GetEventsRequest, _>(request, vec![event]).await
        }
        "StopContainer" => {
            let mut answer = Status::not_found("gone").into_http();
            answer.headers_mut().insert("grpc-status-details-bin", "not base64".parse().unwrap());
            answer
        }
        "Status" => std::future::pending().await,
        other => panic!("no answer for {other}"),
    }
}

fn version() -> VersionResponse {
    VersionResponse { runtime_name: "test".into(), ..Default::default() }
}

fn container(id: &str) -> Container {
    Container { id: id.into(), ..Default::default() }
}
