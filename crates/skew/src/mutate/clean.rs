//! Removing what checks left because the answers that they needed to remove it were wrong.

use std::collections::BTreeSet;

use corten_cri::{
    client::{ImageClient, RuntimeClient},
    v1::{
        ImageSpec, ListImagesRequest, ListPodSandboxRequest, RemoveImageRequest, RemovePodSandboxRequest,
        StopPodSandboxRequest,
    },
};
use corten_validate::context::RUN_LABEL;
use tonic::Status;

/// A runtime without anything in between.
pub struct Clean {
    /// Its RuntimeService.
    pub runtime: RuntimeClient,
    /// Its ImageService.
    pub images: ImageClient,
    /// The images that were there before.
    pub before: BTreeSet<String>,
}

impl Clean {
    /// Notes what there is.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn new(runtime: RuntimeClient, images: ImageClient) -> Result<Self, Status> {
        let mut clean = Self { runtime, images, before: BTreeSet::new() };
        clean.before = clean.image_ids().await?;
        Ok(clean)
    }

    async fn image_ids(&self) -> Result<BTreeSet<String>, Status> {
        let answer = self.images.clone().list_images(ListImagesRequest::default()).await?;
        Ok(answer.into_inner().images.into_iter().map(|image| image.id).collect())
    }

    /// Removes every pod that checks made, whichever run's, and every image that was not there before.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn clean(&self) -> Result<(), Status> {
        let mut runtime = self.runtime.clone();
        let pods = runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner().items;
        for pod in pods.into_iter().filter(|pod| pod.labels.contains_key(RUN_LABEL)) {
            runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
            runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await?;
        }
        for image in self.image_ids().await?.difference(&self.before) {
            let image = Some(ImageSpec { image: image.clone(), ..Default::default() });
            self.images.clone().remove_image(RemoveImageRequest { image }).await?;
        }
        Ok(())
    }
}
