//! What a container's process may do.

use std::collections::BTreeMap;

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds},
    make::{Pod, security},
    verdict::{Checked, Stop},
};

checks! {
    "security/capabilities",
        "Capability: added to and dropped from the runtime's default set; ALL means every one", [], capabilities;
    "security/ambient-capabilities",
        "Capability.add_ambient_capabilities: kept by a process that is not root",
        ["Capability.add_ambient_capabilities"], ambient;
    "security/read-only-root",
        "LinuxContainerSecurityContext.readonly_rootfs: the root file system is read-only", [], readonly_root;
    "security/masked-and-readonly-paths",
        "masked_paths are hidden and readonly_paths cannot be written", [], paths;
    "security/no-new-privileges", "no_new_privs: set on the process, or not", [], no_new_privileges;
    "security/seccomp",
        "SecurityProfile: RuntimeDefault filters the process's system calls, Unconfined does not",
        ["LinuxContainerSecurityContext.seccomp"], seccomp;
    "security/privileged",
        "privileged: all capabilities, no filter, the node's devices, nothing masked", [], privileged;
    "security/devices",
        "ContainerConfig.devices: a device of the node at a path of the container, with these permissions", [], devices;
}

const KILL: u64 = 1 << 5;
const NET_ADMIN: u64 = 1 << 12;
const SYS_TIME: u64 = 1 << 25;
const CHOWN: u64 = 1;

/// What the process says of its privileges.
async fn privileges(
    ctx: &Ctx,
    pod: &Pod,
    name: &str,
    change: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> Checked<BTreeMap<String, u64>> {
    let mut config = ctx.container(name, &["privileges"]);
    change(security(&mut config));
    let (_, output) = ctx.run_to_end(pod, &config).await?;
    let lines = output.stdout.lines().map(|line| {
        let (key, value) = line.split_once('=')?;
        Some((key.to_owned(), u64::from_str_radix(value, 16).ok()?))
    });
    lines.collect::<Option<_>>().ok_or_else(|| Stop::failed("the privileges of a process", "numbers", &output.stdout))
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn has(what: &str, privileges: &BTreeMap<String, u64>, bit: u64, expected: bool) -> Checked {
    for set in ["effective", "permitted", "bounding"] {
        let value = privileges.get(set).copied().unwrap_or_default();
        equal(format!("{what} in the {set} set {value:016x}"), value & bit != 0, expected)?;
    }
    Ok(())
}

async fn capabilities(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let default = privileges(&ctx, &pod, "default", |_| {}).await?;
    has("NET_ADMIN by default", &default, NET_ADMIN, false)?;
    has("KILL by default", &default, KILL, true)?;
    let set = |add: &'static [&'static str], drop: &'static [&'static str]| {
        move |context: &mut LinuxContainerSecurityContext| {
            let (add_capabilities, drop_capabilities) = (names(add), names(drop));
            context.capabilities = Some(Capability { add_capabilities, drop_capabilities, ..Default::default() });
        }
    };
    let changed = privileges(&ctx, &pod, "changed", set(&["NET_ADMIN"], &["KILL"])).await?;
    has("NET_ADMIN, which was added", &changed, NET_ADMIN, true)?;
    has("KILL, which was dropped", &changed, KILL, false)?;
    has("CHOWN, which was not spoken of", &changed, CHOWN, true)?;
    let none = privileges(&ctx, &pod, "none", set(&[], &["ALL"])).await?;
    equal("the effective set with ALL dropped", none.get("effective"), Some(&0))?;
    let one = privileges(&ctx, &pod, "one", set(&["SYS_TIME"], &["ALL"])).await?;
    equal("the effective set with ALL dropped and SYS_TIME added", one.get("effective"), Some(&SYS_TIME))?;
    let all = privileges(&ctx, &pod, "all", set(&["ALL"], &["NET_ADMIN"])).await?;
    has("SYS_TIME with ALL added", &all, SYS_TIME, true)?;
    has("NET_ADMIN, dropped from ALL", &all, NET_ADMIN, false)
}

async fn ambient(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let seen = privileges(&ctx, &pod, "c", |context| {
        context.run_as_user = Some(Int64Value { value: 1000 });
        context.capabilities =
            Some(Capability { add_ambient_capabilities: names(&["NET_ADMIN"]), ..Default::default() });
    });
    let seen = seen.await?;
    equal("the ambient set", seen.get("ambient"), Some(&NET_ADMIN))?;
    equal("the effective set of a user that is not root", seen.get("effective"), Some(&NET_ADMIN))
}

async fn readonly_root(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for (name, readonly) in [("readonly", true), ("writable", false)] {
        let mut config = ctx.container(name, &["write", "/file", "x"]);
        security(&mut config).readonly_rootfs = readonly;
        let (status, output) = ctx.run_to_end(&pod, &config).await?;
        equal(format!("a write to a {name} root: {output:?}"), status.exit_code, i32::from(readonly))?;
        equal("the error", output.stderr.starts_with("ERROR EROFS"), readonly)?;
    }
    Ok(())
}

async fn paths(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["sleep"]);
    let context = security(&mut config);
    context.masked_paths = names(&["/data/sub", "/data/a.txt", "/no/such/path"]);
    context.readonly_paths = names(&["/tmp", "/no/such/path"]);
    let id = ctx.start(&pod, &config).await?;
    equal("a masked directory", ctx.said(&id, &["ls", "/data/sub"]).await?.as_str(), "")?;
    let output = ctx.exec_in(&id, &["cat", "/data/a.txt"]).await?;
    holds("a masked file", !output.stdout.contains('a'), "nothing of it", &output)?;
    let output = ctx.exec_in(&id, &["write", "/tmp/x", "x"]).await?;
    holds("a write below a read-only path", output.stderr.starts_with("ERROR EROFS"), "EROFS", &output)
}

async fn no_new_privileges(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for (name, no_new_privs) in [("with", true), ("without", false)] {
        let seen = privileges(&ctx, &pod, name, |context| context.no_new_privs = no_new_privs).await?;
        equal("no_new_privs of the process", seen.get("no_new_privs"), Some(&u64::from(no_new_privs)))?;
    }
    Ok(())
}

async fn seccomp(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for (name, kind, mode) in [
        ("default", security_profile::ProfileType::RuntimeDefault, 2),
        ("unconfined", security_profile::ProfileType::Unconfined, 0),
    ] {
        let profile = SecurityProfile { profile_type: kind.into(), localhost_ref: String::new() };
        let seen = privileges(&ctx, &pod, name, |context| context.seccomp = Some(profile)).await?;
        equal(format!("the seccomp mode of a process with {kind:?}"), seen.get("seccomp"), Some(&mode))?;
    }
    Ok(())
}

async fn privileged(ctx: Ctx) -> Checked {
    let mut config = ctx.pod("pod")?;
    config.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
    let pod = ctx.run_pod(config).await?;
    let mut container = ctx.container("c", &["sleep"]);
    security(&mut container).privileged = true;
    let id = ctx.start(&pod, &container).await?;
    let said = ctx.said(&id, &["privileges"]).await?;
    let own =
        std::fs::read_to_string("/proc/self/status").map_err(|error| Stop::node("read /proc/self/status", error))?;
    let bounding = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default().trim().to_owned();
    for set in ["effective", "permitted", "bounding"] {
        holds("capabilities of the privileged", said.contains(&format!("{set}={bounding}\n")), &bounding, &said)?;
    }
    holds("the seccomp mode of the privileged", said.contains("seccomp=0\n"), "seccomp=0", &said)?;
    let devices = ctx.said(&id, &["stat", "/dev/kmsg"]).await?;
    holds(
        "/dev/kmsg of the privileged",
        devices.starts_with("char ") && devices.ends_with(" 1:11\n"),
        "the node's",
        &devices,
    )
}

async fn devices(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["sleep"]);
    config.devices = vec![Device {
        container_path: "/dev/own".to_owned(),
        host_path: "/dev/zero".to_owned(),
        permissions: "r".to_owned(),
    }];
    let id = ctx.start(&pod, &config).await?;
    let told = ctx.said(&id, &["stat", "/dev/own"]).await?;
    holds("the device", told.starts_with("char ") && told.ends_with(" 1:5\n"), "char 1:5", &told)?;
    equal("reading the device", ctx.said(&id, &["open", "/dev/own"]).await?.as_str(), "ok\n")?;
    let others = ctx.said(&id, &["ls", "/dev"]).await?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        holds("/dev", others.lines().any(|line| line == name), name, &others)?;
    }
    holds("/dev", !others.lines().any(|line| line == "kmsg"), "not the node's devices", &others)
}
