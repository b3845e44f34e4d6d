//! `corten port-forward`

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, ChildStderr, ChildStdout, Stdio},
    thread,
};

use corten_e2e::{
    cri::until,
    daemon::Setup,
    lab::{self, Lab},
    pods,
};
use rustix::process::{Pid, Signal, kill_process};

use super::{corten, fail, output};

/// `corten port-forward` and what it says.
struct Forwarding {
    program: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Forwarding {
    fn start(lab: &Lab, words: &[&str]) -> Self {
        let mut command = corten(lab);
        command.arg("port-forward").args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let stdout = BufReader::new(program.stdout.take().unwrap());
        let stderr = BufReader::new(program.stderr.take().unwrap());
        Self { program, stdout, stderr }
    }

    /// Its next line, from a thread of its own.
    async fn line(mut self) -> (Self, String) {
        let read = move || {
            let mut line = String::new();
            self.stdout.read_line(&mut line).unwrap();
            (self, line)
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// The local port that it has chosen for one of the pod's, at 127.0.0.1 and ::1.
    async fn port(self, remote: u16) -> (Self, u16) {
        let (this, line) = self.line().await;
        let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split_once(' ')).unwrap().0;
        assert_eq!(line, format!("Forwarding from 127.0.0.1:{local} -> {remote}\n"));
        let (this, other) = this.line().await;
        assert_eq!(other, format!("Forwarding from [::1]:{local} -> {remote}\n"));
        (this, local.parse().unwrap())
    }

    /// Waits for its end; its exit code and what else it wrote.
    async fn end(mut self) -> (Option<i32>, String, String) {
        let wait = move || {
            let (mut stdout, mut stderr) = (String::new(), String::new());
            self.stdout.read_to_string(&mut stdout).unwrap();
            self.stderr.read_to_string(&mut stderr).unwrap();
            (self.program.wait().unwrap().code(), stdout, stderr)
        };
        tokio::task::spawn_blocking(wait).await.unwrap()
    }

    async fn interrupt(self) -> (Option<i32>, String, String) {
        kill_process(Pid::from_child(&self.program), Signal::INT).unwrap();
        self.end().await
    }
}

/// Runs a pod `demo` that echoes on port 7, after what is sent has ended too, and serves a web page on 8080.
async fn demo(lab: &Lab) {
    let image = lab.busybox().await;
    let config = lab.pod("demo");
    let pod = lab.run_pod(&config).await;
    let script = "nc -ll -p 7 -e cat & exec httpd -f -p 8080 -h /www";
    lab.start(&pod, &config, &pods::script("serves", &image, script)).await;
    until("the servers", async || {
        let ask = "wget -q -O - http://127.0.0.1:8080/ && echo x | nc -w 5 127.0.0.1 7";
        output(lab, &["exec", "demo/serves", "sh", "-c", ask]).await.status.success().then_some(())
    })
    .await;
}

/// Sends something, ends that, and reads to the end.
fn exchange(address: (&str, u16), sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut sending = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            sending.write_all(sent).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    })
}

#[test]
fn many_connections_are_forwarded_at_once() {
    lab::test(Setup::default(), async |lab| {
        demo(lab).await;
        for transport in ["auto", "spdy"] {
            let forwarding = Forwarding::start(lab, &["demo", "--transport", transport, ":7", ":8080"]);
            let (forwarding, echo) = forwarding.port(7).await;
            let (forwarding, web) = forwarding.port(8080).await;
            let exchanges = move || {
                let connections: Vec<_> = (0..8)
                    .map(|number: u8| {
                        let sent = vec![number; 1_000_000 + usize::from(number)];
                        thread::spawn(move || assert!(exchange(("127.0.0.1", echo), &sent) == sent))
                    })
                    .collect();
                for address in ["127.0.0.1", "::1"] {
                    let page = exchange((address, web), b"GET / HTTP/1.0\r\n\r\n");
                    assert!(page.ends_with(b"served by Corten\n"));
                }
                connections.into_iter().for_each(|connection| connection.join().unwrap());
            };
            let exchanged = tokio::task::spawn_blocking(exchanges).await;
            let (code, said, errors) = forwarding.interrupt().await;
            assert_eq!((code, errors.as_str()), (Some(0), ""));
            exchanged.unwrap();
            assert_eq!(said.lines().filter(|line| *line == format!("Handling connection for {echo}")).count(), 8);
        }
    });
}

#[test]
fn a_port_that_nobody_listens_on_ends_one_connection_only() {
    lab::test(Setup::default(), async |lab| {
        demo(lab).await;
        let forwarding = Forwarding::start(lab, &["demo", ":9", ":7"]);
        let (forwarding, nobody) = forwarding.port(9).await;
        let (forwarding, echo) = forwarding.port(7).await;
        let exchanges = move || {
            let mut refused = TcpStream::connect(("127.0.0.1", nobody)).unwrap();
            // Closed, or reset because something was sent.
            assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)));
            assert_eq!(exchange(("127.0.0.1", echo), b"still here"), b"still here");
        };
        tokio::task::spawn_blocking(exchanges).await.unwrap();
        let (code, _, errors) = forwarding.interrupt().await;
        assert_eq!(code, Some(0));
        assert!(errors.starts_with(&format!("corten: forward {nobody} -> 9: ")), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    });
}

#[test]
fn what_cannot_be_forwarded_is_said() {
    lab::test(Setup::default(), async |lab| {
        demo(lab).await;
        assert!(fail(lab, &["port-forward", "nobody", "80"]).await.contains("there is no pod of that name"));
        assert!(fail(lab, &["port-forward", "demo", "80:0"]).await.contains("80:0"));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = fail(lab, &["port-forward", "--address", "127.0.0.1", "demo", &format!("{port}:7")]).await;
        assert!(error.contains(&format!("listen on 127.0.0.1:{port}: Address already in use")), "{error}");
        let (forwarding, _) = Forwarding::start(lab, &["demo", ":7"]).port(7).await;
        lab.crash_and_restart().await;
        let (code, _, errors) = forwarding.end().await;
        assert_eq!(code, Some(1));
        assert!(errors.contains("the streaming connection was lost"), "{errors}");
    });
}
