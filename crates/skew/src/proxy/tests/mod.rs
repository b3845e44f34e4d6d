#![allow(clippy::unwrap_used, clippy::panic)]

mod hostile;
mod relay;

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use hyper::{server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{net::UnixListener, sync::oneshot, time::timeout};

use super::{body::Sent, incoming::Incoming, upstream::Upstream, *};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy in front of something, in a directory of its own.
pub(super) struct World {
    dir: TempDir,
    _end: oneshot::Sender<()>,
}

impl World {
    /// With something behind it that listens on the path given.
    pub(super) fn new(stages: Vec<Box<dyn Stage>>, behind: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        behind(&dir.path().join("behind"));
        let setup = Setup { stages, ..Setup::plain(dir.path().join("proxy"), dir.path().join("behind")) };
        let (end, ended) = oneshot::channel::<()>();
        tokio::spawn(Proxy::bind(setup).unwrap().serve(async {
            let _ = ended.await;
        }));
        Self { dir, _end: end }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("proxy")
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    /// A request as it is, and all that comes back.
    async fn raw(&self, headers: HeaderMap, body: Bytes) -> Whole {
        let upstream = Upstream::new(self.socket());
        let mut request =
            Request::post("http://localhost/runtime.v1.RuntimeService/Version").body(Sent::Own(Some(body))).unwrap();
        *request.headers_mut() = headers;
        let response = match timeout(PATIENCE, upstream.send(request)).await.unwrap() {
            Ok(response) => response,
            Err(upstream::Failure::Status(status)) => panic!("{status}"),
            Err(upstream::Failure::Reset(error)) => panic!("{error}"),
        };
        Whole::of(response).await
    }
}

/// A response to its end.
struct Whole {
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Whole {
    async fn of(response: Response<Incoming>) -> Self {
        let (parts, mut incoming) = response.into_parts();
        let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
        let next = async |incoming: &mut Incoming| {
            timeout(PATIENCE, std::future::poll_fn(|cx| std::pin::Pin::new(&mut *incoming).poll_frame(cx)))
                .await
                .unwrap()
        };
        while let Some(frame) = next(&mut incoming).await {
            match frame.unwrap().into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap(),
            }
        }
        Self { headers: parts.headers, body: body.into(), trailers }
    }
}

fn grpc_headers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::CONTENT_TYPE, grpc::GRPC)])
}

/// A server that answers with what it gets: the body as it is, the headers as trailers too.
pub(super) fn echo(socket: &Path) {
    serve(socket, |request| {
        let (parts, body) = request.into_parts();
        let mut trailers = parts.headers;
        trailers.remove("te");
        trailers.insert("grpc-status", "0".parse().unwrap());
        let mut response = Response::new(Echo { body, trailers: Some(trailers) });
        *response.headers_mut() = grpc_headers();
        response
    });
}

struct Echo {
    body: hyper::body::Incoming,
    trailers: Option<HeaderMap>,
}

impl Body for Echo {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match std::task::ready!(std::pin::Pin::new(&mut self.body).poll_frame(cx)) {
            Some(frame) => std::task::Poll::Ready(Some(frame)),
            None => std::task::Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }
}

fn serve<B>(socket: &Path, answer: impl Fn(Request<hyper::body::Incoming>) -> Response<B> + Clone + Send + 'static)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<body::Error>,
{
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(request))));
            tokio::spawn(
                Builder::new(TokioExecutor::new())
                    .max_header_list_size(1 << 20)
                    .auto_date_header(false)
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
}
