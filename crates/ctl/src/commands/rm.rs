//! `corten rm`

use std::{fs, io, path::Path};

use corten_cri::v1;

use super::{Each, known, stop};
use crate::{
    args::{Places, Rm},
    error::Error,
    pod::{Directories, MADE_BY_RUN, volumes},
    resolve::{Known, Target},
    runtime::Runtime,
};

impl From<Places> for Directories {
    fn from(places: Places) -> Self {
        Self { logs: places.log_dir, data: places.data_dir }
    }
}

/// Removes pods and containers, and prints what was removed.
pub async fn run(runtime: &Runtime, args: Rm) -> Result<(), Error> {
    let known = known(runtime).await?;
    let directories = Directories::from(args.places);
    let mut each = Each::new();
    for word in &args.targets {
        let result = match known.target(word) {
            Ok(target) if !args.force && is_running(&known, &target) => {
                Err(Error::condition(format!("remove {word}"), "it is running; stop it first, or use -f"))
            }
            Ok(target) => remove(runtime, &known, &target, &directories).await,
            Err(error) => Err(error.into()),
        };
        each.add(word, result)?;
    }
    each.end()
}

async fn remove(runtime: &Runtime, known: &Known, target: &Target, directories: &Directories) -> Result<(), Error> {
    if is_running(known, target) {
        stop::stop(runtime, known, target, None).await?;
    }
    match target {
        Target::Container(container) => runtime.remove_container(&container.id).await,
        Target::Pod(pod) => {
            runtime.stop_pod(&pod.id).await?;
            runtime.remove_pod(&pod.id).await?;
            remove_directories(pod, directories)
        }
    }
}

fn is_running(known: &Known, target: &Target) -> bool {
    let running = |container: &v1::Container| container.state() == v1::ContainerState::ContainerRunning;
    match target {
        Target::Container(container) => running(container),
        Target::Pod(pod) => known.containers.iter().any(|one| one.pod_sandbox_id == pod.id && running(one)),
    }
}

/// Removes what `corten run` made beside the pod. Another client's pods are left alone.
fn remove_directories(pod: &v1::PodSandbox, directories: &Directories) -> Result<(), Error> {
    let metadata = pod.metadata.clone().unwrap_or_default();
    if !pod.annotations.contains_key(MADE_BY_RUN) {
        return Ok(());
    }
    remove_made_by_run(&metadata.namespace, &metadata.name, &metadata.uid, directories)
}

/// Removes a pod's volumes and logs.
pub(super) fn remove_made_by_run(
    namespace: &str,
    name: &str,
    uid: &str,
    directories: &Directories,
) -> Result<(), Error> {
    let data = directories.pod_data(uid).map_or(Ok(()), |data| volumes::remove(&data).map_err(Error::from));
    let logs = directories.pod_logs(namespace, name, uid).map_or(Ok(()), |logs| remove_logs(&logs));
    data.and(logs)
}

fn remove_logs(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { operation: "remove", path: directory.to_owned(), source })
        }
        _ => Ok(()),
    }
}
