//! Rules about device nodes, in the sense of the v1 `devices` controller, whose behaviour v2's filter repeats.

use std::{fmt, path::Path};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use rustix::fd::OwnedFd;

use super::{Error, file};

/// What may be done with a device: a set of `r`, `w` and `m`(knod).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access(u8);

impl Access {
    pub(super) const MKNOD: u8 = 1;
    pub(super) const READ: u8 = 2;
    pub(super) const WRITE: u8 = 4;
    const ALL: Self = Self(7);

    /// As the bits of `BPF_DEVCG_ACC_*`.
    pub(super) fn bits(self) -> u8 {
        self.0
    }
}

/// Which devices: `None` stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Devices {
    pub(super) block: bool,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    /// `None`: all devices of both types, whatever the numbers and accesses say.
    pub(super) devices: Option<(Devices, Access)>,
}

impl Rule {
    /// Of a rule in an OCI runtime spec. Without a type it is about all devices; without accesses about all accesses.
    pub(super) fn of(rule: &LinuxDeviceCgroup) -> Result<Self, Error> {
        let block = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => return Ok(Self { allow: rule.allow(), devices: None }),
            LinuxDeviceType::B => true,
            LinuxDeviceType::C | LinuxDeviceType::U => false,
            LinuxDeviceType::P => return Err(bad(rule, "a FIFO is not a device")),
        };
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n).map(Some).map_err(|_| bad(rule, "device number out of range")),
        };
        let devices = Devices { block, major: number(rule.major())?, minor: number(rule.minor())? };
        Ok(Self { allow: rule.allow(), devices: Some((devices, access(rule)?)) })
    }
}

fn access(rule: &LinuxDeviceCgroup) -> Result<Access, Error> {
    let Some(text) = rule.access().as_deref().filter(|text| !text.is_empty()) else { return Ok(Access::ALL) };
    text.chars().try_fold(Access(0), |set, c| match c {
        'r' => Ok(Access(set.0 | Access::READ)),
        'w' => Ok(Access(set.0 | Access::WRITE)),
        'm' => Ok(Access(set.0 | Access::MKNOD)),
        _ => Err(bad(rule, "access is not made of r, w and m")),
    })
}

fn bad(rule: &LinuxDeviceCgroup, why: &'static str) -> Error {
    Error::BadValue { field: "devices", value: rule.to_string(), why }
}

impl fmt::Display for Rule {
    /// As `devices.allow` and `devices.deny` want it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((devices, access)) = self.devices else { return f.write_str("a") };
        f.write_str(if devices.block { "b " } else { "c " })?;
        for (number, after) in [(devices.major, ':'), (devices.minor, ' ')] {
            match number {
                Some(n) => write!(f, "{n}{after}")?,
                None => write!(f, "*{after}")?,
            }
        }
        let letters = [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")];
        letters.iter().filter(|(bit, _)| access.0 & bit != 0).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// Writes the rules to a v1 cgroup, in their order. Each of the two files is opened once at most.
pub(super) fn apply_v1(dir: &Path, rules: &[Rule]) -> Result<(), Error> {
    let (mut allow, mut deny): (Option<OwnedFd>, Option<OwnedFd>) = (None, None);
    for rule in rules {
        let (open, name) = if rule.allow { (&mut allow, "devices.allow") } else { (&mut deny, "devices.deny") };
        let value = rule.to_string();
        let error = |errno| file::write_error(dir.join(name), &value, errno);
        let fd = match open {
            Some(fd) => fd,
            None => open.insert(file::open_for_writing(&dir.join(name)).map_err(error)?),
        };
        rustix::io::write(fd, value.as_bytes()).map_err(error)?;
    }
    Ok(())
}

/// What a list of rules comes to, by the logic of the v1 controller: one behaviour, and the exceptions from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// Whether devices are allowed by default.
    pub(super) allow: bool,
    /// The accesses for which it is the other way round.
    pub(super) exceptions: Vec<(Devices, Access)>,
}

impl Policy {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut policy = Self { allow: true, exceptions: Vec::new() };
        for rule in rules {
            match rule.devices {
                None => policy = Self { allow: rule.allow, exceptions: Vec::new() },
                Some((devices, access)) if rule.allow == policy.allow => policy.remove(devices, access),
                Some((devices, access)) => policy.add(devices, access),
            }
        }
        policy
    }

    fn add(&mut self, devices: Devices, access: Access) {
        match self.exceptions.iter_mut().find(|(known, _)| *known == devices) {
            Some((_, known)) => known.0 |= access.0,
            None => self.exceptions.push((devices, access)),
        }
    }

    /// Only an exception for the very same devices is taken back, as the v1 controller does.
    fn remove(&mut self, devices: Devices, access: Access) {
        for (known, accesses) in &mut self.exceptions {
            if *known == devices {
                accesses.0 &= !access.0;
            }
        }
        self.exceptions.retain(|(_, accesses)| accesses.0 != 0);
    }
}

#[cfg(test)]
mod tests;
