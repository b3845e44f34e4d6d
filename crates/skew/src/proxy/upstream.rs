//! The runtime behind the proxy: one connection, made when it is needed and again when it broke.

use std::{
    error::Error as _,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use corten_cri::{ApiVersion, socket::Stream};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{sync::Mutex as Turn, time::timeout};
use tonic::{Code, Status};

use super::{
    body::{self, Sent, is_reset},
    call::Service,
    grpc::{GRPC, broken, status_of},
    held::Held,
    limits,
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
    sender: SendRequest<Sent>,
    /// Whether this runtime has each service of each version, as far as that was asked.
    speaks: [[Option<bool>; 2]; 2],
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
    pub(super) async fn send(&self, mut request: Request<Sent>) -> Result<Response<Incoming>, Failure> {
        for _ in 0..2 {
            let mut sender = self.connected().await.map_err(Failure::Status)?.sender;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        self.forget();
                        request = unsent;
                    }
                    None => return Err(failure(error.into_error())),
                },
            }
        }
        Err(Failure::Status(broken()))
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

    fn forget(&self) {
        let mut link = self.link();
        if matches!(&*link, Link::Up(connected) if connected.sender.is_closed()) {
            *link = Link::Never;
        }
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
            Link::Up(connected) if !connected.sender.is_closed() => Some(Ok(connected.clone())),
            Link::Down { until, why, .. } if Instant::now() < *until => Some(Err(why.clone())),
            _ => None,
        }
    }
}

async fn connect(socket: &Path) -> Result<SendRequest<Sent>, Status> {
    let dialed = timeout(CONNECT_TIMEOUT, Stream::connect(socket)).await;
    let dialed = dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = dialed.map_err(|error| {
        let (path, why) = (socket.display(), errno(&error));
        let desc = format!("transport: Error while dialing: dial unix {path}: connect: {why}");
        Status::unavailable(format!("connection error: desc = \"{desc}\""))
    })?;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_header_list_size(limits::RESPONSE_HEADERS);
    let (sender, connection) = builder.handshake(TokioIo::new(Held::new(stream))).await.map_err(|_| broken())?;
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

fn failure(error: hyper::Error) -> Failure {
    if is_reset(&error) {
        return Failure::Reset(Box::new(error));
    }
    match error.source() {
        Some(cause) if error.is_parse() => Failure::Status(Status::unavailable(format!("connection error: {cause}"))),
        _ => Failure::Status(broken()),
    }
}
