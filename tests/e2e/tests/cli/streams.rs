//! `corten exec` and `corten attach` with pipes and files.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    process::{Output, Stdio},
};

use corten_e2e::{
    daemon::Setup,
    image,
    lab::{self, Lab},
    pods,
};

use super::{corten, fail, output, succeed};

/// What `corten` speaks to the streaming server.
const TRANSPORTS: [&str; 3] = ["auto", "websocket", "spdy"];

/// More than any buffer between us and a command holds.
const LARGE: usize = 8 << 20;

/// Runs a pod `demo` with a container; its id.
async fn demo(lab: &Lab, change: impl FnOnce(&str) -> corten_cri::v1::ContainerConfig) -> String {
    let image = lab.busybox().await;
    let config = lab.pod("demo");
    let pod = lab.run_pod(&config).await;
    lab.start(&pod, &config, &change(&image)).await
}

/// Runs `corten` with a file as standard input.
async fn output_of(lab: &Lab, words: &[&str], input: &[u8]) -> Output {
    let file = lab.paths.dir.join("input");
    fs::write(&file, input).unwrap();
    let mut command = corten(lab);
    command.args(words).stdin(File::open(file).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
}

/// Bytes without a pattern that a mistake could repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_command_has_its_streams_and_its_exit_code() {
    lab::test(Setup::default(), async |lab| {
        demo(lab, |image| pods::sleeper("idle", image)).await;
        for transport in TRANSPORTS {
            let exec = async |command: &[&str]| {
                output(lab, &[&["exec", "--transport", transport, "demo/idle"], command].concat()).await
            };
            let said = exec(&["sh", "-c", "echo out; echo err >&2; exit 9"]).await;
            assert_eq!(
                (said.status.code(), &said.stdout[..], &said.stderr[..]),
                (Some(9), &b"out\n"[..], &b"err\n"[..])
            );
            assert_eq!(exec(&["sh", "-c", "kill -9 $$"]).await.status.code(), Some(137));
            let said = exec(&["cat"]).await;
            assert_eq!((said.status.code(), said.stdout.len()), (Some(0), 0), "standard input is empty without -i");
            let said = exec(&["no-such-program"]).await;
            assert!(
                !said.status.success() && String::from_utf8_lossy(&said.stderr).contains("no-such-program"),
                "{said:?}"
            );
        }
        let said = output(lab, &["exec", "-t", "demo/idle", "sh", "-c", "tty; echo err >&2"]).await;
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(text.starts_with("/dev/pts/") && text.ends_with("\r\nerr\r\n") && said.stderr.is_empty(), "{said:?}");
        let said = output(lab, &["exec", "-s", "demo/idle", "sh", "-c", "echo out; exit 3"]).await;
        assert_eq!((said.status.code(), &said.stdout[..]), (Some(3), &b"out\n"[..]));
        assert!(
            fail(lab, &["exec", "-s", "--timeout", "1", "demo/idle", "sleep", "1000"]).await.contains("sleep 1000")
        );
        assert!(fail(lab, &["exec", "--timeout", "1", "demo/idle", "true"]).await.contains("--sync"));
    });
}

#[test]
fn everything_that_is_put_in_arrives_and_comes_back() {
    lab::test(Setup::default(), async |lab| {
        demo(lab, |image| pods::sleeper("idle", image)).await;
        let input = noise(LARGE);
        let digest = image::digest(&input);
        for transport in TRANSPORTS {
            let exec = ["exec", "-i", "--transport", transport, "demo/idle"];
            let said = output_of(lab, &[&exec[..], &["sha256sum"]].concat(), &input).await;
            let sum = String::from_utf8_lossy(&said.stdout);
            assert!(said.status.success() && sum.starts_with(&digest["sha256:".len()..]), "{transport}: {said:?}");
            let said = output_of(lab, &[&exec[..], &["cat"]].concat(), &input).await;
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            assert_eq!(image::digest(&said.stdout), digest, "{transport}: {} bytes came back", said.stdout.len());
            let said = output_of(lab, &[&exec[..], &["head", "-c", "3"]].concat(), &input).await;
            assert_eq!(said.stdout, input[..3], "a command that does not read everything");
        }
        let said = output_of(lab, &["exec", "-it", "demo/idle", "sh"], b"tty; exit 5\n").await;
        assert_eq!(said.status.code(), Some(5), "{said:?}");
        assert_eq!(said.stdout, b"not a tty\n");
        assert!(String::from_utf8_lossy(&said.stderr).contains("unable to use a terminal"), "{said:?}");
    });
}

#[test]
fn an_open_input_keeps_nobody_and_a_closed_output_ends() {
    lab::test(Setup::default(), async |lab| {
        demo(lab, |image| pods::sleeper("idle", image)).await;
        let mut child = corten(lab).args(["exec", "-i", "demo/idle", "true"]).stdin(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert!(status.success(), "{status}");
        drop(input);
        let mut child = corten(lab).args(["exec", "demo/idle", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
        let ended = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            (line, child.wait().unwrap())
        });
        let (line, status) = ended.await.unwrap();
        assert!(line == "y\n" && status.success(), "{line:?} {status}");
    });
}

#[test]
fn a_container_is_attached_to_until_it_ends() {
    lab::test(Setup::default(), async |lab| {
        let script = "while [ ! -e /tmp/go ]; do echo tick; sleep 0.1; done; echo out; echo err >&2; exit 3";
        let id = demo(lab, |image| pods::script("talks", image, script)).await;
        for attach in [&["attach", "demo/talks"][..], &["attach", "-i", "--no-stdin", "--transport=spdy", &id[..12]]] {
            let mut child = corten(lab).args(attach).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let first = tokio::task::spawn_blocking(move || {
                let mut line = String::new();
                stdout.read_line(&mut line).unwrap();
                assert_eq!(line, "tick\n");
                stdout
            });
            let mut stdout = first.await.unwrap();
            if attach.len() > 2 {
                succeed(lab, &["exec", "demo/talks", "touch", "/tmp/go"]).await;
            } else {
                child.kill().unwrap();
            }
            let rest = tokio::task::spawn_blocking(move || {
                let mut rest = String::new();
                stdout.read_to_string(&mut rest).unwrap();
                (rest, child.wait_with_output().unwrap())
            });
            let (rest, ended) = rest.await.unwrap();
            if attach.len() > 2 {
                assert!(rest.ends_with("out\n"), "{rest}");
                assert_eq!((ended.status.code(), &ended.stderr[..]), (Some(3), &b"err\n"[..]));
            }
        }
        assert!(fail(lab, &["attach", "demo/talks"]).await.contains("no running container"));
    });
}

#[test]
fn what_is_put_into_a_container_arrives_and_its_end_does() {
    lab::test(Setup::default(), async |lab| {
        let input = noise(LARGE);
        let digest = image::digest(&input);
        let image = lab.busybox().await;
        for transport in TRANSPORTS {
            let config = lab.pod(transport);
            let pod = lab.run_pod(&config).await;
            let mut reader = pods::script("reader", &image, "sha256sum; exit 5");
            (reader.stdin, reader.stdin_once) = (true, true);
            lab.start(&pod, &config, &reader).await;
            let container = format!("{transport}/reader");
            let said = output_of(lab, &["attach", "-i", "--transport", transport, &container], &input).await;
            assert_eq!(said.status.code(), Some(5), "{transport}: {said:?}");
            assert!(
                String::from_utf8_lossy(&said.stdout).starts_with(&digest["sha256:".len()..]),
                "{transport}: {said:?}"
            );
        }
    });
}

#[test]
fn lines_are_answered_one_by_one() {
    lab::test(Setup::default(), async |lab| {
        demo(lab, |image| pods::sleeper("idle", image)).await;
        let script = "while read line; do echo got $line; done; echo end";
        let mut command = corten(lab);
        command.args(["exec", "-i", "demo/idle", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let talk = tokio::task::spawn_blocking(move || {
            let mut input = child.stdin.take().unwrap();
            let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
            for word in ["a", "b", "c"] {
                writeln!(input, "{word}").unwrap();
                assert_eq!(answers.next().unwrap().unwrap(), format!("got {word}"));
            }
            drop(input);
            assert_eq!(answers.next().unwrap().unwrap(), "end");
            assert!(child.wait().unwrap().success());
        });
        talk.await.unwrap();
    });
}

#[test]
fn a_streaming_server_with_tls_is_trusted_by_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let extra = format!("[streaming]\ntls_cert = {certificate:?}\ntls_key = {key:?}\n");
    lab::test(Setup { extra, ..Setup::default() }, async move |lab| {
        demo(lab, |image| pods::sleeper("idle", image)).await;
        let ca = certificate.display().to_string();
        for transport in TRANSPORTS {
            let exec = ["exec", "-i", "--transport", transport, "--tls-ca", &ca, "demo/idle", "cat"];
            assert_eq!(output_of(lab, &exec, b"hello").await.stdout, b"hello");
        }
        let error = fail(lab, &["exec", "demo/idle", "true"]).await;
        assert!(error.contains("TLS with the streaming server 127.0.0.1:") && error.contains("--tls-ca"), "{error}");
        let error = fail(lab, &["exec", "--tls-ca", "/no/such.pem", "demo/idle", "true"]).await;
        assert!(error.contains("/no/such.pem"), "{error}");
        drop(directory);
    });
}
