use std::{fs, path::Path};

use corten_host::kernel::Kernel;
use oci_spec::runtime::{Arch, LinuxSeccompAction};
use proptest::prelude::*;

use super::{
    super::localhost::{ParseError, parse},
    *,
};

fn amd64() -> Platform {
    Platform::of("x86_64", Kernel { major: 6, minor: 1 })
}

fn read(json: &str, list: &[Capability]) -> LinuxSeccomp {
    parse(json.as_bytes(), &caps(list), &amd64()).unwrap()
}

fn names(profile: &LinuxSeccomp) -> Vec<&str> {
    profile.syscalls().iter().flatten().flat_map(|rule| rule.names().iter().map(String::as_str)).collect()
}

const CONDITIONAL: &str = r#"{
    "$schema": "x", "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "archMap": [
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [
        {"names": ["always"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "x", "includes": {}, "excludes": {}},
        {"name": "single", "action": "SCMP_ACT_ALLOW", "args": null},
        {"names": ["admin"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["no_admin"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "errno": "ENOSYS", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["both"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}},
        {"names": ["intel"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
        {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["no_arm"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["s390", "arm64"]}},
        {"names": ["old_enough"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.19"}},
        {"names": ["too_new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}}]}"#;

#[test]
fn conditions_are_settled() {
    let plain = read(CONDITIONAL, &[]);
    assert_eq!(names(&plain), ["always", "single", "no_admin", "intel", "no_arm", "old_enough"]);
    let admin = read(CONDITIONAL, &[Capability::SysAdmin]);
    assert_eq!(names(&admin), ["always", "single", "admin", "intel", "no_arm", "old_enough"]);
    assert!(names(&read(CONDITIONAL, &[Capability::SysAdmin, Capability::Bpf])).contains(&"both"));
    let native = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
    assert_eq!(plain.architectures().as_deref().unwrap(), native);
    assert_eq!(plain.default_action(), LinuxSeccompAction::ScmpActErrno);
    compile(&plain).unwrap();
}

#[test]
fn what_makes_no_sense_is_named() {
    let rule = |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rule}]}}"#);
    for (json, field) in [
        (rule(r#"{"action": "SCMP_ACT_ALLOW"}"#), "syscalls[0].names"),
        (rule(r#"{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}"#), "syscalls[0].name"),
        (
            rule(r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}"#),
            "syscalls[0].includes.minKernel",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
                "archMap": [{"architecture": "SCMP_ARCH_X86"}]}"#
                .to_owned(),
            "archMap",
        ),
    ] {
        match parse(json.as_bytes(), &caps(&[]), &amd64()) {
            Err(ParseError::Invalid { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{json}: {other:?}"),
        }
    }
    for json in [
        "",
        "[]",
        "{}",
        r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#,
        &rule(r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "include": {"caps": ["CAP_SYS_ADMIN"]}}"#),
        &rule(r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_NOTHING"]}}"#),
        &rule(
            r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": -1, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
        ),
    ] {
        assert!(matches!(parse(json.as_bytes(), &caps(&[]), &amd64()), Err(ParseError::Json(_))), "{json}");
    }
}

#[test]
fn only_files_below_the_root_are_read() {
    let root = tempfile::tempdir().unwrap();
    let load = |path: &Path| load_localhost(Some(root.path()), path, &caps(&[]), &platform());
    let good = root.path().join("profiles/good.json");
    fs::create_dir(root.path().join("profiles")).unwrap();
    fs::write(&good, CONDITIONAL).unwrap();
    assert!(names(&load(&good).unwrap()).contains(&"always"));
    let parent = root.path().join("profiles/../profiles/good.json");
    let beside = format!("{}-beside/x.json", root.path().display());
    for path in [Path::new("good.json"), Path::new("/etc/passwd"), root.path(), &parent, Path::new(&beside)] {
        match load(path) {
            Err(Error::Path { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

#[test]
fn files_that_are_no_profiles_are_named() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name);
    fs::write(file("broken"), "{").unwrap();
    fs::write(file("invalid"), r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]}"#)
        .unwrap();
    fs::File::create(file("large")).unwrap().set_len(2 << 20).unwrap();
    fs::create_dir(file("directory")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, file("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    for name in ["broken", "invalid", "large", "directory", "fifo", "missing"] {
        let error = load_localhost(Some(root.path()), &file(name), &caps(&[]), &platform()).unwrap_err().to_string();
        assert!(error.contains(file(name).to_str().unwrap()), "{error}");
    }
}

/// Almost profiles.
fn almost() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("SCMP_ACT_ALLOW"),
        Just("SCMP_ACT_ERRNO"),
        Just("SCMP_ACT_TRACE"),
        Just("read"),
        Just("no_call"),
        Just("CAP_BPF"),
        Just("4.8"),
        Just(""),
    ];
    let number = prop_oneof![Just(0u64), Just(1), Just(7), Just(4096), any::<u64>()];
    (word.clone(), word.clone(), word.clone(), word, number.clone(), number).prop_map(
        |(default, action, name, cap, n, m)| {
            let op = "SCMP_CMP_MASKED_EQ";
            serde_json::json!({"defaultAction": default, "syscalls": [{
                "names": [name, cap], "action": action, "errnoRet": n % 100_000,
                "args": [{"index": n % 9, "value": n, "valueTwo": m, "op": op}, {"index": m % 9, "value": m, "op": op}],
                "includes": {"caps": [], "minKernel": cap},
            }]})
            .to_string()
        },
    )
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,200}") {
        let _ = parse(text.as_bytes(), &caps(&[]), &platform());
    }

    #[test]
    fn what_is_parsed_compiles_or_is_refused(text in almost()) {
        if let Ok(profile) = parse(text.as_bytes(), &caps(&[]), &platform()) {
            let _ = compile(&profile);
        }
    }
}
