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
use toml::Table;

use super::tls::Tls;
use crate::{Config, Error};
pub(crate) use url::host_and_port;

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    /// Content by digest.
    Pull,
    /// What a tag means now.
    Resolve,
}

impl Capability {
    /// As `hosts.toml` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Resolve => "resolve",
        }
    }
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
    /// Our own configuration.
    Configuration(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Certificates(path) => write!(f, "{} (certificates)", path.display()),
            Self::Configuration(registry) => write!(f, "registry.hosts.{registry:?}"),
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

/// A place that may say which hosts to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A table of our own configuration, by its registry.
    Configuration(String),
    Directory(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(registry) => write!(f, "registry.hosts.{registry:?}"),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

const DEFAULT: &str = "_default";

/// Every place that is looked at, in the order of preference: what our configuration says of the registry by its name, the
/// directories in containerd's order, what our configuration says of all.
pub(crate) fn places(config: &Config, domain: &str) -> Vec<Place> {
    let with_port = domain.rsplit_once(':').map(|(host, port)| format!("{host}_{port}_"));
    let names: Vec<_> = with_port.into_iter().chain([domain.to_owned(), DEFAULT.to_owned()]).collect();
    let directories = config.config_path.iter().flat_map(|path| names.iter().map(move |name| path.join(name)));
    std::iter::once(Place::Configuration(domain.to_owned()))
        .chain(directories.map(Place::Directory))
        .chain([Place::Configuration(DEFAULT.to_owned())])
        .collect()
}

/// The first place that there is.
pub(crate) fn place(config: &Config, domain: &str) -> Result<Option<Place>, Error> {
    for place in places(config, domain) {
        let there = match &place {
            Place::Configuration(registry) => config.hosts.get(registry).is_some(),
            Place::Directory(path) => is_there(path)?,
        };
        if there {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn is_there(path: &Path) -> Result<bool, Error> {
    match path.metadata() {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(Error::HostsFile { path: path.to_owned(), why: error.to_string() }),
    }
}

/// The hosts for a registry, in the order to ask them.
pub(crate) fn find(config: &Config, domain: &str) -> Result<Vec<Host>, Error> {
    match place(config, domain)? {
        Some(Place::Directory(directory)) => in_directory(&directory, domain),
        Some(Place::Configuration(registry)) => {
            let table = config.hosts.get(&registry).cloned().unwrap_or_default();
            let path = PathBuf::from(format!("registry.hosts.{registry:?}"));
            file::block(table, &registry, domain).map_err(|why| Error::HostsFile { path, why })
        }
        None => Ok(vec![Host::registry(domain, Said::Default)]),
    }
}

/// Whether a table of our own configuration can be used.
pub(super) fn check_block(registry: &str, table: &Table) -> Result<(), String> {
    file::block(table.clone(), registry, registry).map(|_| ())
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
