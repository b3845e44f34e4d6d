//! Profiles in files (`Localhost`): JSON in the format that Docker, containerd and CRI-O read.
//!
//! That is the OCI runtime spec's `seccomp` object, and what Docker added to it: rules with conditions (`includes`, `excludes`) on
//! capabilities, architectures and the kernel's version, `name` for a single call, and `archMap`.

use std::{
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
};

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

use super::{Error, Platform, compile::flags};
use corten_host::kernel::Kernel;

/// The largest profile file in bytes. Docker's default profile has 15 KiB.
const MAX_FILE: u64 = 1 << 20;

/// Reads the profile in a file, for a container whose bounding set is `capabilities`. Blocks.
///
/// `path` is absolute, as the kubelet sends it. If there is a `root`, it must be below that by its text; symbolic links are followed,
/// because operators link their directories into the kubelet's.
///
/// # Errors
/// If the path is elsewhere, the file cannot be read, is larger than 1 MiB, or is not a profile.
pub fn load_localhost(
    root: Option<&Path>,
    path: &Path,
    capabilities: &Capabilities,
    platform: &Platform,
) -> Result<LinuxSeccomp, Error> {
    check_path(root, path)?;
    let text = read(path)?;
    let profile = parse(&text, capabilities, platform).map_err(|e| match e {
        ParseError::Json(source) => Error::Json { path: path.to_owned(), source },
        ParseError::Invalid { field, value, why } => Error::Invalid { path: Some(path.to_owned()), field, value, why },
    })?;
    // Said when the container is created, not when it is compiled.
    flags(&profile)?;
    Ok(profile)
}

fn check_path(root: Option<&Path>, path: &Path) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Path { path: path.to_owned(), why });
    if path.components().any(|c| c == Component::ParentDir) {
        return refuse("has a component ..".to_owned());
    }
    if !path.is_absolute() {
        return refuse("is not an absolute path".to_owned());
    }
    match root {
        Some(root) if path.strip_prefix(root).map_or(true, |below| below == Path::new("")) => {
            refuse(format!("is not below the directory of profiles, {}", root.display()))
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let error = |source| Error::Read { path: path.to_owned(), source };
    // A FIFO must not block us.
    let fd =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
            .map_err(|e| error(e.into()))?;
    let file = File::from(fd);
    if !file.metadata().map_err(error)?.is_file() {
        return Err(Error::Path { path: path.to_owned(), why: "is not a regular file".to_owned() });
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(error)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::Path { path: path.to_owned(), why: format!("is larger than {MAX_FILE} bytes") });
    }
    Ok(text)
}

/// What is wrong with a profile's text.
#[derive(Debug)]
pub(super) enum ParseError {
    Json(serde_json::Error),
    Invalid { field: String, value: String, why: &'static str },
}

/// The file. Unknown keys here do no harm (`$schema`, comments); in a rule they might be a misspelt condition.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    /// The errno's name, which Docker writes beside `errnoRet` for people to read.
    #[serde(rename = "errno")]
    _errno: Option<serde::de::IgnoredAny>,
    args: Option<Vec<Argument>>,
    #[serde(rename = "comment")]
    _comment: Option<serde::de::IgnoredAny>,
    includes: Option<Conditions>,
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: usize,
    value: u64,
    value_two: Option<u64>,
    op: LinuxSeccompOperator,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Conditions {
    caps: Option<Vec<Capability>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads the text of a profile and settles its conditions.
pub(super) fn parse(text: &[u8], capabilities: &Capabilities, platform: &Platform) -> Result<LinuxSeccomp, ParseError> {
    let file: Profile = serde_json::from_slice(text).map_err(ParseError::Json)?;
    let mut syscalls = Vec::new();
    for (index, rule) in file.syscalls.unwrap_or_default().into_iter().enumerate() {
        if applies(index, &rule, capabilities, platform)? {
            syscalls.push(rule.into_syscall(index)?);
        }
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(file.default_action)
        .set_default_errno_ret(file.default_errno_ret)
        .set_architectures(architectures(file.architectures, file.arch_map, platform)?)
        .set_flags(file.flags)
        .set_listener_path(file.listener_path)
        .set_listener_metadata(file.listener_metadata)
        .set_syscalls(Some(syscalls));
    Ok(profile)
}

fn architectures(
    list: Option<Vec<Arch>>,
    map: Option<Vec<ArchMap>>,
    platform: &Platform,
) -> Result<Option<Vec<Arch>>, ParseError> {
    let (list, map) = (list.unwrap_or_default(), map.unwrap_or_default());
    if !list.is_empty() && !map.is_empty() {
        let why = "either it or architectures, not both";
        return Err(ParseError::Invalid { field: "archMap".to_owned(), value: format!("{} entries", map.len()), why });
    }
    let ours = map.into_iter().find(|entry| platform.architectures.first() == Some(&entry.architecture));
    let mapped = ours.map(|entry| {
        std::iter::once(entry.architecture).chain(entry.sub_architectures.into_iter().flatten()).collect::<Vec<_>>()
    });
    Ok(mapped.or(Some(list).filter(|list| !list.is_empty())))
}

/// All that is included must hold, nothing that is excluded may. Of capabilities, any excluded one excludes.
fn applies(index: usize, rule: &Rule, capabilities: &Capabilities, platform: &Platform) -> Result<bool, ParseError> {
    if let Some(includes) = &rule.includes {
        let kernel = reached(index, "includes", includes, platform)?;
        let caps = includes.caps.iter().flatten().all(|c| capabilities.contains(c));
        let arches = includes.arches.as_ref().filter(|list| !list.is_empty());
        if !caps || kernel == Some(false) || arches.is_some_and(|list| !list.iter().any(|a| a == platform.goarch)) {
            return Ok(false);
        }
    }
    if let Some(excludes) = &rule.excludes {
        let kernel = reached(index, "excludes", excludes, platform)?;
        let caps = excludes.caps.iter().flatten().any(|c| capabilities.contains(c));
        let arches = excludes.arches.iter().flatten().any(|a| a == platform.goarch);
        return Ok(!caps && !arches && kernel != Some(true));
    }
    Ok(true)
}

/// Whether the kernel is as new as the condition says, if it does.
fn reached(index: usize, list: &str, c: &Conditions, platform: &Platform) -> Result<Option<bool>, ParseError> {
    let Some(text) = c.min_kernel.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let invalid = || ParseError::Invalid {
        field: format!("syscalls[{index}].{list}.minKernel"),
        value: text.to_owned(),
        why: "not a version like 4.8",
    };
    Ok(Some(platform.kernel >= Kernel::parse(text).ok_or_else(invalid)?))
}

impl Rule {
    fn into_syscall(self, index: usize) -> Result<LinuxSyscall, ParseError> {
        let invalid = |field: &str, value: String, why| {
            Err(ParseError::Invalid { field: format!("syscalls[{index}].{field}"), value, why })
        };
        let names = match (self.name, self.names.unwrap_or_default()) {
            (None, names) if !names.is_empty() => names,
            (Some(name), names) if names.is_empty() => vec![name],
            (None, _) => return invalid("names", "[]".to_owned(), "no system call is named"),
            (Some(name), _) => return invalid("name", name, "either it or names, not both"),
        };
        let args = self.args.map(|args| args.iter().map(Argument::to_oci).collect());
        let mut syscall = LinuxSyscall::default();
        syscall.set_names(names).set_action(self.action).set_errno_ret(self.errno_ret).set_args(args);
        Ok(syscall)
    }
}

impl Argument {
    fn to_oci(&self) -> LinuxSeccompArg {
        let mut builder = LinuxSeccompArgBuilder::default().index(self.index).value(self.value).op(self.op);
        if let Some(second) = self.value_two {
            builder = builder.value_two(second);
        }
        // The builder cannot fail: every field has a default.
        builder.build().unwrap_or_default()
    }
}
