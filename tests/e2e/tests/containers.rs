//! The life cycle of containers.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use corten_cri::v1::*;
use corten_e2e::{
    cri::{assert_refused, until},
    daemon::Setup,
    for_each_launcher, image,
    lab::{self, read_log},
    leaks,
    pods::{self, with_mount, with_resources},
};
use nix::{
    mount::MsFlags,
    sys::stat::{Mode, SFlag, makedev},
};
use serde_json::json;
use tonic::Code;

for_each_launcher!(
    a_container_is_created_started_stopped_and_removed,
    status_and_list_give_back_what_the_container_was_made_of,
    a_list_is_filtered_by_id_state_pod_and_labels_together,
    the_exit_code_is_reported,
    death_by_a_signal_is_128_and_its_number,
    a_container_that_ends_on_sigterm_ends_by_itself,
    a_container_that_ignores_sigterm_is_killed,
    the_images_stop_signal_is_used,
    memory_over_the_limit_is_an_oom_kill,
    limits_reach_the_cgroup,
    a_removed_container_leaves_nothing,
    a_running_container_can_be_removed,
    command_and_arguments_override_the_images,
    the_environment_is_the_images_and_the_pods,
    the_working_directory_is_the_images_or_the_pods,
    a_program_that_is_not_there_is_the_containers_fault,
    mounts_are_there_and_read_only_if_asked,
    mount_options_hold_for_their_mount,
    a_file_can_be_mounted,
    a_mount_of_nothing_is_refused,
    a_mount_cannot_leave_the_container,
    both_streams_are_logged_in_the_cri_format,
    a_long_line_is_split_and_a_last_line_without_end_is_kept,
    binary_and_hostile_output_stays_in_its_line,
    stats_count_what_the_container_uses,
    a_container_has_the_devices_every_container_has,
    the_root_is_an_overlay_of_its_own,
);

fn a_container_is_created_started_stopped_and_removed(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("life");
        let pod = lab.run_pod(&config).await;
        let id = lab.cri.create(&pod, &config, &pods::sleeper("c", &image)).await.unwrap();
        let state = async || lab.cri.status(&id).await.unwrap().state();
        assert_eq!(state().await, ContainerState::ContainerCreated);
        lab.cri.start(&id).await.unwrap();
        assert_eq!(state().await, ContainerState::ContainerRunning);
        lab.cri.start(&id).await.unwrap();
        for _ in 0..2 {
            lab.cri.stop(&id, 10).await.unwrap();
            assert_eq!(state().await, ContainerState::ContainerExited);
        }
        assert_refused(lab.cri.start(&id).await, Code::FailedPrecondition, &[&id]);
        for _ in 0..2 {
            lab.cri.remove(&id).await.unwrap();
        }
        assert_refused(lab.cri.status(&id).await, Code::NotFound, &[&id]);
    });
}

fn status_and_list_give_back_what_the_container_was_made_of(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("same");
        let pod = lab.run_pod(&config).await;
        let mut container = pods::sleeper("c", &image);
        container.annotations = [("k".to_owned(), "v".to_owned())].into();
        let id = lab.start(&pod, &config, &container).await;
        let status = lab.cri.status(&id).await.unwrap();
        assert_eq!(status.metadata, container.metadata);
        assert_eq!((&status.labels, &status.annotations), (&container.labels, &container.annotations));
        assert_eq!(status.image.unwrap().image, image);
        assert_eq!(status.image_id, image::busybox().id());
        assert!(!status.image_ref.is_empty());
        assert_eq!(status.log_path, lab.paths.logs().join("same/c.log").display().to_string());
        assert!(status.created_at > 0 && status.started_at >= status.created_at && status.finished_at == 0);
        let listed = lab.cri.runtime().list_containers(ListContainersRequest::default()).await.unwrap().into_inner();
        let listed = &listed.containers[0];
        assert_eq!((&listed.id, &listed.pod_sandbox_id), (&id, &pod));
        assert_eq!((&listed.metadata, &listed.labels), (&container.metadata, &container.labels));
        assert_eq!((listed.state(), listed.created_at), (ContainerState::ContainerRunning, status.created_at));
        lab.cri.stop(&id, 10).await.unwrap();
        let status = lab.cri.status(&id).await.unwrap();
        assert!(status.finished_at >= status.started_at && status.reason == "Completed", "{status:?}");
    });
}

fn a_list_is_filtered_by_id_state_pod_and_labels_together(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let (config, other) = (lab.pod("one"), lab.pod("two"));
        let (pod, other_pod) = (lab.run_pod(&config).await, lab.run_pod(&other).await);
        let running = lab.start(&pod, &config, &pods::sleeper("running", &image)).await;
        let created = lab.cri.create(&pod, &config, &pods::sleeper("created", &image)).await.unwrap();
        let elsewhere = lab.start(&other_pod, &other, &pods::sleeper("elsewhere", &image)).await;
        let filter = |change: &dyn Fn(&mut ContainerFilter)| {
            let mut filter = ContainerFilter::default();
            change(&mut filter);
            Some(filter)
        };
        let state = |state: ContainerState| Some(ContainerStateValue { state: state as i32 });
        let label = |name: &str| [("container".to_owned(), name.to_owned())].into();
        for (filter, expected) in [
            (None, vec![&running, &created, &elsewhere]),
            (filter(&|f| f.id = running.clone()), vec![&running]),
            (filter(&|f| f.id = running[..10].to_owned()), vec![&running]),
            (filter(&|f| f.pod_sandbox_id = pod.clone()), vec![&running, &created]),
            (filter(&|f| f.pod_sandbox_id = other_pod[..10].to_owned()), vec![&elsewhere]),
            (filter(&|f| f.state = state(ContainerState::ContainerCreated)), vec![&created]),
            (filter(&|f| f.state = state(ContainerState::ContainerExited)), vec![]),
            (filter(&|f| f.label_selector = label("elsewhere")), vec![&elsewhere]),
            (
                filter(&|f| {
                    f.pod_sandbox_id = pod.clone();
                    f.label_selector = label("elsewhere");
                }),
                vec![],
            ),
        ] {
            let mut expected: Vec<String> = expected.into_iter().cloned().collect();
            expected.sort();
            assert_eq!(lab.cri.list(filter.clone()).await.unwrap(), expected, "{filter:?}");
        }
    });
}

fn the_exit_code_is_reported(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("exit");
        let pod = lab.run_pod(&config).await;
        for (code, reason) in [(0, "Completed"), (1, "Error"), (255, "Error")] {
            let container = pods::script(&format!("c{code}"), &image, &format!("echo bye; exit {code}"));
            let (status, log) = lab.run_to_end(&pod, &config, &container).await;
            assert_eq!((status.exit_code, status.reason.as_str(), log.as_str()), (code, reason, "bye\n"));
        }
    });
}

fn death_by_a_signal_is_128_and_its_number(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("signal");
        let pod = lab.run_pod(&config).await;
        // An init ignores what it does not handle, unless it comes from outside: its own child's end is what it passes on.
        let container = pods::script("c", &image, "sh -c 'kill -SEGV $$'; exit $?");
        let (status, _) = lab.run_to_end(&pod, &config, &container).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (139, "Error"));
    });
}

fn a_container_that_ends_on_sigterm_ends_by_itself(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("term");
        let pod = lab.run_pod(&config).await;
        let text = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 1000 & wait; done";
        let id = lab.start(&pod, &config, &pods::script("c", &image, text)).await;
        wait_for_log(lab, &id, "ready").await;
        lab.cri.stop(&id, 60).await.unwrap();
        let status = lab.cri.status(&id).await.unwrap();
        assert_eq!(status.exit_code, 7);
        assert_eq!(lab.log(&status), "ready\nasked\n");
    });
}

async fn wait_for_log(lab: &lab::Lab, id: &str, text: &str) {
    let status = lab.cri.status(id).await.unwrap();
    until("the log", async || lab.log(&status).contains(text).then_some(())).await;
}

fn a_container_that_ignores_sigterm_is_killed(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("kill");
        let pod = lab.run_pod(&config).await;
        let text = "trap '' TERM; echo ready; while :; do sleep 1; done";
        for (name, timeout) in [("grace", 1), ("none", 0)] {
            let id = lab.start(&pod, &config, &pods::script(name, &image, text)).await;
            wait_for_log(lab, &id, "ready").await;
            lab.cri.stop(&id, timeout).await.unwrap();
            let status = lab.cri.status(&id).await.unwrap();
            assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 137), "{name}");
        }
    });
}

fn the_images_stop_signal_is_used(setup: Setup) {
    lab::test(setup, async |lab| {
        let layers = vec![image::busybox_layer().to_vec()];
        let mut settings = image::busybox_config();
        settings["StopSignal"] = json!("SIGUSR1");
        let image = lab.image("usr1", &image::Image::of(layers).config(settings).build()).await;
        let config = lab.pod("usr1");
        let pod = lab.run_pod(&config).await;
        let text = "trap 'exit 41' USR1; trap 'exit 42' TERM; echo ready; while :; do sleep 1000 & wait; done";
        let id = lab.start(&pod, &config, &pods::script("c", &image, text)).await;
        wait_for_log(lab, &id, "ready").await;
        lab.cri.stop(&id, 60).await.unwrap();
        assert_eq!(lab.cri.status(&id).await.unwrap().exit_code, 41);
    });
}

fn memory_over_the_limit_is_an_oom_kill(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("oom");
        let pod = lab.run_pod(&config).await;
        let container = with_resources(pods::container("c", &image, &["tail", "/dev/zero"]), |resources| {
            resources.memory_limit_in_bytes = 16 << 20;
        });
        let (status, _) = lab.run_to_end(&pod, &config, &container).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    });
}

fn limits_reach_the_cgroup(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("limits");
        let pod = lab.run_pod(&config).await;
        let container = with_resources(pods::sleeper("c", &image), |resources| {
            resources.memory_limit_in_bytes = 64 << 20;
            resources.cpu_quota = 50_000;
            resources.cpu_period = 100_000;
            resources.cpu_shares = 512;
            resources.cpuset_cpus = "0".into();
        });
        let id = lab.start(&pod, &config, &container).await;
        let group = lab.cgroup_of(&id);
        let read = |controller: &str, v1: &str, v2: &str| read_cgroup(&group, controller, v1, v2);
        assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
        let quota = read("cpu", "cpu.cfs_quota_us", "cpu.max");
        assert!(quota == "50000" || quota == "50000 100000", "{quota}");
        assert_eq!(read("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
        let echoed = lab.cri.status(&id).await.unwrap().resources.unwrap().linux.unwrap();
        assert_eq!((echoed.memory_limit_in_bytes, echoed.cpu_quota, echoed.cpu_shares), (64 << 20, 50_000, 512));
    });
}

fn read_cgroup(group: &str, controller: &str, v1: &str, v2: &str) -> String {
    let (old, new) = (format!("/sys/fs/cgroup/{controller}{group}/{v1}"), format!("/sys/fs/cgroup{group}/{v2}"));
    let text = fs::read_to_string(&old).or_else(|_| fs::read_to_string(&new));
    text.unwrap_or_else(|e| panic!("{old} and {new}: {e}")).trim().to_owned()
}

fn a_removed_container_leaves_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("remove");
        let pod = lab.run_pod(&config).await;
        // The first container makes what the pod keeps.
        lab.cri.remove(&lab.start(&pod, &config, &pods::sleeper("first", &image)).await).await.unwrap();
        let before = lab.snapshot();
        let id = lab.start(&pod, &config, &pods::script("second", &image, "echo x > /file; sleep 1000")).await;
        lab.cri.exec(&id, &["true"]).await;
        lab.cri.remove(&id).await.unwrap();
        leaks::assert_same(&before, || lab.snapshot());
    });
}

fn a_running_container_can_be_removed(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("force");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::script("c", &image, "trap '' TERM; sleep 1000 & sleep 1000")).await;
        lab.cri.remove(&id).await.unwrap();
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
    });
}

fn command_and_arguments_override_the_images(setup: Setup) {
    lab::test(setup, async |lab| {
        let layers = vec![image::busybox_layer().to_vec()];
        let mut settings = image::busybox_config();
        settings["Entrypoint"] = json!(["echo", "entry"]);
        settings["Cmd"] = json!(["cmd"]);
        let image = lab.image("entry", &image::Image::of(layers).config(settings).build()).await;
        let config = lab.pod("command");
        let pod = lab.run_pod(&config).await;
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (name, command, args, expected) in [
            ("neither", words(&[]), words(&[]), "entry cmd\n"),
            ("args", words(&[]), words(&["arg"]), "entry arg\n"),
            ("command", words(&["echo", "own"]), words(&[]), "own\n"),
            ("both", words(&["echo", "own"]), words(&["arg"]), "own arg\n"),
        ] {
            let container = ContainerConfig { command, args, ..pods::container(name, &image, &[]) };
            assert_eq!(lab.run_to_end(&pod, &config, &container).await.1, expected, "{name}");
        }
    });
}

fn the_environment_is_the_images_and_the_pods(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("env");
        let pod = lab.run_pod(&config).await;
        let mut container = pods::container("c", &image, &["env"]);
        let variable = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
        container.envs = vec![variable("OWN", "a=b c"), variable("FROM_IMAGE", "overridden"), variable("EMPTY", "")];
        let (_, log) = lab.run_to_end(&pod, &config, &container).await;
        let lines: Vec<&str> = log.lines().collect();
        for expected in ["PATH=/bin", "OWN=a=b c", "FROM_IMAGE=overridden", "EMPTY=", "HOSTNAME=env"] {
            assert!(lines.contains(&expected), "{expected:?} is not in {lines:?}");
        }
        assert_eq!(lines.iter().filter(|line| line.starts_with("FROM_IMAGE=")).count(), 1);
        let leaked = lines.iter().find(|line| line.starts_with(corten_e2e::daemon::MARK));
        assert_eq!(leaked, None, "the daemon's environment reached the container");
    });
}

fn the_working_directory_is_the_images_or_the_pods(setup: Setup) {
    lab::test(setup, async |lab| {
        let layers = vec![image::busybox_layer().to_vec()];
        let mut settings = image::busybox_config();
        settings["WorkingDir"] = json!("/www");
        let image = lab.image("cwd", &image::Image::of(layers).config(settings).build()).await;
        let config = lab.pod("cwd");
        let pod = lab.run_pod(&config).await;
        let mut container = pods::container("image", &image, &["pwd"]);
        assert_eq!(lab.run_to_end(&pod, &config, &container).await.1, "/www\n");
        container = pods::container("own", &image, &["pwd"]);
        container.working_dir = "/made/for/it".into();
        assert_eq!(lab.run_to_end(&pod, &config, &container).await.1, "/made/for/it\n");
    });
}

fn a_program_that_is_not_there_is_the_containers_fault(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("absent");
        let pod = lab.run_pod(&config).await;
        for (name, program) in
            [("absent", "/no/such/program"), ("in-path", "no-such-program"), ("not-executable", "/etc/passwd")]
        {
            let id = lab.cri.create(&pod, &config, &pods::container(name, &image, &[program])).await.unwrap();
            let refused = lab.cri.start(&id).await;
            assert!(refused.as_ref().is_err_and(|status| status.message().contains(program)), "{refused:?}");
            let status = lab.cri.status(&id).await.unwrap();
            assert_eq!(status.state(), ContainerState::ContainerExited);
            assert!([126, 127, 128].contains(&status.exit_code), "{}", status.exit_code);
            lab.cri.remove(&id).await.unwrap();
        }
    });
}

fn mounts_are_there_and_read_only_if_asked(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("mounts");
        let pod = lab.run_pod(&config).await;
        let volume = lab.paths.dir.join("volume");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("file"), "from the host\n").unwrap();
        let host = volume.display().to_string();
        let container = with_mount(pods::sleeper("c", &image), &host, "/data/rw", false);
        let container = with_mount(container, &host, "/data/ro", true);
        let id = lab.start(&pod, &config, &container).await;
        assert_eq!(lab.cri.shell(&id, "cat /data/ro/file").await, "from the host\n");
        assert_ne!(lab.cri.exec(&id, &["touch", "/data/ro/new"]).await.code, 0);
        lab.cri.shell(&id, "echo from the container > /data/rw/new").await;
        assert_eq!(fs::read_to_string(volume.join("new")).unwrap(), "from the container\n");
        let told = lab.cri.status(&id).await.unwrap().mounts;
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|mount| mount.container_path == "/data/ro" && mount.readonly), "{told:?}");
    });
}

/// The options that the kernel shows for the mount at a path.
async fn options_of(lab: &lab::Lab, id: &str, at: &str) -> Vec<String> {
    let told = lab.cri.shell(id, &format!("awk '$5 == \"{at}\" {{ print $6 }}' /proc/self/mountinfo")).await;
    told.trim().split(',').map(str::to_owned).collect()
}

fn mount_options_hold_for_their_mount(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("options");
        let pod = lab.run_pod(&config).await;
        let volume = lab.paths.dir.join("volume");
        fs::create_dir(&volume).unwrap();
        // What the node's mount forbids stays so, whatever else is asked for.
        let held = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        nix::mount::mount(Some("tmpfs"), &volume, Some("tmpfs"), held, None::<&str>).unwrap();
        let host = volume.display().to_string();
        fs::write(volume.join("run"), "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(volume.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut container = with_mount(pods::sleeper("c", &image), &host, "/plain", false);
        for (at, readonly, options) in
            [("/noexec", false, vec!["noexec"]), ("/all", true, vec!["noexec", "nodev", "nosuid", "noatime"])]
        {
            container = with_mount(container, &host, at, readonly);
            container.mounts.last_mut().unwrap().mount_options = options.into_iter().map(str::to_owned).collect();
        }
        // Of the node's root, which has none of them.
        let devices = lab.paths.dir.join("devices");
        fs::create_dir(&devices).unwrap();
        nix::sys::stat::mknod(&devices.join("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3))
            .unwrap();
        let mut container = with_mount(container, &devices.display().to_string(), "/nodev", false);
        container.mounts.last_mut().unwrap().mount_options = vec!["nodev".to_owned()];
        let container = with_mount(container, &devices.display().to_string(), "/dev-ok", false);
        let id = lab.start(&pod, &config, &container).await;

        for (at, has, has_not) in [
            ("/plain", &["rw", "nosuid", "nodev"][..], &["noexec", "noatime"][..]),
            ("/noexec", &["rw", "nosuid", "nodev", "noexec"], &["noatime"]),
            ("/all", &["ro", "nosuid", "nodev", "noexec", "noatime"], &["relatime"]),
            ("/nodev", &["rw", "nodev"], &["nosuid", "noexec"]),
            ("/dev-ok", &["rw"], &["nodev", "nosuid", "noexec"]),
        ] {
            let options = options_of(lab, &id, at).await;
            assert!(has.iter().all(|option| options.iter().any(|o| o == option)), "{at}: {options:?}");
            assert!(!has_not.iter().any(|option| options.iter().any(|o| o == option)), "{at}: {options:?}");
        }
        assert_eq!(lab.cri.shell(&id, "/plain/run").await, "ran\n");
        for at in ["/noexec", "/all"] {
            let denied = lab.cri.exec(&id, &["sh", "-c", &format!("{at}/run")]).await;
            assert!(denied.code == 126 && denied.stderr.contains("Permission denied"), "{at}: {denied:?}");
        }
        assert_eq!(lab.cri.exec(&id, &["cat", "/dev-ok/null"]).await.code, 0);
        assert!(lab.cri.exec(&id, &["cat", "/nodev/null"]).await.stderr.contains("Permission denied"));
        assert_ne!(lab.cri.exec(&id, &["touch", "/all/new"]).await.code, 0);
        lab.cri.shell(&id, "touch /noexec/new").await;
        let told = lab.cri.status(&id).await.unwrap().mounts;
        let all = told.iter().find(|mount| mount.container_path == "/all").unwrap();
        assert_eq!(all.mount_options, ["noexec", "nodev", "nosuid", "noatime"]);

        for (option, field) in
            [("suid", "mount_options[1]"), ("rw", "mount_options[1]"), ("size=1", "mount_options[1]")]
        {
            let mut bad = with_mount(pods::sleeper("bad", &image), "/tmp", "/m", false);
            bad.mounts.last_mut().unwrap().mount_options = vec!["noexec".to_owned(), option.to_owned()];
            let refused = lab.cri.create(&pod, &config, &bad).await;
            assert_refused(refused, Code::InvalidArgument, &[&format!("config.mounts[0].{field}"), option]);
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), std::slice::from_ref(&id));
        lab.cri.remove(&id).await.unwrap();
        nix::mount::umount(&volume).unwrap();
    });
}

fn a_file_can_be_mounted(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("file");
        let pod = lab.run_pod(&config).await;
        let file = lab.paths.dir.join("hosts");
        fs::write(&file, "127.0.0.1 localhost\n").unwrap();
        let host = file.display().to_string();
        // Over a file of the image's, and where nothing is.
        let container = with_mount(pods::sleeper("c", &image), &host, "/etc/passwd", true);
        let container = with_mount(container, &host, "/deep/in/new/hosts", false);
        let id = lab.start(&pod, &config, &container).await;
        assert_eq!(lab.cri.shell(&id, "cat /etc/passwd /deep/in/new/hosts").await, "127.0.0.1 localhost\n".repeat(2));
    });
}

fn a_mount_of_nothing_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("nothing");
        let pod = lab.run_pod(&config).await;
        for (name, host, inside, word) in [
            ("relative", "not/absolute", "/x", "host_path"),
            ("empty-target", "/etc", "", "container_path"),
            ("empty-source", "", "/x", "host_path"),
        ] {
            let container = with_mount(pods::sleeper(name, &image), host, inside, false);
            assert_refused(lab.cri.create(&pod, &config, &container).await, Code::InvalidArgument, &[word]);
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
    });
}

/// An image whose `/escape` is a link to the host's directory of that name must not get it mounted over there.
fn a_mount_cannot_leave_the_container(setup: Setup) {
    lab::test(setup, async |lab| {
        let target = lab.paths.dir.join("precious");
        fs::create_dir(&target).unwrap();
        let layer = image::Layer::new().symlink("escape", &target.display().to_string()).finish();
        let layers = vec![image::busybox_layer().to_vec(), layer];
        let image = lab.image("escape", &image::Image::of(layers).config(image::busybox_config()).build()).await;
        let config = lab.pod("escape");
        let pod = lab.run_pod(&config).await;
        let volume = lab.paths.dir.join("volume");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("file"), "").unwrap();
        let container = with_mount(pods::sleeper("c", &image), &volume.display().to_string(), "/escape/inner", false);
        if let Ok(id) = lab.cri.create(&pod, &config, &container).await {
            // Resolved inside the container it is harmless; refusing it is as good.
            let _ = lab.cri.start(&id).await;
        }
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "the link was followed on the host");
    });
}

fn both_streams_are_logged_in_the_cri_format(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("log");
        let pod = lab.run_pod(&config).await;
        let container = pods::script("c", &image, "echo one; echo two >&2; echo; echo '  three  '");
        let (status, _) = lab.run_to_end(&pod, &config, &container).await;
        let lines = read_log(Path::new(&status.log_path));
        let of = |stream: &str| -> Vec<String> {
            lines.iter().filter(|line| line.stream == stream).map(|line| line.text.clone()).collect()
        };
        assert_eq!(of("stdout"), ["one", "", "  three  "]);
        assert_eq!(of("stderr"), ["two"]);
        assert!(lines.iter().all(|line| line.full));
        assert!(lines.windows(2).all(|pair| pair[0].time <= pair[1].time), "{lines:?}");
    });
}

fn a_long_line_is_split_and_a_last_line_without_end_is_kept(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("long");
        let pod = lab.run_pod(&config).await;
        let container = pods::script("c", &image, "head -c 50000 /dev/zero | tr '\\0' x; echo; printf 'no newline'");
        let (status, log) = lab.run_to_end(&pod, &config, &container).await;
        let lines = read_log(Path::new(&status.log_path));
        assert!(lines.iter().all(|line| line.text.len() <= 16 * 1024));
        assert!(lines.iter().filter(|line| !line.full).count() >= 3, "nothing was split");
        let expected = format!("{}\nno newline", "x".repeat(50_000));
        assert_eq!(log.trim_end_matches('\n'), expected);
    });
}

fn binary_and_hostile_output_stays_in_its_line(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("hostile");
        let pod = lab.run_pod(&config).await;
        let forged = "2020-01-01T00:00:00.000000000Z stderr F forged";
        let text = format!("printf 'a\\000b\\377c\\n'; printf 'x\\r{forged}\\n'");
        let (status, _) = lab.run_to_end(&pod, &config, &pods::script("c", &image, &text)).await;
        let bytes = fs::read(&status.log_path).unwrap();
        assert_eq!(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 2);
        assert!(bytes.windows(5).any(|window| window == b"a\0b\xffc"), "bytes were changed");
    });
}

fn stats_count_what_the_container_uses(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("stats");
        let pod = lab.run_pod(&config).await;
        let text = "dd if=/dev/urandom of=/written bs=1M count=8 2>/dev/null; echo done; sleep 1000";
        let id = lab.start(&pod, &config, &pods::script("c", &image, text)).await;
        wait_for_log(lab, &id, "done").await;
        let layer = until("the writable layer to be measured", async || {
            let layer = lab.cri.stats(&id).await.unwrap().writable_layer?;
            (layer.used_bytes?.value >= 8 << 20).then_some(layer)
        });
        assert!(!layer.await.fs_id.unwrap().mountpoint.is_empty());
        let stats = lab.cri.stats(&id).await.unwrap();
        let attributes = stats.attributes.unwrap();
        assert_eq!((attributes.id, attributes.labels), (id.clone(), pods::container("c", "", &[]).labels));
        let (cpu, memory) = (stats.cpu.unwrap(), stats.memory.unwrap());
        assert!(cpu.timestamp > 0 && cpu.usage_core_nano_seconds.unwrap().value > 0);
        assert!(memory.timestamp > 0 && memory.working_set_bytes.unwrap().value > 0);
        let idle = lab.start(&pod, &config, &pods::sleeper("idle", &image)).await;
        let filter = Some(ContainerStatsFilter { id: idle.clone(), ..Default::default() });
        for (filter, expected) in [(filter, vec![&idle]), (None, vec![&id, &idle])] {
            let request = ListContainerStatsRequest { filter };
            let listed = lab.cri.runtime().list_container_stats(request).await.unwrap().into_inner().stats;
            let ids: Vec<String> = listed.into_iter().map(|stats| stats.attributes.unwrap().id).collect();
            assert!(ids.len() == expected.len() && expected.iter().all(|id| ids.contains(id)), "{ids:?}");
        }
    });
}

fn a_container_has_the_devices_every_container_has(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("devices");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        lab.cri.shell(&id, "for d in null zero full random urandom tty ptmx; do test -c /dev/$d || exit 1; done").await;
        lab.cri.shell(&id, "test -d /dev/pts && test -d /dev/shm && test -d /dev/mqueue && echo x > /dev/null").await;
        assert_eq!(lab.cri.shell(&id, "readlink /dev/stdout").await, "/proc/self/fd/1\n");
        assert_ne!(lab.cri.exec(&id, &["/bin/sh", "-c", "mknod /tmp/d b 8 0 && cat /tmp/d"]).await.code, 0);
    });
}

fn the_root_is_an_overlay_of_its_own(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("root");
        let pod = lab.run_pod(&config).await;
        let a = lab.start(&pod, &config, &pods::sleeper("a", &image)).await;
        let b = lab.start(&pod, &config, &pods::sleeper("b", &image)).await;
        lab.cri.shell(&a, "echo changed > /etc/passwd; rm /bin/vi; mkdir /new").await;
        assert_eq!(lab.cri.shell(&b, "cat /etc/passwd").await, image::PASSWD);
        lab.cri.shell(&b, "test -e /bin/vi && ! test -e /new").await;
        assert!(lab.cri.shell(&a, "grep ' / ' /proc/self/mounts").await.contains("overlay"));
        // Nothing of the host can be seen: neither its mounts nor its files.
        let mounts = lab.cri.shell(&a, "cut -d' ' -f2 /proc/self/mounts").await;
        assert!(!mounts.contains(&lab.paths.id), "{mounts}");
    });
}

/// What is mounted on the node shows in a volume that asks for it, and the other way round, also if the volume is no mount of
/// its own but a directory of what is mounted at the node's `/`. (An external runtime has that private if its state is on it.)
#[test]
fn mounts_propagate_from_and_to_a_directory_of_the_nodes_root() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let volume = lab.paths.dir.join("volume");
        let [from, to] = ["from", "to"].map(|name| volume.join(name));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir_all(&to).unwrap();
        let mut config = lab.pod("propagation");
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let pod = lab.run_pod(&config).await;
        let mut ids = Vec::new();
        for (name, propagation) in [
            ("slave", MountPropagation::PropagationHostToContainer),
            ("shared", MountPropagation::PropagationBidirectional),
        ] {
            let mut container = with_mount(pods::sleeper(name, &image), &volume.display().to_string(), "/v", false);
            container.mounts[0].propagation = propagation as i32;
            let container = pods::with_security(container, |security| security.privileged = true);
            ids.push(lab.start(&pod, &config, &container).await);
        }
        let tmpfs = Some("tmpfs");
        nix::mount::mount(tmpfs, &from, tmpfs, MsFlags::empty(), None::<&str>).unwrap();
        fs::write(from.join("file"), "from the node\n").unwrap();
        for id in &ids {
            assert_eq!(lab.cri.shell(id, "cat /v/from/file").await, "from the node\n");
        }
        lab.cri.shell(&ids[1], "mount -t tmpfs none /v/to && echo from inside > /v/to/file").await;
        assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "from inside\n");
        assert_eq!(lab.cri.shell(&ids[0], "cat /v/to/file").await, "from inside\n");
        for mounted in [&from, &to] {
            nix::mount::umount(mounted).unwrap();
        }
    });
}
