//! The values of `hosts.toml`'s keys.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use toml::Value;

use super::Capability;
use crate::registry::tls::{KeyPair, ProxyUrl};

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "want true or false".to_owned())
}

/// Nothing named means everything.
pub(super) fn capabilities(value: &Value) -> Result<Vec<Capability>, String> {
    let names = value.as_array().ok_or("want a list of strings")?;
    if names.is_empty() {
        return Ok(vec![Capability::Pull, Capability::Resolve]);
    }
    let mut capabilities = Vec::new();
    for name in strings(value)? {
        match name.to_ascii_lowercase().as_str() {
            "pull" => capabilities.push(Capability::Pull),
            "resolve" => capabilities.push(Capability::Resolve),
            "push" | "referrers" => {}
            _ => return Err(format!("unknown capability {name:?}")),
        }
    }
    Ok(capabilities)
}

pub(super) fn headers(value: &Value) -> Result<HeaderMap, String> {
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
    let items = match value {
        Value::String(text) => return Ok(vec![text.clone()]),
        Value::Array(items) => items,
        _ => return Err("want a string or a list of strings".to_owned()),
    };
    items.iter().map(|item| item.as_str().map(str::to_owned).ok_or("want strings".to_owned())).collect()
}

/// Paths, those that are relative from the file's directory; without one there are none.
pub(super) fn paths(value: &Value, directory: Option<&Path>) -> Result<Vec<PathBuf>, String> {
    strings(value)?.iter().map(|text| path(text, directory)).collect()
}

fn path(text: &str, directory: Option<&Path>) -> Result<PathBuf, String> {
    match directory {
        Some(directory) => Ok(directory.join(text)),
        None if text.starts_with('/') => Ok(text.into()),
        None => Err(format!("{text:?} is not an absolute path")),
    }
}

/// `"both.pem"`, `["both.pem", "others.pem"]` or `[["cert.pem", "key.pem"], ["both.pem", ""]]`.
pub(super) fn client(value: &Value, directory: Option<&Path>) -> Result<Vec<KeyPair>, String> {
    let one = |item: &Value| match item {
        Value::String(text) => Ok((path(text, directory)?, None)),
        Value::Array(_) => match strings(item)?.as_slice() {
            [certificate, key] => {
                let key = (!key.is_empty()).then(|| path(key, directory)).transpose()?;
                Ok((path(certificate, directory)?, key))
            }
            _ => Err("want pairs of certificate and key".to_owned()),
        },
        _ => Err("want a path, a list of paths, or a list of pairs of paths".to_owned()),
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

/// A duration as Go writes it: numbers, which may have fractions, each with its unit (`1m30s`, `1.5s`). Nothing is said by
/// an empty text or by zero.
pub(super) fn duration(value: &Value) -> Result<Option<Duration>, String> {
    let wrong = || "want a duration, \"5s\" or \"1m30s\" say".to_owned();
    let text = value.as_str().ok_or_else(wrong)?;
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let unit_at = rest.find(|character: char| !character.is_ascii_digit() && character != '.');
        let (number, after) = rest.split_at(unit_at.ok_or_else(wrong)?);
        let unit_end = after.find(|character: char| character.is_ascii_digit() || character == '.');
        let (unit, after) = after.split_at(unit_end.unwrap_or(after.len()));
        let seconds = number.parse::<f64>().map_err(|_| wrong())? * seconds_of(unit).ok_or_else(wrong)?;
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    Ok((total != Duration::ZERO).then_some(total))
}

fn seconds_of(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-9),
        "us" | "µs" | "μs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    }
}

/// The URL of a proxy.
pub(super) fn proxy(value: &Value) -> Result<ProxyUrl, String> {
    let wrong = "want the URL of a proxy: http, https, socks5 or socks5h, a host, and no path";
    let url = value.as_str().and_then(|text| Url::parse(text).ok()).ok_or(wrong)?;
    let plain = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    match url.scheme() {
        "http" | "https" | "socks5" | "socks5h" if plain && url.has_host() => Ok(ProxyUrl(url)),
        _ => Err(wrong.to_owned()),
    }
}
