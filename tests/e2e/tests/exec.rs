//! ExecSync.

use corten_cri::v1::*;
use corten_e2e::{
    cri::{assert_refused, until},
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    leaks, pods,
};
use tonic::Code;

for_each_launcher!(
    output_and_exit_code_come_back,
    a_timed_out_process_is_gone_with_its_children,
    big_output_is_drained,
    output_over_the_cap_is_cut_and_the_process_ends,
    a_child_that_keeps_the_pipe_open_does_not_hold_the_answer,
    the_process_has_the_containers_user_directory_and_environment,
    a_program_that_is_not_there_is_an_error,
    a_container_that_does_not_run_is_refused,
    many_at_once_do_not_mix,
    an_exec_outlives_nothing,
);

/// A pod with a sleeping container in it; the container's id.
async fn sleeping(lab: &Lab) -> String {
    let image = lab.busybox().await;
    let config = lab.pod("exec");
    let pod = lab.run_pod(&config).await;
    lab.start(&pod, &config, &pods::sleeper("c", &image)).await
}

fn output_and_exit_code_come_back(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let output = lab.cri.exec(&id, &["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]).await;
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (3, "out\n", "err\n"));
        assert_eq!(lab.cri.exec(&id, &["echo", "found in PATH"]).await.stdout, "found in PATH\n");
        assert_eq!(lab.cri.exec(&id, &["sh", "-c", "kill -9 $$"]).await.code, 137);
        assert_eq!(lab.cri.exec(&id, &["cat"]).await.stdout, "", "standard input is empty");
    });
}

fn a_timed_out_process_is_gone_with_its_children(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let script = "trap '' TERM; sleep 4242 & sleep 4243";
        let late = lab.cri.exec_sync(&id, &["/bin/sh", "-c", script], 1).await;
        assert_refused(late, Code::DeadlineExceeded, &[]);
        until("the process to be gone", async || {
            let seen = lab.cri.shell(&id, "ps -o args").await;
            (!seen.contains("sleep 424")).then_some(())
        })
        .await;
        assert_eq!(lab.cri.status(&id).await.unwrap().state(), ContainerState::ContainerRunning);
    });
}

fn big_output_is_drained(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let script = "head -c 3000000 /dev/zero | tr '\\0' a; head -c 3000000 /dev/zero | tr '\\0' b >&2";
        let output = lab.cri.exec(&id, &["/bin/sh", "-c", script]).await;
        assert_eq!(output.code, 0);
        assert!(output.stdout.len() == 3_000_000 && output.stdout.bytes().all(|byte| byte == b'a'));
        assert!(output.stderr.len() == 3_000_000 && output.stderr.bytes().all(|byte| byte == b'b'));
    });
}

fn output_over_the_cap_is_cut_and_the_process_ends(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let script = "head -c 40000000 /dev/zero; exit 5";
        let response = lab.cri.exec_sync(&id, &["/bin/sh", "-c", script], 60).await.unwrap();
        assert_eq!(response.exit_code, 5, "the process was not let to its end");
        assert!(response.stdout.len() > 15 << 20 && response.stdout.len() <= 16 << 20, "{}", response.stdout.len());
    });
}

fn a_child_that_keeps_the_pipe_open_does_not_hold_the_answer(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let output = lab.cri.exec_sync(&id, &["/bin/sh", "-c", "sleep 7777 & echo started"], 0).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.as_slice()), (0, &b"started\n"[..]));
    });
}

fn the_process_has_the_containers_user_directory_and_environment(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("as");
        let pod = lab.run_pod(&config).await;
        let mut container = pods::with_security(pods::sleeper("c", &image), |security| {
            security.run_as_user = Some(Int64Value { value: 1000 });
            security.run_as_group = Some(Int64Value { value: 2000 });
            security.supplemental_groups = vec![3000];
        });
        container.working_dir = "/www".into();
        container.envs = vec![KeyValue { key: "OWN".into(), value: "value".into() }];
        let id = lab.start(&pod, &config, &container).await;
        let seen = lab.cri.shell(&id, "id -u; id -g; id -G; pwd; echo $OWN; echo $FROM_IMAGE").await;
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3], lines[4], lines[5]), ("1000", "2000", "/www", "value", "yes"));
        assert!(lines[2].split(' ').any(|group| group == "3000"), "{seen}");
    });
}

fn a_program_that_is_not_there_is_an_error(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let refused = lab.cri.exec_sync(&id, &["/no/such/program"], 10).await;
        assert!(refused.as_ref().is_err_and(|status| status.message().contains("/no/such/program")), "{refused:?}");
        assert_refused(lab.cri.exec_sync(&id, &[], 10).await, Code::InvalidArgument, &["cmd"]);
        assert_refused(lab.cri.exec_sync(&id, &["true"], -1).await, Code::InvalidArgument, &["timeout"]);
    });
}

fn a_container_that_does_not_run_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("not");
        let pod = lab.run_pod(&config).await;
        let id = lab.cri.create(&pod, &config, &pods::script("c", &image, "exit 0")).await.unwrap();
        assert_refused(lab.cri.exec_sync(&id, &["true"], 10).await, Code::FailedPrecondition, &[&id]);
        lab.cri.start(&id).await.unwrap();
        lab.cri.wait_exited(&id).await;
        assert_refused(lab.cri.exec_sync(&id, &["true"], 10).await, Code::FailedPrecondition, &[&id]);
    });
}

fn many_at_once_do_not_mix(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let mut running = Vec::new();
        for number in 0..20 {
            let (cri, id) = (lab.cri.clone(), id.clone());
            running.push(tokio::spawn(async move {
                cri.exec(&id, &["/bin/sh", "-c", &format!("echo {number}; echo {number} >&2; exit {number}")]).await
            }));
        }
        for (number, output) in running.into_iter().enumerate() {
            let output = output.await.unwrap();
            let text = format!("{number}\n");
            assert_eq!((output.code as usize, &output.stdout, &output.stderr), (number, &text, &text));
        }
    });
}

fn an_exec_outlives_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let (cri, container) = (lab.cri.clone(), id.clone());
        let exec = tokio::spawn(async move { cri.exec_sync(&container, &["sleep", "5151"], 0).await });
        until("the exec to run", async || lab.cri.shell(&id, "ps -o args").await.contains("sleep 5151").then_some(()))
            .await;
        lab.cri.stop(&id, 0).await.unwrap();
        let ended = exec.await.unwrap();
        assert!(ended.is_err() || ended.is_ok_and(|response| response.exit_code == 137));
        assert!(!leaks::processes(&lab.paths).iter().any(|line| line.contains("sleep 5151")));
    });
}
