//! The daemon's life: one at a time on its state, recovered, served on its socket until it is told to end.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corten_cri::client::MAX_MESSAGE;
use corten_cri::node::node_server::NodeServer;
use corten_cri::socket::{ListenError, Listener};
use corten_cri::v1::image_service_server::ImageServiceServer;
use corten_cri::v1::runtime_service_server::RuntimeServiceServer;
use corten_host::activation;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tonic::service::Routes;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::interface::Interface;
use crate::node::Node;
use crate::service::Service;
use crate::{events, metrics, record, recovery, service_manager};

/// How long no connection is accepted after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the lock and the socket of a killed daemon may still be held, and how often they are tried: a program that it
/// was just starting has them until it is executed.
const INHERITED: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(10);

/// What a step with the service manager's socket is called.
const INHERITED_SOCKET: &str = "the service manager's socket";

/// How long calls may go on after the daemon is told to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the daemon until SIGTERM or SIGINT. Pods go on without it.
pub async fn run(config: Config) -> Result<()> {
    // Before a program is started that would have it too.
    let inherited = Inherited::take(&config.socket)?;
    record::make_directory(&config.root)?;
    record::make_directory(&config.state)?;
    let _lock = patiently(|| lock(&config)).await?;
    let (node, streams) = Node::open(config).await?;
    let node = Arc::new(node);
    if !node.config.runtimes.is_empty() {
        record::make_directory(&node.external_mounts())?;
    }
    recovery::recover(&node).await?;
    let interface = Arc::new(Interface::new(&node.config.interface)?);
    let metrics = metrics::listen(&node.config.metrics).await?;
    let socket = Socket::open(inherited, &node.config.socket).await?;
    let manager = service_manager::Manager::of_environment();
    tracing::info!(socket = %node.config.socket.display(), pods = node.pods.all().len(), "serving");
    tokio::spawn(streams.serve(node.clone()));
    tokio::spawn(events::serve(node.clone()));
    if let Some(listener) = metrics {
        tokio::spawn(metrics::serve(listener, interface.clone()));
    }
    let (ended, end) = oneshot::channel();
    manager.ready();
    let closing = Ending { manager: service_manager::Manager::of_environment(), told: ended };
    let watched = node.clone();
    tokio::spawn(async move { manager.watch(&watched.config.socket).await });
    let serving = serve(&node, &interface, socket.listener, closing);
    tokio::select! {
        served = serving => served?,
        // Calls that wait for something are not waited for.
        _ = async { let _ = end.await; tokio::time::sleep(GRACE).await; } => {}
    }
    let closing = node.clone();
    node.blocking(move |_| {
        close(&closing, socket.name_is_ours);
        Ok(())
    })
    .await
}

/// Tries again for a while what another daemon stands in the way of.
async fn patiently<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + INHERITED;
    loop {
        match attempt() {
            Err(Error::Precondition(_)) if Instant::now() < deadline => tokio::time::sleep(AGAIN).await,
            outcome => return outcome,
        }
    }
}

/// One daemon at a time works on a state directory.
fn lock(config: &Config) -> Result<File> {
    let path = config.state.join("cortend.lock");
    let failed = |error: std::io::Error| Error::node(format!("open {}", path.display()), error);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::Precondition(format!("another cortend runs on {}", config.state.display())))
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// The socket that is served on.
struct Socket {
    listener: Listener,
    /// Whether its name is to be removed in the end.
    name_is_ours: bool,
}

impl Socket {
    /// The one that the service manager has left us, or our own.
    async fn open(inherited: Option<Inherited>, path: &Path) -> Result<Self> {
        let failed = |error| Error::node(INHERITED_SOCKET, error);
        Ok(match inherited {
            Some(Inherited(socket)) => {
                Self { listener: Listener::inherited(socket).map_err(failed)?, name_is_ours: false }
            }
            None => Self { listener: patiently(|| listen(path)).await?, name_is_ours: true },
        })
    }
}

/// A socket that the service manager listens on for us, at the path that is configured.
struct Inherited(UnixListener);

impl Inherited {
    fn take(path: &Path) -> Result<Option<Self>> {
        let failed = |error| Error::node(INHERITED_SOCKET, error);
        activation::listener().map_err(failed)?.map(|socket| Self::at(path, socket)).transpose()
    }

    /// Who calls the daemon, and the daemon itself, use the path that is configured.
    fn at(path: &Path, socket: UnixListener) -> Result<Self> {
        let address = socket.local_addr().map_err(|error| Error::node(INHERITED_SOCKET, error))?;
        let is_it = |given: &Path| {
            let (given_file, file) = (std::fs::canonicalize(given).ok(), std::fs::canonicalize(path).ok());
            given == path || (given_file.is_some() && given_file == file)
        };
        match address.as_pathname() {
            Some(given) if is_it(given) => Ok(Self(socket)),
            other => {
                let given = other.map_or("one without a path".into(), |given| given.display().to_string());
                Err(Error::invalid(
                    "socket",
                    path.display(),
                    format!("the service manager has left us another: {given}"),
                ))
            }
        }
    }
}

/// Who hears that the daemon is told to end.
struct Ending {
    manager: service_manager::Manager,
    told: oneshot::Sender<()>,
}

/// Listens on the socket.
fn listen(path: &Path) -> Result<Listener> {
    if let Some(directory) = path.parent() {
        record::make_directory(directory)?;
    }
    Listener::bind(path).map_err(|error| match error {
        ListenError::Taken(_) | ListenError::NoSocket(_) => Error::Precondition(error.to_string()),
        ListenError::Kernel { operation, path, source } => {
            Error::node(format!("{operation} {}", path.display()), source)
        }
    })
}

/// Serves connections until told to end, then finishes the calls that run.
///
/// Not by tonic's own server: that keeps a deadline of its own from the client's `grpc-timeout`, and answers `Cancelled`
/// when it passes first, where clients expect `DeadlineExceeded`, which their own deadline gives them. Here a caller that
/// gives up resets its stream, and its call ends with that.
async fn serve(node: &Arc<Node>, interface: &Arc<Interface>, listener: Listener, ending: Ending) -> Result<()> {
    let (routes, connections) = (routes(node), GracefulShutdown::new());
    let http = Builder::new(TokioExecutor::new()).http2_only();
    let told = told_to_end(ending)?;
    tokio::pin!(told);
    loop {
        let stream = tokio::select! {
            () = &mut told => break,
            accepted = listener.accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors, say: what ends meanwhile gives some back.
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let (routes, interface) = (routes.clone(), interface.clone());
        let service = service_fn(move |request| {
            let (routes, interface) = (routes.clone(), interface.clone());
            async move { interface.call(routes, request).await }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
        });
    }
    connections.shutdown().await;
    Ok(())
}

fn routes(node: &Arc<Node>) -> Routes {
    let service = Service(node.clone());
    let runtime = RuntimeServiceServer::new(service.clone());
    let images = ImageServiceServer::new(service.clone());
    let own = NodeServer::new(service);
    Routes::new(runtime.max_decoding_message_size(MAX_MESSAGE))
        .add_service(images.max_decoding_message_size(MAX_MESSAGE))
        .add_service(own.max_decoding_message_size(MAX_MESSAGE))
        .prepare()
}

fn told_to_end(ending: Ending) -> Result<impl Future<Output = ()>> {
    let failed = |error| Error::node("signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to end; pods go on");
        ending.manager.stopping();
        let _ = ending.told.send(());
    })
}

/// Leaves nothing on the host that no pod needs.
fn close(node: &Node, with_socket: bool) {
    if with_socket {
        let _ = std::fs::remove_file(&node.config.socket);
    }
    if !node.pods.all().is_empty() {
        return;
    }
    if let Err(error) = node.network.close() {
        tracing::warn!(%error, "the network could not be closed");
    }
    // Empty, unless something of a container is still there: then it stays.
    let _ = std::fs::remove_dir(node.external_mounts());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As long as a program takes to be executed on a machine with much to do.
    const MOMENT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_lock_held_for_a_moment_more_is_waited_for() {
        let state = tempfile::tempdir().unwrap();
        let config = Config { state: state.path().to_owned(), ..Config::default() };
        let killed = lock(&config).unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(MOMENT).await;
            drop(killed);
        });
        patiently(|| lock(&config)).await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_held_for_a_moment_more_is_waited_for() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("c.sock");
        let killed = Listener::bind(&path).unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(MOMENT).await;
            drop(killed);
        });
        patiently(|| listen(&path)).await.unwrap();
    }

    #[test]
    fn an_inherited_socket_is_the_one_that_is_configured() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link, other) = (directory.path().join("a"), directory.path().join("b"), directory.path().join("c"));
        let socket = UnixListener::bind(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let take = |path: &Path| Inherited::at(path, socket.try_clone().unwrap()).map(drop);
        take(&path).unwrap();
        take(&link).unwrap();
        let refused = take(&other).unwrap_err().to_string();
        assert!(refused.contains(path.to_str().unwrap()) && refused.contains(other.to_str().unwrap()), "{refused}");
    }

    #[tokio::test]
    async fn two_daemons_do_not_share_a_state_directory() {
        let state = tempfile::tempdir().unwrap();
        let config = Config { state: state.path().to_owned(), ..Config::default() };
        let _other = lock(&config).unwrap();
        let refused = patiently(|| lock(&config)).await.unwrap_err().to_string();
        assert_eq!(refused, format!("another cortend runs on {}", state.path().display()));
    }
}
