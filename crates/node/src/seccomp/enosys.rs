//! ENOSYS for system calls that are newer than a profile.
//!
//! A profile that denies by default would answer EPERM for a system call that did not exist when it was written. C libraries take
//! that at its word; told ENOSYS they try the older call. libseccomp cannot say "larger than", so a few instructions before its own do.

use std::collections::BTreeSet;

use libseccomp::{ScmpAction, ScmpSyscall};
use oci_spec::runtime::Arch;

use super::compile::scmp;

/// What x32 system calls have set, and those of x86-64, with the same architecture number, have not.
const X32_BIT: u32 = 0x4000_0000;
const X86_64: u32 = Arch::ScmpArchX86_64 as u32;
const X32: u32 = Arch::ScmpArchX32 as u32;

/// Where an instruction goes on.
#[derive(Debug, Clone, Copy)]
enum To {
    /// So many instructions after the next.
    Skip(u8),
    /// To the return of ENOSYS, which is the prefix's last instruction.
    Enosys,
    /// To the filter behind the prefix.
    Filter,
}

/// An instruction of classic BPF (`struct sock_filter`).
#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    yes: To,
    no: To,
    value: u32,
}

impl Instruction {
    /// Loads a word of `struct seccomp_data`: the system call's number is at 0, the architecture at 4.
    fn load(offset: u32) -> Self {
        Self { code: 0x20, yes: To::Skip(0), no: To::Skip(0), value: offset }
    }
    fn if_equal(value: u32, yes: To, no: To) -> Self {
        Self { code: 0x15, yes, no, value }
    }
    fn if_greater(value: u32, yes: To, no: To) -> Self {
        Self { code: 0x25, yes, no, value }
    }
    fn if_at_least(value: u32, yes: To, no: To) -> Self {
        Self { code: 0x35, yes, no, value }
    }
    fn return_errno(errno: i32) -> Self {
        Self { code: 0x06, yes: To::Skip(0), no: To::Skip(0), value: 0x0005_0000 | errno.unsigned_abs() }
    }
}

/// The instructions to put before the filter, as bytes; none if the default is to allow, or is ENOSYS anyway.
pub(super) fn prefix<'a>(
    default: ScmpAction,
    architectures: &BTreeSet<u32>,
    names: impl Iterator<Item = &'a String>,
) -> Vec<u8> {
    if matches!(default, ScmpAction::Allow | ScmpAction::Log) || default == ScmpAction::Errno(libc::ENOSYS) {
        return Vec::new();
    }
    let names: BTreeSet<&String> = names.collect();
    let newest = |architecture| newest(architecture, &names);
    let mut program = vec![Instruction::load(4)];
    for architecture in architectures.iter().filter(|a| **a != X32) {
        let Some(newest_here) = newest(*architecture) else { continue };
        let test = if *architecture == X86_64 {
            let x32 = architectures.contains(&X32).then(|| newest(X32)).flatten();
            test_x86_64(newest_here, x32)
        } else {
            vec![Instruction::if_greater(newest_here, To::Enosys, To::Filter)]
        };
        let skip = To::Skip(u8::try_from(test.len() + 1).unwrap_or(u8::MAX));
        program.extend([Instruction::if_equal(*architecture, To::Skip(0), skip), Instruction::load(0)]);
        program.extend(test);
        // No other architecture's test comes after this one's, so the accumulator may keep the system call's number.
    }
    program.push(Instruction::if_at_least(0, To::Filter, To::Filter));
    program.push(Instruction::return_errno(libc::ENOSYS));
    encode(&program)
}

fn test_x86_64(newest: u32, newest_x32: Option<u32>) -> Vec<Instruction> {
    let x86_64 = Instruction::if_greater(newest, To::Enosys, To::Filter);
    match newest_x32 {
        Some(x32) => vec![
            Instruction::if_at_least(X32_BIT, To::Skip(1), To::Skip(0)),
            x86_64,
            Instruction::if_greater(x32 | X32_BIT, To::Enosys, To::Filter),
        ],
        None => vec![Instruction::if_at_least(X32_BIT, To::Filter, To::Skip(0)), x86_64],
    }
}

/// The largest number of the system calls named, of those that the architecture has.
fn newest(architecture: u32, names: &BTreeSet<&String>) -> Option<u32> {
    let architecture = scmp(architecture)?;
    let numbers = names.iter().filter_map(|name| ScmpSyscall::from_name_by_arch(name, architecture).ok());
    // The library gives calls that an architecture does not have negative numbers.
    numbers.filter_map(|call| u32::try_from(call.as_raw_syscall()).ok()).max()
}

fn encode(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for (index, instruction) in program.iter().enumerate() {
        let to = |to| match to {
            To::Skip(skip) => skip,
            // At most four instructions for each of two dozen architectures: it fits.
            To::Enosys => u8::try_from(program.len() - index - 2).unwrap_or(u8::MAX),
            To::Filter => u8::try_from(program.len() - index - 1).unwrap_or(u8::MAX),
        };
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([to(instruction.yes), to(instruction.no)]);
        bytes.extend(instruction.value.to_ne_bytes());
    }
    bytes
}
