//! How a server is asked whether it has a version.

use tonic::Status;

use super::link::Link;
use crate::v1::{
    ImageFsInfoRequest, VersionRequest, image_service_client::ImageServiceClient,
    runtime_service_client::RuntimeServiceClient,
};

/// The call that finds out whether a server has a version. The kubelet asks the two services differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// `RuntimeService/Version`
    Version,
    /// `ImageService/ImageFsInfo`, for an endpoint with the ImageService alone.
    ImageFsInfo,
}

impl Handshake {
    /// Makes the call.
    pub(super) async fn ask(self, link: Link) -> Result<(), Status> {
        match self {
            Self::Version => RuntimeServiceClient::new(link).version(VersionRequest::default()).await.map(drop),
            Self::ImageFsInfo => {
                ImageServiceClient::new(link).image_fs_info(ImageFsInfoRequest::default()).await.map(drop)
            }
        }
    }
}
