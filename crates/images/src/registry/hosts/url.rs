//! Where a host is: URLs as `hosts.toml` has them, and where a registry is when nothing is said.

use std::net::IpAddr;

use reqwest::Url;

/// Where a registry is when nothing else is said, and whether its certificate is not looked at, as containerd does for a
/// registry on this machine that must speak TLS.
pub(super) fn upstream(domain: &str) -> (String, bool) {
    if domain == "docker.io" {
        return ("https://registry-1.docker.io/v2".to_owned(), false);
    }
    let (host, port) = host_and_port(domain);
    match (is_loopback(host), port) {
        (false, _) => (format!("https://{domain}/v2"), false),
        (true, None | Some("443")) => (format!("https://{domain}/v2"), true),
        // containerd tries TLS first on any port but 80.
        (true, Some(_)) => (format!("http://{domain}/v2"), false),
    }
}

/// Whether a host, with its port, is the registry itself and not a mirror of it.
pub(super) fn is_registry(host: &str, domain: &str) -> bool {
    host.eq_ignore_ascii_case(domain) || domain == "docker.io" && host == "registry-1.docker.io"
}

/// Host and port of a URL.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// The base of a host's API: the distribution specification puts everything below `/v2`, unless the URL overrides that.
pub(super) fn base(url: &str, override_path: bool) -> Result<String, String> {
    let full = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let parsed = Url::parse(&full).map_err(|error| format!("{url:?}: {error}"))?;
    let plain = parsed.username().is_empty() && parsed.password().is_none();
    if !plain || parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("want an http or https URL without user, query and fragment".to_owned());
    }
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(format!("{url:?}: want an http or https URL"));
    }
    // The port stays as it was written: `Url` leaves out the usual ones.
    let (scheme, path) = (parsed.scheme(), parsed.path().trim_end_matches('/'));
    let version = if override_path || path.ends_with("/v2") { "" } else { "/v2" };
    Ok(format!("{scheme}://{}{path}{version}", authority(&full).to_ascii_lowercase()))
}

/// A registry's name and its port.
pub(crate) fn host_and_port(domain: &str) -> (&str, Option<&str>) {
    match domain.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
