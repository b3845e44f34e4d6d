//! The policy tried: the checks of `corten-validate` for every pair of releases that may meet, through the proxy, which
//! makes the one side look like a kubelet of one release and the other like a runtime of another.

mod cells;
mod report;

use std::{io, path::Path};

use corten_cri::history::{self, History, Release, ReleaseName};
use corten_validate::run::{self as checks, Options};
use tokio::sync::oneshot;

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

/// One pair: the checks through proxies of its own.
async fn one(
    options: &Options,
    cell: Cell,
    common: Release,
    directory: &Path,
    interrupted: impl Future<Output = ()>,
) -> Result<corten_validate::report::Report, String> {
    let (runtime, end_runtime) = proxy(cell, &options.endpoint, &directory.join("runtime.sock"))?;
    let images = options.image_endpoint.as_ref();
    let images = images.map(|endpoint| proxy(cell, endpoint, &directory.join("images.sock"))).transpose()?;
    let (image_endpoint, end_images) = images.unzip();
    let options =
        Options { endpoint: runtime, image_endpoint, api: Some(cell.api), as_release: Some(common), ..options.clone() };
    let result = checks::run(&options, |_| {}, interrupted).await.map_err(|error| error.to_string());
    for (end, ended) in [Some(end_runtime), end_images].into_iter().flatten() {
        let _ = end.send(());
        let _ = ended.await;
    }
    result
}

/// What ends a proxy, and what it is.
type Ending = (oneshot::Sender<()>, tokio::task::JoinHandle<()>);

/// A proxy that makes both sides of a pair what they are; its endpoint.
fn proxy(cell: Cell, upstream: &str, socket: &Path) -> Result<(String, Ending), String> {
    let upstream = corten_cri::client::socket_path(upstream).map_err(|error| error.to_string())?;
    let stages = stages(cell).map_err(|error| error.to_string())?;
    let setup = Setup { stages, ..Setup::plain(socket, upstream) };
    let proxy = Proxy::bind(setup).map_err(|error| error.to_string())?;
    let (end, told) = oneshot::channel::<()>();
    let serving = tokio::spawn(proxy.serve(async move {
        let _ = told.await;
    }));
    Ok((format!("unix://{}", socket.display()), (end, serving)))
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
