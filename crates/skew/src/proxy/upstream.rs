//! The runtime behind the proxy: one connection, made when it is needed and again when it broke.

use std::{
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use corten_cri::{ApiVersion, socket::Stream};
use h2::client::{Builder, SendRequest};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Body as _;
use tokio::{sync::Mutex as Turn, time::timeout};
use tonic::{Code, Status};

use super::{
    body::{self, Sent},
    call::Service,
    grpc::{GRPC, broken, status_of},
    incoming::Incoming,
    limits,
    sending::{Pump, Sending},
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long nobody tries again after connecting failed once; twice as long after each failure more.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest such pause: the kubelet sees a runtime that came back this late.
const LONGEST_PAUSE: Duration = Duration::from_millis(640);

/// A runtime's socket.
pub(super) struct Upstream {
    socket: PathBuf,
    link: Mutex<Link>,
    /// Who connects.
    turn: Turn<()>,
}

enum Link {
    Up(Connected),
    Down { until: Instant, pause: Duration, why: Status },
    Never,
}

#[derive(Clone)]
struct Connected {
    sender: SendRequest<Bytes>,
    /// Whether this runtime has each service of each version, as far as that was asked.
    speaks: [[Option<bool>; 2]; 2],
}

impl Connected {
    fn lives(&self) -> bool {
        let ready = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        !matches!(ready, Poll::Ready(Err(_)))
    }
}

/// Why a call has no response.
pub(super) enum Failure {
    /// In a gRPC client's words.
    Status(Status),
    /// The runtime reset it.
    Reset(body::Error),
}

impl Upstream {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, link: Mutex::new(Link::Never), turn: Turn::new(()) }
    }

    /// Forwards a call. What did not reach a connection that broke is sent on the next.
    pub(super) async fn send(&self, request: Request<Sent>) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.sender().await.map_err(Failure::Status)?;
        let (head, body) = request.into_parts();
        let nothing = body.is_end_stream();
        let (answer, stream) = sender.send_request(Request::from_parts(head, ()), nothing).map_err(failure)?;
        let sending = if nothing { None } else { Sending::begin(Pump::new(body, stream)) };
        Ok(answer.await.map_err(failure)?.map(|body| Incoming::answer(body, sending)))
    }

    /// What takes a request now.
    async fn sender(&self) -> Result<SendRequest<Bytes>, Status> {
        for _ in 0..2 {
            let mut sender = self.connected().await?.sender;
            if poll_fn(|context| sender.poll_ready(context)).await.is_ok() {
                return Ok(sender);
            }
        }
        Err(broken())
    }

    /// Whether the runtime has a service in a version. It is asked once a connection, by a request that no handler sees.
    pub(super) async fn speaks(&self, api: ApiVersion, service: Service) -> Result<bool, Status> {
        let known = self.connected().await?.speaks;
        if let Some(Some(known)) = known.get(api as usize).and_then(|services| services.get(service as usize)) {
            return Ok(*known);
        }
        let method = match service {
            Service::Runtime => "Version",
            Service::Image => "ImageStatus",
        };
        let path = format!("http://localhost/{}.{}/{method}", api.package(), service.name());
        // A tag that is none: a method that exists cannot decode its request.
        let mut request = Request::post(path).body(Sent::own(&[0])).map_err(|_| broken())?;
        request.headers_mut().insert(CONTENT_TYPE, GRPC);
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let speaks = match self.send(request).await {
            Err(Failure::Status(status)) => return Err(status),
            Err(Failure::Reset(_)) => true,
            Ok(response) => status_of(response.headers()).code() != Code::Unimplemented,
        };
        if let Link::Up(connected) = &mut *self.link()
            && let Some(known) =
                connected.speaks.get_mut(api as usize).and_then(|known| known.get_mut(service as usize))
        {
            *known = Some(speaks);
        }
        Ok(speaks)
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // What is behind it is replaced whole.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connected(&self) -> Result<Connected, Status> {
        if let Some(known) = self.known() {
            return known;
        }
        let _turn = self.turn.lock().await;
        // Somebody else may have connected meanwhile.
        if let Some(known) = self.known() {
            return known;
        }
        let made = connect(&self.socket).await;
        let mut link = self.link();
        match made {
            Ok(sender) => {
                let connected = Connected { sender, speaks: Default::default() };
                *link = Link::Up(connected.clone());
                Ok(connected)
            }
            Err(why) => {
                let pause = match &*link {
                    Link::Down { pause, .. } => (*pause * 2).min(LONGEST_PAUSE),
                    Link::Up(_) | Link::Never => FIRST_PAUSE,
                };
                *link = Link::Down { until: Instant::now() + pause, pause, why: why.clone() };
                Err(why)
            }
        }
    }

    /// The connection there is, or why there is none for the moment.
    fn known(&self) -> Option<Result<Connected, Status>> {
        match &*self.link() {
            Link::Up(connected) => connected.lives().then(|| Ok(connected.clone())),
            Link::Down { until, why, .. } if Instant::now() < *until => Some(Err(why.clone())),
            _ => None,
        }
    }
}

async fn connect(socket: &Path) -> Result<SendRequest<Bytes>, Status> {
    let dialed = timeout(CONNECT_TIMEOUT, Stream::connect(socket)).await;
    let dialed = dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = dialed.map_err(|error| {
        let (path, why) = (socket.display(), errno(&error));
        let desc = format!("transport: Error while dialing: dial unix {path}: connect: {why}");
        Status::unavailable(format!("connection error: desc = \"{desc}\""))
    })?;
    let mut builder = Builder::new();
    builder
        .initial_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_header_list_size(limits::RESPONSE_HEADERS)
        .enable_push(false);
    let (sender, connection) = builder.handshake(stream).await.map_err(|_| broken())?;
    // Its end, good or bad, is what its calls see.
    tokio::spawn(connection);
    Ok(sender)
}

/// A kernel's error in the words of Go's, which are the C library's with a small letter.
fn errno(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn failure(error: h2::Error) -> Failure {
    if error.is_reset() { Failure::Reset(Box::new(error)) } else { Failure::Status(broken()) }
}
