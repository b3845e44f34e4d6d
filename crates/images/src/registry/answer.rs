//! What hosts answer when they do not serve, and short bodies.

use std::{sync::Arc, time::SystemTime};

use reqwest::{
    Response, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
};

use super::{
    download::{Again, Pace, retry_after},
    endpoint::Kind,
};
use crate::Downloads;

/// Of an error's body, what is worth showing.
const ERROR_BYTES: u64 = 16 << 10;

/// Why one host did not serve.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    NotFound(String),
    Denied(String),
    Unavailable(String, Again),
    Broken(String),
}

impl Trouble {
    /// The same, when all that could be tried was tried.
    pub fn once(self) -> Self {
        match self {
            Self::Unavailable(why, _) => Self::Unavailable(why, Again::Never),
            other => other,
        }
    }
}

/// What an answer means that is not what was asked for.
pub(super) async fn refusal(settings: &Downloads, kind: Kind, name: &str, response: Response) -> Trouble {
    let (status, again) = (response.status(), again(&response));
    let detail = error_text(settings, response).await;
    let answer = format!("{status} for {} {name}{detail}", if kind == Kind::Manifest { "manifest" } else { "blob" });
    match (status, again) {
        (_, Some(again)) => Trouble::Unavailable(answer, again),
        (StatusCode::NOT_FOUND, None) => Trouble::NotFound(answer),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => Trouble::Denied(answer),
        _ => Trouble::Broken(answer),
    }
}

/// What an answer of a token service means that is not a token.
pub(super) async fn token_refusal(settings: &Downloads, realm: &Url, response: Response) -> Trouble {
    let (status, again) = (response.status(), again(&response));
    let answer = format!("token service {realm}: {status}{}", error_text(settings, response).await);
    match again {
        Some(again) => Trouble::Unavailable(answer, again),
        None => Trouble::Denied(answer),
    }
}

/// Whether an answer means that another request may succeed, and when.
fn again(response: &Response) -> Option<Again> {
    let status = response.status();
    let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    let after = || retry_after(&header(response.headers(), RETRY_AFTER.as_str())?, SystemTime::now());
    (busy || status.is_server_error()).then(|| after().map_or(Again::Soon, Again::After))
}

/// What the registry says about its refusal, on one line.
async fn error_text(settings: &Downloads, response: Response) -> String {
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
    let Ok(bytes) = bounded(settings, response, ERROR_BYTES, "error").await else { return String::new() };
    let Ok(body) = serde_json::from_slice::<Body>(&bytes) else { return String::new() };
    let items = body.errors.iter().map(|item| format!(": {} {}", item.code, item.message));
    items.take(3).collect::<String>().chars().filter(|character| !character.is_control()).take(500).collect()
}

/// Reads a body that must not be longer than `limit` bytes.
pub(super) async fn bounded(
    settings: &Downloads,
    mut response: Response,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>, Trouble> {
    let too_long = || Trouble::Broken(format!("{what}: more than {limit} bytes"));
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let (mut bytes, mut pace) = (Vec::new(), Pace::new(settings, Arc::default()));
    while let Some(chunk) = pace.chunk(&mut response).await.0? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
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
