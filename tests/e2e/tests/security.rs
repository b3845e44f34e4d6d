//! What a container may do: users, groups, capabilities, privileges, paths, seccomp.

use std::fs;

use corten_cri::v1::*;
use corten_e2e::{
    daemon::Setup,
    for_each_launcher, image,
    lab::{self, Lab},
    pods::{self, with_security},
};
use serde_json::json;
use tonic::Code;

for_each_launcher!(
    users_and_groups_by_number,
    a_user_by_name_is_the_images,
    the_images_user_is_used_if_none_is_given,
    the_images_groups_are_merged_or_not_by_policy,
    an_unknown_user_is_refused,
    a_group_without_a_user_is_refused,
    capabilities_are_the_default_ones,
    capabilities_are_added_and_dropped,
    an_unknown_capability_is_refused,
    no_new_privs_is_set_and_only_if_asked,
    a_read_only_root_cannot_be_written,
    masked_and_readonly_paths,
    exec_is_confined_as_init_is,
    a_privileged_container_may_everything,
    a_container_is_unprivileged_by_default,
    a_localhost_profile_holds_for_init_and_exec,
    the_default_profile_filters,
    unconfined_does_not_filter,
    a_localhost_profile_that_is_not_there_is_refused,
);

/// Starts a container with this security context; its id.
async fn confined(lab: &Lab, change: impl FnOnce(&mut LinuxContainerSecurityContext)) -> String {
    let image = lab.busybox().await;
    let config = lab.pod("security");
    let pod = lab.run_pod(&config).await;
    lab.start(&pod, &config, &with_security(pods::sleeper("c", &image), change)).await
}

/// A line of /proc/1/status and of an exec'd process's, which must be alike; its value.
async fn status_line(lab: &Lab, id: &str, key: &str) -> String {
    let init = lab.cri.shell(id, &format!("grep ^{key}: /proc/1/status")).await;
    let exec = lab.cri.shell(id, &format!("grep ^{key}: /proc/self/status")).await;
    assert_eq!(init, exec, "init and exec differ");
    init.split_once(':').expect("a line of status").1.trim().to_owned()
}

fn number(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

fn users_and_groups_by_number(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = confined(lab, |security| {
            security.run_as_user = number(1234);
            security.run_as_group = number(5678);
            security.supplemental_groups = vec![7, 9];
        })
        .await;
        assert_eq!(status_line(lab, &id, "Uid").await, "1234\t1234\t1234\t1234");
        assert_eq!(status_line(lab, &id, "Gid").await, "5678\t5678\t5678\t5678");
        let groups = status_line(lab, &id, "Groups").await;
        assert!(["7", "9"].iter().all(|group| groups.split(' ').any(|own| own == *group)), "{groups}");
        let user = lab.cri.status(&id).await.unwrap().user.unwrap().linux.unwrap();
        assert_eq!((user.uid, user.gid), (1234, 5678));
    });
}

fn a_user_by_name_is_the_images(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = confined(lab, |security| security.run_as_username = "alice".into()).await;
        assert_eq!(lab.cri.shell(&id, "id -u; id -g").await, "1000\n1000\n");
        let groups = status_line(lab, &id, "Groups").await;
        assert!(["50", "998"].iter().all(|group| groups.split(' ').any(|own| own == *group)), "{groups}");
    });
}

fn the_images_user_is_used_if_none_is_given(setup: Setup) {
    lab::test(setup, async |lab| {
        let config = lab.pod("user");
        let pod = lab.run_pod(&config).await;
        for (name, user, expected) in [
            ("name", "alice", "1000:1000"),
            ("number", "1234", "1234:0"),
            ("both", "1234:998", "1234:998"),
            ("group", "alice:staff", "1000:50"),
        ] {
            let mut settings = image::busybox_config();
            settings["User"] = json!(user);
            let layers = vec![image::busybox_layer().to_vec()];
            let image = lab.image(&format!("user-{name}"), &image::Image::of(layers).config(settings).build()).await;
            let container = pods::script(name, &image, "echo $(id -u):$(id -g)");
            assert_eq!(lab.run_to_end(&pod, &config, &container).await.1.trim(), expected, "{user}");
        }
    });
}

fn the_images_groups_are_merged_or_not_by_policy(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("groups");
        let pod = lab.run_pod(&config).await;
        for (name, policy, expected) in [
            ("merge", SupplementalGroupsPolicy::Merge, "1000 50 998 7777"),
            ("strict", SupplementalGroupsPolicy::Strict, "1000 7777"),
        ] {
            let container = with_security(pods::script(name, &image, "id -G"), |security| {
                security.run_as_user = number(1000);
                security.supplemental_groups = vec![7777];
                security.supplemental_groups_policy = policy as i32;
            });
            let (_, log) = lab.run_to_end(&pod, &config, &container).await;
            let sorted = |text: &str| {
                let mut groups: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                groups.sort();
                groups.dedup();
                groups
            };
            assert_eq!(sorted(&log), sorted(expected), "{name}");
        }
    });
}

fn an_unknown_user_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("unknown");
        let pod = lab.run_pod(&config).await;
        let container =
            with_security(pods::sleeper("c", &image), |security| security.run_as_username = "mallory".into());
        let refused = lab.cri.create(&pod, &config, &container).await;
        assert!(refused.as_ref().is_err_and(|status| status.message().contains("mallory")), "{refused:?}");
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
    });
}

fn a_group_without_a_user_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("group");
        let pod = lab.run_pod(&config).await;
        let container = with_security(pods::sleeper("c", &image), |security| security.run_as_group = number(5));
        let refused = lab.cri.create(&pod, &config, &container).await;
        corten_e2e::cri::assert_refused(refused, Code::InvalidArgument, &["run_as_group"]);
    });
}

/// The capabilities that every runtime grants by default, as a bit set.
const DEFAULT_CAPABILITIES: &str = "00000000a80425fb";

fn capabilities_are_the_default_ones(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = confined(lab, |_| ()).await;
        for set in ["CapBnd", "CapEff", "CapPrm"] {
            assert_eq!(status_line(lab, &id, set).await, DEFAULT_CAPABILITIES, "{set}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(status_line(lab, &id, set).await, "0000000000000000", "{set}");
        }
    });
}

fn capabilities_are_added_and_dropped(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("caps");
        let pod = lab.run_pod(&config).await;
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (name, add, drop, expected) in [
            ("net-admin", list(&["NET_ADMIN"]), list(&[]), "00000000a80435fb"),
            ("prefixed", list(&["CAP_NET_ADMIN"]), list(&[]), "00000000a80435fb"),
            ("chown-only", list(&["CHOWN"]), list(&["ALL"]), "0000000000000001"),
            ("none", list(&[]), list(&["ALL"]), "0000000000000000"),
            ("less", list(&[]), list(&["CHOWN"]), "00000000a80425fa"),
        ] {
            let container = with_security(pods::script(name, &image, "grep ^CapEff /proc/self/status"), |security| {
                security.capabilities =
                    Some(Capability { add_capabilities: add, drop_capabilities: drop, ..Default::default() });
            });
            let (_, log) = lab.run_to_end(&pod, &config, &container).await;
            assert_eq!(log.trim(), format!("CapEff:\t{expected}"), "{name}");
        }
    });
}

fn an_unknown_capability_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("cap");
        let pod = lab.run_pod(&config).await;
        let container = with_security(pods::sleeper("c", &image), |security| {
            security.capabilities = Some(Capability { add_capabilities: vec!["FLY".into()], ..Default::default() });
        });
        let refused = lab.cri.create(&pod, &config, &container).await;
        corten_e2e::cri::assert_refused(refused, Code::InvalidArgument, &["capabilities", "FLY"]);
    });
}

fn no_new_privs_is_set_and_only_if_asked(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("nnp");
        let pod = lab.run_pod(&config).await;
        for (name, asked, expected) in [("yes", true, "1"), ("no", false, "0")] {
            let container = with_security(pods::sleeper(name, &image), |security| security.no_new_privs = asked);
            let id = lab.start(&pod, &config, &container).await;
            assert_eq!(status_line(lab, &id, "NoNewPrivs").await, expected, "{name}");
        }
    });
}

fn a_read_only_root_cannot_be_written(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = confined(lab, |security| security.readonly_rootfs = true).await;
        assert_ne!(lab.cri.exec(&id, &["touch", "/tmp/x"]).await.code, 0);
        lab.cri.shell(&id, "echo x > /dev/shm/x && echo x > /dev/null").await;
    });
}

fn masked_and_readonly_paths(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = confined(lab, |security| {
            security.masked_paths = vec!["/proc/meminfo".into(), "/www".into(), "/not/there".into()];
            security.readonly_paths = vec!["/proc/sys".into(), "/tmp".into()];
        })
        .await;
        assert_eq!(lab.cri.shell(&id, "cat /proc/meminfo; ls /www").await, "");
        assert_ne!(lab.cri.exec(&id, &["/bin/sh", "-c", "echo 1 > /proc/sys/kernel/shmmni"]).await.code, 0);
        assert_ne!(lab.cri.exec(&id, &["touch", "/tmp/x"]).await.code, 0);
        assert_ne!(lab.cri.exec(&id, &["touch", "/www/x"]).await.code, 0);
    });
}

fn exec_is_confined_as_init_is(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = confined(lab, |security| {
            security.no_new_privs = true;
            security.seccomp = Some(profile(security_profile::ProfileType::RuntimeDefault, ""));
        })
        .await;
        for key in ["Seccomp", "NoNewPrivs", "CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb", "Uid", "Gid", "Groups"] {
            status_line(lab, &id, key).await;
        }
        for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            let link = |process: &str| format!("readlink /proc/{process}/ns/{kind}");
            assert_eq!(lab.cri.shell(&id, &link("1")).await, lab.cri.shell(&id, &link("self")).await, "{kind}");
        }
        assert_eq!(lab.cri.shell(&id, "cat /proc/1/cgroup").await, lab.cri.shell(&id, "cat /proc/self/cgroup").await);
    });
}

fn a_privileged_container_may_everything(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let mut config = lab.pod("privileged");
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let pod = lab.run_pod(&config).await;
        let container = with_security(pods::sleeper("c", &image), |security| {
            security.privileged = true;
            security.masked_paths = vec!["/proc/meminfo".into()];
        });
        let id = lab.start(&pod, &config, &container).await;
        let own = fs::read_to_string("/proc/self/status").unwrap();
        let bounding = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
        assert_eq!(status_line(lab, &id, "CapEff").await, bounding);
        assert_eq!(status_line(lab, &id, "Seccomp").await, "0");
        lab.cri.shell(&id, "mkdir /m && mount -t tmpfs none /m && umount /m").await;
        assert!(!lab.cri.shell(&id, "cat /proc/meminfo").await.is_empty(), "a privileged container has a masked path");
        lab.cri.shell(&id, "test -c /dev/kmsg && mknod /tmp/kmsg c 1 11 && head -c 0 /tmp/kmsg").await;
        assert!(lab.cri.shell(&id, "grep ' /sys ' /proc/self/mounts").await.contains("rw"));
    });
}

fn a_container_is_unprivileged_by_default(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = confined(lab, |_| ()).await;
        for script in [
            "mkdir -p /m && mount -t tmpfs none /m",
            "ip link add x type dummy",
            "echo 1 > /sys/kernel/profiling",
            "test -e /dev/kmsg",
            "hostname other",
        ] {
            assert_ne!(lab.cri.exec(&id, &["/bin/sh", "-c", script]).await.code, 0, "{script}");
        }
        assert!(lab.cri.shell(&id, "grep ' /sys ' /proc/self/mounts").await.contains("ro,"));
    });
}

fn profile(kind: security_profile::ProfileType, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: kind as i32, localhost_ref: reference.to_owned() }
}

fn a_localhost_profile_holds_for_init_and_exec(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let file = lab.paths.dir.join("seccomp/no-mkdir.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let rules = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
        });
        fs::write(&file, rules.to_string()).unwrap();
        let config = lab.pod("localhost");
        let pod = lab.run_pod(&config).await;
        let text = "mkdir /made 2>&1; touch /touched && echo touched; sleep 1000";
        let container = with_security(pods::script("c", &image, text), |security| {
            security.seccomp = Some(profile(security_profile::ProfileType::Localhost, &file.display().to_string()));
        });
        let id = lab.start(&pod, &config, &container).await;
        let status = lab.cri.status(&id).await.unwrap();
        let ready = async || lab.log(&status).contains("touched").then(|| lab.log(&status));
        let log = corten_e2e::cri::until("the script", ready).await;
        assert!(log.contains("Function not implemented"), "{log}");
        let exec = lab.cri.exec(&id, &["mkdir", "/made"]).await;
        assert!(exec.code != 0 && exec.stderr.contains("Function not implemented"), "{exec:?}");
        assert_eq!(status_line(lab, &id, "Seccomp").await, "2");
    });
}

fn the_default_profile_filters(setup: Setup) {
    lab::test(setup, async |lab| {
        let default = profile(security_profile::ProfileType::RuntimeDefault, "");
        let id = confined(lab, |security| security.seccomp = Some(default)).await;
        assert_eq!(status_line(lab, &id, "Seccomp").await, "2");
        let exec = lab.cri.exec(&id, &["unshare", "-U", "true"]).await;
        assert!(exec.code != 0 && exec.stderr.contains("not permitted"), "{exec:?}");
        lab.cri.shell(&id, "mkdir /ordinary && ls / && ps && wget -q -O - http://127.0.0.1:1/ || true").await;
    });
}

fn unconfined_does_not_filter(setup: Setup) {
    lab::test(setup, async |lab| {
        let unconfined = profile(security_profile::ProfileType::Unconfined, "");
        let id = confined(lab, |security| security.seccomp = Some(unconfined)).await;
        assert_eq!(status_line(lab, &id, "Seccomp").await, "0");
    });
}

fn a_localhost_profile_that_is_not_there_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("missing");
        let pod = lab.run_pod(&config).await;
        for reference in ["/no/such/profile.json", "../../etc/passwd", "/etc/passwd"] {
            let container = with_security(pods::sleeper("c", &image), |security| {
                security.seccomp = Some(profile(security_profile::ProfileType::Localhost, reference));
            });
            let refused = lab.cri.create(&pod, &config, &container).await;
            assert!(refused.as_ref().is_err_and(|status| status.message().contains(reference)), "{refused:?}");
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
    });
}
