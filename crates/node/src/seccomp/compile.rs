//! From a profile to the bytes that seccomp(2) takes.

use std::{collections::BTreeSet, fmt, io, os::fd::OwnedFd};

use corten_host::process::seccomp_flag;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
    error::{SeccompErrno, SeccompError},
};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use rustix::fs::{MemfdFlags, SealFlags};

use super::{Error, Platform, enosys};
use corten_host::kernel::Kernel;

/// The bytes of one `struct sock_filter`.
pub(super) const INSTRUCTION: u64 = 8;

/// The kernel's BPF_MAXINSNS.
const MAX_INSTRUCTIONS: u64 = 4096;

/// What errnos end at in the kernel (MAX_ERRNO).
const MAX_ERRNO: u32 = 4095;

/// System calls have six arguments.
const ARGUMENTS: usize = 6;

/// A compiled profile.
#[derive(Debug)]
pub struct Compiled {
    /// A sealed memfd with an array of `struct sock_filter`. Its file offset is shared by all who have it: read it with pread(2)
    /// or mmap(2).
    pub memfd: OwnedFd,
    /// Its size in bytes: 8 for each instruction.
    pub len: usize,
    /// The flags to load it with, [`seccomp_flag`]'s; `None` if the profile leaves them to the runtime, as most do.
    pub flags: Option<u32>,
}

/// Compiles a profile for this machine. Takes some milliseconds; see [`super::Cache`].
///
/// System calls that libseccomp does not know are left out. Those newer than every one that the profile names fail with ENOSYS, not
/// with the profile's default error: programs then fall back on an older one, as on an older kernel.
///
/// # Errors
/// If the profile makes no sense, wants a user-space agent (SCMP_ACT_NOTIFY, not supported), is larger than the kernel takes, or
/// libseccomp refuses a part of it.
pub fn compile(profile: &LinuxSeccomp) -> Result<Compiled, Error> {
    let default = action(profile.default_action(), profile.default_errno_ret(), "defaultAction", "defaultErrnoRet")?;
    let architectures = architectures(profile);
    let mut filter = ScmpFilterContext::new(default).map_err(library("a new filter"))?;
    for architecture in &architectures {
        add_architecture(&mut filter, *architecture)?;
    }
    for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
        add_rule(&mut filter, index, rule, default)?;
    }
    // A binary tree of system calls, not a list: the kernel tries all numbers when it loads a filter, which takes 0.24 ms, not 0.74.
    filter.set_ctl_optimize(2).map_err(library("a binary tree"))?;
    let names = profile.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
    let prefix = enosys::prefix(default, &architectures, names);
    let (memfd, len) = store(&filter, &prefix)?;
    Ok(Compiled { memfd, len, flags: flags(profile)? })
}

/// This machine's architecture, and those listed.
fn architectures(profile: &LinuxSeccomp) -> BTreeSet<u32> {
    let platform = Platform::of(std::env::consts::ARCH, Kernel { major: 0, minor: 0 });
    let listed = profile.architectures().iter().flatten().filter(|arch| **arch != Arch::ScmpArchNative);
    platform.architectures.iter().take(1).chain(listed).map(|arch| *arch as u32).collect()
}

fn add_architecture(filter: &mut ScmpFilterContext, number: u32) -> Result<(), Error> {
    let Some(architecture) = scmp(number) else { return Ok(()) };
    match filter.add_arch(architecture) {
        Ok(_) => Ok(()),
        // One of another byte order, whose programs this machine cannot run.
        Err(e) if e.errno() == Some(SeccompErrno::EDOM) => Ok(()),
        Err(e) => Err(library(format!("architecture {architecture:?}"))(e)),
    }
}

/// The library's name for a number of [`Arch`], which is the library's own number.
pub(super) fn scmp(number: u32) -> Option<ScmpArch> {
    const KNOWN: [(Arch, ScmpArch); 23] = [
        (Arch::ScmpArchNative, ScmpArch::Native),
        (Arch::ScmpArchX86, ScmpArch::X86),
        (Arch::ScmpArchX86_64, ScmpArch::X8664),
        (Arch::ScmpArchX32, ScmpArch::X32),
        (Arch::ScmpArchArm, ScmpArch::Arm),
        (Arch::ScmpArchAarch64, ScmpArch::Aarch64),
        (Arch::ScmpArchMips, ScmpArch::Mips),
        (Arch::ScmpArchMips64, ScmpArch::Mips64),
        (Arch::ScmpArchMips64n32, ScmpArch::Mips64N32),
        (Arch::ScmpArchMipsel, ScmpArch::Mipsel),
        (Arch::ScmpArchMipsel64, ScmpArch::Mipsel64),
        (Arch::ScmpArchMipsel64n32, ScmpArch::Mipsel64N32),
        (Arch::ScmpArchPpc, ScmpArch::Ppc),
        (Arch::ScmpArchPpc64, ScmpArch::Ppc64),
        (Arch::ScmpArchPpc64le, ScmpArch::Ppc64Le),
        (Arch::ScmpArchS390, ScmpArch::S390),
        (Arch::ScmpArchS390x, ScmpArch::S390X),
        (Arch::ScmpArchParisc, ScmpArch::Parisc),
        (Arch::ScmpArchParisc64, ScmpArch::Parisc64),
        (Arch::ScmpArchRiscv64, ScmpArch::Riscv64),
        (Arch::ScmpArchLoongarch64, ScmpArch::Loongarch64),
        (Arch::ScmpArchM68k, ScmpArch::M68k),
        (Arch::ScmpArchSheb, ScmpArch::Sheb),
    ];
    KNOWN.iter().find(|(ours, _)| *ours as u32 == number).map(|(_, theirs)| *theirs)
}

fn add_rule(
    filter: &mut ScmpFilterContext,
    index: usize,
    rule: &LinuxSyscall,
    default: ScmpAction,
) -> Result<(), Error> {
    let at = |field: &str| format!("syscalls[{index}].{field}");
    let action = action(rule.action(), rule.errno_ret(), &at("action"), &at("errnoRet"))?;
    let conditions = conditions(rule, &at("args"))?;
    if action == default {
        return Ok(());
    }
    for name in rule.names() {
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        for alternative in &conditions {
            match filter.add_rule_conditional(action, call, alternative) {
                Ok(_) => {}
                Err(e) if e.errno() == Some(SeccompErrno::EEXIST) => {}
                Err(e) => return Err(library(format!("{}, {name}", at("names")))(e)),
            }
        }
    }
    Ok(())
}

/// A rule's conditions, as alternatives of which each is a conjunction. Several on one argument are alternatives (as with runc: the
/// library knows no conjunction of those).
fn conditions(rule: &LinuxSyscall, field: &str) -> Result<Vec<Vec<ScmpArgCompare>>, Error> {
    let args = rule.args().as_deref().unwrap_or_default();
    let compared = args.iter().enumerate().map(|(index, arg)| compare(arg, &format!("{field}[{index}]")));
    let compared = compared.collect::<Result<Vec<_>, _>>()?;
    let distinct: BTreeSet<usize> = args.iter().map(LinuxSeccompArg::index).collect();
    Ok(if distinct.len() == args.len() { vec![compared] } else { compared.into_iter().map(|c| vec![c]).collect() })
}

fn compare(arg: &LinuxSeccompArg, field: &str) -> Result<ScmpArgCompare, Error> {
    let index = u32::try_from(arg.index()).ok().filter(|_| arg.index() < ARGUMENTS);
    let why = "system calls have the arguments 0 to 5";
    let index = index.ok_or_else(|| Error::invalid(format!("{field}.index"), arg.index(), why))?;
    let (op, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        // The mask is `value`, what must be left is `valueTwo`.
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    Ok(ScmpArgCompare::new(index, op, value))
}

fn action(action: LinuxSeccompAction, errno: Option<u32>, field: &str, errno_field: &str) -> Result<ScmpAction, Error> {
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActErrno => {
            let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
            let valid = i32::try_from(errno).ok().filter(|_| errno <= MAX_ERRNO);
            let why = "errors are at most 4095";
            ScmpAction::Errno(valid.ok_or_else(|| Error::invalid(errno_field, errno, why))?)
        }
        LinuxSeccompAction::ScmpActTrace => {
            let message = errno.unwrap_or(libc::EPERM.unsigned_abs());
            let why = "a tracer's message is at most 65535";
            ScmpAction::Trace(u16::try_from(message).map_err(|_| Error::invalid(errno_field, message, why))?)
        }
        LinuxSeccompAction::ScmpActNotify => {
            return Err(Error::invalid(field, action, "a user-space agent to ask is not supported"));
        }
    })
}

/// The flags that are the loader's business.
pub(super) fn flags(profile: &LinuxSeccomp) -> Result<Option<u32>, Error> {
    let Some(listed) = profile.flags() else { return Ok(None) };
    let set = listed.iter().try_fold(0, |set, flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Ok(set | seccomp_flag::TSYNC),
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => Ok(set | seccomp_flag::LOG),
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Ok(set | seccomp_flag::SPEC_ALLOW),
        // The kernel takes it with a listener only.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            Err(Error::invalid("flags", flag, "it is for a user-space agent, which is not supported"))
        }
    });
    set.map(Some)
}

/// Writes the filter, with the prefix before it, to a sealed memfd. Returns that and its size.
fn store(filter: &ScmpFilterContext, prefix: &[u8]) -> Result<(OwnedFd, usize), Error> {
    let failed = |errno: rustix::io::Errno| Error::Store(errno.into());
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("corten-seccomp", flags).map_err(failed)?;
    rustix::io::write(&memfd, prefix).map_err(failed)?;
    filter.export_bpf(&memfd).map_err(library("the whole"))?;
    let size = rustix::fs::fstat(&memfd).map_err(failed)?.st_size;
    let size = u64::try_from(size).map_err(|e| Error::Store(io::Error::other(e)))?;
    if size > MAX_INSTRUCTIONS * INSTRUCTION {
        let why = "more instructions than the kernel takes, which is 4096";
        return Err(Error::invalid("syscalls", size / INSTRUCTION, why));
    }
    rustix::fs::seek(&memfd, rustix::fs::SeekFrom::Start(0)).map_err(failed)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memfd, seals).map_err(failed)?;
    Ok((memfd, usize::try_from(size).map_err(|e| Error::Store(io::Error::other(e)))?))
}

fn library(what: impl fmt::Display) -> impl FnOnce(SeccompError) -> Error {
    let what = what.to_string();
    move |source| Error::Library { what, source }
}
