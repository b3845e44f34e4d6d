//! ExecSync.

use std::time::{Duration, Instant};

use corten_cri::v1::*;
use tonic::Code;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails, holds, refused},
    make::{Output, security},
    verdict::Checked,
};

checks! {
    "exec/output-and-exit-code", "ExecSyncResponse: stdout, stderr and exit code of the command", [], output;
    "exec/any-bytes", "ExecSyncResponse.stdout and stderr are bytes, of any length", [], bytes;
    "exec/in-the-container", "ExecSync runs the command in the container: its root, environment, user, directory", [], inside;
    "exec/timeout",
        "ExecSyncRequest.timeout: after so many seconds the command is killed and the call fails with DeadlineExceeded",
        [], timeout;
    "exec/needs-a-running-container", "ExecSync returns an error if the container does not run", [], not_running;
    "exec/unknown-command", "ExecSync returns an error if the command cannot be executed", [], unknown_command;
    "exec/leaves-the-container-alone", "ExecSync: the container goes on as it was, whatever the command's end", [], alone;
}

async fn output(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let cases = [
        (["say", "out\\n", "err\\n", "0"], ("out\n", "err\n", 0)),
        (["say", "", "only err", "1"], ("", "only err", 1)),
        (["say", "only out", "", "255"], ("only out", "", 255)),
        (["say", "", "", "77"], ("", "", 77)),
    ];
    for (words, (stdout, stderr, code)) in cases {
        let expected = Output { code, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
        equal(format!("ExecSync of {words:?}"), ctx.exec_in(&id, &words).await?, expected)?;
    }
    Ok(())
}

async fn bytes(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let response = ctx.try_exec(&id, &["repeat", "100000", "0123456789"], 30).await?;
    equal("ExecSyncResponse.exit_code", response.exit_code, 0)?;
    let whole = response.stdout == "0123456789".repeat(100_000).into_bytes();
    holds("ExecSyncResponse.stdout", whole, "a million bytes as they were written", response.stdout.len())?;
    let response = ctx.try_exec(&id, &["env"], 30).await?;
    holds("ExecSyncResponse.stdout", response.stdout.contains(&0), "zero bytes as they were written", &response.stdout)
}

async fn inside(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["sleep"]);
    config.working_dir = "/data".to_owned();
    config.envs = vec![KeyValue { key: "OWN".to_owned(), value: b"yes".to_vec() }];
    security(&mut config).run_as_user = Some(Int64Value { value: 1000 });
    let id = ctx.start(&pod, &config).await?;
    equal("the directory", ctx.said(&id, &["cwd"]).await?.as_str(), "/data\n")?;
    equal("a variable", ctx.said(&id, &["variable", "OWN"]).await?.as_str(), "yes\n")?;
    let ids = ctx.said(&id, &["id"]).await?;
    equal("the user", ids.split(' ').next(), Some("1000"))?;
    equal("the root", ctx.said(&id, &["cat", "a.txt"]).await?.as_str(), "a\n")?;
    let processes = ctx.said(&id, &["processes"]).await?;
    holds("the processes that are seen", processes.starts_with("1 "), "the container's first", &processes)
}

async fn timeout(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let begun = Instant::now();
    let answer = ctx.try_exec(&id, &["sleep", "60"], 1).await;
    let took = begun.elapsed();
    refused("ExecSync of a command that takes too long", answer, &[Code::DeadlineExceeded])?;
    let in_time = took >= Duration::from_millis(900) && took < Duration::from_secs(20);
    holds("ExecSync with a timeout of 1 second", in_time, "about a second", took)?;
    let gone = ctx.until("the command is killed", || async {
        let processes = ctx.said(&id, &["processes"]).await?;
        Ok((!processes.contains("sleep 60")).then_some(()))
    });
    gone.await?;
    equal("a command within its time", ctx.try_exec(&id, &["exit", "3"], 10).await?.exit_code, 3)
}

async fn not_running(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let created = ctx.create(&pod, &ctx.container("created", &["sleep"])).await?;
    fails("ExecSync in a container that was not started", ctx.try_exec(&created, &["exit", "0"], 5).await)?;
    let exited = ctx.start(&pod, &ctx.container("exited", &["exit", "0"])).await?;
    ctx.ended(&exited).await?;
    fails("ExecSync in a container that has exited", ctx.try_exec(&exited, &["exit", "0"], 5).await)?;
    let unknown = ctx.try_exec(&"0".repeat(64), &["exit", "0"], 5).await;
    refused("ExecSync in an unknown container", unknown, &[Code::NotFound])
}

async fn unknown_command(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let run = |cmd: Vec<String>| ctx.exec_sync(ExecSyncRequest { container_id: id.clone(), cmd, timeout: 10 });
    // Runtimes differ: an error, or the exit code a shell has for it.
    if let Ok(response) = run(vec!["/no/such/program".to_owned()]).await {
        holds("ExecSyncResponse.exit_code", matches!(response.exit_code, 126 | 127), "126 or 127", &response)?;
    }
    if let Ok(response) = run(Vec::new()).await {
        holds("ExecSync without a command", response.exit_code != 0, "an error", &response)?;
    }
    Ok(())
}

async fn alone(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let before = ctx.status_of(&id).await?;
    ctx.exec_in(&id, &["abort"]).await?;
    ctx.exec_in(&id, &["exit", "9"]).await?;
    equal("ContainerStatus after commands", ctx.status_of(&id).await?, before)
}
