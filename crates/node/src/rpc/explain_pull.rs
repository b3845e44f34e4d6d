//! ExplainPull of `corten.v1.Node`: which hosts a pull would ask.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corten_cri::node as api;
use corten_images::{Answer, Explanation, HostExplanation, Place};

use crate::error::Result;
use crate::node::Node;

/// Explains, and if asked to, asks the hosts.
pub async fn handle(node: &Arc<Node>, request: api::ExplainPullRequest) -> Result<api::ExplainPullResponse> {
    let api::ExplainPullRequest { image, ask } = request;
    let Explanation { reference, registry, repository, places, hosts } = node.images.explain_pull(&image, ask).await?;
    let places = places.into_iter().map(|Place { name, used }| api::ConfigurationPlace { name, used }).collect();
    let hosts = hosts.into_iter().map(host).collect();
    Ok(api::ExplainPullResponse { reference, registry, repository, places, hosts })
}

fn host(host: HostExplanation) -> api::RegistryHost {
    let HostExplanation {
        url,
        mirror,
        capabilities,
        manifest_url,
        blob_url,
        authorities,
        client_certificates,
        skip_verify,
        tls_first,
        proxy,
        headers,
        dial_timeout,
        credentials,
        said_by,
        problems,
        answer,
    } = host;
    let files = |(certificate, key): &(_, Option<_>)| api::CertificateFiles {
        certificate: text(certificate),
        key: key.as_deref().map(text).unwrap_or_default(),
    };
    api::RegistryHost {
        url,
        mirror,
        capabilities: capabilities.into_iter().map(str::to_owned).collect(),
        manifest_url: manifest_url.unwrap_or_default(),
        blob_url: blob_url.unwrap_or_default(),
        authorities: authorities.iter().map(text).collect(),
        client_certificates: client_certificates.iter().map(files).collect(),
        skip_verify,
        tls_first,
        proxy: proxy.unwrap_or_default(),
        headers,
        dial_timeout_millis: dial_timeout.map(millis).unwrap_or_default(),
        credentials,
        said_by,
        problems,
        answer: answer.map(|Answer { found, text, took }| api::RegistryAnswer { found, text, millis: millis(took) }),
    }
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

fn millis(time: Duration) -> i64 {
    time.as_millis().try_into().unwrap_or(i64::MAX)
}
