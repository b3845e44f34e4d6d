//! Which hosts to ask for a registry's images: containerd's registry configuration, `<config path>/<host>/hosts.toml`
//! (containerd, docs/hosts.md).
//!
//! Directories are named after the registry (`docker.io`, `localhost_5000_` or `localhost:5000`) or `_default`. Hosts are
//! asked in the file's order, the registry itself last. Keys this program does not know are logged and ignored, because
//! the files are containerd's; a file that cannot be used is an error, where containerd logs it and asks the registry.

mod file;
mod url;
mod values;

use std::{
    fmt,
    fs::{read_dir, read_to_string},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use reqwest::header::HeaderMap;

use super::tls::Tls;
use crate::Error;
pub(crate) use url::host_and_port;

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    /// Content by digest.
    Pull,
    /// What a tag means now.
    Resolve,
}

/// Who says that a host is to be asked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nobody: it is the registry itself.
    Default,
    /// A file, and where in it.
    File { path: PathBuf, line: Option<usize> },
    /// A directory with certificates, in Docker's form.
    Certificates(PathBuf),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Certificates(path) => write!(f, "{} (certificates)", path.display()),
        }
    }
}

/// A host to ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Host {
    /// Scheme, host and path, without a slash at the end; the repository follows.
    pub base: String,
    pub capabilities: Vec<Capability>,
    pub headers: HeaderMap,
    pub tls: Tls,
    /// Not the registry itself: it is told whose images are meant.
    pub mirror: bool,
    pub said: Said,
}

impl Host {
    /// Host and port.
    pub fn name(&self) -> &str {
        url::authority(&self.base)
    }

    /// The registry itself.
    fn registry(domain: &str, said: Said) -> Self {
        let capabilities = vec![Capability::Pull, Capability::Resolve];
        let (base, skip_verify) = url::upstream(domain);
        let tls = Tls { skip_verify, ..Tls::default() };
        Self { base, capabilities, headers: HeaderMap::new(), tls, mirror: false, said }
    }

    /// Whether TLS is to be tried although the URL says `http`: with certificates it cannot have been meant otherwise, and
    /// containerd does the same.
    pub fn may_speak_tls(&self) -> bool {
        self.base.starts_with("http://") && self.tls.is_about_tls() && !self.name().ends_with(":80")
    }
}

/// The hosts for a registry, in the order to ask them.
pub(crate) fn find(config_path: &[PathBuf], domain: &str) -> Result<Vec<Host>, Error> {
    match known_directory(config_path, domain)? {
        Some(directory) => in_directory(&directory, domain),
        None => Ok(vec![Host::registry(domain, Said::Default)]),
    }
}

/// The first directory that is for this registry, or for all.
fn known_directory(config_path: &[PathBuf], domain: &str) -> Result<Option<PathBuf>, Error> {
    for directory in candidates(config_path, domain) {
        match directory.metadata() {
            Ok(_) => return Ok(Some(directory)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(Error::HostsFile { path: directory, why: error.to_string() }),
        }
    }
    Ok(None)
}

/// Every directory that is looked for, in the order of preference.
pub(crate) fn candidates(config_path: &[PathBuf], domain: &str) -> Vec<PathBuf> {
    let with_port = domain.rsplit_once(':').map(|(host, port)| format!("{host}_{port}_"));
    let names: Vec<_> = with_port.into_iter().chain([domain.to_owned(), "_default".to_owned()]).collect();
    config_path.iter().flat_map(|path| names.iter().map(move |name| path.join(name))).collect()
}

fn in_directory(directory: &Path, domain: &str) -> Result<Vec<Host>, Error> {
    let path = directory.join("hosts.toml");
    let text = match read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::HostsFile { path, why: error.to_string() }),
    };
    if text.is_empty() {
        let mut host = Host::registry(domain, Said::Certificates(directory.to_owned()));
        docker_certificates(directory, &mut host.tls)?;
        return Ok(vec![host]);
    }
    file::parse(&text, &path, domain).map_err(|why| Error::HostsFile { path, why })
}

/// Docker's form of the directory: `*.crt` authorities, each `x.cert` with `x.key` one of the client's.
fn docker_certificates(directory: &Path, tls: &mut Tls) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::HostsFile { path: directory.to_owned(), why: error.to_string() };
    let entries = read_dir(directory).map_err(failed)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    for path in paths.into_iter().filter(|path| !path.is_dir()) {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.ca.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                tls.client.push((path, key.exists().then_some(key)));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
