//! The CRI's messages, as the compiled schema describes them.

use std::sync::OnceLock;

use bytes::Bytes;
use corten_cri::DESCRIPTORS;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

/// The compiled schema.
fn pool() -> Option<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).ok()).as_ref()
}

/// Every RPC of `v1` as `Service/Method`, in the schema's order.
pub fn rpcs() -> impl Iterator<Item = (String, MethodDescriptor)> {
    let services = pool().into_iter().flat_map(|pool| pool.services());
    let ours = services.filter(|service| service.package_name() == "runtime.v1");
    ours.flat_map(|service| {
        let methods: Vec<_> = service.methods().collect();
        methods.into_iter().map(move |method| (format!("{}/{}", service.name(), method.name()), method))
    })
}

/// An RPC by its name.
pub fn rpc(name: &str) -> Option<MethodDescriptor> {
    rpcs().find(|(known, _)| known == name).map(|(_, method)| method)
}

/// Reads a response of an RPC.
pub fn response(rpc: &MethodDescriptor, bytes: &Bytes) -> Option<DynamicMessage> {
    DynamicMessage::decode(rpc.output(), bytes.clone()).ok()
}

/// Reads a request of an RPC.
pub fn request(rpc: &MethodDescriptor, bytes: &Bytes) -> Option<DynamicMessage> {
    DynamicMessage::decode(rpc.input(), bytes.clone()).ok()
}
