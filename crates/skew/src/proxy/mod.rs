//! A proxy for the CRI: a socket in front of a runtime's, through which all calls go.
//!
//! It works on bytes: what it is not told to change goes by untouched, unknown fields, unknown methods and unknown services
//! included. What it is told to change is done by [`Stage`]s.
//!
//! Both sides are hostile as far as it is concerned: what they can make it keep is bounded, see `limits` and `grpc`.

mod body;
mod call;
mod client;
mod connection;
mod dispatch;
mod grpc;
mod incoming;
mod limits;
mod listen;
mod relay;
mod sending;
mod stage;
pub mod stages;
mod upstream;

use std::{path::PathBuf, sync::Arc, time::Duration};

use corten_cri::socket::ListenError;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

pub use self::{
    call::{Call, Callee, Service},
    client::{Client, Collected},
    stage::{Answer, Begin, Exchange, Next, Stage},
    stages::{
        faults::{Fault, Faults},
        newer::Newer,
        versions::Versions,
    },
};
use self::{dispatch::Dispatch, grpc::Budget, listen::Listener, upstream::Upstream};

/// How long no connection is accepted after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// How long calls may go on after the proxy is told to end.
const GRACE: Duration = Duration::from_secs(1);

/// How to make a [`Proxy`].
pub struct Setup {
    /// Where it listens.
    pub listen: PathBuf,
    /// The runtime's socket. It need not be there yet.
    pub upstream: PathBuf,
    /// Where the image service is instead, if elsewhere.
    pub image_upstream: Option<PathBuf>,
    /// What is done to the calls, from the client on.
    pub stages: Vec<Box<dyn Stage>>,
    /// Whether calls in a version of the API that the runtime lacks are translated to the version it has.
    pub translate: bool,
}

impl Setup {
    /// A proxy that changes nothing.
    pub fn plain(listen: impl Into<PathBuf>, upstream: impl Into<PathBuf>) -> Self {
        Self {
            listen: listen.into(),
            upstream: upstream.into(),
            image_upstream: None,
            stages: Vec::new(),
            translate: false,
        }
    }
}

/// A proxy that listens.
pub struct Proxy {
    listener: Listener,
    dispatch: Arc<Dispatch>,
}

impl Proxy {
    /// Listens; connections wait until [`Proxy::serve`]. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ListenError`]: the socket cannot be listened on.
    pub fn bind(setup: Setup) -> Result<Self, ListenError> {
        let listener = Listener::bind(&setup.listen)?;
        let dispatch = Dispatch {
            runtime: Upstream::new(setup.upstream),
            images: setup.image_upstream.map(Upstream::new),
            stages: setup.stages,
            translate: setup.translate,
            budget: Budget::default(),
        };
        Ok(Self { listener, dispatch: Arc::new(dispatch) })
    }

    /// Serves until `end`, gives the calls that run a moment to end too, and removes the socket.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let (ending, _) = watch::channel(());
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                accepted = self.listener.accept() => match accepted {
                    Ok(stream) => {
                        tokio::spawn(connection::serve(stream, self.dispatch.clone(), ending.subscribe()));
                    }
                    // Out of descriptors, say: what ends meanwhile gives some back.
                    Err(_) => sleep(PAUSE).await,
                },
            }
        }
        drop(self.listener);
        let _ = ending.send(());
        let _ = timeout(GRACE, ending.closed()).await;
    }
}

#[cfg(test)]
mod tests;
