//! The runtime's side of the Container Network Interface, versions 0.1.0 to 1.1.0.
//!
//! Plugins are other people's programs: their output, their time and their results are bounded and checked. What was
//! asked of them is written down before the first ADD and kept until every DEL has succeeded.

mod cache;
mod config;
mod error;
mod exec;
mod result;
mod runtime;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use cache::{Attachment, Cache};
pub use config::CniConfig;
use config::{Conflist, PluginConf, Version};
pub use error::{Command, Error, NotReady};
use exec::Invocation;
use serde_json::{Map, Value, json};

use super::{Attached, POD_INTERFACE, PodNetwork, netns};

/// A network that pods can be attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The network's name.
    pub network: String,
    /// The file that configures it.
    pub file: PathBuf,
}

/// CNI, opened. It can be shared by threads; different pods are attached and detached at the same time.
#[derive(Debug)]
pub struct Cni {
    config: CniConfig,
    cache: Cache,
    /// Plugins must not collect what an attachment that is under way has made: GC writes, the others read.
    collecting: RwLock<()>,
}

impl Cni {
    /// Nothing is read before it is used: a network may be configured at any time.
    pub fn open(config: CniConfig) -> Self {
        Cni { cache: Cache::new(&config.cache_dir), config, collecting: RwLock::new(()) }
    }

    /// Whether pods can be attached: a valid configuration, every plugin's program, and (from 1.1.0) every plugin's
    /// STATUS.
    pub fn status(&self) -> Result<Ready, NotReady> {
        let (file, conflist) = config::load(&self.config.conf_dir)?;
        let not_ready = |e: Error| NotReady { reason: format!("{}: {e}", file.display()) };
        for plugin in &conflist.plugins {
            exec::find(&plugin.kind, &self.config.bin_dirs).map_err(not_ready)?;
            if conflist.version >= Version::V1_1_0 {
                let config = runtime::plugin_config(&conflist, plugin, &Map::new(), None);
                self.run(plugin, Command::Status, Vec::new(), config).map_err(not_ready)?;
            }
        }
        Ok(Ready { network: conflist.name, file })
    }

    /// The network that is configured, whether or not its plugins are ready.
    pub fn configured(&self) -> Result<Ready, NotReady> {
        let (file, conflist) = config::load(&self.config.conf_dir)?;
        Ok(Ready { network: conflist.name, file })
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &CniConfig {
        &self.config
    }

    /// Attaches a pod by ADD of every plugin in order. After an error everything is undone by DEL; what could not be
    /// undone stays in the cache for `detach` or `gc`.
    pub fn attach(&self, pod: &PodNetwork) -> Result<Attached, Error> {
        validate_id(&pod.id)?;
        let _adding = self.collecting.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = self.cache.get(&pod.id)? {
            self.del(&earlier)?;
        }
        let (_, conflist) = config::load(&self.config.conf_dir)?;
        let capabilities = runtime::capabilities(pod);
        let mut attachment = Attachment::new(&pod.id, &pod.netns, runtime::arguments(pod)?, capabilities, &conflist);
        self.cache.put(&attachment)?;
        match self.add(&mut attachment, &conflist) {
            Ok(attached) => Ok(attached),
            Err(error) => match self.del(&attachment) {
                Ok(()) => Err(error),
                Err(undo) => Err(Error::Several(vec![error, undo])),
            },
        }
    }

    /// Detaches a pod by DEL of every plugin in reverse order, with the configuration it was attached with. Every
    /// plugin is tried; after an error it can be called again. A pod that is not attached is fine.
    pub fn detach(&self, id: &str) -> Result<(), Error> {
        validate_id(id)?;
        let _deleting = self.collecting.read().unwrap_or_else(PoisonError::into_inner);
        match self.cache.get(id)? {
            Some(attachment) => self.del(&attachment),
            // Killed while it wrote the first time: no plugin was run.
            None => self.cache.remove(id),
        }
    }

    /// Checks an attachment by CHECK of every plugin, where the configuration allows and its version (0.4.0) has it.
    pub fn check(&self, id: &str) -> Result<(), Error> {
        validate_id(id)?;
        let Some(attachment) = self.cache.get(id)? else {
            let reason = "it is not attached".to_owned();
            return Err(Error::Invalid { field: "sandbox id", value: id.to_owned(), reason });
        };
        let conflist = self.conflist_of(&attachment)?;
        if conflist.disable_check || conflist.version < Version::V0_4_0 {
            return Ok(());
        }
        for plugin in &conflist.plugins {
            self.run_for(&attachment, &conflist, plugin, Command::Check, attachment.result.as_ref())?;
        }
        Ok(())
    }

    /// Detaches every pod that is not among these, and then lets plugins (from 1.1.0) remove what belongs to no
    /// attachment. Everything is attempted. Returns the ids that were detached.
    ///
    /// Must not be called while a pod that is not in `live` is being attached.
    pub fn gc(&self, live: &[String]) -> Result<Vec<String>, Error> {
        let _alone = self.collecting.write().unwrap_or_else(PoisonError::into_inner);
        let (mut collected, mut errors) = (Vec::new(), Vec::new());
        for id in self.cache.ids()?.into_iter().filter(|id| !live.contains(id)) {
            match self.cache.get(&id).and_then(|found| found.map_or(Ok(()), |attachment| self.del(&attachment))) {
                Ok(()) => collected.push(id),
                Err(e) => errors.push(e),
            }
        }
        errors.extend(self.plugins_gc().err());
        Error::gather(errors).map(|()| collected)
    }

    fn plugins_gc(&self) -> Result<(), Error> {
        // Without a network there is nothing to collect with; status says so.
        let Ok((_, conflist)) = config::load(&self.config.conf_dir) else { return Ok(()) };
        if conflist.disable_gc || conflist.version < Version::V1_1_0 {
            return Ok(());
        }
        let ids = self.cache.ids()?.into_iter();
        let valid: Vec<Value> = ids.map(|id| json!({"containerID": id, "ifname": POD_INTERFACE})).collect();
        let collect = |plugin: &PluginConf| {
            let mut config = runtime::plugin_config(&conflist, plugin, &Map::new(), None);
            // The second key is what the first plugins with GC read.
            for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
                config.insert(key.to_owned(), valid.clone().into());
            }
            self.run(plugin, Command::Gc, Vec::new(), config).err()
        };
        Error::gather(conflist.plugins.iter().filter_map(collect).collect())
    }

    fn add(&self, attachment: &mut Attachment, conflist: &Conflist) -> Result<Attached, Error> {
        let mut attached = None;
        for plugin in &conflist.plugins {
            let invalid = |reason| Error::Result { plugin: plugin.kind.clone(), command: Command::Add, reason };
            let output = self.run_for(attachment, conflist, plugin, Command::Add, attachment.result.as_ref())?;
            let result: Value = serde_json::from_slice(&output).map_err(|e| invalid(format!("it is not JSON: {e}")))?;
            if !result.is_object() {
                return Err(invalid("it is not a JSON object".to_owned()));
            }
            attached = Some(result::attached(&result).map_err(invalid));
            attachment.result = Some(result);
        }
        // Only the last result must have an address: a plugin in the middle may not know one yet.
        let attached = attached.unwrap_or_else(|| {
            Err(Error::Invalid { field: "network", value: conflist.name.clone(), reason: "no plugins".to_owned() })
        })?;
        self.cache.put(attachment)?;
        Ok(attached)
    }

    fn del(&self, attachment: &Attachment) -> Result<(), Error> {
        let conflist = self.conflist_of(attachment)?;
        let errors = conflist.plugins.iter().rev().filter_map(|plugin| {
            // From 0.4.0 on DEL is given the result; older plugins do not expect it.
            let previous = attachment.result.as_ref().filter(|_| conflist.version >= Version::V0_4_0);
            self.run_for(attachment, &conflist, plugin, Command::Del, previous).err()
        });
        Error::gather(errors.collect())?;
        self.cache.remove(&attachment.id)
    }

    fn conflist_of(&self, attachment: &Attachment) -> Result<Conflist, Error> {
        attachment.conflist().map_err(|reason| Error::Cache {
            operation: "read",
            path: self.cache.path(&attachment.id),
            source: std::io::Error::other(reason),
        })
    }

    fn run_for(
        &self,
        attachment: &Attachment,
        conflist: &Conflist,
        plugin: &PluginConf,
        command: Command,
        previous: Option<&Value>,
    ) -> Result<Vec<u8>, Error> {
        // DEL must work after the namespace is gone; the specification's way to say so is to name none.
        let gone = command == Command::Del && !netns::exists(&attachment.netns);
        let netns = if gone { String::new() } else { attachment.netns.display().to_string() };
        let environment = vec![
            ("CNI_CONTAINERID", attachment.id.clone()),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", POD_INTERFACE.to_owned()),
            ("CNI_ARGS", attachment.args.clone()),
        ];
        let config = runtime::plugin_config(conflist, plugin, &attachment.capabilities, previous);
        self.run(plugin, command, environment, config)
    }

    fn run(
        &self,
        plugin: &PluginConf,
        command: Command,
        environment: Vec<(&'static str, String)>,
        config: Map<String, Value>,
    ) -> Result<Vec<u8>, Error> {
        let timeout = Duration::from_secs(self.config.plugin_timeout_seconds);
        let config = Value::Object(config);
        let invocation = Invocation { plugin: &plugin.kind, command, environment, config: &config, timeout };
        exec::run(&invocation, &self.config.bin_dirs)
    }
}

/// Ids become file names and CNI_CONTAINERID.
fn validate_id(id: &str) -> Result<(), Error> {
    let first = id.starts_with(|c: char| c.is_ascii_alphanumeric());
    if first && id.len() <= 100 && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
        return Ok(());
    }
    let reason = "expected 1 to 100 letters, digits, - and _".to_owned();
    Err(Error::Invalid { field: "sandbox id", value: id.escape_debug().to_string(), reason })
}
