//! What is called.

use corten_cri::ApiVersion;
use http::HeaderMap;

/// A service of the CRI. Both versions of it have the same two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// `RuntimeService`
    Runtime,
    /// `ImageService`
    Image,
}

impl Service {
    /// The name without its package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runtime => "RuntimeService",
            Self::Image => "ImageService",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Runtime, Self::Image].into_iter().find(|service| service.name() == name)
    }
}

/// Whose method is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callee {
    /// The CRI's.
    Cri(ApiVersion, Service),
    /// Another service's, by its full name.
    Other(String),
}

impl Callee {
    /// The full name: package and service.
    pub fn full_name(&self) -> String {
        match self {
            Self::Cri(api, service) => format!("{}.{}", api.package(), service.name()),
            Self::Other(name) => name.clone(),
        }
    }
}

/// One call, as its first frame tells it. What a stage changes here is what goes on.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whose method it is.
    pub callee: Callee,
    /// The method's name alone.
    pub method: String,
    /// The request's headers: metadata, `grpc-timeout` and all.
    pub metadata: HeaderMap,
}

impl Call {
    /// Reads a request's path. None for what is no gRPC method's.
    pub(crate) fn parse(path: &str, metadata: HeaderMap) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
        Some(Self { callee: callee(service), method: method.to_owned(), metadata })
    }

    /// The request's path.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.callee.full_name(), self.method)
    }

    /// `Service/Method`, as the history's table names it. None for another service's.
    pub fn rpc(&self) -> Option<String> {
        match &self.callee {
            Callee::Cri(_, service) => Some(format!("{}/{}", service.name(), self.method)),
            Callee::Other(_) => None,
        }
    }
}

fn callee(name: &str) -> Callee {
    let cri = ApiVersion::ALL.into_iter().find_map(|api| {
        let service = name.strip_prefix(api.package())?.strip_prefix('.')?;
        Some(Callee::Cri(api, Service::from_name(service)?))
    });
    cri.unwrap_or_else(|| Callee::Other(name.to_owned()))
}

/// Whether a path is of the image service of either version.
pub(crate) fn is_image_service(path: &str) -> bool {
    path.starts_with("/runtime.v1.ImageService/") || path.starts_with("/runtime.v1alpha2.ImageService/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_is_read_and_written_back() {
        for (path, rpc) in [
            ("/runtime.v1.RuntimeService/Version", Some("RuntimeService/Version")),
            ("/runtime.v1alpha2.ImageService/PullImage", Some("ImageService/PullImage")),
            ("/runtime.v2.ImageService/PullImage", None),
            ("/runtime.v1.Other/PullImage", None),
            ("/corten.v1.Node/LoadImage", None),
            ("//", None),
        ] {
            let call = Call::parse(path, HeaderMap::new()).unwrap();
            assert_eq!(call.path(), path);
            assert_eq!(call.rpc().as_deref(), rpc, "{path}");
        }
        for path in ["", "/", "Version", "/Version"] {
            assert!(Call::parse(path, HeaderMap::new()).is_none(), "{path:?}");
        }
    }

    #[test]
    fn both_image_services_are_recognized() {
        assert!(is_image_service("/runtime.v1.ImageService/X") && is_image_service("/runtime.v1alpha2.ImageService/X"));
        assert!(!is_image_service("/runtime.v1.RuntimeService/X") && !is_image_service("/runtime.v1.ImageServiceX/X"));
    }
}
