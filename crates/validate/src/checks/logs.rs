//! Container logs.

use std::{fs, path::Path};

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails, holds},
    log,
    make::Pod,
    time::now,
    verdict::{Checked, Stop},
};

checks! {
    "logs/format",
        "A log is lines of a time, the stream, F or P, and what was written; at log_directory/log_path", [], format;
    "logs/streams-in-order", "stdout and stderr are told apart, each in its order, nothing lost", [], in_order;
    "logs/long-lines-are-parts", "A line longer than the runtime keeps is logged as parts (P), the last one full (F)", [], parts;
    "logs/without-newline", "What is written without a newline at the end is logged", [], without_newline;
    "logs/reopen",
        "ReopenContainerLog: after it, log lines go to a new file at the log's path, and none is lost", [], reopen;
    "logs/reopen-needs-a-running-container",
        "ReopenContainerLog returns an error if the container is not running, and makes no file", [], reopen_exited;
    "logs/outlive-the-container", "Removing a container leaves its log to the kubelet", [], outlive;
    "logs/no-path-no-log", "ContainerConfig.log_path: if it is empty, nothing is logged", [], no_path;
}

fn path(pod: &Pod, name: &str) -> std::path::PathBuf {
    Path::new(&pod.config.log_directory).join(name)
}

async fn format(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let begun = now() / 1_000_000_000;
    let mut config = ctx.container("c", &["say", "one\\ntwo  spaces \\n\\n", "error\\n", "0"]);
    config.log_path = "directory/c_0.log".to_owned();
    fs::create_dir_all(path(&pod, "directory")).map_err(|error| Stop::node("make the log's directory", error))?;
    let (status, output) = ctx.run_to_end(&pod, &config).await?;
    equal("what was logged of stdout", output.stdout.as_str(), "one\ntwo  spaces \n\n")?;
    equal("what was logged of stderr", output.stderr.as_str(), "error\n")?;
    equal("ContainerStatus.log_path", Path::new(&status.log_path), path(&pod, "directory/c_0.log").as_path())?;
    let lines = log::read(Path::new(&status.log_path))?;
    equal("how many lines", lines.len(), 4)?;
    let ended = now() / 1_000_000_000;
    for line in lines {
        let time = log::seconds(&line.time).unwrap_or_default();
        let within = (begun..=ended.saturating_add(1)).contains(&time);
        holds("a line's time", within, format!("seconds between {begun} and {ended}"), &line.time)?;
    }
    Ok(())
}

async fn in_order(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let (_, output) = ctx.run_to_end(&pod, &ctx.container("c", &["lines", "2000", "60", "both"])).await?;
    for (stream, text, first) in [("stdout", &output.stdout, 1), ("stderr", &output.stderr, 2)] {
        let expected: String =
            (first..=2000).step_by(2).map(|number| format!("{:.<60}\n", format!("line {number} "))).collect();
        let same = *text == expected;
        holds(format!("the log of {stream}"), same, "1000 lines in order", text.lines().count())?;
    }
    Ok(())
}

async fn parts(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = ctx.container("c", &["repeat", "40000", "ab", "then", "say", "\\nnext\\n", "", "0"]);
    ctx.run_to_end(&pod, &config).await?;
    let lines = log::read(&path(&pod, &config.log_path))?;
    let (last, before) = lines.split_last().ok_or_else(|| Stop::failed("the log", "lines", "none"))?;
    equal("the line after", (last.text.as_str(), last.full), ("next", true))?;
    let (end, parts) = before.split_last().ok_or_else(|| Stop::failed("the log", "a long line", "none"))?;
    equal("the last part of a line is full", end.full, true)?;
    equal("the parts before it are not", parts.iter().any(|part| part.full), false)?;
    let text: String = before.iter().map(|part| part.text.as_str()).collect();
    equal("the line", text == "ab".repeat(40000), true)
}

async fn without_newline(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = ctx.container("c", &["say", "no newline", "nor here", "0"]);
    let (_, output) = ctx.run_to_end(&pod, &config).await?;
    equal("what was logged of stdout", output.stdout.trim_end(), "no newline")?;
    equal("what was logged of stderr", output.stderr.trim_end(), "nor here")
}

async fn reopened(ctx: &Ctx, id: &str) -> Result<(), crate::verdict::Refusal> {
    ctx.reopen_container_log(ReopenContainerLogRequest { container_id: id.to_owned() }).await.map(drop)
}

async fn reopen(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = ctx.container("c", &["ticks"]);
    let id = ctx.start(&pod, &config).await?;
    ctx.logged(&pod, &config, "tick 3").await?;
    let (log, rotated) = (path(&pod, "c.log"), path(&pod, "c.log.1"));
    fs::rename(&log, &rotated).map_err(|error| Stop::node("rename the log", error))?;
    reopened(&ctx, &id).await?;
    holds("the log after ReopenContainerLog", log.exists(), "a file", &log)?;
    ctx.until("a line in the new file", || async {
        Ok((!log::read(&log).unwrap_or_default().is_empty()).then_some(()))
    })
    .await?;
    ctx.stop(&id, 0).await?;
    let mut lines = log::read(&rotated)?;
    lines.extend(log::read(&log)?);
    let numbers: Vec<String> = lines.iter().map(|line| line.text.clone()).collect();
    let expected: Vec<String> = (1..=numbers.len()).map(|number| format!("tick {number}")).collect();
    equal("the lines of both files", numbers, expected)
}

async fn reopen_exited(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = ctx.container("c", &["exit", "0"]);
    let id = ctx.start(&pod, &config).await?;
    ctx.ended(&id).await?;
    let log = path(&pod, "c.log");
    let _ = fs::remove_file(&log);
    fails("ReopenContainerLog of an exited container", reopened(&ctx, &id).await)?;
    equal("whether there is a new file", log.exists(), false)?;
    fails("ReopenContainerLog of an unknown container", reopened(&ctx, &"0".repeat(64)).await)
}

async fn outlive(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = ctx.container("c", &["say", "kept\\n", "", "0"]);
    let id = ctx.start(&pod, &config).await?;
    ctx.ended(&id).await?;
    ctx.remove(&id).await?;
    ctx.stop_pod(&pod.id).await?;
    ctx.remove_pod(&pod.id).await?;
    let lines = log::read(&path(&pod, "c.log"))?;
    equal(
        "the log of a removed container",
        lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(),
        vec!["kept"],
    )
}

async fn no_path(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = ContainerConfig { log_path: String::new(), ..ctx.container("c", &["say", "unheard\\n", "", "7"]) };
    let id = ctx.start(&pod, &config).await?;
    equal("ContainerStatus.exit_code", ctx.ended(&id).await?.exit_code, 7)?;
    let files = fs::read_dir(&pod.config.log_directory).map(Iterator::count).unwrap_or_default();
    equal("files in the log directory", files, 0)
}
