//! One host that may have an image: requests, their authorization, redirects and bounds.

use std::{
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RANGE, WWW_AUTHENTICATE},
};
use tokio::{
    sync::{Mutex, OnceCell},
    time::timeout,
};

use super::{
    Fetched,
    answer::{self, Trouble, bounded, describe, header},
    auth::{Challenge, Credentials},
    credentials::Keyring,
    download::{Again, retrying},
    hosts::{Capability, Host},
    tls::{self, Clients},
};
use crate::{
    Downloads, Error,
    digest::Digest,
    manifest::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
    reference::{Reference, Version},
};

const MAX_REDIRECTS: usize = 10;
const TOKEN_BYTES: u64 = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Blob,
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
    keyring: Arc<Keyring>,
    credentials: OnceCell<Option<Credentials>>,
    authorization: Mutex<Option<HeaderValue>>,
    /// Why no token was given, after all that could be tried; all who wait for one need not try it again.
    no_token: OnceLock<Trouble>,
    settings: Arc<Downloads>,
    /// It has answered something.
    answered: AtomicBool,
    /// It was seen not to answer with the range asked for.
    whole_only: AtomicBool,
}

impl Endpoint {
    /// Reads the host's certificates.
    pub fn new(
        host: Host,
        reference: &Reference,
        keyring: Arc<Keyring>,
        settings: Arc<Downloads>,
    ) -> Result<Self, Error> {
        let clients = tls::clients(&host.tls)?;
        let mirrored = host.mirror.then(|| reference.domain().to_owned());
        let repository = reference.path().to_owned();
        Ok(Self {
            host,
            clients,
            base: OnceCell::new(),
            repository,
            mirrored,
            keyring,
            credentials: OnceCell::new(),
            authorization: Mutex::new(None),
            no_token: OnceLock::new(),
            settings,
            answered: AtomicBool::new(false),
            whole_only: AtomicBool::new(false),
        })
    }

    pub fn host(&self) -> &str {
        self.host.name()
    }

    pub fn can(&self, capability: Capability) -> bool {
        self.host.capabilities.contains(&capability)
    }

    /// Whether a request for a part of a blob is worth while.
    pub fn does_ranges(&self) -> bool {
        !self.whole_only.load(Ordering::Relaxed)
    }

    /// It does not do ranges.
    pub fn without_ranges(&self) {
        self.whole_only.store(true, Ordering::Relaxed);
    }

    /// Fetches a manifest, verified.
    pub async fn manifest(&self, version: &Version, limit: u64) -> Result<Fetched, Trouble> {
        retrying(&self.settings, || self.try_manifest(version, limit)).await
    }

    async fn try_manifest(&self, version: &Version, limit: u64) -> Result<Fetched, Trouble> {
        let name = match version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        let response = self.get(Kind::Manifest, &name, None).await?;
        let promised = header(response.headers(), "docker-content-digest");
        let content_type = header(response.headers(), CONTENT_TYPE.as_str())
            .map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
        let bytes = bounded(&self.settings, response, limit, "manifest").await?;
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

    /// Gets something of the repository, or the bytes of a part of it, authorized as the host asks. Who asks for a part
    /// sees from the answer whether it is one.
    pub async fn get(&self, kind: Kind, name: &str, range: Option<&Range<u64>>) -> Result<Response, Trouble> {
        let url = self.url(kind, name).await?;
        let mut authorization = self.authorization.lock().await.clone();
        let mut refused = false;
        loop {
            let response = self.follow(kind, url.clone(), range, authorization.as_ref()).await?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if range.is_some() => {
                    return Ok(response);
                }
                StatusCode::UNAUTHORIZED if !refused => {
                    refused = true;
                    authorization = Some(self.authorize(response, authorization).await?);
                }
                _ => return Err(answer::refusal(&self.settings, kind, name, response).await),
            }
        }
    }

    async fn url(&self, kind: Kind, name: &str) -> Result<Url, Trouble> {
        let base = self.base.get_or_init(|| self.find_base()).await;
        url(base, &self.repository, kind, name, self.mirrored.as_deref()).map_err(Trouble::Broken)
    }

    /// The host's base URL. Where `http` may not be what is meant, TLS is tried first; what answers in plain HTTP, or not at
    /// all, is not taken for a server with a wrong certificate.
    async fn find_base(&self) -> String {
        let plain = self.host.base.clone();
        let Some(rest) = plain.strip_prefix("http://").filter(|_| self.host.may_speak_tls()) else { return plain };
        let secure = format!("https://{rest}");
        match timeout(self.patience(), self.clients.own.get(format!("{secure}/")).send()).await {
            Err(_) => plain,
            Ok(Err(error)) if !tls::is_refusal(&error) => plain,
            Ok(_) => secure,
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
    async fn follow(
        &self,
        kind: Kind,
        start: Url,
        range: Option<&Range<u64>>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Trouble> {
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client(&url).get(url.clone());
            if kind == Kind::Manifest {
                request = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST]
                    .iter()
                    .fold(request, |request, media_type| request.header(ACCEPT, *media_type));
            }
            if let Some(Range { start, end }) = range {
                request = request.header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
            }
            if url.origin() == start.origin() {
                request = request.headers(self.host.headers.clone());
                if let Some(authorization) = authorization {
                    request = request.header(AUTHORIZATION, authorization);
                }
            }
            let response = self.send(request).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = redirected(&url, &response)?;
        }
        Err(Trouble::Broken(format!("more than {MAX_REDIRECTS} redirects from {start}")))
    }

    /// Sends a request and waits for the head of its answer, besides the time to connect as long as a stall may last.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Trouble> {
        let silent = |why: String| {
            // Who never answered is away; asking others is faster.
            let again = if self.answered.load(Ordering::Relaxed) { Again::Soon } else { Again::Never };
            Trouble::Unavailable(why, again)
        };
        match timeout(self.patience(), request.send()).await {
            Ok(Ok(response)) => {
                self.answered.store(true, Ordering::Relaxed);
                Ok(response)
            }
            // To try again does not help: it is there, and not trusted.
            Ok(Err(error)) if tls::is_refusal(&error) => Err(Trouble::Broken(format!("TLS: {}", describe(&error)))),
            Ok(Err(error)) if error.is_connect() => Err(silent(describe(&error))),
            Ok(Err(error)) => Err(Trouble::Unavailable(describe(&error), Again::Soon)),
            Err(_) => Err(silent(format!("no answer in {} seconds", self.patience().as_secs()))),
        }
    }

    /// How long to wait for the head of an answer.
    fn patience(&self) -> Duration {
        let stall = Duration::from_secs(self.settings.stall_seconds.max(1));
        self.host.tls.time_to_connect().saturating_add(stall)
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
        let credentials = self.credentials.get_or_try_init(|| self.keyring.find(self.host.name())).await;
        let credentials =
            credentials.map_err(|why| Trouble::Denied(format!("401 Unauthorized; credentials: {why}")))?;
        let mut value = match (challenge, credentials) {
            (Some(Challenge::Basic), Some(Credentials::Basic(basic))) => basic.clone(),
            (Some(Challenge::Bearer { .. }), Some(Credentials::RegistryToken(token))) => format!("Bearer {token}"),
            (Some(Challenge::Bearer { realm, service, scope }), credentials) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                let token = || self.token(&realm, service.as_deref(), &scope, credentials.as_ref());
                // The request that it is for need not try all this again.
                let token = match self.no_token.get() {
                    Some(trouble) => Err(trouble.clone()),
                    None => retrying(&self.settings, token).await.map_err(Trouble::once),
                };
                token.inspect_err(|trouble| drop(self.no_token.set(trouble.clone())))?
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
        let response = self.send(request).await.map_err(|trouble| match trouble {
            Trouble::Unavailable(why, again) => Trouble::Unavailable(format!("token service {realm}: {why}"), again),
            Trouble::Broken(why) => Trouble::Broken(format!("token service {realm}: {why}")),
            other => other,
        })?;
        if response.status() != StatusCode::OK {
            return Err(answer::token_refusal(&self.settings, &realm, response).await);
        }
        let bytes = bounded(&self.settings, response, TOKEN_BYTES, "token").await?;
        super::auth::token(&bytes).map_err(|why| Trouble::Broken(format!("token service {realm}: {why}")))
    }
}

/// Where something of a repository is. A mirror is told whose it is.
pub(super) fn url(base: &str, repository: &str, kind: Kind, name: &str, mirrored: Option<&str>) -> Result<Url, String> {
    let kind = if kind == Kind::Manifest { "manifests" } else { "blobs" };
    let text = format!("{base}/{repository}/{kind}/{name}");
    let mut url = Url::parse(&text).map_err(|error| format!("{text}: {error}"))?;
    if let Some(registry) = mirrored {
        url.query_pairs_mut().append_pair("ns", registry);
    }
    Ok(url)
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
