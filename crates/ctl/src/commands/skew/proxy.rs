//! `corten skew proxy`

use std::{fmt::Display, process::ExitCode};

use corten_cri::client::socket_path;
use corten_skew::{
    proxy::{Faults, Newer, Proxy, Setup, Stage, Versions},
    recording::Recorder,
};

use crate::{args::Proxy as ProxyArgs, commands::interrupt::Interrupt, error::Error, output};

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
    let interrupt = Interrupt::listen()?;
    let proxy = Proxy::bind(setup).map_err(refused)?;
    output::note(&format!("listening on {}, forwarding to {}", args.listen, args.upstream));
    proxy.serve(interrupt.wanted()).await;
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
