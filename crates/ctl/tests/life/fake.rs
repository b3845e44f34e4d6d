//! A runtime that keeps books and runs nothing: a gRPC server on a real unix socket, for what the command line itself
//! does. What an image is called says what its containers do: `stay`, `exit-3`, `broken` (cannot be started).

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use corten_cri::{node, v1};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio_stream::StreamExt;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::{Body as HttpBody, StdError, http},
};
use v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};

/// What the runtime knows.
#[derive(Debug, Default)]
pub struct Books {
    pub pods: Vec<(v1::PodSandbox, v1::PodSandboxConfig)>,
    pub containers: Vec<(v1::ContainerStatus, String, v1::ContainerConfig)>,
    pub calls: Vec<String>,
    pub loaded: Vec<u8>,
    next: usize,
}

/// A server that ends with its value.
pub struct Fake {
    pub books: Arc<Mutex<Books>>,
    pub directory: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::UnixListener::bind(directory.path().join("cri.sock")).unwrap();
        let books = Arc::new(Mutex::new(Books::default()));
        let served = books.clone();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let books = served.clone();
                let service = tower::service_fn(move |request| {
                    let books = books.clone();
                    async move { Ok::<_, Infallible>(answer(request, books).await) }
                });
                tokio::spawn(async move {
                    let service = TowerToHyperService::new(service);
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { books, directory, server }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Answers one call with a function of its message.
async fn unary<B, Req, Resp>(
    request: http::Request<B>,
    answer: impl Fn(Req) -> Result<Resp, Status>,
) -> http::Response<Body>
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send,
    Req: prost::Message + Default + Send + 'static,
    Resp: prost::Message + Send + 'static,
{
    let service = tower::service_fn(|request: Request<Req>| {
        let answer = answer(request.into_inner()).map(Response::new);
        async move { answer }
    });
    tonic::server::Grpc::new(tonic_prost::ProstCodec::<Resp, Req>::default()).unary(service, request).await
}

async fn load<B>(request: http::Request<B>, books: Arc<Mutex<Books>>) -> http::Response<Body>
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    let service = tower::service_fn(move |request: Request<Streaming<node::LoadImageRequest>>| {
        let books = books.clone();
        async move {
            let mut chunks = request.into_inner();
            while let Some(chunk) = chunks.next().await {
                books.lock().unwrap().loaded.extend(chunk?.chunk);
            }
            let image = node::LoadedImage { id: "sha256:77".into(), references: vec!["localhost/web:1".into()] };
            Ok::<_, Status>(Response::new(node::LoadImageResponse { images: vec![image] }))
        }
    });
    let codec = tonic_prost::ProstCodec::<node::LoadImageResponse, node::LoadImageRequest>::default();
    tonic::server::Grpc::new(codec).client_streaming(service, request).await
}

async fn answer<B>(request: http::Request<B>, shared: Arc<Mutex<Books>>) -> http::Response<Body>
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let books = || shared.lock().unwrap();
    // Every connection begins with it.
    if method == "Version" {
        let version = v1::VersionResponse { runtime_api_version: "v1".into(), ..Default::default() };
        return unary(request, move |_: v1::VersionRequest| Ok(version.clone())).await;
    }
    books().calls.push(method.clone());
    match method.as_str() {
        "LoadImage" => load(request, shared.clone()).await,
        "RunPodSandbox" => unary(request, |message| books().run_pod(message)).await,
        "ListPodSandbox" => unary(request, |_: v1::ListPodSandboxRequest| Ok(books().list_pods())).await,
        "PodSandboxStatus" => unary(request, |message| books().pod_status(&message)).await,
        "StopPodSandbox" => unary(request, |message| Ok(books().stop_pod(&message))).await,
        "RemovePodSandbox" => unary(request, |message| Ok(books().remove_pod(&message))).await,
        "CreateContainer" => unary(request, |message| books().create(message)).await,
        "StartContainer" => unary(request, |message| books().start(&message)).await,
        "StopContainer" => unary(request, |message| Ok(books().stop(&message))).await,
        "RemoveContainer" => unary(request, |message| Ok(books().remove(&message))).await,
        "ListContainers" => unary(request, |_: v1::ListContainersRequest| Ok(books().list())).await,
        "ContainerStatus" => unary(request, |message| books().status(&message)).await,
        "ExecSync" => unary(request, |message| Ok(exec(message))).await,
        "ImageStatus" => unary(request, |message| Ok(image_status(message))).await,
        "PullImage" => unary(request, pull).await,
        other => Status::unimplemented(other.to_owned()).into_http(),
    }
}

/// Images called `missing` are not there; everything else is, with a numeric user.
fn image_status(request: v1::ImageStatusRequest) -> v1::ImageStatusResponse {
    let name = request.image.unwrap_or_default().image;
    let uid = Some(v1::Int64Value { value: 7 });
    let image = v1::Image { id: name.clone(), size: 1, uid, ..v1::Image::default() };
    v1::ImageStatusResponse {
        image: (!name.contains("missing")).then_some(image),
        ..v1::ImageStatusResponse::default()
    }
}

fn pull(request: v1::PullImageRequest) -> Result<v1::PullImageResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    Err(Status::not_found(format!("{name}: no such image")))
}

/// Writes its arguments to stdout and ends with the code in the last one.
fn exec(request: v1::ExecSyncRequest) -> v1::ExecSyncResponse {
    let exit_code = request.cmd.last().and_then(|word| word.parse().ok()).unwrap_or_default();
    v1::ExecSyncResponse { stdout: request.cmd.join(" ").into_bytes(), stderr: b"warned\n".to_vec(), exit_code }
}

impl Books {
    fn id(&mut self) -> String {
        self.next += 1;
        format!("{:064x}", self.next)
    }

    fn run_pod(&mut self, request: v1::RunPodSandboxRequest) -> Result<v1::RunPodSandboxResponse, Status> {
        let config = request.config.ok_or_else(|| Status::invalid_argument("no config"))?;
        let id = self.id();
        let pod = v1::PodSandbox {
            id: id.clone(),
            metadata: config.metadata.clone(),
            annotations: config.annotations.clone(),
            created_at: 1,
            ..v1::PodSandbox::default()
        };
        self.pods.push((pod, config));
        Ok(v1::RunPodSandboxResponse { pod_sandbox_id: id })
    }

    fn list_pods(&self) -> v1::ListPodSandboxResponse {
        v1::ListPodSandboxResponse { items: self.pods.iter().map(|(pod, _)| pod.clone()).collect() }
    }

    fn pod_status(&self, request: &v1::PodSandboxStatusRequest) -> Result<v1::PodSandboxStatusResponse, Status> {
        let (pod, _) = self
            .pods
            .iter()
            .find(|(pod, _)| pod.id == request.pod_sandbox_id)
            .ok_or_else(|| Status::not_found("no such pod"))?;
        let network = Some(v1::PodSandboxNetworkStatus { ip: "10.1.2.3".into(), additional_ips: Vec::new() });
        let status = v1::PodSandboxStatus { id: pod.id.clone(), network, ..v1::PodSandboxStatus::default() };
        Ok(v1::PodSandboxStatusResponse { status: Some(status), ..v1::PodSandboxStatusResponse::default() })
    }

    fn stop_pod(&mut self, request: &v1::StopPodSandboxRequest) -> v1::StopPodSandboxResponse {
        for (status, pod, _) in &mut self.containers {
            if *pod == request.pod_sandbox_id {
                status.set_state(ContainerExited);
            }
        }
        for (pod, _) in &mut self.pods {
            if pod.id == request.pod_sandbox_id {
                pod.set_state(v1::PodSandboxState::SandboxNotready);
            }
        }
        v1::StopPodSandboxResponse {}
    }

    fn remove_pod(&mut self, request: &v1::RemovePodSandboxRequest) -> v1::RemovePodSandboxResponse {
        self.containers.retain(|(_, pod, _)| *pod != request.pod_sandbox_id);
        self.pods.retain(|(pod, _)| pod.id != request.pod_sandbox_id);
        v1::RemovePodSandboxResponse {}
    }

    fn create(&mut self, request: v1::CreateContainerRequest) -> Result<v1::CreateContainerResponse, Status> {
        let config = request.config.ok_or_else(|| Status::invalid_argument("no config"))?;
        let directory = request.sandbox_config.unwrap_or_default().log_directory;
        let log_path = Path::new(&directory).join(&config.log_path);
        let id = self.id();
        let status = v1::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: ContainerCreated.into(),
            log_path: log_path.display().to_string(),
            ..v1::ContainerStatus::default()
        };
        self.containers.push((status, request.pod_sandbox_id, config));
        Ok(v1::CreateContainerResponse { container_id: id })
    }

    fn start(&mut self, request: &v1::StartContainerRequest) -> Result<v1::StartContainerResponse, Status> {
        let (status, _, config) = self
            .containers
            .iter_mut()
            .find(|(status, _, _)| status.id == request.container_id)
            .ok_or_else(|| Status::not_found("no such container"))?;
        fs::create_dir_all(Path::new(&status.log_path).parent().unwrap()).unwrap();
        let log = "2026-01-31T12:00:00Z stdout P hel\n2026-01-31T12:00:00Z stdout F lo\n\
                   2026-01-31T12:00:00Z stderr F oh\n";
        fs::write(&status.log_path, log).unwrap();
        let image = config.image.clone().unwrap_or_default().image;
        match image.strip_prefix("exit-") {
            Some(code) => {
                status.set_state(ContainerExited);
                status.exit_code = code.parse().unwrap();
            }
            None if image == "broken" => return Err(Status::internal("exec /main: no such file")),
            None => status.set_state(ContainerRunning),
        }
        Ok(v1::StartContainerResponse {})
    }

    fn stop(&mut self, request: &v1::StopContainerRequest) -> v1::StopContainerResponse {
        self.calls.push(format!("grace {}", request.timeout));
        for (status, _, _) in &mut self.containers {
            if status.id == request.container_id {
                status.set_state(ContainerExited);
            }
        }
        v1::StopContainerResponse {}
    }

    fn remove(&mut self, request: &v1::RemoveContainerRequest) -> v1::RemoveContainerResponse {
        self.containers.retain(|(status, _, _)| status.id != request.container_id);
        v1::RemoveContainerResponse {}
    }

    fn list(&self) -> v1::ListContainersResponse {
        let container = |(status, pod, config): &(v1::ContainerStatus, String, v1::ContainerConfig)| v1::Container {
            id: status.id.clone(),
            pod_sandbox_id: pod.clone(),
            metadata: status.metadata.clone(),
            image: config.image.clone(),
            state: status.state,
            annotations: config.annotations.clone(),
            ..v1::Container::default()
        };
        v1::ListContainersResponse { containers: self.containers.iter().map(container).collect() }
    }

    fn status(&self, request: &v1::ContainerStatusRequest) -> Result<v1::ContainerStatusResponse, Status> {
        let found = self.containers.iter().find(|(status, _, _)| status.id == request.container_id);
        let (status, _, _) = found.ok_or_else(|| Status::not_found("no such container"))?;
        Ok(v1::ContainerStatusResponse { status: Some(status.clone()), ..v1::ContainerStatusResponse::default() })
    }
}
