#![allow(clippy::unwrap_used, clippy::panic)]

use super::{super::devices::Rule, *};

fn policy(json: &str) -> Policy {
    let rules: Vec<oci_spec::runtime::LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
    Policy::of(&rules.iter().map(|r| Rule::of(r).unwrap()).collect::<Vec<_>>())
}

/// Runs a program as the kernel would.
fn run(program: &[Instruction], access: u8, block: bool, major: u32, minor: u32) -> bool {
    let context = [u32::from(access) << 16 | if block { 1 } else { 2 }, major, minor];
    let mut r = [0u32; 6];
    let mut at = 0usize;
    loop {
        let i = program[at];
        let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
        at += 1;
        let skip = match i.code {
            0x61 => {
                r[to] = context[usize::try_from(i.offset / 4).unwrap()];
                false
            }
            0xbc => {
                r[to] = r[from];
                false
            }
            0xb4 => {
                r[to] = i.immediate;
                false
            }
            0x54 => {
                r[to] &= i.immediate;
                false
            }
            0x74 => {
                r[to] >>= i.immediate;
                false
            }
            0x56 => r[to] != i.immediate,
            0x16 => r[to] == i.immediate,
            0x95 => return r[0] == 1,
            code => panic!("instruction {code:#x}"),
        };
        if skip {
            at += usize::try_from(i.offset).unwrap();
        }
    }
}

#[test]
fn what_is_not_allowed_is_denied() {
    let program = compile(&policy(
        r#"[{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
            {"allow": true, "type": "b", "major": 8}, {"allow": true, "type": "c", "access": "m"}]"#,
    ));
    let (m, r, w) = (Access::MKNOD, Access::READ, Access::WRITE);
    for (access, block, major, minor, allowed) in [
        (r, false, 1, 3, true),
        (r | w, false, 1, 3, true),
        (r | m, false, 1, 3, false),
        (r, false, 1, 5, false),
        (r, true, 1, 3, false),
        (r | w | m, true, 8, 77, true),
        (r, true, 9, 0, false),
        (m, false, 200, 0, true),
    ] {
        assert_eq!(run(&program, access, block, major, minor), allowed, "{access} {block} {major}:{minor}");
    }
}

#[test]
fn what_is_not_denied_is_allowed() {
    let program = compile(&policy(r#"[{"allow": false, "type": "c", "major": 10, "minor": 200, "access": "rw"}]"#));
    assert!(!run(&program, Access::READ, false, 10, 200));
    assert!(!run(&program, Access::READ | Access::MKNOD, false, 10, 200), "any denied access denies the whole");
    assert!(run(&program, Access::MKNOD, false, 10, 200));
    assert!(run(&program, Access::READ, false, 10, 201));
}
