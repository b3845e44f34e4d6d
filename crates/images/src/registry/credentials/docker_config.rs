//! Docker's `config.json`: `auths`, `credHelpers`, `credsStore`.

use std::{collections::BTreeMap, path::Path, path::PathBuf};

use serde::Deserialize;

use super::{Auth, Helper, Source, pattern, read_bounded};
use crate::Config;

const FILE_BYTES: u64 = 1 << 20;

/// The file, as far as it is about credentials.
#[derive(Deserialize)]
pub(super) struct DockerConfig {
    #[serde(skip)]
    path: PathBuf,
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(default)]
#[derive(Default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl DockerConfig {
    /// Reads the file. One that is not there says nothing.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = match path.try_exists() {
            Ok(false) => b"{}".to_vec(),
            _ => read_bounded(path, FILE_BYTES)?,
        };
        // serde_json's own texts repeat values.
        let wrong = |error: serde_json::Error| {
            format!("{}: not as Docker writes it (line {}, column {})", path.display(), error.line(), error.column())
        };
        let config: Self = serde_json::from_slice(&bytes).map_err(wrong)?;
        Ok(Self { path: path.to_owned(), ..config })
    }

    /// Who may know, as Docker asks: the helper for the host, else that for all; then the file's own entries.
    pub fn sources(&self, config: &Config, host: &str, repository: &str) -> Result<Vec<Source>, String> {
        let mut sources = Vec::new();
        let own = pattern::best(self.helpers.keys().map(String::as_str), host, repository);
        let named = own.and_then(|key| Some((format!("credHelpers, {key:?}"), self.helpers.get(key)?)));
        let store = || Some(("credsStore".to_owned(), self.store.as_ref()?));
        if let Some((key, name)) = named.or_else(store).filter(|(_, name)| !name.is_empty()) {
            let helper = Helper::new(name, host, config).map_err(|why| format!("{}: {why}", self.path.display()))?;
            sources.push(Source::Helper { path: self.path.clone(), key, helper });
        }
        // An entry without anything in it says that a helper has it.
        let filled = self.auths.iter().filter(|(_, entry)| !entry.is_empty()).map(|(key, _)| key.as_str());
        if let Some((key, entry)) =
            pattern::best(filled, host, repository).and_then(|key| self.auths.get_key_value(key))
        {
            let auth = entry.auth().map_err(|why| format!("{}: auths, {key:?}: {why}", self.path.display()))?;
            sources.push(Source::DockerConfig { path: self.path.clone(), key: key.clone(), auth });
        }
        Ok(sources)
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.identitytoken, &self.registrytoken].into_iter().all(String::is_empty)
    }

    fn auth(&self) -> Result<Auth, String> {
        let Self { auth, username, password, identitytoken, registrytoken } = self.clone();
        let (identity_token, registry_token) = (identitytoken, registrytoken);
        let auth = Auth { username, password, auth, identity_token, registry_token, server_address: String::new() };
        auth.check().map_err(|(field, why)| format!("{field} {why}"))?;
        Ok(auth)
    }
}
