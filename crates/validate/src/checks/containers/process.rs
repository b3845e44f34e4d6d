//! What a container's process is given: words, environment, directory, terminal.

use corten_cri::v1::*;
use tonic::Code;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds},
    image::{PROGRAM, names},
    make::{self, command},
    verdict::Checked,
};

checks! {
    "containers/command-and-args",
        "ContainerConfig.command and args replace the image's entrypoint and command", [], command_and_args;
    "containers/environment",
        "ContainerConfig.envs are set beside the image's, and replace those of the same name", [], environment;
    "containers/environment-that-is-no-text",
        "KeyValue.value may be any bytes: the process gets these, or the request is refused, and nothing in between",
        ["KeyValue.value as bytes"], environment_bytes;
    "containers/working-directory",
        "ContainerConfig.working_dir is the process's current directory; else it is the image's", [], working_directory;
    "containers/terminal", "ContainerConfig.tty: the process has a terminal as its standard streams", [], terminal;
    "containers/stdin-is-empty", "ContainerConfig.stdin: without it, reads of standard input end at once", [], no_stdin;
}

async fn command_and_args(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let image = ctx.image(names::COMMAND);
    ctx.pull(&image).await?;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let cases = [
        // The image's are `PROGRAM args e1` and `c1 c2`.
        ("neither", vec![], vec![], "e1\nc1\nc2\n"),
        ("args", vec![], words(&["x", "two words"]), "e1\nx\ntwo words\n"),
        ("command", command(&["args", "y"]), vec![], "y\n"),
        ("both", words(&[PROGRAM]), words(&["args", "", "$HOME", "z"]), "\n$HOME\nz\n"),
    ];
    for (name, command, args, expected) in cases {
        let image = Some(make::spec(&image));
        let config = ContainerConfig { image, command, args, ..ctx.container(name, &[]) };
        let (status, output) = ctx.run_to_end(&pod, &config).await?;
        equal(format!("the words of a process with {name}"), output.stdout.as_str(), expected)?;
        equal("ContainerStatus.exit_code", status.exit_code, 0)?;
    }
    Ok(())
}

fn variable(key: &str, value: &[u8]) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_vec() }
}

async fn environment(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["env"]);
    config.envs = vec![
        variable("OWN", b"a=b c"),
        variable("EMPTY", b""),
        variable("FROM_IMAGE", b"replaced"),
        variable("LINES", "one\ntwo \u{e4}".as_bytes()),
    ];
    let (_, output) = ctx.run_to_end(&pod, &config).await?;
    let all: Vec<&str> = output.stdout.split('\0').collect();
    for expected in ["OWN=a=b c", "EMPTY=", "FROM_IMAGE=replaced", "LINES=one\ntwo \u{e4}", "PATH=/"] {
        holds("the environment", all.contains(&expected), format!("{expected:?}"), &all)?;
    }
    let once = all.iter().filter(|one| one.starts_with("FROM_IMAGE=")).count();
    equal("how often a replaced variable is set", once, 1)?;

    let (_, output) = ctx.run_to_end(&pod, &ctx.container("image", &["variable", "FROM_IMAGE"])).await?;
    equal("the image's variable", output.stdout.as_str(), "yes\n")
}

async fn environment_bytes(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["sleep"]);
    config.envs = vec![variable("BYTES", b"\xff\xfe\x80")];
    let id = match ctx.try_create(&pod, &config).await {
        // A low-level runtime that takes its configuration as JSON cannot be told.
        Err(refusal) => return equal("CreateContainer with such a variable", refusal.code(), Code::InvalidArgument),
        Ok(id) => id,
    };
    ctx.start_id(&id).await?;
    let output = ctx.try_exec(&id, &["variable", "BYTES"], 10).await?;
    equal("a variable that is no text", output.stdout, b"\xff\xfe\x80\n".to_vec())
}

async fn working_directory(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for (name, asked, expected) in
        [("image", "", "/work\n"), ("own", "/data/sub", "/data/sub\n"), ("new", "/made", "/made\n")]
    {
        let config = ContainerConfig { working_dir: asked.to_owned(), ..ctx.container(name, &["cwd"]) };
        let (_, output) = ctx.run_to_end(&pod, &config).await?;
        equal(format!("the working directory with {asked:?}"), output.stdout.as_str(), expected)?;
    }
    Ok(())
}

async fn terminal(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for (name, tty, expected) in [("with", true, "tty"), ("without", false, "no tty")] {
        let config = ContainerConfig { tty, ..ctx.container(name, &["tty"]) };
        let (_, output) = ctx.run_to_end(&pod, &config).await?;
        // A terminal makes a carriage return and a newline of a newline.
        equal(format!("standard input {name} a terminal"), output.stdout.trim_end(), expected)?;
    }
    Ok(())
}

async fn no_stdin(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let (status, output) = ctx.run_to_end(&pod, &ctx.container("c", &["stdin", "then", "say", "end", "", "0"])).await?;
    equal("what is read", output.stdout.as_str(), "end")?;
    equal("ContainerStatus.exit_code", status.exit_code, 0)
}
