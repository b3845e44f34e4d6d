//! What is answered to a request.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, Method, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use http_body_util::Full;

use super::{Account, content::Content};
use crate::image::Access;

/// What the distribution API's paths ask for.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    /// Whether there is such an API.
    Base,
    /// A manifest by tag or digest.
    Manifest { repository: &'a str, reference: &'a str },
    /// A blob by digest.
    Blob { repository: &'a str, digest: &'a str },
}

fn parse(path: &str) -> Option<Asked<'_>> {
    let rest = path.strip_prefix("/v2")?;
    if rest.is_empty() || rest == "/" {
        return Some(Asked::Base);
    }
    let (rest, last) = rest.strip_prefix('/')?.rsplit_once('/')?;
    match rest.rsplit_once('/')? {
        (repository, "manifests") => Some(Asked::Manifest { repository, reference: last }),
        (repository, "blobs") => Some(Asked::Blob { repository, digest: last }),
        _ => None,
    }
}

/// Answers a request.
pub fn answer(content: &Content, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry can only be read");
    }
    let Some(asked) = parse(path) else {
        return refuse(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such path");
    };
    let repository = match asked {
        Asked::Base => return found("application/json", None, Bytes::from_static(b"{}")),
        Asked::Manifest { repository, .. } | Asked::Blob { repository, .. } => repository,
    };
    match content.access(repository) {
        None => return refuse(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such repository"),
        Some(Access::Private) if !is_allowed(headers, content.account()) => return challenge(),
        Some(_) => {}
    }
    match asked {
        Asked::Base => None,
        Asked::Manifest { reference, .. } => manifest(content, repository, reference),
        Asked::Blob { digest, .. } => blob(content, repository, digest, method),
    }
    .unwrap_or_else(|| refuse(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "no such content"))
}

fn manifest(content: &Content, repository: &str, reference: &str) -> Option<Response<Full<Bytes>>> {
    let manifest = content.manifest(repository, reference)?;
    Some(found(manifest.media_type, Some(&manifest.blob.digest), manifest.blob.content.clone()?))
}

fn blob(content: &Content, repository: &str, digest: &str, method: &Method) -> Option<Response<Full<Bytes>>> {
    let bytes = content.blob(repository, digest)?;
    if method == Method::GET {
        content.downloaded(digest);
    }
    Some(found("application/octet-stream", Some(digest), bytes))
}

fn is_allowed(headers: &HeaderMap, account: &Account) -> bool {
    let expected = BASE64_STANDARD.encode(format!("{}:{}", account.user, account.password));
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = given.and_then(|value| value.split_once(' ')).unwrap_or_default();
    scheme.eq_ignore_ascii_case("basic") && token.trim() == expected
}

/// hyper sends the head alone where the method is HEAD.
fn found(media_type: &str, digest: Option<&str>, body: Bytes) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().header(CONTENT_TYPE, media_type).header(CONTENT_LENGTH, body.len());
    if let Some(digest) = digest {
        builder = builder.header("docker-content-digest", digest);
    }
    builder.body(Full::new(body)).unwrap_or_default()
}

fn challenge() -> Response<Full<Bytes>> {
    let mut answer = refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "a user name and password are needed");
    let value = http::HeaderValue::from_static("Basic realm=\"corten validate\"");
    answer.headers_mut().insert(WWW_AUTHENTICATE, value);
    answer
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let text = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
    let builder = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    builder.header(CONTENT_LENGTH, text.len()).body(Full::from(text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::image::{catalog, names};

    fn content() -> Content {
        let account = Account { user: "user".into(), password: "pass:word".into() };
        Content::new(catalog("test").unwrap(), account)
    }

    fn repository(name: &str) -> &str {
        name.split_once(':').unwrap().0
    }

    fn status(content: &Content, path: &str) -> u16 {
        answer(content, &Method::GET, path, &HeaderMap::new()).status().as_u16()
    }

    #[test]
    fn paths_are_taken_apart_from_the_end() {
        let cases = [
            ("/v2/", Some(Asked::Base)),
            ("/v2", Some(Asked::Base)),
            ("/v2/a/b/manifests/1", Some(Asked::Manifest { repository: "a/b", reference: "1" })),
            ("/v2/manifests/blobs/sha256:0", Some(Asked::Blob { repository: "manifests", digest: "sha256:0" })),
            ("/v2/a/tags/list", None),
            ("/v1/", None),
            ("/", None),
            ("/v2/x", None),
        ];
        for (path, expected) in cases {
            assert_eq!(parse(path), expected, "{path}");
        }
    }

    #[test]
    fn manifests_are_served_by_tag_and_by_digest_and_counted() {
        let content = content();
        let digest = content.image(repository(names::PLAIN), "1").unwrap().digest().to_owned();
        for reference in ["1", &digest] {
            let path = format!("/v2/{}/manifests/{reference}", repository(names::PLAIN));
            let answer = answer(&content, &Method::HEAD, &path, &HeaderMap::new());
            assert_eq!(answer.status(), 200, "{reference}");
            assert_eq!(answer.headers()["docker-content-digest"], digest.as_str());
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/vnd.oci.image.manifest.v1+json");
        }
        assert_eq!(status(&content, &format!("/v2/{}/manifests/none", repository(names::PLAIN))), 404);
        assert_eq!(content.manifest_requests("plain"), 2);
    }

    #[test]
    fn blobs_are_served_from_their_repository_and_downloads_counted() {
        let content = content();
        let layer = content.image(repository(names::FILES), "1").unwrap().layers()[0].digest.clone();
        assert_eq!(status(&content, &format!("/v2/{}/blobs/{layer}", repository(names::FILES))), 200);
        assert_eq!(status(&content, &format!("/v2/{}/blobs/{layer}", repository(names::PLAIN))), 404);
        assert_eq!(status(&content, &format!("/v2/corten/none/blobs/{layer}")), 404);
        assert_eq!(content.downloads(&layer), 1);
        let absent = content.image(repository(names::ABSENT_LAYER), "1").unwrap().layers()[0].digest.clone();
        assert_eq!(status(&content, &format!("/v2/{}/blobs/{absent}", repository(names::ABSENT_LAYER))), 404);
    }

    #[test]
    fn a_private_repository_asks_for_the_account() {
        let content = content();
        let path = format!("/v2/{}/manifests/1", repository(names::PRIVATE));
        let mut headers = HeaderMap::new();
        let refused = answer(&content, &Method::GET, &path, &headers);
        assert_eq!(refused.status(), 401);
        assert!(refused.headers()[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
        for (plain, expected) in [("user:wrong", 401), ("user:pass:word", 200)] {
            let value = format!("Basic {}", BASE64_STANDARD.encode(plain));
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(answer(&content, &Method::GET, &path, &headers).status(), expected, "{plain}");
        }
    }

    #[test]
    fn nothing_can_be_written() {
        let content = content();
        let refused = answer(&content, &Method::PUT, "/v2/plain/manifests/2", &HeaderMap::new());
        assert_eq!(refused.status(), 405);
    }
}
