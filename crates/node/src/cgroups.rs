//! Who makes the node's cgroups: this daemon, or systemd.
//!
//! Either way a cgroup is a directory of the hierarchies and is read and limited there. Under systemd it is a unit's besides: a
//! pod's is a slice, a container's and a monitor's a scope, and limits are told to systemd too, which would reset them otherwise.
//! Nothing is asked of systemd for an exec.
//!
//! A pod keeps the [`Place`] that it was made with, also if the daemon is started again with another driver.

mod place;

use std::ffi::OsStr;
use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use corten_host::cgroup::{Created, Mode};
use corten_host::systemd::{self, Manager, Placeholder, Scope, Slice};
use oci_spec::runtime::LinuxResources;

use crate::check;
use crate::config::{CgroupConfig, CgroupDriver};
use crate::error::{Error, Result};
use crate::node::Node;
pub use place::Place;

/// The field of the request that names a pod's cgroup.
const PARENT: &str = "config.linux.cgroup_parent";

/// Where pods are that name no parent.
const DEFAULT_PARENT: &str = "/corten";
const DEFAULT_SLICE: &str = "corten.slice";

/// Who makes cgroups.
pub enum Driver {
    /// This daemon.
    Cgroupfs {
        /// The parent of pods that name none.
        parent: String,
        /// What a pod means that names a slice.
        slices: Slices,
        /// Of pods that were made with the other driver: their units are systemd's, where that is this machine's init.
        units: Option<Units>,
    },
    /// systemd.
    Systemd {
        /// The slice of pods that name none.
        parent: Slice,
        /// What it makes.
        units: Units,
    },
}

/// What the name of a slice means where the daemon makes cgroups.
pub enum Slices {
    /// That the kubelet's driver is systemd: this one was chosen by hand, so it is a mistake.
    Refused,
    /// A directory, as ever. Warned of once.
    Directories(Once),
}

/// systemd's units.
#[derive(Default)]
pub struct Units {
    manager: Manager,
    /// Held for reading while a pod gets into its slice, for writing while slices are stopped: that stops all that is in them.
    slices: RwLock<()>,
}

impl Driver {
    /// The driver that is configured, or fits this machine and the pods that are recorded: `pod` names one whose cgroup systemd did
    /// not make. Its kubelet's driver is cgroupfs, whatever the machine has.
    ///
    /// # Errors
    /// If systemd is to do it and cannot: it is not there, or cgroup v2 is not the only hierarchy.
    pub fn open(config: &CgroupConfig, mode: Mode, pod: impl FnOnce() -> Option<String>) -> Result<Self> {
        if let Some(why) = wrong_default_parent(config) {
            let parent = config.default_parent.as_deref().unwrap_or_default();
            return Err(Error::invalid("cgroup.default_parent", parent, why));
        }
        match (config.driver, lacks(mode)) {
            (CgroupDriver::Cgroupfs, _) => Ok(Self::cgroupfs(config, Slices::Refused)),
            (CgroupDriver::Systemd, Some(why)) => Err(Error::invalid("cgroup.driver", "systemd", why)),
            (CgroupDriver::Systemd, None) => Self::of_systemd(config),
            (CgroupDriver::Auto, lacking) => {
                let parent = config.default_parent.as_deref().filter(|parent| Slice::parse(last(parent)).is_err());
                let why = lacking.or_else(|| parent.map(|_| "cgroup.default_parent is not a slice")).map(str::to_owned);
                let made_with =
                    |pod| format!("pod {pod} was made with it: a start without such pods changes it to systemd");
                match why.or_else(|| pod().map(made_with)) {
                    Some(why) => {
                        tracing::info!(why, "the cgroup driver is cgroupfs");
                        Ok(Self::cgroupfs(config, Slices::Directories(Once::new())))
                    }
                    None => Self::of_systemd(config),
                }
            }
        }
    }

    fn of_systemd(config: &CgroupConfig) -> Result<Self> {
        let parent = config.default_parent.as_deref().unwrap_or(DEFAULT_SLICE);
        let bad = |why| Error::invalid("cgroup.default_parent", parent, why);
        let slice = Slice::parse(last(parent)).map_err(bad)?;
        let manager = Manager::connect().map_err(|error| Error::node("cgroup.driver", error))?;
        Ok(Self::Systemd { parent: slice, units: Units { manager, ..Units::default() } })
    }

    fn cgroupfs(config: &CgroupConfig, slices: Slices) -> Self {
        let parent = config.default_parent.as_deref().unwrap_or(DEFAULT_PARENT).trim_matches('/');
        let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
        Self::Cgroupfs { parent, slices, units: systemd::is_running().then(Units::default) }
    }

    /// Checks the parent that a pod names. The kubelet's driver and this one must be the same.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check_parent(&self, parent: Option<&str>) -> Result<()> {
        let Some(parent) = parent else { return Ok(()) };
        let why = match self {
            Self::Cgroupfs { slices: Slices::Refused, .. } if is_slice(parent) => {
                "is a slice of systemd's, but the cgroup driver is cgroupfs"
            }
            Self::Cgroupfs { slices: Slices::Directories(warned), .. } if is_slice(parent) => {
                let why = "a pod names a slice, but the cgroup driver is cgroupfs: it gets a directory of that name";
                warned.call_once(|| tracing::warn!(parent, "{why}"));
                return Ok(());
            }
            Self::Cgroupfs { .. } => return Ok(()),
            Self::Systemd { .. } if !is_slice(parent) => "is not a slice, but the cgroup driver is systemd",
            Self::Systemd { .. } => match Slice::parse(last(parent)) {
                Ok(slice) if slice.path() == "/" => "is the root",
                Ok(_) => return Ok(()),
                Err(why) => why,
            },
        };
        Err(Error::invalid(PARENT, check::shown(parent), why))
    }

    /// A pod's cgroup: the one that it names, or its own. Of a slice's path only the last component counts.
    pub fn pod(&self, named: Option<&str>, id: &str) -> Place {
        match (self, named) {
            (Self::Cgroupfs { parent, .. }, named) => Place::below(parent, named, id),
            (Self::Systemd { parent, .. }, named) => {
                let slice = match named {
                    Some(named) => Slice::parse(last(named)),
                    None => parent.child(&format!("pod{id}")),
                };
                // One that is none was refused when the pod was to be run.
                Place::Systemd(slice.map_or_else(|_| format!("/{id}"), |slice| slice.path()))
            }
        }
    }

    /// Whether systemd makes new cgroups.
    pub fn is_systemd(&self) -> bool {
        matches!(self, Self::Systemd { .. })
    }

    /// Whether a cgroup is systemd's to make and end.
    pub fn is_unit(&self, place: &Place) -> bool {
        self.unit(place).is_some()
    }

    /// systemd, and the path of a cgroup that is its.
    fn unit<'a>(&self, place: &'a Place) -> Option<(&Units, &'a str)> {
        match place {
            Place::Cgroupfs(_) => None,
            Place::Systemd(path) => self.units().map(|units| (units, path.as_str())),
        }
    }

    fn units(&self) -> Option<&Units> {
        match self {
            Self::Cgroupfs { units, .. } => units.as_ref(),
            Self::Systemd { units, .. } => Some(units),
        }
    }

    /// While this is held, no slice is stopped.
    pub fn enter(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.units().map(|units| units.slices.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// While this is held, nothing gets into a slice.
    pub fn leave(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.units().map(|units| units.slices.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the slice of a pod made, with its limits.
    pub fn start_pod(&self, place: &Place, limits: &LinuxResources) -> Result<()> {
        let Some((units, path)) = self.unit(place) else { return Ok(()) };
        let slice = Slice::parse(last(path)).map_err(|why| Error::node("the pod's slice", why))?;
        let started = units.manager.start_slice(&slice, &systemd::properties(limits));
        started.map_err(|error| Error::node("the pod's slice", error))
    }

    /// Has the scope of a cgroup made. It lasts as long as what is returned is held, and then as long as there are processes in it.
    pub fn start_scope(
        &self,
        node: &Node,
        place: &Place,
        description: &str,
        limits: &LinuxResources,
    ) -> Result<Option<Placeholder>> {
        let Some((units, path)) = self.unit(place) else { return Ok(None) };
        let slice = path.rsplit('/').nth(1).filter(|slice| !slice.is_empty()).unwrap_or("-.slice");
        let limits = systemd::properties(limits);
        let scope = Scope { name: last(path), slice, description, limits: &limits };
        let started = units.manager.start_scope(scope, || node.monitor.placeholder().map_err(|e| e.to_string()));
        started.map(Some).map_err(|error| Error::node("scope", error))
    }

    /// Tells systemd of new limits, so that they stay.
    pub fn limit(&self, place: &Place, limits: &LinuxResources) -> Result<()> {
        let Some((units, path)) = self.unit(place) else { return Ok(()) };
        let set = units.manager.set(last(path), &systemd::properties(limits));
        set.map_err(|error| Error::node("limits", error))
    }

    /// Has the unit of a cgroup ended, in which nothing runs any more.
    pub fn stop(&self, place: &Place) -> Result<()> {
        let Some((units, path)) = self.unit(place) else { return Ok(()) };
        units.manager.stop(last(path)).map_err(|error| Error::node("end a unit", error))
    }

    /// Ends the slices that a pod was in and whose directories are removed.
    pub fn stop_removed(&self, node: &Node, pod: &Place, removed: &Created) -> Result<()> {
        let Some((units, _)) = self.unit(pod) else { return Ok(()) };
        let mut gone = Vec::new();
        // All of them now: systemd makes a slice's directory again when it ends one in it.
        for directory in removed.directories().iter().rev() {
            let Some(Ok(slice)) = directory.file_name().and_then(OsStr::to_str).map(Slice::parse) else { continue };
            // A hierarchy of version 1 without controllers, in which there is nothing of systemd's, may be there too.
            if node.cgroup(&slice.path())?.v2_directory() == Some(directory) && !directory.exists() {
                gone.push(slice);
            }
        }
        for slice in gone {
            units.manager.stop(slice.name()).map_err(|error| Error::node("end a slice", error))?;
        }
        Ok(())
    }
}

/// Why the parent of pods that name none does not fit the driver, if that was chosen by hand: [`CgroupDriver::Auto`] chooses one
/// that fits.
pub fn wrong_default_parent(config: &CgroupConfig) -> Option<&'static str> {
    let parent = config.default_parent.as_deref()?;
    match config.driver {
        CgroupDriver::Systemd => Slice::parse(last(parent)).err(),
        CgroupDriver::Cgroupfs => is_slice(parent).then_some("is a slice, but cgroup.driver is cgroupfs"),
        CgroupDriver::Auto => None,
    }
}

/// What this machine lacks for systemd to make cgroups.
fn lacks(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::V1 | Mode::Hybrid => Some("cgroup v2 is not the only hierarchy on this machine"),
        Mode::V2 => (!systemd::is_running()).then_some("systemd is not this machine's init"),
    }
}

fn is_slice(path: &str) -> bool {
    Slice::is_named_like_one(path.trim_end_matches('/'))
}

/// The last component of a path.
fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn systemd() -> Driver {
        Driver::Systemd { parent: Slice::parse(DEFAULT_SLICE).unwrap(), units: Units::default() }
    }

    fn cgroupfs(parent: Option<&str>) -> Result<Driver> {
        let default_parent = parent.map(str::to_owned);
        let config = CgroupConfig { driver: CgroupDriver::Cgroupfs, default_parent, ..CgroupConfig::default() };
        Driver::open(&config, Mode::V2, || None)
    }

    #[test]
    fn the_kubelets_slices_are_found_by_their_last_component() {
        let path = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice";
        let pod = Place::Systemd(path.to_owned());
        for named in ["kubepods-burstable-pod1_2.slice", path] {
            assert_eq!(systemd().pod(Some(named), "x"), pod);
            systemd().check_parent(Some(named)).unwrap();
        }
        assert_eq!(pod.leaf("corten-x").path(), format!("{path}/corten-x.scope"));
        assert!(systemd().is_unit(&pod) && systemd().is_unit(&pod.leaf("corten-x")));
        assert_eq!(systemd().pod(None, "x").path(), "/corten.slice/corten-podx.slice");
    }

    #[test]
    fn paths_of_cgroupfs_are_what_they_are() {
        let driver = cgroupfs(None).unwrap();
        let pod = driver.pod(Some("/kubepods/pod1/"), "x");
        assert_eq!(pod, Place::Cgroupfs("/kubepods/pod1".to_owned()));
        assert_eq!(driver.pod(None, "x").path(), "/corten/pod-x");
        assert_eq!(pod.leaf("corten-x").path(), "/kubepods/pod1/corten-x");
        assert_eq!(cgroupfs(Some("/")).unwrap().pod(None, "x").path(), "/pod-x");
        assert!(cgroupfs(Some("a.slice")).is_err());
    }

    #[test]
    fn a_pod_of_before_the_driver_became_another_keeps_its_cgroup() {
        let (directory, slice) = (Place::Cgroupfs("/a.slice".to_owned()), Place::Systemd("/a.slice".to_owned()));
        let of = |units| Driver::Cgroupfs { parent: String::new(), slices: Slices::Refused, units };
        for (driver, is_unit) in [(systemd(), true), (of(Some(Units::default())), true), (of(None), false)] {
            assert!(!driver.is_unit(&directory) && !driver.is_unit(&directory.leaf("corten-x")));
            assert_eq!([driver.is_unit(&slice), driver.is_unit(&slice.leaf("corten-x"))], [is_unit; 2]);
        }
        assert_eq!(slice.leaf("corten-x").path(), "/a.slice/corten-x.scope");
    }

    #[test]
    fn a_parent_of_the_other_driver_is_refused() {
        let error = systemd().check_parent(Some("/kubepods/pod1")).unwrap_err().to_string();
        assert!(error.starts_with("invalid config.linux.cgroup_parent \"/kubepods/pod1\": is not a slice"), "{error}");
        assert!(systemd().check_parent(Some("a--b.slice")).is_err());
        assert!(systemd().check_parent(Some("-.slice")).is_err());
        let driver = cgroupfs(None).unwrap();
        assert!(driver.check_parent(Some("/kubepods.slice/a.slice")).is_err());
        driver.check_parent(Some("/kubepods.slice/pod1")).unwrap();
        driver.check_parent(None).unwrap();
    }

    #[test]
    fn systemd_is_refused_where_there_are_other_hierarchies() {
        let config = CgroupConfig { driver: CgroupDriver::Systemd, ..CgroupConfig::default() };
        for mode in [Mode::V1, Mode::Hybrid] {
            let Err(error) = Driver::open(&config, mode, || None) else { continue };
            assert!(error.to_string().starts_with("invalid cgroup.driver \"systemd\": cgroup v2 is not"), "{error}");
        }
        let auto = CgroupConfig { driver: CgroupDriver::Auto, ..CgroupConfig::default() };
        assert!(!Driver::open(&auto, Mode::Hybrid, || None).unwrap().is_systemd());
    }

    #[test]
    fn what_was_valid_before_there_was_a_choice_still_is() {
        let config = |driver, parent: &str| CgroupConfig {
            driver,
            default_parent: Some(parent.to_owned()),
            ..CgroupConfig::default()
        };
        let path = Driver::open(&config(CgroupDriver::Auto, "/pods"), Mode::V2, || None).unwrap();
        assert_eq!(path.pod(None, "x"), Place::Cgroupfs("/pods/pod-x".to_owned()));
        let slice = Driver::open(&config(CgroupDriver::Auto, "/pods.slice"), Mode::V1, || None).unwrap();
        assert_eq!(slice.pod(None, "x"), Place::Cgroupfs("/pods.slice/pod-x".to_owned()));
        slice.check_parent(Some("/kubepods.slice/a.slice")).unwrap();
        assert!(wrong_default_parent(&config(CgroupDriver::Systemd, "/pods")).is_some());
        assert!(wrong_default_parent(&config(CgroupDriver::Cgroupfs, "/pods.slice")).is_some());
    }
}
