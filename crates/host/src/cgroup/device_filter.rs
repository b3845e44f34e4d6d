//! The device controller of v2: a BPF program of type CGROUP_DEVICE on the cgroup's directory.

use std::{ffi::c_long, io, path::Path};

use rustix::{
    fd::{AsRawFd, FromRawFd, OwnedFd},
    fs::{Mode, OFlags},
};

use super::{
    Error,
    devices::{Access, Devices, Policy},
};

/// The programs' name, by which they are told from those of others (systemd attaches some, too).
const NAME: &[u8; 16] = b"corten_devices\0\0";

/// More programs than the kernel lets be attached to one cgroup (64).
const MAX_ATTACHED: usize = 64;

/// Replaces the filter that this module attached to the cgroup before, if any.
///
/// The new one is attached before the old ones go: there is no moment without one.
pub(super) fn replace(dir: &Path, policy: &Policy) -> Result<(), Error> {
    let error = |operation| move |source| Error::DeviceFilter { operation, dir: dir.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| error("open")(e.into()))?;
    let old = attached(&cgroup).map_err(error("query"))?;
    if !policy.allow || !policy.exceptions.is_empty() {
        let program = load(&compile(policy)).map_err(error("load"))?;
        attach(&cgroup, &program).map_err(error("attach"))?;
    }
    old.iter().try_for_each(|program| detach(&cgroup, program)).map_err(error("detach"))
}

/// An instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: u32,
}

/// The instructions used here. All compute with 32 bits (Linux 5.1 on).
impl Instruction {
    /// `to = *(u32 *)(from + offset)`
    fn load(to: u8, from: u8, offset: i16) -> Self {
        Self { code: 0x61, registers: from << 4 | to, offset, immediate: 0 }
    }
    /// `to = from`
    fn copy(to: u8, from: u8) -> Self {
        Self { code: 0xbc, registers: from << 4 | to, offset: 0, immediate: 0 }
    }
    /// `to = value`
    fn set(to: u8, value: u32) -> Self {
        Self { code: 0xb4, registers: to, offset: 0, immediate: value }
    }
    /// `to &= mask`
    fn and(to: u8, mask: u32) -> Self {
        Self { code: 0x54, registers: to, offset: 0, immediate: mask }
    }
    /// `to >>= bits`
    fn shift_right(to: u8, bits: u32) -> Self {
        Self { code: 0x74, registers: to, offset: 0, immediate: bits }
    }
    /// `if register != value, skip instructions`
    fn skip_unless(register: u8, value: u32, skip: i16) -> Self {
        Self { code: 0x56, registers: register, offset: skip, immediate: value }
    }
    /// `if register == value, skip instructions`
    fn skip_if(register: u8, value: u32, skip: i16) -> Self {
        Self { code: 0x16, registers: register, offset: skip, immediate: value }
    }
    /// `return r0`
    const EXIT: Self = Self { code: 0x95, registers: 0, offset: 0, immediate: 0 };
}

/// The context, in r1 at first, is `{ u32 access << 16 | type; u32 major; u32 minor; }`.
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 1;
const RESULT: u8 = 0;

fn compile(policy: &Policy) -> Vec<Instruction> {
    let mut program = vec![
        Instruction::load(TYPE, 1, 0),
        Instruction::copy(ACCESS, TYPE),
        Instruction::shift_right(ACCESS, 16),
        Instruction::and(TYPE, 0xffff),
        Instruction::load(MAJOR, 1, 4),
        Instruction::load(MINOR, 1, 8),
    ];
    for (devices, access) in &policy.exceptions {
        program.extend(exception(policy.allow, devices, *access));
    }
    program.extend([Instruction::set(RESULT, policy.allow.into()), Instruction::EXIT]);
    program
}

/// Returns the opposite of the default if it applies, else goes on behind. One that allows must cover all accesses asked for,
/// one that denies any of them.
fn exception(default: bool, devices: &Devices, access: Access) -> Vec<Instruction> {
    let mut tests = vec![Instruction::skip_unless(TYPE, if devices.block { 1 } else { 2 }, 0)];
    tests.extend(devices.major.map(|major| Instruction::skip_unless(MAJOR, major, 0)));
    tests.extend(devices.minor.map(|minor| Instruction::skip_unless(MINOR, minor, 0)));
    let bits = u32::from(access.bits());
    tests.push(Instruction::copy(SCRATCH, ACCESS));
    if default {
        tests.extend([Instruction::and(SCRATCH, bits), Instruction::skip_if(SCRATCH, 0, 0)]);
    } else {
        tests.extend([Instruction::and(SCRATCH, !bits), Instruction::skip_unless(SCRATCH, 0, 0)]);
    }
    tests.extend([Instruction::set(RESULT, (!default).into()), Instruction::EXIT]);
    // A skip goes behind the whole exception: at most nine instructions, so it fits.
    for left in (0i16..).zip(tests.iter_mut().rev()) {
        if matches!(left.1.code, 0x56 | 0x16) {
            left.1.offset = left.0;
        }
    }
    tests
}

/// `union bpf_attr`, as far as the commands here use it, in 64-bit words; the kernel takes a short one for one with zeros behind.
type Attributes = [u64; 9];

const CMD_LOAD: c_long = 5;
const CMD_ATTACH: c_long = 8;
const CMD_DETACH: c_long = 9;
const CMD_FD_BY_ID: c_long = 13;
const CMD_INFO_BY_FD: c_long = 15;
const CMD_QUERY: c_long = 16;
const PROGRAM_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// Two 32-bit fields that follow each other in memory.
fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// The 32-bit field that comes first in memory.
fn first(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// # Safety
/// Addresses in the attributes must be good for what the command does with them.
unsafe fn bpf(command: c_long, attributes: &mut Attributes) -> io::Result<c_long> {
    // SAFETY: the attributes are as large as said, and what they point to is good by this function's contract.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of::<Attributes>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// # Safety
/// As for [`bpf`]; the command must be one that returns a new descriptor.
unsafe fn bpf_fd(command: c_long, attributes: &mut Attributes) -> io::Result<OwnedFd> {
    // SAFETY: by this function's contract.
    let fd = unsafe { bpf(command, attributes) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the command returned a new descriptor, which nobody else owns. It is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(io::Error::other)?;
    let mut attributes = Attributes::default();
    let [name_low, name_high] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(NAME.get(at..at + 8).unwrap_or(&[0; 8]));
        u64::from_ne_bytes(word)
    });
    attributes[0] = pair(PROGRAM_TYPE_CGROUP_DEVICE, count);
    attributes[1] = program.as_ptr() as u64;
    attributes[2] = c"Apache-2.0".as_ptr() as u64;
    attributes[6] = name_low;
    attributes[7] = name_high;
    // SAFETY: `program` has `count` instructions, the licence is a C string; both outlive the call, which only reads them.
    unsafe { bpf_fd(CMD_LOAD, &mut attributes) }
}

fn attach(cgroup: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let mut attributes = Attributes::default();
    attributes[0] = pair(number(cgroup), number(program));
    attributes[1] = pair(ATTACH_TYPE_CGROUP_DEVICE, ALLOW_MULTI);
    // SAFETY: the attributes hold descriptors and numbers only.
    unsafe { bpf(CMD_ATTACH, &mut attributes) }.map(|_| ())
}

fn detach(cgroup: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let mut attributes = Attributes::default();
    attributes[0] = pair(number(cgroup), number(program));
    attributes[1] = pair(ATTACH_TYPE_CGROUP_DEVICE, 0);
    // SAFETY: the attributes hold descriptors and numbers only.
    match unsafe { bpf(CMD_DETACH, &mut attributes) } {
        Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(e),
        _ => Ok(()),
    }
}

/// The programs of this module that are attached to the cgroup itself.
fn attached(cgroup: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MAX_ATTACHED];
    let mut attributes = Attributes::default();
    attributes[0] = pair(number(cgroup), ATTACH_TYPE_CGROUP_DEVICE);
    attributes[2] = ids.as_mut_ptr() as u64;
    attributes[3] = pair(MAX_ATTACHED as u32, 0);
    // SAFETY: `ids` has room for as many as said, and outlives the call.
    unsafe { bpf(CMD_QUERY, &mut attributes) }?;
    let count = first(attributes[3]) as usize;
    let mut ours = Vec::new();
    for id in ids.iter().take(count) {
        let mut attributes = Attributes::default();
        attributes[0] = pair(*id, 0);
        // SAFETY: the attributes hold numbers only; the command returns a descriptor.
        match unsafe { bpf_fd(CMD_FD_BY_ID, &mut attributes) } {
            Ok(program) if is_ours(&program)? => ours.push(program),
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(ours)
}

fn is_ours(program: &OwnedFd) -> io::Result<bool> {
    // The name is at byte 64 of `struct bpf_prog_info`.
    let mut info = [0u64; 10];
    let mut attributes = Attributes::default();
    attributes[0] = pair(number(program), size_of_val(&info) as u32);
    attributes[1] = info.as_mut_ptr() as u64;
    // SAFETY: `info` is as large as said, zeroed (so it asks for no arrays), and outlives the call.
    unsafe { bpf(CMD_INFO_BY_FD, &mut attributes) }?;
    let name: Vec<u8> = info.iter().skip(8).flat_map(|word| word.to_ne_bytes()).collect();
    Ok(name == NAME)
}

#[cfg(test)]
mod tests;
