//! The policy tried: the checks of `corten-validate` for every pair of releases that may meet, through the proxy, which
//! makes the one side look like a kubelet of one release and the other like a runtime of another.

mod cells;
mod report;
mod values;

use std::{io, path::Path, pin::Pin};

use corten_cri::history::{self, History, Release, ReleaseName};
use corten_validate::{
    check::Check,
    report::Report,
    run::{self as checks, Options},
};
use tokio::{sync::oneshot, task::JoinHandle};

pub use self::{
    cells::{Cell, SKEW, Side, all},
    report::{Matrix, Tried},
};
use crate::proxy::{Newer, Proxy, Setup, Stage, Versions};

/// Why no pair could be tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The history does not know a release.
    #[error(transparent)]
    History(#[from] history::Error),
    /// The proxies have no place for their sockets.
    #[error("make a directory: {0}")]
    Directory(io::Error),
}

/// Tries pairs one after another against the runtime that `options` name. `each` is told every result as it comes; when
/// `interrupted` resolves, the matrix ends early. The options' release is the one that the runtime is of, the newest known
/// if there is none.
///
/// # Errors
/// [`Error`] when nothing can be tried. A pair that fails is no error: it is in the matrix.
pub async fn run(
    options: &Options,
    cells: &[Cell],
    mut each: impl FnMut(&Tried),
    interrupted: impl Future<Output = ()>,
) -> Result<Matrix, Error> {
    let history = History::embedded().map_err(|_| history::Error::NoReleases)?;
    let newest = history.v1.newest()?;
    let actual = options.as_release.unwrap_or(newest);
    let directory = tempfile::Builder::new().prefix("corten-skew-").tempdir().map_err(Error::Directory)?;
    let mut interrupted = std::pin::pin!(interrupted);
    let mut matrix = Matrix::default();
    for cell in cells {
        let result = one(options, *cell, cell.common(newest, actual), directory.path(), interrupted.as_mut()).await;
        let tried = Tried { cell: *cell, result };
        matrix.interrupted = tried.result.as_ref().is_ok_and(|report| report.interrupted);
        each(&tried);
        matrix.tried.push(tried);
        if matrix.interrupted {
            break;
        }
    }
    Ok(matrix)
}

/// One pair: the checks through proxies of its own. For a newer kubelet then those of [`values`] through others, which
/// take out nothing of what it says.
async fn one(
    options: &Options,
    cell: Cell,
    common: Release,
    directory: &Path,
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Result<Report, String> {
    let options = Options { api: Some(cell.api), as_release: Some(common), ..options.clone() };
    let selected = checks::selected(&options.only).map_err(|error| error.to_string())?;
    let mut report = through(&options, selected, || stages(cell), directory, interrupted.as_mut()).await?;
    let Side::Newer(minors) = cell.kubelet else { return Ok(report) };
    if report.interrupted {
        return Ok(report);
    }
    let newer = || -> Result<Vec<Box<dyn Stage>>, history::Error> { Ok(vec![Box::new(Newer::kubelet(minors)?)]) };
    let of_values = through(&options, values::CHECKS.into(), newer, directory, interrupted).await?;
    report.checks.extend(of_values.checks);
    report.duration += of_values.duration;
    report.interrupted = of_values.interrupted;
    report.leftover = report.leftover.or(of_values.leftover);
    report.kept = report.kept.or(of_values.kept);
    Ok(report)
}

/// Checks through proxies with these stages.
async fn through(
    options: &Options,
    selected: Vec<Check>,
    stages: impl Fn() -> Result<Vec<Box<dyn Stage>>, history::Error>,
    directory: &Path,
    interrupted: impl Future<Output = ()>,
) -> Result<Report, String> {
    let proxy = |upstream: &str, socket: &str| {
        let stages = stages().map_err(|error| error.to_string())?;
        Running::start(stages, upstream, &directory.join(socket))
    };
    let runtime = proxy(&options.endpoint, "runtime.sock")?;
    let images = match options.image_endpoint.as_ref().map(|endpoint| proxy(endpoint, "images.sock")).transpose() {
        Ok(images) => images,
        Err(error) => {
            runtime.end().await;
            return Err(error);
        }
    };
    let image_endpoint = images.as_ref().map(|proxy| proxy.endpoint.clone());
    let options = Options { endpoint: runtime.endpoint.clone(), image_endpoint, ..options.clone() };
    let result = checks::run_these(&options, selected, |_| {}, interrupted).await.map_err(|error| error.to_string());
    runtime.end().await;
    if let Some(images) = images {
        images.end().await;
    }
    result
}

/// A proxy at work.
struct Running {
    endpoint: String,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Running {
    fn start(stages: Vec<Box<dyn Stage>>, upstream: &str, socket: &Path) -> Result<Self, String> {
        let upstream = corten_cri::client::socket_path(upstream).map_err(|error| error.to_string())?;
        let setup = Setup { stages, ..Setup::plain(socket, upstream) };
        let proxy = Proxy::bind(setup).map_err(|error| error.to_string())?;
        let (end, told) = oneshot::channel::<()>();
        let serving = tokio::spawn(proxy.serve(async move {
            let _ = told.await;
        }));
        Ok(Self { endpoint: format!("unix://{}", socket.display()), end, serving })
    }

    /// Ends it, and waits until its socket is gone.
    async fn end(self) {
        let _ = self.end.send(());
        let _ = self.serving.await;
    }
}

/// What makes the one side a kubelet and the other a runtime of the pair's releases.
fn stages(cell: Cell) -> Result<Vec<Box<dyn Stage>>, history::Error> {
    let known = |side| match side {
        Side::Release(release) => Some(ReleaseName::Patch(release)),
        Side::Newer(_) => None,
    };
    let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(Versions::new(known(cell.kubelet), known(cell.runtime))?)];
    // What a newer kubelet says reaches the runtime, what a newer runtime says the kubelet: no stage may take it out.
    if let Side::Newer(minors) = cell.kubelet {
        stages.push(Box::new(Newer::kubelet(minors)?));
    }
    if let Side::Newer(minors) = cell.runtime {
        stages.insert(0, Box::new(Newer::runtime(minors)?));
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_pair_that_cannot_be_tried_leaves_no_proxy_behind() {
        let directory = tempfile::tempdir().unwrap();
        let newest = History::embedded().unwrap().v1.newest().unwrap();
        let side = Side::Release(newest);
        let cell = Cell { api: corten_cri::ApiVersion::V1, kubelet: side, runtime: side };
        let endpoint = format!("unix://{}", directory.path().join("nobody.sock").display());
        let options = Options { image_endpoint: Some("tcp://127.0.0.1:1".to_owned()), ..Options::new(endpoint) };
        let error = one(&options, cell, newest, directory.path(), std::pin::pin!(pending())).await.unwrap_err();
        assert!(error.contains("tcp"), "{error}");
        assert!(!directory.path().join("runtime.sock").exists());
    }
}
