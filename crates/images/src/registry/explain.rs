//! How an image would be pulled: every host that would be asked, in order, and who says so. Never a secret.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    answer::Trouble,
    credentials::Keyring,
    endpoint::{self, Endpoint, Kind},
    hosts::{self, Capability, Host},
};
use crate::{
    Config, Downloads, Error,
    error::blocking,
    reference::{Reference, Version},
};

/// How an image would be pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The image's full name.
    pub reference: String,
    /// The registry that it names.
    pub registry: String,
    /// The repository there.
    pub repository: String,
    /// Where hosts were looked for, in order.
    pub places: Vec<Place>,
    /// The hosts, in the order in which they are asked.
    pub hosts: Vec<HostExplanation>,
}

/// A place that may say which hosts to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A key of the configuration, or a directory.
    pub name: String,
    /// Whether it is the one that counts.
    pub used: bool,
}

/// A host to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostExplanation {
    /// The root of its API.
    pub url: String,
    /// Whether it is not the registry itself.
    pub mirror: bool,
    /// What it may be asked for.
    pub capabilities: Vec<&'static str>,
    /// Where it is asked for the manifest; nothing if it is not.
    pub manifest_url: Option<String>,
    /// Where it is asked for blobs, with `sha256:...` for the digest; nothing if it is not.
    pub blob_url: Option<String>,
    /// Files of certificate authorities, beside the system's.
    pub authorities: Vec<PathBuf>,
    /// Files of client certificates, and of their keys.
    pub client_certificates: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether any certificate will do.
    pub skip_verify: bool,
    /// Whether TLS is tried although the URL says `http`.
    pub tls_first: bool,
    /// The configured proxy.
    pub proxy: Option<String>,
    /// The names of headers that are sent.
    pub headers: Vec<String>,
    /// How long a connection may take to come up, if that is configured.
    pub dial_timeout: Option<Duration>,
    /// Where credentials are, the first that has some counts.
    pub credentials: Vec<String>,
    /// Which file and line, or key, names the host.
    pub said_by: String,
    /// Why it cannot be asked at all, or with credentials.
    pub problems: Vec<String>,
    /// What it said.
    pub answer: Option<Answer>,
}

/// What a host said about the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether that was a manifest.
    pub found: bool,
    /// In words.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// A host as it is to be explained, and how to ask it, if that is possible.
struct Prepared {
    explanation: HostExplanation,
    endpoint: Option<Endpoint>,
}

/// Explains, and if `ask`, asks each host that may know for the manifest, all at once.
pub(crate) async fn explain(config: &Config, reference: Reference, ask: bool) -> Result<Explanation, Error> {
    let (config, limit) = (config.clone(), config.limits.manifest_bytes);
    let version = reference.version().clone();
    let (mut explanation, prepared) =
        blocking("read the registry configuration", move || prepare(&config, &reference)).await?;
    let mut asked = JoinSet::new();
    for (number, Prepared { explanation: host, endpoint }) in prepared.into_iter().enumerate() {
        if let Some(endpoint) = endpoint.filter(|_| ask && host.manifest_url.is_some()) {
            let version = version.clone();
            asked.spawn(async move { (number, answer(&endpoint, &version, limit).await) });
        }
        explanation.hosts.push(host);
    }
    while let Some(joined) = asked.join_next().await {
        let (number, answer) = joined.map_err(|error| Error::Task { operation: "ask", why: error.to_string() })?;
        if let Some(host) = explanation.hosts.get_mut(number) {
            host.answer = Some(answer);
        }
    }
    Ok(explanation)
}

fn prepare(config: &Config, reference: &Reference) -> Result<(Explanation, Vec<Prepared>), Error> {
    let domain = reference.domain();
    let used = hosts::place(config, domain)?;
    let places = hosts::places(config, domain).into_iter();
    let places = places.map(|place| Place { used: Some(&place) == used.as_ref(), name: place.to_string() }).collect();
    let keyring = Arc::new(Keyring::new(None, config.clone(), reference.clone()));
    // What a host says at the first try is what is of interest.
    let settings = Arc::new(Downloads { retries: 0, ..config.download.clone() });
    let hosts = hosts::find(config, domain)?.into_iter();
    let prepared = hosts.map(|host| prepare_host(host, reference, &keyring, &settings));
    let explanation = Explanation {
        reference: reference.to_string(),
        registry: domain.to_owned(),
        repository: reference.path().to_owned(),
        places,
        hosts: Vec::new(),
    };
    Ok((explanation, prepared.collect()))
}

fn prepare_host(host: Host, reference: &Reference, keyring: &Arc<Keyring>, settings: &Arc<Downloads>) -> Prepared {
    let mut explanation = describe(&host, reference);
    match keyring.sources(host.name()) {
        Ok(sources) => explanation.credentials = sources.iter().map(ToString::to_string).collect(),
        Err(why) => explanation.problems.push(format!("credentials: {why}")),
    }
    let endpoint = Endpoint::new(host, reference, keyring.clone(), settings.clone());
    if let Err(error) = &endpoint {
        explanation.problems.push(error.to_string());
    }
    Prepared { explanation, endpoint: endpoint.ok() }
}

fn describe(host: &Host, reference: &Reference) -> HostExplanation {
    let (for_manifest, name) = match reference.version() {
        Version::Tag(tag) => (Capability::Resolve, tag.clone()),
        Version::Digest(digest) => (Capability::Pull, digest.to_string()),
    };
    let may = |capability| host.capabilities.contains(&capability);
    let registry = host.mirror.then(|| reference.domain());
    let url = |kind, name: &str| {
        endpoint::url(&host.base, reference.path(), kind, name, registry).map_or_else(|why| why, |url| url.to_string())
    };
    let headers: BTreeSet<_> = host.headers.keys().map(ToString::to_string).collect();
    HostExplanation {
        url: host.base.clone(),
        mirror: host.mirror,
        capabilities: host.capabilities.iter().map(|capability| capability.name()).collect(),
        manifest_url: may(for_manifest).then(|| url(Kind::Manifest, &name)),
        blob_url: may(Capability::Pull).then(|| url(Kind::Blob, "sha256:...")),
        authorities: host.tls.ca.clone(),
        client_certificates: host.tls.client.clone(),
        skip_verify: host.tls.skip_verify,
        tls_first: host.may_speak_tls(),
        proxy: host.tls.proxy.as_ref().map(ToString::to_string),
        headers: headers.into_iter().collect(),
        dial_timeout: host.tls.dial_timeout,
        said_by: host.said.to_string(),
        ..HostExplanation::default()
    }
}

async fn answer(endpoint: &Endpoint, version: &Version, limit: u64) -> Answer {
    let start = Instant::now();
    let result = endpoint.manifest(version, limit).await;
    let took = start.elapsed();
    let (found, text) = match result {
        Ok(manifest) => {
            (true, format!("200 OK, {}, {}", manifest.digest, manifest.content_type.as_deref().unwrap_or("no type")))
        }
        Err(
            Trouble::NotFound(text) | Trouble::Denied(text) | Trouble::Unavailable(text, _) | Trouble::Broken(text),
        ) => (false, text),
    };
    Answer { found, text, took }
}
