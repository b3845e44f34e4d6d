//! Who asks: where credentials come from, in this order: the request, the configuration, Docker's `config.json` and the
//! helpers that it names. The first that has some for a host counts.

mod docker_config;
mod helper;
mod pattern;

use std::{fmt, fs, path::PathBuf};

use self::{docker_config::DockerConfig, helper::Helper};
use super::{Auth, auth};
use crate::{Config, error::blocking, reference::Reference};

/// The largest password file, in bytes.
const PASSWORD_BYTES: u64 = 64 << 10;

/// The credentials for one pull.
pub(crate) struct Keyring {
    request: Option<Auth>,
    config: Config,
    reference: Reference,
}

/// One place that may have credentials for a host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// The request of this pull.
    Request,
    /// Our configuration.
    Configuration { key: String },
    /// An entry of Docker's configuration.
    DockerConfig { path: PathBuf, key: String, auth: Auth },
    /// A program that Docker's configuration names.
    Helper { path: PathBuf, key: String, helper: Helper },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("the request"),
            Self::Configuration { key } => write!(f, "registry.credentials.{key:?}"),
            Self::DockerConfig { path, key, .. } => write!(f, "{} (auths, {key:?})", path.display()),
            Self::Helper { path, key, helper } => write!(f, "{} ({key}, {helper})", path.display()),
        }
    }
}

impl Keyring {
    pub fn new(request: Option<Auth>, config: Config, reference: Reference) -> Self {
        Self { request: request.filter(|auth| *auth != Auth::default()), config, reference }
    }

    /// Where there may be credentials for a host, in the order in which to ask. Reads Docker's configuration.
    ///
    /// # Errors
    /// What is wrong with a file, without its content.
    pub fn sources(&self, host: &str) -> Result<Vec<Source>, String> {
        let mut sources = Vec::new();
        if self.request.as_ref().and_then(|request| self.shown(request, host)).is_some() {
            sources.push(Source::Request);
        }
        let path = self.reference.path();
        let keys = self.config.credentials.keys().map(String::as_str);
        if let Some(key) = pattern::best(keys, host, path) {
            sources.push(Source::Configuration { key: key.to_owned() });
        }
        if let Some(file) = &self.config.docker_config {
            sources.extend(DockerConfig::read(file)?.sources(&self.config, host, path)?);
        }
        Ok(sources)
    }

    /// What to show a host, if there is anything. May run a program.
    ///
    /// # Errors
    /// What is wrong with a place that should have some, without a secret.
    pub async fn find(&self, host: &str) -> Result<Option<auth::Credentials>, String> {
        for source in self.sources(host)? {
            let found = match source {
                Source::Request => self.request.as_ref().and_then(|request| self.shown(request, host)),
                Source::Configuration { key } => Some(self.configured(&key)?),
                Source::DockerConfig { auth, .. } => auth.open(),
                Source::Helper { helper, .. } => {
                    let answer = blocking("ask a credential helper", move || Ok(helper.get()));
                    answer.await.map_err(|error| error.to_string())??.and_then(|auth| auth.open())
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What of the request's a host may see.
    fn shown(&self, request: &Auth, host: &str) -> Option<auth::Credentials> {
        match request.server_address.is_empty() && self.config.credentials_for_mirrors {
            true => request.open(),
            false => request.credentials(host, &self.reference),
        }
    }

    fn configured(&self, key: &str) -> Result<auth::Credentials, String> {
        let wrong = |why: String| format!("registry.credentials.{key:?}: {why}");
        let login = self.config.credentials.get(key).ok_or_else(|| wrong("it is gone".to_owned()))?;
        let password = match (&login.password, &login.password_file) {
            (Some(password), _) => password.reveal().to_owned(),
            (None, Some(path)) => {
                let text = read_bounded(path, PASSWORD_BYTES).map_err(wrong)?;
                String::from_utf8(text).map_err(|_| wrong(format!("{} is not UTF-8", path.display())))?
            }
            (None, None) => return Err(wrong("there is no password".to_owned())),
        };
        let password = password.trim_end_matches(['\r', '\n']);
        Ok(auth::Credentials::basic(&login.username, password))
    }
}

/// A file's bytes, if they are not too many.
fn read_bounded(path: &std::path::Path, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > limit {
        true => Err(format!("{} has more than {limit} bytes", path.display())),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
