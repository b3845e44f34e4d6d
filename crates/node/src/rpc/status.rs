//! Status

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corten_cri::v1;

use crate::config::BUILT_IN;
use crate::error::{Error, Result};
use crate::handler_features::{self, Features};
use crate::node::Node;
use crate::operation::lock;

/// How long Status waits for the network's state.
const PATIENCE: Duration = Duration::from_secs(1);

/// The two conditions that the kubelet asks for, and what each runtime handler can do.
pub async fn handle(node: &Arc<Node>, request: v1::StatusRequest) -> Result<v1::StatusResponse> {
    let v1::StatusRequest { verbose } = request;
    let network = network(node).await;
    let conditions = vec![condition("RuntimeReady", "", Ok(())), condition("NetworkReady", "NetworkNotReady", network)];
    let info = match verbose {
        true => {
            let node = node.clone();
            node.blocking(info).await?
        }
        false => BTreeMap::new(),
    };
    let able = node.blocking(|node| Ok(handler_features::of_node(&node.config.images_directory()))).await?;
    Ok(v1::StatusResponse {
        status: Some(v1::RuntimeStatus { conditions }),
        info,
        runtime_handlers: handlers(node, able).await,
        features: Some(v1::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: able.user_namespaces,
            mount_options: true,
        }),
    })
}

/// Whether the network is ready, as last seen: looking may execute plug-ins, and Status does not wait for one that hangs.
async fn network(node: &Arc<Node>) -> std::result::Result<(), String> {
    let looking = node.clone();
    let look = node.network_check.run((), || async move {
        let seen = looking.blocking(|node| Ok(node.network.ready())).await?;
        *lock(&looking.network_seen) = seen;
        Ok(())
    });
    if tokio::time::timeout(PATIENCE, look).await.is_err() {
        tracing::warn!("the network's state is not known after {PATIENCE:?}; what was last seen is reported");
    }
    lock(&node.network_seen).clone()
}

fn condition(kind: &str, reason: &str, outcome: std::result::Result<(), String>) -> v1::RuntimeCondition {
    let (status, reason, message) = match outcome {
        Ok(()) => (true, String::new(), String::new()),
        Err(message) => (false, reason.to_owned(), message),
    };
    v1::RuntimeCondition { r#type: kind.into(), status, reason, message }
}

/// Every handler by name, and the default one again by the empty name.
async fn handlers(node: &Node, able: Features) -> Vec<v1::RuntimeHandler> {
    let named = ["", BUILT_IN].into_iter().chain(node.config.runtimes.keys().map(String::as_str));
    let told = named.map(|name| async move {
        let features = match node.handler(name) {
            Ok(handler) => node.probes.features(&handler, able).await,
            Err(_) => Features::default(),
        };
        let Features { recursive_read_only_mounts, user_namespaces, idmapped_mounts } = features;
        // The kubelet takes the one to come with the other.
        let user_namespaces = user_namespaces && idmapped_mounts;
        let features = Some(v1::RuntimeHandlerFeatures { recursive_read_only_mounts, user_namespaces });
        v1::RuntimeHandler { name: name.into(), features }
    });
    futures::future::join_all(told).await
}

/// What people debug with: the configuration in force, the network, and, under the names that `crictl info` is read for, how the
/// last look at it went.
fn info(node: &Node) -> Result<BTreeMap<String, String>> {
    let json = |what: &str, value: Result<String, serde_json::Error>| value.map_err(|error| Error::node(what, error));
    let network = lock(&node.network_seen).clone();
    Ok(BTreeMap::from([
        ("config".to_owned(), json("configuration", serde_json::to_string(&node.config))?),
        ("network".to_owned(), json("network", serde_json::to_string(&node.network.describe()))?),
        ("lastCNILoadStatus".to_owned(), network.map_or_else(|error| error, |()| "OK".to_owned())),
    ]))
}
