//! One `hosts.toml`.

use std::{collections::HashMap, path::Path};

use reqwest::header::HeaderMap;
use toml::{
    Table,
    de::{DeTable, Error},
};

use super::{Capability, Host, Said, url, values};
use crate::registry::tls::Tls;

/// Reads a file that is for this registry. What is wrong is told without repeating the line: it may hold a secret.
pub(super) fn parse(text: &str, path: &Path, domain: &str) -> Result<Vec<Host>, String> {
    let lines = lines(text).map_err(|error| described(text, &error))?;
    let table: Table = text.parse().map_err(|error| described(text, &error))?;
    let form = Form::File { directory: path.parent().unwrap_or(Path::new("/")) };
    let said = |key: &str| Said::File { path: path.to_owned(), line: lines.get(key).copied() };
    hosts(table, form, domain, said).map_err(|(key, why)| match lines.get(&key) {
        Some(line) => format!("line {line}: {why}"),
        None => why,
    })
}

/// Reads a table of our own configuration.
pub(super) fn block(table: Table, registry: &str, domain: &str) -> Result<Vec<Host>, String> {
    hosts(table, Form::Configuration, domain, |_| Said::Configuration(registry.to_owned())).map_err(|(_, why)| why)
}

/// What a table is from.
#[derive(Clone, Copy)]
enum Form<'a> {
    /// A file, in the directory from which its relative paths begin.
    File { directory: &'a Path },
    /// Our own configuration, which is stricter.
    Configuration,
}

impl<'a> Form<'a> {
    fn directory(self) -> Option<&'a Path> {
        match self {
            Self::File { directory } => Some(directory),
            Self::Configuration => None,
        }
    }
}

/// The hosts of a table in the form of `hosts.toml`. What is wrong is told with the key of the host: its URL, or `server`.
fn hosts(
    mut table: Table,
    form: Form<'_>,
    domain: &str,
    said: impl Fn(&str) -> Said,
) -> Result<Vec<Host>, (String, String)> {
    let mut hosts = Vec::new();
    let wrong = |key: &str, why: &str| (key.to_owned(), format!("{key} {why}"));
    if let Some(mirrors) = table.remove("host") {
        for (url, settings) in mirrors.as_table().ok_or_else(|| wrong("host", "must be a table"))? {
            let failed = |why: String| (url.clone(), format!("host.{url:?}: {why}"));
            let settings = settings.as_table().ok_or_else(|| failed("must be a table".to_owned()))?;
            let host = host(url, settings, form, domain, said(url)).map_err(failed)?;
            hosts.push(host);
        }
    }
    let server = match table.remove("server") {
        Some(server) => Some(server.as_str().ok_or_else(|| wrong("server", "must be a string"))?.to_owned()),
        None => None,
    };
    if matches!(form, Form::File { .. }) {
        table.remove("version");
    }
    let failed = |why: String| ("server".to_owned(), format!("server: {why}"));
    let (upstream, skip_verify) = url::upstream(domain);
    let url = server.as_deref().filter(|server| !server.is_empty()).unwrap_or(&upstream);
    let mut last = host(url, &table, form, domain, said("server")).map_err(failed)?;
    last.tls.skip_verify |= skip_verify && url == upstream && !table.contains_key("skip_verify");
    hosts.push(last);
    Ok(hosts)
}

fn host(url: &str, settings: &Table, form: Form<'_>, domain: &str, said: Said) -> Result<Host, String> {
    let mut capabilities = vec![Capability::Pull, Capability::Resolve];
    let (mut headers, mut tls, mut override_path) = (HeaderMap::new(), Tls::default(), false);
    for (key, value) in settings {
        let field = |why: String| format!("{key}: {why}");
        match key.as_str() {
            "capabilities" => capabilities = values::capabilities(value).map_err(field)?,
            "ca" => tls.ca = values::paths(value, form.directory()).map_err(field)?,
            "client" => tls.client = values::client(value, form.directory()).map_err(field)?,
            "skip_verify" => tls.skip_verify = values::boolean(value).map_err(field)?,
            "dial_timeout" => tls.dial_timeout = values::duration(value).map_err(field)?,
            "override_path" => override_path = values::boolean(value).map_err(field)?,
            "proxy" => tls.proxy = Some(values::proxy(value).map_err(field)?),
            "header" => headers = values::headers(value).map_err(field)?,
            other => match form {
                Form::File { .. } => tracing::warn!(host = url, key = other, "hosts.toml: key ignored"),
                Form::Configuration => return Err(format!("unknown key {other:?}")),
            },
        }
    }
    let base = url::base(url, override_path)?;
    let mirror = !url::is_registry(url::authority(&base), domain);
    Ok(Host { base, capabilities, headers, tls, mirror, said })
}

/// In which line each host begins, and `server`.
fn lines(text: &str) -> Result<HashMap<String, usize>, Error> {
    let table = DeTable::parse(text)?;
    let mirrors = table.get_ref().get("host").and_then(|mirrors| mirrors.get_ref().as_table());
    let server = table.get_ref().get_key_value("server").map(|(key, _)| key);
    let keys = mirrors.into_iter().flatten().map(|(url, _)| url).chain(server);
    Ok(keys.map(|key| (key.get_ref().to_string(), line(text, key.span().start))).collect())
}

fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

fn described(text: &str, error: &Error) -> String {
    let message = error.message();
    error.span().map_or_else(|| message.to_owned(), |span| format!("line {}: {message}", line(text, span.start)))
}
