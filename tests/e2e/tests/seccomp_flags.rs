//! The flags of a seccomp profile (`linux.seccomp.flags` of the OCI runtime specification).

use std::fs;

use corten_cri::v1::*;
use corten_e2e::{
    cri::assert_refused,
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods::{self, with_security},
};
use serde_json::{Value, json};
use tonic::Code;

for_each_launcher!(an_unknown_flag_is_refused);

/// A container under a profile that allows everything, with these flags.
fn under(lab: &Lab, name: &str, image: &str, flags: Option<Value>) -> ContainerConfig {
    let file = lab.paths.dir.join("seccomp").join(format!("{name}.json"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
    });
    if let Some(flags) = flags {
        profile["flags"] = flags;
    }
    fs::write(&file, profile.to_string()).unwrap();
    with_security(pods::sleeper(name, image), |security| {
        let profile_type = security_profile::ProfileType::Localhost as i32;
        security.seccomp = Some(SecurityProfile { profile_type, localhost_ref: file.display().to_string() });
    })
}

/// The kernel is given the flags that the profile lists, for init and for exec, and for none listed none. Without a list
/// they are the runtime's choice. (Debian's runc refuses flags.)
#[test]
fn a_filter_is_loaded_with_its_profiles_flags() {
    lab::test(Setup { handler: "corten", traced: true, ..Setup::default() }, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("flags");
        let pod = lab.run_pod(&config).await;
        let (log, spec_allow, tsync) =
            ("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC");
        for (name, flags, expected) in [
            ("log", Some(json!([log])), vec![log]),
            ("two", Some(json!([spec_allow, log])), vec![log, spec_allow]),
            ("three", Some(json!([tsync, log, spec_allow])), vec![tsync, log, spec_allow]),
            ("none", Some(json!([])), vec!["0"]),
            ("unsaid", None, vec![spec_allow]),
        ] {
            let before = lab.daemon.filters().len();
            let id = lab.start(&pod, &config, &under(lab, name, &image, flags)).await;
            lab.cri.exec(&id, &["true"]).await;
            let loaded: Vec<String> = lab.daemon.filters().into_iter().skip(before).collect();
            assert_eq!(loaded.len(), 2, "{name}: {loaded:?}");
            for flags in loaded {
                assert_eq!(flags.split('|').collect::<Vec<_>>(), expected, "{name}");
            }
        }
    });
}

/// What is no flag, and the one that is for an agent in user space, are refused by name when the container is created.
fn an_unknown_flag_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("flags");
        let pod = lab.run_pod(&config).await;
        for flag in ["SECCOMP_FILTER_FLAG_FLY", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"] {
            let container = under(lab, "unknown", &image, Some(json!(["SECCOMP_FILTER_FLAG_LOG", flag])));
            let refused = lab.cri.create(&pod, &config, &container).await;
            assert_refused(refused, Code::InvalidArgument, &["seccomp.localhost_ref", "unknown.json", flag]);
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
    });
}
