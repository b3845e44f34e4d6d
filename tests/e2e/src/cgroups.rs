//! Where a lab's pods are in the hierarchies of cgroups, under the driver that the tests run with.

use crate::daemon::Paths;

/// The variable that names the driver.
const CHOICE: &str = "CORTEN_E2E_CGROUP_DRIVER";

/// Who makes the cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The daemon.
    Cgroupfs,
    /// systemd, which then has to be the machine's first process.
    Systemd,
}

impl Driver {
    /// That of `$CORTEN_E2E_CGROUP_DRIVER`, `cgroupfs` without.
    ///
    /// # Panics
    /// If it is no driver.
    pub fn chosen() -> Self {
        match std::env::var(CHOICE).as_deref().unwrap_or("cgroupfs") {
            "cgroupfs" => Self::Cgroupfs,
            "systemd" => Self::Systemd,
            other => panic!("${CHOICE} is {other:?}, which is no driver"),
        }
    }

    /// What it is called in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

impl Paths {
    /// The cgroup, below each hierarchy's root, of all pods.
    pub fn cgroup(&self) -> String {
        match Driver::chosen() {
            Driver::Cgroupfs => format!("/e2e-{}", self.id),
            Driver::Systemd => format!("/{}.slice", self.slice()),
        }
    }

    /// A cgroup in that one, or, where the place has several parts, in one that is.
    pub fn cgroup_below(&self, place: &str) -> String {
        match Driver::chosen() {
            Driver::Cgroupfs => format!("{}/{place}", self.cgroup()),
            Driver::Systemd => {
                let (mut path, mut name) = (self.cgroup(), self.slice());
                for part in place.split('/').filter(|part| !["", "."].contains(part)) {
                    name = format!("{name}-{}", escaped(part));
                    path = format!("{path}/{name}.slice");
                }
                path
            }
        }
    }

    /// That of a pod whose configuration names none.
    pub fn cgroup_of_pod(&self, id: &str) -> String {
        match Driver::chosen() {
            Driver::Cgroupfs => self.cgroup_below(&format!("pod-{id}")),
            Driver::Systemd => self.cgroup_below(&format!("pod{id}")),
        }
    }

    fn slice(&self) -> String {
        escaped(&format!("e2e_{}", self.id))
    }
}

/// In the name of a slice a dash is what a slash is in a path.
fn escaped(name: &str) -> String {
    name.replace('-', "_")
}
