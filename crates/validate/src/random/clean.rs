//! Removing what a sequence made.

use corten_cri::v1::*;

use super::{
    Target,
    call::IMAGES,
    model::{Breach, Verdict},
    world::World,
};
use crate::image::names;

/// How often it is tried.
const TRIES: usize = 3;

/// Removes every pod of a world, and its images, and looks whether anything is left.
///
/// # Errors
/// Something is left.
pub async fn clean(target: &Target, world: &World) -> Verdict {
    let mut left = Vec::new();
    for _ in 0..TRIES {
        let mut failed = Vec::new();
        for id in pods(target, world).await? {
            failed.extend(remove_pod(target, &id).await);
        }
        for image in 0..IMAGES {
            failed.extend(remove_image(target, &world.image(image)).await);
        }
        left = containers(target, world).await?;
        left.extend(pods(target, world).await?);
        if left.is_empty() && failed.is_empty() {
            break;
        }
        left.extend(failed);
    }
    // Logs are the client's to remove.
    let _ = std::fs::remove_dir_all(world.directory());
    if left.is_empty() {
        return Ok(());
    }
    let expected = "every pod and image can be removed, and then is gone".to_owned();
    Err(Breach { rpc: "RemovePodSandbox", about: "something is left in the end", expected, seen: left.join("; ") })
}

fn cannot(what: &'static str) -> impl FnOnce(tonic::Status) -> Breach {
    move |status| {
        let expected = "the lists can be had".to_owned();
        Breach {
            rpc: what,
            about: "it cannot be asked",
            expected,
            seen: format!("{:?}: {}", status.code(), status.message()),
        }
    }
}

async fn pods(target: &Target, world: &World) -> Result<Vec<String>, Breach> {
    let filter = PodSandboxFilter { label_selector: world.label(), ..Default::default() };
    let request = ListPodSandboxRequest { filter: Some(filter) };
    let answer = target.runtime.clone().list_pod_sandbox(request).await.map_err(cannot("ListPodSandbox"))?;
    // Not every runtime follows every filter: only ours are removed.
    let ours = answer.into_inner().items.into_iter().filter(|pod| world.owns(&pod.labels));
    Ok(ours.map(|pod| pod.id).collect())
}

async fn containers(target: &Target, world: &World) -> Result<Vec<String>, Breach> {
    let filter = ContainerFilter { label_selector: world.label(), ..Default::default() };
    let request = ListContainersRequest { filter: Some(filter) };
    let answer = target.runtime.clone().list_containers(request).await.map_err(cannot("ListContainers"))?;
    let ours = answer.into_inner().containers.into_iter().filter(|container| world.owns(&container.labels));
    Ok(ours.map(|container| container.id).collect())
}

/// What does not work is returned.
async fn remove_pod(target: &Target, id: &str) -> Option<String> {
    let mut runtime = target.runtime.clone();
    let stopped = runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await;
    let removed = runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }).await;
    let failed = stopped.err().or(removed.err())?;
    Some(format!("pod {id}: {:?}: {}", failed.code(), failed.message()))
}

async fn remove_image(target: &Target, name: &str) -> Option<String> {
    let image = target.registry.id(name)?.to_owned();
    let request = RemoveImageRequest { image: Some(ImageSpec { image, ..Default::default() }) };
    let failed = target.images.clone().remove_image(request).await.err()?;
    Some(format!("image {name}: {:?}: {}", failed.code(), failed.message()))
}

/// Keeps the layer that the images have in common on the node while sequences run, so that they are pulled quickly.
///
/// # Errors
/// It cannot be pulled.
pub async fn keep_base(target: &Target) -> Result<(), tonic::Status> {
    let image = target.registry.reference(names::PLAIN);
    let request = PullImageRequest { image: Some(ImageSpec { image, ..Default::default() }), ..Default::default() };
    target.images.clone().pull_image(request).await.map(drop)
}

/// Undoes [`keep_base`].
pub async fn drop_base(target: &Target) -> Option<String> {
    remove_image(target, names::PLAIN).await
}
