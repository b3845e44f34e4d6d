//! `corten skew proxy`

use std::{fmt::Display, io, process::ExitCode};

use corten_cri::client::socket_path;
use corten_skew::{
    proxy::{Faults, Newer, Proxy, Setup, Stage, Versions},
    recording::Recorder,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{args::Proxy as ProxyArgs, error::Error, output};

/// Serves until it is told to end.
pub async fn run(args: ProxyArgs) -> Result<ExitCode, Error> {
    let mut setup = setup(&args)?;
    let recorder = args.record.as_deref().map(Recorder::create).transpose().map_err(refused)?;
    let written = recorder.as_ref().map(Recorder::written);
    if let Some(recorder) = recorder {
        // At the client: what the other stages make of a call is recorded.
        setup.stages.insert(0, Box::new(recorder));
    }
    // Before anybody can know that it runs: a signal from then on is no crash.
    let told = told_to_end()?;
    let proxy = Proxy::bind(setup).map_err(refused)?;
    output::note(&format!("listening on {}, forwarding to {}", args.listen, args.upstream));
    proxy.serve(told).await;
    if let Some(written) = written {
        output::note(&format!("{} calls recorded", written.calls().map_err(refused)?));
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(error: impl Display) -> Error {
    Error::condition("skew proxy", error.to_string())
}

fn setup(args: &ProxyArgs) -> Result<Setup, Error> {
    let as_others = args.kubelet_as.is_some() || args.runtime_as.is_some();
    let mut stages: Vec<Box<dyn Stage>> = Vec::new();
    if as_others {
        let versions = Versions::new(args.kubelet_as, args.runtime_as);
        stages.push(Box::new(versions.map_err(refused)?));
    }
    if let Some(minors) = args.newer {
        stages.push(Box::new(Newer::kubelet(minors).map_err(refused)?));
        stages.push(Box::new(Newer::runtime(minors).map_err(refused)?));
    }
    if !args.inject.is_empty() {
        stages.push(Box::new(Faults::new(args.inject.iter().cloned(), args.seed)));
    }
    Ok(Setup {
        image_upstream: args.image_upstream.as_deref().map(socket_path).transpose()?,
        stages,
        translate: as_others,
        ..Setup::plain(socket_path(&args.listen)?, socket_path(&args.upstream)?)
    })
}

fn told_to_end() -> Result<impl Future<Output = ()>, Error> {
    let failed = |error: io::Error| Error::condition("skew proxy: signals", error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
