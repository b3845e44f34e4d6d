//! One host that may have an image: requests, their authorization, redirects and bounds.

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE},
};
use tokio::sync::{Mutex, OnceCell};

use super::{
    Auth, Fetched,
    auth::{Challenge, Credentials},
    hosts::{Capability, Host},
    tls::{self, Clients},
};
use crate::{
    Error,
    digest::Digest,
    manifest::{Content, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
    reference::{Reference, Version},
};

const MAX_REDIRECTS: usize = 10;
/// Of an error's body, what is worth showing.
const ERROR_BYTES: u64 = 16 << 10;
const TOKEN_BYTES: u64 = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Blob,
}

/// Why one host did not serve.
#[derive(Debug)]
pub(super) enum Trouble {
    NotFound(String),
    Denied(String),
    Unavailable(String),
    Broken(String),
}

/// A host, with what is needed to talk to it about one repository.
pub(super) struct Endpoint {
    host: Host,
    clients: Clients,
    /// Where the host is, when that is found out.
    base: OnceCell<String>,
    repository: String,
    /// The registry that the reference names, if this is a mirror of it.
    mirrored: Option<String>,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<HeaderValue>>,
}

impl Endpoint {
    /// Reads the host's certificates.
    pub fn new(host: Host, reference: &Reference, auth: Option<&Auth>) -> Result<Self, Error> {
        let clients = tls::clients(&host.tls)?;
        let credentials = auth.and_then(|auth| auth.credentials(host.name(), reference));
        let mirrored = host.mirror.then(|| reference.domain().to_owned());
        let repository = reference.path().to_owned();
        let (base, authorization) = (OnceCell::new(), Mutex::new(None));
        Ok(Self { host, clients, base, repository, mirrored, credentials, authorization })
    }

    pub fn host(&self) -> &str {
        self.host.name()
    }

    pub fn can(&self, capability: Capability) -> bool {
        self.host.capabilities.contains(&capability)
    }

    pub async fn manifest(&self, version: &Version, limit: u64) -> Result<Fetched, Trouble> {
        let name = match version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        let response = self.get(Kind::Manifest, &name).await?;
        let promised = header(response.headers(), "docker-content-digest");
        let content_type = header(response.headers(), CONTENT_TYPE.as_str())
            .map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
        let bytes = bounded(response, limit, "manifest").await?;
        let digest = Digest::of(&bytes);
        let expected = match version {
            Version::Digest(digest) => Some(*digest),
            Version::Tag(_) => promised.and_then(|promised| promised.parse().ok()),
        };
        match expected {
            Some(expected) if expected != digest => {
                Err(Trouble::Broken(format!("manifest {name}: the digest is {digest}, want {expected}")))
            }
            _ => Ok(Fetched { bytes, digest, content_type }),
        }
    }

    pub async fn blob(&self, content: &Content, limit: u64) -> Result<Vec<u8>, Trouble> {
        let Content { digest, size } = content;
        if *size > limit {
            return Err(Trouble::Broken(format!("blob {digest}: {size} bytes are more than the limit of {limit}")));
        }
        let response = self.get(Kind::Blob, &digest.to_string()).await?;
        let bytes = bounded(response, *size, "blob").await?;
        let got = Digest::of(&bytes);
        if bytes.len() as u64 != *size || got != *digest {
            let got = format!("{} bytes with digest {got}", bytes.len());
            return Err(Trouble::Broken(format!("blob {digest}: got {got}, want {size} bytes")));
        }
        Ok(bytes)
    }

    /// Gets something of the repository, authorized as the host asks.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Response, Trouble> {
        let url = self.url(kind, name).await?;
        let mut authorization = self.authorization.lock().await.clone();
        let mut refused = false;
        loop {
            let response = self.follow(kind, url.clone(), authorization.as_ref()).await?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::UNAUTHORIZED if !refused => {
                    refused = true;
                    authorization = Some(self.authorize(response, authorization).await?);
                }
                status => return Err(refusal(status, kind, name, response).await),
            }
        }
    }

    async fn url(&self, kind: Kind, name: &str) -> Result<Url, Trouble> {
        let base = self.base.get_or_init(|| self.find_base()).await;
        let kind = if kind == Kind::Manifest { "manifests" } else { "blobs" };
        let text = format!("{base}/{}/{kind}/{name}", self.repository);
        let mut url = Url::parse(&text).map_err(|error| Trouble::Broken(format!("{text}: {error}")))?;
        if let Some(registry) = &self.mirrored {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }

    /// The host's base URL. Where `http` may not be what is meant, TLS is tried first; what answers in plain HTTP, or not at
    /// all, is not taken for a server with a wrong certificate.
    async fn find_base(&self) -> String {
        let plain = self.host.base.clone();
        let Some(rest) = plain.strip_prefix("http://").filter(|_| self.host.may_speak_tls()) else { return plain };
        let secure = format!("https://{rest}");
        match self.clients.own.get(format!("{secure}/")).send().await {
            Err(error) if !tls::is_refusal(&error) => plain,
            _ => secure,
        }
    }

    /// The client for a URL: another host than this one must prove who it is, and does not learn who we are.
    fn client(&self, url: &Url) -> &Client {
        let name = super::hosts::host_and_port(self.host.name()).0;
        if url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name)) {
            &self.clients.own
        } else {
            &self.clients.other
        }
    }

    /// Sends a request and follows redirects. Only the host itself sees what is meant for it: authorization and the
    /// configured headers do not go elsewhere, and nothing leaves TLS once it was used.
    async fn follow(&self, kind: Kind, start: Url, authorization: Option<&HeaderValue>) -> Result<Response, Trouble> {
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client(&url).get(url.clone());
            if kind == Kind::Manifest {
                request = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST]
                    .iter()
                    .fold(request, |request, media_type| request.header(ACCEPT, *media_type));
            }
            if url.origin() == start.origin() {
                request = request.headers(self.host.headers.clone());
                if let Some(authorization) = authorization {
                    request = request.header(AUTHORIZATION, authorization);
                }
            }
            let response = request.send().await.map_err(|error| Trouble::Unavailable(describe(&error)))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = redirected(&url, &response)?;
        }
        Err(Trouble::Broken(format!("more than {MAX_REDIRECTS} redirects from {start}")))
    }

    /// Answers a challenge, once for all requests of the session.
    async fn authorize(&self, response: Response, tried: Option<HeaderValue>) -> Result<HeaderValue, Trouble> {
        let mut current = self.authorization.lock().await;
        // Another request may have been faster.
        if let Some(known) = current.as_ref().filter(|known| Some(*known) != tried.as_ref()) {
            return Ok(known.clone());
        }
        let challenge = Challenge::choose(response.headers().get_all(WWW_AUTHENTICATE));
        let refused = || Trouble::Denied("401 Unauthorized".to_owned());
        let mut value = match (challenge, &self.credentials) {
            (Some(Challenge::Basic), Some(Credentials::Basic(basic))) => basic.clone(),
            (Some(Challenge::Bearer { .. }), Some(Credentials::RegistryToken(token))) => format!("Bearer {token}"),
            (Some(Challenge::Bearer { realm, service, scope }), credentials) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                self.token(&realm, service.as_deref(), &scope, credentials.as_ref()).await?
            }
            _ => return Err(refused()),
        }
        .parse::<HeaderValue>()
        .map_err(|_| Trouble::Broken("the token cannot be a header".to_owned()))?;
        value.set_sensitive(true);
        *current = Some(value.clone());
        Ok(value)
    }

    /// Fetches a token (Docker registry v2 authentication, token and OAuth2 forms).
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<String, Trouble> {
        let realm = Url::parse(realm).map_err(|error| Trouble::Broken(format!("token realm {realm:?}: {error}")))?;
        let secure = self.base.get().is_some_and(|base| base.starts_with("https:"));
        if credentials.is_some() && realm.scheme() != "https" && secure {
            return Err(Trouble::Broken(format!("token realm {realm} would send credentials without TLS")));
        }
        let service = service.unwrap_or_default();
        let request = match credentials {
            Some(Credentials::IdentityToken(token)) => self.client(&realm).post(realm.clone()).form(&[
                ("grant_type", "refresh_token"),
                ("service", service),
                ("scope", scope),
                ("client_id", "corten"),
                ("refresh_token", token),
            ]),
            credentials => {
                let mut url = realm.clone();
                url.query_pairs_mut().append_pair("service", service).append_pair("scope", scope);
                let request = self.client(&realm).get(url);
                match credentials {
                    Some(Credentials::Basic(basic)) => request.header(AUTHORIZATION, basic),
                    _ => request,
                }
            }
        };
        let response = request
            .send()
            .await
            .map_err(|error| Trouble::Unavailable(format!("token service {realm}: {}", describe(&error))))?;
        if response.status() != StatusCode::OK {
            return Err(token_refusal(&realm, response).await);
        }
        let bytes = bounded(response, TOKEN_BYTES, "token").await?;
        super::auth::token(&bytes).map_err(|why| Trouble::Broken(format!("token service {realm}: {why}")))
    }
}

fn redirected(from: &Url, response: &Response) -> Result<Url, Trouble> {
    let broken = |why: &str| Trouble::Broken(format!("redirect from {from}: {why}"));
    let location = header(response.headers(), LOCATION.as_str()).ok_or_else(|| broken("no location"))?;
    let url = from.join(&location).map_err(|error| broken(&error.to_string()))?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => Ok(url),
        _ => Err(broken(&format!("to {} would leave TLS", url.scheme()))),
    }
}

async fn refusal(status: StatusCode, kind: Kind, name: &str, response: Response) -> Trouble {
    let detail = error_text(response).await;
    let answer = format!("{status} for {} {name}{detail}", if kind == Kind::Manifest { "manifest" } else { "blob" });
    match status {
        StatusCode::NOT_FOUND => Trouble::NotFound(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Trouble::Denied(answer),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Trouble::Unavailable(answer),
        status if status.is_server_error() => Trouble::Unavailable(answer),
        _ => Trouble::Broken(answer),
    }
}

async fn token_refusal(realm: &Url, response: Response) -> Trouble {
    let status = response.status();
    let answer = format!("token service {realm}: {status}{}", error_text(response).await);
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Trouble::Unavailable(answer);
    }
    Trouble::Denied(answer)
}

/// What the registry says about its refusal, on one line.
async fn error_text(response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(bytes) = bounded(response, ERROR_BYTES, "error").await else { return String::new() };
    let Ok(body) = serde_json::from_slice::<Body>(&bytes) else { return String::new() };
    let items = body.errors.iter().map(|item| format!(": {} {}", item.code, item.message));
    items.take(3).collect::<String>().chars().filter(|character| !character.is_control()).take(500).collect()
}

/// Reads a body that must not be longer than `limit` bytes.
async fn bounded(mut response: Response, limit: u64, what: &str) -> Result<Vec<u8>, Trouble> {
    let too_long = || Trouble::Broken(format!("{what}: more than {limit} bytes"));
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Trouble::Unavailable(describe(&error)))? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// An error with its causes: reqwest's own text ends before the interesting part.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
