//! containerd's registry configuration: `<config path>/<host>/hosts.toml` (containerd, docs/hosts.md).
//!
//! Directories are named after the registry (`docker.io`, `localhost:5000` or `localhost_5000_`) or `_default`. Hosts are
//! asked in the file's order, the registry itself last. Keys this program does not know are logged and ignored, because
//! the files are containerd's.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use toml::{Table, Value};

use super::tls::Tls;
use crate::Error;

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capability {
    /// Content by digest.
    Pull,
    /// What a tag means now.
    Resolve,
}

/// A host to ask.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Host {
    /// Scheme, host and path, without a slash at the end; the repository follows.
    pub base: String,
    pub capabilities: Vec<Capability>,
    pub headers: HeaderMap,
    pub tls: Tls,
    /// Not the registry itself.
    pub mirror: bool,
}

impl Host {
    /// Host and port.
    pub fn name(&self) -> &str {
        let rest = self.base.split_once("://").map_or(self.base.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    fn plain(base: String) -> Self {
        let capabilities = vec![Capability::Pull, Capability::Resolve];
        Self { base, capabilities, headers: HeaderMap::new(), tls: Tls::default(), mirror: false }
    }
}

/// The hosts for a registry, in the order to ask them.
pub(super) fn find(config_path: &[PathBuf], domain: &str) -> Result<Vec<Host>, Error> {
    let names = [domain.to_owned(), port_spelling(domain), "_default".to_owned()];
    let directories = config_path.iter().flat_map(|path| names.iter().map(move |name| path.join(name)));
    let Some(directory) = directories.into_iter().find(|directory| directory.is_dir()) else {
        return Ok(vec![Host::plain(upstream(domain))]);
    };
    let file = directory.join("hosts.toml");
    match std::fs::read_to_string(&file) {
        Ok(text) => parse(&text, &directory, domain).map_err(|why| Error::HostsFile { path: file, why }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let tls = docker_certificates(&directory)?;
            Ok(vec![Host { tls, ..Host::plain(upstream(domain)) }])
        }
        Err(error) => Err(Error::HostsFile { path: file, why: error.to_string() }),
    }
}

/// `host:port` as containerd also spells it.
fn port_spelling(domain: &str) -> String {
    match domain.rsplit_once(':') {
        Some((host, port)) => format!("{host}_{port}_"),
        None => domain.to_owned(),
    }
}

/// Where a registry is when nothing else is said.
fn upstream(domain: &str) -> String {
    if domain == "docker.io" {
        return "https://registry-1.docker.io/v2".to_owned();
    }
    let scheme = if is_loopback(domain) { "http" } else { "https" };
    format!("{scheme}://{domain}/v2")
}

/// A registry on this machine speaks plain HTTP unless told otherwise, as for Docker and containerd.
fn is_loopback(domain: &str) -> bool {
    let host = domain.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(domain, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn parse(text: &str, directory: &Path, domain: &str) -> Result<Vec<Host>, String> {
    let file: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut hosts = Vec::new();
    if let Some(table) = file.get("host") {
        for (url, settings) in table.as_table().ok_or("host must be a table")? {
            let settings = settings.as_table().ok_or_else(|| format!("host.{url:?} must be a table"))?;
            let host = host(url, settings, directory, true).map_err(|why| format!("host.{url:?}: {why}"))?;
            hosts.push(host);
        }
    }
    let server = match file.get("server") {
        Some(server) => server.as_str().ok_or("server must be a string")?.to_owned(),
        None => upstream(domain).trim_end_matches("/v2").to_owned(),
    };
    let root: Table =
        file.into_iter().filter(|(key, _)| !matches!(key.as_str(), "host" | "server" | "version")).collect();
    let mut server = host(&server, &root, directory, false).map_err(|why| format!("server: {why}"))?;
    server.mirror = server.name() != upstream_name(domain);
    hosts.push(server);
    Ok(hosts)
}

fn upstream_name(domain: &str) -> &str {
    if domain == "docker.io" { "registry-1.docker.io" } else { domain }
}

fn host(url: &str, settings: &Table, directory: &Path, mirror: bool) -> Result<Host, String> {
    let mut capabilities = vec![Capability::Pull, Capability::Resolve];
    let (mut headers, mut tls, mut override_path) = (HeaderMap::new(), Tls::default(), false);
    for (key, value) in settings {
        let field = |why: String| format!("{key}: {why}");
        match key.as_str() {
            "capabilities" => capabilities = read_capabilities(value).map_err(field)?,
            "ca" => tls.ca = paths(value, directory).map_err(field)?,
            "client" => tls.client = client(value, directory).map_err(field)?,
            "skip_verify" => tls.skip_verify = value.as_bool().ok_or("skip_verify: want true or false")?,
            "dial_timeout" => tls.dial_timeout = Some(duration(value).ok_or("dial_timeout: want e.g. \"5s\"")?),
            "override_path" => override_path = value.as_bool().ok_or("override_path: want true or false")?,
            "header" => headers = read_headers(value).map_err(field)?,
            other => tracing::warn!(host = url, key = other, "hosts.toml: key ignored"),
        }
    }
    Ok(Host { base: base(url, override_path)?, capabilities, headers, tls, mirror })
}

/// The distribution specification puts everything below `/v2`, unless the URL overrides that.
fn base(url: &str, override_path: bool) -> Result<String, String> {
    let full = if url.contains("://") {
        url.to_owned()
    } else {
        format!("{}://{url}", if is_loopback(url) { "http" } else { "https" })
    };
    let parsed = Url::parse(&full).map_err(|error| format!("{url:?}: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(format!("{url:?}: want an http or https URL"));
    }
    let full = full.trim_end_matches('/').to_owned();
    let path = parsed.path().trim_end_matches('/');
    let versioned = path == "/v2" || path.starts_with("/v2/");
    if override_path || versioned {
        return Ok(full);
    }
    let origin = full.strip_suffix(path).unwrap_or(&full);
    Ok(format!("{origin}/v2{path}"))
}

fn read_capabilities(value: &Value) -> Result<Vec<Capability>, String> {
    let mut capabilities = Vec::new();
    for name in strings(value)? {
        match name.as_str() {
            "pull" => capabilities.push(Capability::Pull),
            "resolve" => capabilities.push(Capability::Resolve),
            "push" | "referrers" => {}
            other => return Err(format!("unknown capability {other:?}")),
        }
    }
    Ok(capabilities)
}

fn read_headers(value: &Value) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in value.as_table().ok_or("want a table")? {
        let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is not a header's name"))?;
        for text in strings(values)? {
            let mut value: HeaderValue = text.parse().map_err(|_| format!("the value of {name} cannot be a header"))?;
            value.set_sensitive(true);
            headers.append(&name, value);
        }
    }
    Ok(headers)
}

/// A string or a list of strings.
fn strings(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or("want strings".to_owned())).collect()
        }
        _ => Err("want a string or a list of strings".to_owned()),
    }
}

fn paths(value: &Value, directory: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(strings(value)?.into_iter().map(|path| directory.join(path)).collect())
}

/// `"both.pem"`, `["cert.pem", "key.pem"]` in the outer list only as pairs: `[["cert.pem", "key.pem"]]`. The first counts.
fn client(value: &Value, directory: &Path) -> Result<Option<(PathBuf, Option<PathBuf>)>, String> {
    let Some(first) = value.as_array().map_or(Some(value), |items| items.first()) else { return Ok(None) };
    let mut paths = paths(first, directory)?.into_iter();
    Ok(paths.next().map(|certificate| (certificate, paths.next())))
}

/// Go's durations, of one unit.
fn duration(value: &Value) -> Option<Duration> {
    let text = value.as_str()?;
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

/// Docker's older form of the directory: `*.crt` authorities, `x.cert` with `x.key` the client's.
fn docker_certificates(directory: &Path) -> Result<Tls, Error> {
    let failed = |error: std::io::Error| Error::HostsFile { path: directory.to_owned(), why: error.to_string() };
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            files.entry(extension.to_owned()).or_insert_with(Vec::new).push(path);
        }
    }
    let mut tls = Tls { ca: files.remove("crt").unwrap_or_default(), ..Tls::default() };
    tls.ca.sort();
    let client = files.remove("cert").unwrap_or_default().into_iter().min();
    tls.client = client.map(|certificate| {
        let key = certificate.with_extension("key");
        (certificate, key.exists().then_some(key))
    });
    Ok(tls)
}

#[cfg(test)]
mod tests;
