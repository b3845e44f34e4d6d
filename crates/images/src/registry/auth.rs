//! Who asks: credentials as the CRI gives them, and the challenges that registries answer with (RFC 9110, 11.6.1).

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::header::HeaderValue;

use crate::reference::Reference;

/// Credentials for one pull, with the meaning of the CRI's `AuthConfig`; empty strings mean there are none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// `user:password` in base64, instead of the two.
    pub auth: String,
    /// A token to be exchanged for a registry token (OAuth2 refresh token).
    pub identity_token: String,
    /// A token to be sent to the registry as it is.
    pub registry_token: String,
    /// The only host that may see these, with or without a scheme and a path; empty for the registry that the image's name
    /// names: its mirrors do not see them.
    pub server_address: String,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

/// How to show who asks.
#[derive(Clone)]
pub(super) enum Credentials {
    /// The value of an Authorization header.
    Basic(String),
    IdentityToken(String),
    RegistryToken(String),
}

impl Auth {
    /// Whether the parts are what they are to be: the field and why not. Nothing of them is repeated, as they are secrets.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !self.password.is_empty() && self.username.is_empty() {
            return Err(("password", "must not be set without username"));
        }
        if !self.auth.is_empty() && !self.packed().is_some_and(|plain| plain.contains(':')) {
            return Err(("auth", "is not base64 of user:password"));
        }
        match self.registry_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(()),
            false => Err(("registry_token", "has characters that no token has")),
        }
    }

    /// What `auth` says.
    fn packed(&self) -> Option<String> {
        let plain = String::from_utf8(BASE64_STANDARD.decode(self.auth.trim()).ok()?).ok()?;
        // Some tools pad with NUL bytes.
        Some(plain.trim_end_matches('\0').to_owned())
    }

    /// What may be shown to `host`, if anything.
    pub(super) fn credentials(&self, host: &str, reference: &Reference) -> Option<Credentials> {
        // Without a server address they are for the registry that the reference names, and not for its mirrors.
        let server = match server_host(&self.server_address) {
            "" => reference.domain(),
            server => server,
        };
        let docker = is_docker_hub(server) && is_docker_hub(reference.domain()) && is_docker_hub(host);
        if !server.eq_ignore_ascii_case(host) && !docker {
            return None;
        }
        self.open()
    }

    /// What may be shown, to whom it may be.
    pub(super) fn open(&self) -> Option<Credentials> {
        let present = |text: &String| (!text.is_empty()).then(|| text.clone());
        present(&self.registry_token)
            .map(Credentials::RegistryToken)
            .or_else(|| present(&self.identity_token).map(Credentials::IdentityToken))
            .or_else(|| present(&self.username).map(|user| Credentials::basic(&user, &self.password)))
            .or_else(|| present(&self.auth).and_then(|_| self.packed()).map(|plain| Credentials::packed(&plain)))
    }
}

impl Credentials {
    pub fn basic(user: &str, password: &str) -> Self {
        Self::packed(&format!("{user}:{password}"))
    }

    fn packed(plain: &str) -> Self {
        Self::Basic(format!("Basic {}", BASE64_STANDARD.encode(plain)))
    }
}

fn server_host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

pub(super) fn is_docker_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// What a registry wants to see.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The challenge to answer: a token rather than a password.
    pub fn choose<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> Option<Self> {
        let all = headers.into_iter().filter_map(|header| header.to_str().ok()).flat_map(Self::parse);
        let mut basic = None;
        for challenge in all {
            match challenge {
                Self::Bearer { .. } => return Some(challenge),
                Self::Basic => basic = Some(challenge),
            }
        }
        basic
    }

    /// The challenges of one header.
    fn parse(text: &str) -> Vec<Self> {
        let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
        for part in split_quoted(text) {
            let (head, value) = part.split_once('=').map_or((part, None), |(head, value)| (head, Some(value)));
            let mut words = head.split_whitespace();
            let (first, second) = (words.next().unwrap_or_default(), words.next());
            if second.is_some() || value.is_none() {
                schemes.push((first.to_ascii_lowercase(), Vec::new()));
            }
            let key = second.unwrap_or(first).to_ascii_lowercase();
            if let (Some(value), Some((_, parameters))) = (value, schemes.last_mut()) {
                parameters.push((key, unquote(value.trim())));
            }
        }
        schemes.into_iter().filter_map(|(scheme, parameters)| Self::known(&scheme, parameters)).collect()
    }

    fn known(scheme: &str, parameters: Vec<(String, String)>) -> Option<Self> {
        let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        match scheme {
            "basic" => Some(Self::Basic),
            "bearer" => Some(Self::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
            _ => None,
        }
    }
}

/// Splits at commas outside quotes.
fn split_quoted(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    inner
        .chars()
        .filter(|&character| {
            let keep = escaped || character != '\\';
            escaped = !keep;
            keep
        })
        .collect()
}

/// The Authorization header's value from a token service's answer.
pub(super) fn token(bytes: &[u8]) -> Result<String, String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
    }
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() { Err("no token in the answer".to_owned()) } else { Ok(format!("Bearer {token}")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn choose(header: &str) -> Option<Challenge> {
        Challenge::choose([&HeaderValue::from_str(header).unwrap()])
    }

    fn shown(auth: &Auth, host: &str, reference: &str) -> Option<String> {
        match auth.credentials(host, &reference.parse().unwrap())? {
            Credentials::Basic(value) => Some(value),
            Credentials::IdentityToken(token) => Some(format!("identity {token}")),
            Credentials::RegistryToken(token) => Some(format!("registry {token}")),
        }
    }

    #[test]
    fn a_bearer_challenge_is_read() {
        let challenge =
            choose(r#"Bearer realm="https://auth/token",service="reg",scope="repository:a/b:pull,push""#).unwrap();
        let (realm, service, scope) = ("https://auth/token", "reg", "repository:a/b:pull,push");
        let want = Challenge::Bearer { realm: realm.into(), service: Some(service.into()), scope: Some(scope.into()) };
        assert_eq!(challenge, want);
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        assert!(matches!(choose(r#"Basic realm="x", Bearer realm="https://y""#), Some(Challenge::Bearer { .. })));
        assert_eq!(choose(r#"Basic realm="x""#), Some(Challenge::Basic));
        assert_eq!(choose("Negotiate"), None);
    }

    #[test]
    fn credentials_come_in_every_form_of_the_cri() {
        let user = Auth { username: "u".into(), password: "p".into(), ..Auth::default() };
        let packed = Auth { auth: BASE64_STANDARD.encode("u:p"), ..Auth::default() };
        assert_eq!(shown(&user, "h:1", "h:1/a"), shown(&packed, "h:1", "h:1/a"));
        let identity = Auth { identity_token: "t".into(), ..Auth::default() };
        assert_eq!(shown(&identity, "h:1", "h:1/a").unwrap(), "identity t");
        assert_eq!(shown(&Auth::default(), "h:1", "h:1/a"), None);
    }

    #[test]
    fn only_the_named_server_sees_them() {
        let auth = Auth { username: "u".into(), server_address: "https://good.example/v1/".into(), ..Auth::default() };
        assert!(shown(&auth, "good.example", "good.example/a").is_some());
        assert!(shown(&auth, "bad.example", "good.example/a").is_none());
        let hub =
            Auth { username: "u".into(), server_address: "https://index.docker.io/v1/".into(), ..Auth::default() };
        assert!(shown(&hub, "registry-1.docker.io", "busybox").is_some());
        assert!(shown(&hub, "mirror.example", "busybox").is_none());
    }

    #[test]
    fn without_a_server_only_the_registry_itself_sees_them() {
        let auth = Auth { username: "u".into(), ..Auth::default() };
        assert!(shown(&auth, "good.example:5000", "good.example:5000/a").is_some());
        assert!(shown(&auth, "registry-1.docker.io", "busybox").is_some());
        for mirror in ["good.example", "mirror.example", "registry-1.docker.io"] {
            assert!(shown(&auth, mirror, "good.example:5000/a").is_none());
        }
        let for_mirror = Auth { server_address: "mirror.example".into(), ..auth };
        assert!(shown(&for_mirror, "mirror.example", "busybox").is_some());
    }

    #[test]
    fn what_cannot_be_credentials_is_told_by_field() {
        let packed = |plain: &str| Auth { auth: BASE64_STANDARD.encode(plain), ..Auth::default() };
        for good in
            [Auth::default(), packed("u:p"), packed("u:p\0\0"), Auth { username: "u".into(), ..Auth::default() }]
        {
            assert_eq!(good.check(), Ok(()));
        }
        for (bad, field) in [
            (packed("nobody"), "auth"),
            (Auth { auth: "?".into(), ..Auth::default() }, "auth"),
            (Auth { password: "p".into(), ..Auth::default() }, "password"),
            (Auth { registry_token: "a\nb".into(), ..Auth::default() }, "registry_token"),
        ] {
            assert_eq!(bad.check().unwrap_err().0, field);
        }
    }

    #[test]
    fn secrets_are_not_shown_in_logs() {
        let auth = Auth { password: "hunter2".into(), ..Auth::default() };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }

    proptest! {
        /// Whatever a registry sends, nothing panics.
        #[test]
        fn any_header_is_survived(text in "[ -~]{0,80}") {
            let _ = choose(&text);
        }
    }
}
