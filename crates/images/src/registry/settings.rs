//! What the configuration says about hosts and credentials.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use toml::{Table, Value};

use super::hosts;

/// Tables in the form of `hosts.toml`, by registry, or `_default`. Paths are absolute, unknown keys are refused.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct HostsBlocks(BTreeMap<String, Table>);

impl HostsBlocks {
    pub(super) fn get(&self, registry: &str) -> Option<&Table> {
        self.0.get(registry)
    }

    /// Whether all can be used: the key and why not.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        for (registry, table) in &self.0 {
            hosts::check_block(registry, table).map_err(|why| (format!("hosts.{registry:?}"), why))?;
        }
        Ok(())
    }

    /// Without the values of headers and the URLs of proxies, in which secrets may be.
    fn shown(&self) -> BTreeMap<&str, Table> {
        fn hide(table: &mut Table) {
            if let Some(Value::Table(headers)) = table.get_mut("header") {
                headers.iter_mut().for_each(|(_, value)| *value = HIDDEN.into());
            }
            if let Some(proxy) =
                table.get_mut("proxy").filter(|proxy| proxy.as_str().is_none_or(|url| url.contains('@')))
            {
                *proxy = HIDDEN.into();
            }
        }
        let mut all: BTreeMap<_, _> =
            self.0.iter().map(|(registry, table)| (registry.as_str(), table.clone())).collect();
        for table in all.values_mut() {
            hide(table);
            if let Some(Value::Table(mirrors)) = table.get_mut("host") {
                mirrors.iter_mut().filter_map(|(_, mirror)| mirror.as_table_mut()).for_each(hide);
            }
        }
        all
    }
}

impl fmt::Debug for HostsBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown(), f)
    }
}

impl Serialize for HostsBlocks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown().serialize(serializer)
    }
}

/// Credentials by the host that may see them, `registry.example.org:5000` or `*.example.org/team`.
pub type Credentials = BTreeMap<String, Login>;

/// A user and the password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: Option<Secret>,
    /// A file with the password, which is read for each pull that needs it. A newline at its end does not count.
    pub password_file: Option<PathBuf>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

const HIDDEN: &str = "(secret)";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Hidden: a configuration is only written to be shown.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Through a value, because serde's own errors repeat what they did not expect.
        match Value::deserialize(deserializer) {
            Ok(Value::String(text)) => Ok(Self(text)),
            _ => Err(D::Error::custom("a secret must be a string")),
        }
    }
}

impl Login {
    /// Whether there is one password, and who it is of.
    pub fn check(&self) -> Result<(), &'static str> {
        match (&self.password, &self.password_file) {
            _ if self.username.is_empty() => Err("username must not be empty"),
            _ if self.username.contains(':') => Err("username must not have a colon"),
            (Some(_), None) => Ok(()),
            (None, Some(path)) if path.is_absolute() => Ok(()),
            (None, Some(_)) => Err("password_file must be an absolute path"),
            _ => Err("want one of password and password_file"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use crate::Config;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn secrets_are_written_nowhere() {
        let config = config(
            r#"
            [credentials."r.example"]
            username = "u"
            password = "hunter2"
            [hosts."r.example"]
            proxy = "http://u:hunter2@proxy"
            [hosts."r.example".header]
            x-token = "hunter2"
            [hosts."r.example".host."https://m"]
            proxy = "http://plain:3128"
            header = { x-other = ["hunter2"] }
            "#,
        );
        config.check().unwrap();
        let written =
            [toml::to_string(&config).unwrap(), serde_json::to_string(&config).unwrap(), format!("{config:?}")];
        for text in written {
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("http://plain:3128") && text.contains("x-other"), "{text}");
        }
        assert_eq!(config.credentials["r.example"].password.as_ref().unwrap().reveal(), "hunter2");
    }

    #[test]
    fn what_cannot_be_is_told_by_its_key_and_without_secrets() {
        for (text, key, why) in [
            ("docker_config = \"x\"", "docker_config", "absolute"),
            ("credential_helper_timeout_seconds = 0", "credential_helper_timeout_seconds", "0"),
            ("[credentials.h]\nusername = \"u\"", "credentials.\"h\"", "one of password"),
            ("[credentials.h]\npassword = \"hunter2\"", "credentials.\"h\"", "username must"),
            ("[credentials.h]\nusername = \"u\"\npassword_file = \"x\"", "credentials.\"h\"", "absolute"),
            ("[hosts.h]\nservre = \"https://x\"", "hosts.\"h\"", "unknown key \"servre\""),
            ("[hosts.h]\nca = \"ca.pem\"", "hosts.\"h\"", "\"ca.pem\" is not an absolute path"),
            ("[hosts.h.host.\"https://m\"]\ncapabilities = [\"fly\"]", "hosts.\"h\"", "unknown capability \"fly\""),
        ] {
            let (found, reason) = config(text).check().unwrap_err();
            assert_eq!(found, key);
            assert!(reason.contains(why) && !reason.contains("hunter2"), "{reason}");
        }
        let error = toml::from_str::<Config>("[credentials.h]\npassword = 5551234").unwrap_err();
        assert!(!error.message().contains("5551234"), "{error}");
    }
}
