//! AppArmor profiles of containers, as the kernel tells them of init and of what is executed in it.

use std::{path::Path, process::Command};

use corten_cri::v1::{ContainerConfig, SecurityProfile, security_profile::ProfileType};
use corten_e2e::{
    cri::assert_refused,
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods::{self, with_security},
    skip::skip,
};
use tonic::Code;

/// What may be loaded by a test, under names of its own.
struct Loaded(String);

impl Loaded {
    fn new(name: &str, rules: &str) -> Self {
        let text = format!(
            "profile {name} flags=(attach_disconnected) {{ file, network, capability, signal, ptrace, {rules} }}"
        );
        parser("--replace", &text);
        Self(name.to_owned())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        parser("--remove", &format!("profile {} {{}}", self.0));
    }
}

fn parser(action: &str, text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let done = Command::new("apparmor_parser").args([action, "--skip-cache"]).arg(file.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn has_apparmor(test: &str) -> bool {
    let has = Path::new("/sys/kernel/security/apparmor/profiles").exists();
    if !has {
        skip(test, "the kernel has no AppArmor");
    }
    has
}

fn with_profile(name: &str, image: &str, kind: ProfileType, profile: &str) -> ContainerConfig {
    with_security(pods::sleeper(name, image), |security| {
        security.apparmor = Some(SecurityProfile { profile_type: kind.into(), localhost_ref: profile.to_owned() });
    })
}

/// The profile of the container's init, and of a program executed in it.
async fn profiles(lab: &Lab, id: &str) -> String {
    let told = lab.cri.exec(id, &["cat", "/proc/1/attr/current", "/proc/self/attr/current"]).await;
    assert_eq!(told.code, 0, "{}", told.stderr);
    told.stdout
}

for_each_launcher!(each_kind_of_profile_is_inits_and_execs);

fn each_kind_of_profile_is_inits_and_execs(setup: Setup) {
    if !has_apparmor("each_kind_of_profile_is_inits_and_execs") {
        return;
    }
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let mut config = lab.pod("profiles");
        config.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
        let pod = lab.run_pod(&config).await;
        let name = format!("e2e-{}", lab.paths.id);
        let loaded = Loaded::new(&name, "deny /made w,");
        let (default, own) = ("corten-default (enforce)".to_owned(), format!("{name} (enforce)"));
        let unconfined = "unconfined".to_owned();
        let deprecated = |profile: &str| {
            let profile = profile.to_owned();
            with_security(pods::sleeper("deprecated", &image), |security| security.apparmor_profile = profile)
        };
        let privileged = |container| with_security(container, |security| security.privileged = true);
        let confined = with_profile("confined", &image, ProfileType::RuntimeDefault, "");
        for (container, wanted, makes) in [
            (pods::sleeper("none", &image), &default, true),
            (with_profile("default", &image, ProfileType::RuntimeDefault, ""), &default, true),
            (with_profile("unconfined", &image, ProfileType::Unconfined, ""), &unconfined, true),
            (with_profile("own", &image, ProfileType::Localhost, &name), &own, false),
            (deprecated(&format!("localhost/{name}")), &own, false),
            (privileged(pods::sleeper("privileged", &image)), &unconfined, true),
            (privileged(confined), &default, true),
        ] {
            let what = container.metadata.clone().unwrap().name;
            let is_privileged =
                container.linux.as_ref().is_some_and(|linux| linux.security_context.as_ref().unwrap().privileged);
            let id = lab.start(&pod, &config, &container).await;
            assert_eq!(profiles(lab, &id).await, format!("{wanted}\n{wanted}\n"), "{what}");
            let made = lab.cri.exec(&id, &["touch", "/made"]).await;
            assert_eq!(made.code == 0, makes, "{what}: {}", made.stderr);
            if is_privileged {
                assert_eq!(can_change_the_node(lab, &id).await, [*wanted == unconfined; 4], "{what}");
            }
            let signalled = lab.cri.exec(&id, &["sh", "-c", "sleep 100 & kill $! && wait $!; [ $? = 143 ]"]).await;
            assert_eq!(signalled.code, 0, "{what}: {}", signalled.stderr);
            lab.cri.stop(&id, 0).await.unwrap();
            lab.cri.remove(&id).await.unwrap();
        }
        drop(loaded);
        let gone = with_profile("gone", &image, ProfileType::Localhost, &name);
        let refused = lab.cri.create(&pod, &config, &gone).await;
        assert_refused(refused, Code::InvalidArgument, &["apparmor", &name, "not loaded"]);
    });
}

/// Whether a privileged container can do what the default profile is to keep it from.
async fn can_change_the_node(lab: &Lab, id: &str) -> [bool; 4] {
    let mut can = [false; 4];
    let scripts = [
        "mkdir -p /mounted && mount -t tmpfs tmpfs /mounted",
        "cat /proc/sys/kernel/printk_ratelimit > /value && cat /value > /proc/sys/kernel/printk_ratelimit",
        "cat /sys/module/printk/parameters/time > /value && cat /value > /sys/module/printk/parameters/time",
        "head -c 1 /proc/kcore",
    ];
    for (can, script) in can.iter_mut().zip(scripts) {
        *can = lab.cri.exec(id, &["sh", "-c", script]).await.code == 0;
    }
    can
}
