//! Exec, Attach and PortForward: the URL, and what is behind it.

use corten_cri::v1::*;
use corten_streaming::{
    client::{self, Error, RemoteCommand, Transport},
    remote_command::{Outcome, Wanted},
    stream::{Gone, Incoming},
};
use http::Uri;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails, holds, present},
    make::{self, command},
    verdict::{Checked, Stop},
};

checks! {
    "streaming/exec", "ExecResponse.url: a streaming server where the command's output and exit code are had", [], exec;
    "streaming/exec-input", "ExecRequest.stdin: what the client sends is the command's standard input, with its end", [], input;
    "streaming/exec-terminal", "ExecRequest.tty: the command has a terminal", [], terminal;
    "streaming/attach", "AttachResponse.url: a streaming server where the container's own output is had", [], attach;
    "streaming/port-forward",
        "PortForwardResponse.url: a streaming server that connects to ports of the sandbox", [], port_forward;
    "streaming/urls-are-checked",
        "Exec, Attach and PortForward return an error for what is not there or does not run", [], checked;
    "streaming/a-url-is-good-once", "A URL is good for one session", [], once;
}

const OUTPUT: Wanted = Wanted { stdin: false, stdout: true, stderr: true, tty: false };

async fn url(ctx: &Ctx, id: &str, words: &[&str], wanted: Wanted) -> Result<String, crate::verdict::Refusal> {
    let Wanted { stdin, stdout, stderr, tty } = wanted;
    let request = ExecRequest { container_id: id.to_owned(), cmd: command(words), tty, stdin, stdout, stderr };
    Ok(ctx.exec(request).await?.url)
}

fn parse(url: &str) -> Checked<Uri> {
    let uri: Result<Uri, _> = url.parse();
    let uri = uri.map_err(|_| Stop::failed("a streaming URL", "a URL", url))?;
    holds("a streaming URL", uri.authority().is_some(), "scheme, host and path", url)?;
    if uri.scheme_str() == Some("https") {
        return Err(Stop::NotSupported(
            "the streaming server speaks TLS, whose authority is not known here".to_owned(),
        ));
    }
    equal("the scheme of a streaming URL", uri.scheme_str(), Some("http"))?;
    Ok(uri)
}

async fn dial(uri: &Uri) -> Checked<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let connected = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await;
    connected.map_err(|error| Stop::failed(format!("the streaming server {uri}"), "a connection", error))
}

/// A session: over SPDY, which every runtime speaks.
async fn session(url: &str, wanted: Wanted) -> Checked<RemoteCommand> {
    let uri = parse(url)?;
    let session = client::remote_command(dial(&uri).await?, &uri, Transport::Spdy, wanted).await;
    session.map_err(|error| Stop::failed(format!("the streaming server {url}"), "a session", error))
}

async fn everything(stream: Option<Incoming>) -> Result<Vec<u8>, Gone> {
    let mut all = Vec::new();
    if let Some(mut stream) = stream {
        while let Some(bytes) = stream.next().await? {
            all.extend_from_slice(&bytes);
        }
    }
    Ok(all)
}

/// What a session says to its end on stdout and stderr, and how it ends.
async fn to_end(ctx: &Ctx, session: RemoteCommand) -> Checked<(String, String, Outcome)> {
    let RemoteCommand { stdin, stdout, stderr, resize, outcome } = session;
    let all = async { tokio::join!(everything(stdout), everything(stderr), outcome.wait()) };
    let (stdout, stderr, outcome) = timeout(ctx.patience(), all)
        .await
        .map_err(|_| Stop::failed("a session of a command that ends", "an end", "none"))?;
    drop((stdin, resize));
    let lost = |_| Stop::failed("a session", "its end", "the connection is lost");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((text(stdout.map_err(lost)?), text(stderr.map_err(lost)?), outcome.map_err(lost)?))
}

async fn exec(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    for (code, expected) in [("0", 0), ("3", 3)] {
        let url = url(&ctx, &id, &["say", "out\\n", "err\\n", code], OUTPUT).await?;
        let said = to_end(&ctx, session(&url, OUTPUT).await?).await?;
        equal("an exec session", said, ("out\n".to_owned(), "err\n".to_owned(), Outcome::Exited(expected)))?;
    }
    Ok(())
}

async fn input(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let wanted = Wanted { stdin: true, ..OUTPUT };
    let mut session = session(&url(&ctx, &id, &["stdin"], wanted).await?, wanted).await?;
    let stdin = present("the session's standard input", session.stdin.take())?;
    let sent = async {
        stdin.send("one\ntwo".into()).await?;
        stdin.finish().await
    };
    sent.await.map_err(|_: Gone| Stop::failed("a session", "its input is taken", "the connection is lost"))?;
    let said = to_end(&ctx, session).await?;
    equal("what came back", said, ("one\ntwo".to_owned(), String::new(), Outcome::Exited(0)))
}

async fn terminal(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: true };
    let session = session(&url(&ctx, &id, &["tty"], wanted).await?, wanted).await?;
    let (said, _, outcome) = to_end(&ctx, session).await?;
    equal("whether there is a terminal", (said.trim_end(), outcome), ("tty", Outcome::Exited(0)))
}

async fn attach(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start(&pod, &ctx.container("c", &["ticks"])).await?;
    let wanted = Wanted { stderr: false, ..OUTPUT };
    let request = AttachRequest { container_id: id.clone(), stdin: false, tty: false, stdout: true, stderr: false };
    let mut session = session(&ctx.attach(request).await?.url, wanted).await?;
    let mut stdout = present("the session's standard output", session.stdout.take())?;
    let mut said = String::new();
    let reading = async {
        while said.matches("tick ").count() < 3 {
            match stdout.next().await {
                Ok(Some(bytes)) => said.push_str(&String::from_utf8_lossy(&bytes)),
                _ => return false,
            }
        }
        true
    };
    let heard = timeout(ctx.patience(), reading).await;
    equal(format!("whether the container's output is attached: {said:?}"), heard, Ok(true))
}

async fn port_forward(ctx: Ctx) -> Checked {
    const PORT: u16 = 8080;
    let pod = ctx.run_pod(ctx.networked_pod("pod")?).await?;
    let config = make::as_in(&pod, ctx.container("c", &["serve", "8080"]));
    ctx.start(&pod, &config).await?;
    ctx.logged(&pod, &config, "ready").await?;
    let request = PortForwardRequest { pod_sandbox_id: pod.id.clone(), port: vec![i32::from(PORT)] };
    let uri = parse(&ctx.port_forward(request).await?.url)?;
    let failed = |error: Error| Stop::failed("the streaming server", "a port-forward session", error);
    let session = client::port_forward(dial(&uri).await?, &uri, Transport::Spdy).await.map_err(failed)?;
    let lost = |_: Gone| Stop::failed("a port-forward session", "it goes on", "the connection is lost");
    let mut forwarded = session.open(PORT).await.map_err(lost)?;
    forwarded.send.send("there and back".into()).await.map_err(lost)?;
    let mut said = Vec::new();
    let reading = async {
        while said.len() < "there and back".len() {
            match forwarded.receive.next().await {
                Ok(Some(bytes)) => said.extend_from_slice(&bytes),
                _ => return,
            }
        }
    };
    // What has come by then is compared.
    let _ = timeout(ctx.patience(), reading).await;
    equal("what a port of the sandbox sends back", String::from_utf8_lossy(&said).as_ref(), "there and back")
}

async fn checked(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let exited = ctx.start(&pod, &ctx.container("exited", &["exit", "0"])).await?;
    ctx.ended(&exited).await?;
    let unknown = "0".repeat(64);
    for (what, id) in [("an exited", &exited), ("an unknown", &unknown)] {
        fails(format!("Exec in {what} container"), url(&ctx, id, &["exit", "0"], OUTPUT).await)?;
        let request = AttachRequest { container_id: id.clone(), stdin: false, tty: false, stdout: true, stderr: true };
        fails(format!("Attach to {what} container"), ctx.attach(request).await)?;
    }
    let request = PortForwardRequest { pod_sandbox_id: unknown, port: vec![80] };
    fails("PortForward to an unknown sandbox", ctx.port_forward(request).await)?;
    ctx.stop_pod(&pod.id).await?;
    let request = PortForwardRequest { pod_sandbox_id: pod.id, port: vec![80] };
    fails("PortForward to a stopped sandbox", ctx.port_forward(request).await)
}

async fn once(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let words = ["say", "once", "", "0"];
    let (first, second) = (url(&ctx, &id, &words, OUTPUT).await?, url(&ctx, &id, &words, OUTPUT).await?);
    holds("two URLs", first != second, "different ones", (&first, &second))?;
    for url in [&first, &second] {
        equal("what a session says", to_end(&ctx, session(url, OUTPUT).await?).await?.0.as_str(), "once")?;
    }
    let again = session(&first, OUTPUT).await;
    holds("a second session at one URL", again.is_err(), "a refusal", again.is_ok())
}
