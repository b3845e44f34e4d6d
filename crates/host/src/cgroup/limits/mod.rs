//! Applying the resources of an OCI runtime spec.

mod update;
mod v1;
mod v2;

use std::{fmt::Write, path::Path};

use oci_spec::runtime::{LinuxBlockIo, LinuxHugepageLimit, LinuxResources, LinuxThrottleDevice};
use rustix::io::Errno;

use super::{
    Cgroup, Error, Mode, Place, device_filter, devices, file,
    hierarchies::{Controller, Version},
};

impl Cgroup {
    /// Applies resources, new or changed. Fields that are not set are left as they are, and so are, as with other runtimes, sizes,
    /// shares, quotas and process limits of 0; -1 means no limit.
    ///
    /// Real-time scheduling, `memory.kernel` (gone since Linux 5.16), the network classes and RDMA are not applied. A hugepage limit
    /// of 0 or -1 for which there is no controller, or on a hybrid machine none that can be enabled, and a swap limit on a kernel that does not account swap, are passed over:
    /// the kubelet sets them everywhere.
    ///
    /// # Errors
    /// If a value makes no sense, needs a controller or cgroup version that is not here, or is refused by the kernel. What was
    /// applied before stays.
    pub fn apply(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.not_root("limit")?;
        self.apply_controllers(resources)?;
        if let Some(limits) = resources.hugepage_limits() {
            limits.iter().try_for_each(|limit| self.apply_hugepages(limit))?;
        }
        if let Some(rules) = resources.devices() {
            self.apply_devices(rules)?;
        }
        match resources.unified() {
            Some(unified) if !unified.is_empty() => self.apply_unified(unified.iter()),
            _ => Ok(()),
        }
    }

    fn apply_controllers(&self, resources: &LinuxResources) -> Result<(), Error> {
        if let Some(memory) = resources.memory() {
            match self.controller(Controller::Memory, "memory", "memory")? {
                (Version::V1, place) => v1::memory(&place.dir, memory)?,
                (Version::V2, place) => v2::memory(&place.dir, memory)?,
            }
        }
        if let Some(cpu) = resources.cpu() {
            if v1::has_time(cpu) {
                match self.controller(Controller::Cpu, "cpu", "cpu")? {
                    (Version::V1, place) => v1::cpu(&place.dir, cpu)?,
                    (Version::V2, place) => v2::cpu(&place.dir, cpu)?,
                }
            }
            for (name, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
                if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
                    let (_, place) = self.controller(Controller::Cpuset, "cpu.cpus and cpu.mems", "cpuset")?;
                    file::write(&place.dir, name, value)?;
                }
            }
        }
        if let Some(limit) = resources.pids().map(|p| p.limit()).filter(|limit| *limit != 0) {
            let (_, place) = self.controller(Controller::Pids, "pids.limit", "pids")?;
            let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
            file::write(&place.dir, "pids.max", &value)?;
        }
        if let Some(io) = resources.block_io().as_ref().filter(|io| **io != LinuxBlockIo::default()) {
            match self.controller(Controller::Io, "blockIO", "blkio (v2: io)")? {
                (Version::V1, place) => v1::block_io(&place.dir, io)?,
                (Version::V2, place) => v2::block_io(&place.dir, io)?,
            }
        }
        Ok(())
    }

    /// Where a controller is: in a v1 hierarchy, or in the v2 one.
    fn controller(
        &self,
        controller: Controller,
        field: &'static str,
        name: &'static str,
    ) -> Result<(Version, &Place), Error> {
        if let Some(place) = self.v1(controller) {
            return Ok((Version::V1, place));
        }
        let v2 = self.v2().filter(|place| place.hierarchy.controllers.has(controller));
        v2.map(|place| (Version::V2, place)).ok_or(Error::NoController { field, controller: name })
    }

    fn apply_hugepages(&self, limit: &LinuxHugepageLimit) -> Result<(), Error> {
        let field = "hugepageLimits";
        let size = limit.page_size();
        let digits = size.trim_end_matches(['K', 'M', 'G', 'B']);
        if !matches!(size.strip_prefix(digits), Some("KB" | "MB" | "GB"))
            || digits.is_empty()
            || !digits.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(Error::BadValue { field, value: size.clone(), why: "not a page size like 64KB, 2MB or 1GB" });
        }
        let nothing = limit.limit() <= 0;
        let (version, place) = match self.controller(Controller::Hugetlb, field, "hugetlb") {
            Ok(found) => found,
            Err(_) if nothing => return Ok(()),
            Err(e) => return Err(e),
        };
        if self.mode == Mode::Hybrid && version == Version::V2 {
            match self.enable_v2(Controller::Hugetlb) {
                // Others may have processes in a cgroup above: then there is no limit, and nobody asked to use any.
                Err(_) if nothing => return Ok(()),
                enabled => enabled?,
            }
        }
        let (file_name, value) = match version {
            Version::V1 => ("limit_in_bytes", limit.limit().to_string()),
            Version::V2 => ("max", super::convert::bytes_or_max(limit.limit())),
        };
        file::write(&place.dir, &format!("hugetlb.{size}.{file_name}"), &value)?;
        // Reservations are accounted separately since Linux 5.7; a process that reserves more than it may use gets SIGBUS.
        file::write_if_exists(&place.dir, &format!("hugetlb.{size}.rsvd.{file_name}"), &value)?;
        Ok(())
    }

    fn apply_devices(&self, rules: &[oci_spec::runtime::LinuxDeviceCgroup]) -> Result<(), Error> {
        if rules.is_empty() {
            return Ok(());
        }
        let rules = rules.iter().map(devices::Rule::of).collect::<Result<Vec<_>, _>>()?;
        if let Some(place) = self.v1(Controller::Devices) {
            return devices::apply_v1(&place.dir, &rules);
        }
        match self.v2() {
            Some(place) if self.mode == Mode::V2 => device_filter::replace(&place.dir, &devices::Policy::of(&rules)),
            _ => Err(Error::NoController { field: "devices", controller: "devices" }),
        }
    }

    fn apply_unified<'a>(&self, unified: impl Iterator<Item = (&'a String, &'a String)>) -> Result<(), Error> {
        let place = match self.v2() {
            Some(place) if self.mode == Mode::V2 => place,
            _ => return Err(Error::Unsupported { field: "unified", why: "this machine has cgroup v1" }),
        };
        for (key, value) in unified {
            let known = key.contains('.') && key.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
            if !known || key.starts_with('.') {
                let why = "not the name of a cgroup v2 file";
                return Err(Error::BadValue { field: "unified", value: key.clone(), why });
            }
            // Some files take one entry per write(2).
            value.lines().try_for_each(|line| file::write(&place.dir, key, line))?;
        }
        Ok(())
    }
}

/// Writes values that constrain each other (memory and memory+swap, quota and period), whatever they were before: one that is
/// refused with EINVAL is tried again after the others.
fn write_settling(dir: &Path, values: &[(&str, String)]) -> Result<(), Error> {
    let mut left: Vec<&(&str, String)> = values.iter().collect();
    loop {
        let before = left.len();
        let mut refused = Vec::new();
        for entry in left {
            let file = dir.join(entry.0);
            match file::try_write(&file, &entry.1) {
                Ok(()) => {}
                Err(Errno::INVAL) => refused.push(entry),
                Err(errno) => return Err(file::write_error(file, &entry.1, errno)),
            }
        }
        match refused.first() {
            None => return Ok(()),
            Some((name, value)) if refused.len() == before => {
                return Err(file::write_error(dir.join(name), value, Errno::INVAL));
            }
            Some(_) => left = refused,
        }
    }
}

/// `major:minor value`, checked.
fn device_entry(major: i64, minor: i64, value: std::fmt::Arguments<'_>) -> Result<String, Error> {
    if major < 0 || minor < 0 {
        let why = "device numbers cannot be negative";
        return Err(Error::BadValue { field: "blockIO", value: format!("{major}:{minor}"), why });
    }
    let mut entry = format!("{major}:{minor} ");
    // Writing to a String does not fail.
    let _infallible = entry.write_fmt(value);
    Ok(entry)
}

/// The four kinds of throttles, by v1 file and v2 key.
fn throttles(io: &LinuxBlockIo) -> [(&'static str, &'static str, &[LinuxThrottleDevice]); 4] {
    [
        ("blkio.throttle.read_bps_device", "rbps", io.throttle_read_bps_device().as_deref().unwrap_or_default()),
        ("blkio.throttle.write_bps_device", "wbps", io.throttle_write_bps_device().as_deref().unwrap_or_default()),
        ("blkio.throttle.read_iops_device", "riops", io.throttle_read_iops_device().as_deref().unwrap_or_default()),
        ("blkio.throttle.write_iops_device", "wiops", io.throttle_write_iops_device().as_deref().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests;
