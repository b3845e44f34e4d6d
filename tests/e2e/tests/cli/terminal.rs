//! `corten exec` and `corten attach` for somebody at a terminal.

use std::{
    fs::File,
    io::Write,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use corten_e2e::{
    cri::PATIENCE,
    daemon::Setup,
    image,
    lab::{self, Lab},
    pods, programs,
    static_server::StaticServer,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::corten;

/// A terminal of 101 columns and 33 rows with `corten` in it.
struct Terminal {
    master: File,
    /// Kept open, so that the terminal outlives the program.
    slave: File,
    program: Child,
    shown: Vec<u8>,
    before: String,
}

impl Terminal {
    fn start(lab: &Lab, words: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        resize(&master, 101, 33);
        let plain = corten(lab);
        let end = || slave.try_clone().unwrap();
        // The program's controlling terminal, so that it hears of a new size.
        let mut command = Command::new(programs::installed("setsid", "util-linux"));
        command.arg("--ctty").arg(plain.get_program()).args(words);
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let program = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let before = format!("{:?}", tcgetattr(&slave).unwrap());
        Self { master: master.into(), slave, program, shown: Vec::new(), before }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the terminal shows this, after what was waited for before.
    fn wait_for(&mut self, what: &str) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let found = self.shown.windows(what.len()).position(|window| window == what.as_bytes());
            if let Some(position) = found {
                self.shown.drain(..position + what.len());
                return;
            }
            let shown = String::from_utf8_lossy(&self.shown);
            assert!(Instant::now() < patience, "waited in vain for {what:?} after {shown:?}");
            self.read(Duration::from_millis(100));
        }
    }

    /// Takes what is there or comes soon. `false`: nothing.
    fn read(&mut self, patience: Duration) -> bool {
        let patience = Timespec::try_from(patience).unwrap();
        if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&patience)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let length = rustix::io::read(&self.master, &mut buffer).unwrap();
        self.shown.extend_from_slice(&buffer[..length]);
        true
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave)
            .unwrap()
            .local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.program), signal).unwrap();
    }

    /// Waits until the program has ended, and asserts that the terminal is as it was. What was shown last comes back.
    fn end(mut self) -> (ExitStatus, String) {
        let patience = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.program.try_wait().unwrap() {
                break status;
            }
            self.read(Duration::from_millis(20));
            if Instant::now() > patience {
                let _ = self.program.kill();
                let shown = String::from_utf8_lossy(&self.shown);
                panic!("the program does not end; after {shown:?}");
            }
        };
        while self.read(Duration::ZERO) {}
        assert_eq!(format!("{:?}", tcgetattr(&self.slave).unwrap()), self.before, "the terminal is not as it was");
        (status, String::from_utf8_lossy(&self.shown).into_owned())
    }

    fn ends_with(self, code: i32) {
        let (status, shown) = self.end();
        assert_eq!(status.code(), Some(code), "after {shown:?}");
    }
}

fn resize(master: &OwnedFd, width: u16, height: u16) {
    tcsetwinsize(master, Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// Does something at a terminal on a thread of its own, so that what the test itself serves goes on.
async fn at_terminal(lab: &Lab, words: &[&str], act: impl FnOnce(Terminal) + Send + 'static) {
    let terminal = Terminal::start(lab, words);
    tokio::task::spawn_blocking(move || act(terminal)).await.unwrap();
}

/// A pod with one container that does nothing; its id.
async fn idle(lab: &Lab) -> String {
    let image = lab.busybox().await;
    let config = lab.pod("demo");
    let pod = lab.run_pod(&config).await;
    lab.start(&pod, &config, &pods::sleeper("idle", &image)).await
}

#[test]
fn a_shell_has_the_terminals_size_and_keys() {
    lab::test(Setup::default(), async |lab| {
        idle(lab).await;
        for transport in ["websocket", "spdy"] {
            let words = ["exec", "-it", "--transport", transport, "demo/idle", "sh"];
            at_terminal(lab, &words, |mut terminal| {
                terminal.wait_for("# ");
                assert!(terminal.is_raw());
                terminal.press("stty size\n");
                terminal.wait_for("33 101\r\n");
                resize(&terminal.master.try_clone().unwrap().into(), 50, 20);
                terminal.press("while [ \"$(stty size)\" != '20 50' ]; do sleep 0.1; done; echo resi''zed\n");
                terminal.wait_for("resized\r\n");
                // What says "ready" is in the foreground already: sent any earlier, ^C would reach the shell, which waits on.
                terminal.press("sh -c \"echo rea''dy; exec sleep 1000\"\n");
                terminal.wait_for("ready\r\n");
                terminal.press("\x03");
                terminal.wait_for("# ");
                terminal.press("exit 7\n");
                terminal.ends_with(7);
            })
            .await;
        }
    });
}

#[test]
fn the_detach_keys_end_the_session() {
    lab::test(Setup::default(), async |lab| {
        idle(lab).await;
        let detached = |(status, shown): (ExitStatus, String)| {
            assert!(status.success() && shown.ends_with("corten: detached\r\n"), "{status}: {shown:?}");
        };
        at_terminal(lab, &["exec", "-it", "demo/idle", "sh"], move |mut terminal| {
            terminal.wait_for("# ");
            terminal.press("\x10");
            terminal.press("\x11");
            detached(terminal.end());
        })
        .await;
        at_terminal(lab, &["exec", "-it", "--detach-keys", "x,ctrl-x", "demo/idle", "sh"], move |mut terminal| {
            terminal.wait_for("# ");
            terminal.press("echo xy\n");
            terminal.wait_for("xy\r\nxy\r\n");
            terminal.press("x\x18");
            detached(terminal.end());
        })
        .await;
        let show = "stty raw -echo; echo ready; dd bs=1 count=2 2>/dev/null | od -t x1";
        at_terminal(lab, &["exec", "-it", "--detach-keys=", "demo/idle", "sh", "-c", show], |mut terminal| {
            terminal.wait_for("ready");
            terminal.press("\x10\x11");
            terminal.wait_for("10 11");
            terminal.ends_with(0);
        })
        .await;
    });
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    lab::test(Setup::default(), async |lab| {
        idle(lab).await;
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            at_terminal(lab, &["exec", "-it", "demo/idle", "sh"], move |mut terminal| {
                terminal.wait_for("# ");
                assert!(terminal.is_raw());
                terminal.signal(signal);
                terminal.ends_with(128 + signal.as_raw());
            })
            .await;
        }
    });
}

#[test]
fn a_daemon_that_goes_leaves_the_terminal_as_it_was() {
    lab::test(Setup::default(), async |lab| {
        idle(lab).await;
        let mut terminal = Terminal::start(lab, &["exec", "-it", "demo/idle", "sh"]);
        let mut terminal = tokio::task::spawn_blocking(move || {
            terminal.wait_for("# ");
            terminal
        })
        .await
        .unwrap();
        lab.crash_and_restart().await;
        terminal.wait_for("the streaming connection was lost");
        terminal.ends_with(1);
    });
}

#[test]
fn a_containers_terminal_is_attached_to_again_and_again() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("demo");
        let pod = lab.run_pod(&config).await;
        let mut shell = pods::container("shell", &image, &["sh"]);
        (shell.stdin, shell.tty) = (true, true);
        lab.start(&pod, &config, &shell).await;
        for transport in ["websocket", "spdy"] {
            at_terminal(lab, &["attach", "-i", "--transport", transport, "demo/shell"], |mut terminal| {
                terminal.press("echo rea''dy\n");
                terminal.wait_for("ready\r\n");
                assert!(terminal.is_raw(), "that it has a terminal is not on the command line");
                terminal.press("while [ \"$(stty size)\" != '33 101' ]; do sleep 0.1; done; echo si''zed\n");
                terminal.wait_for("sized\r\n");
                terminal.press("\x10\x11");
                assert!(terminal.end().0.success());
            })
            .await;
        }
        at_terminal(lab, &["attach", "-i", "demo/shell"], |mut terminal| {
            terminal.press("exit 4\n");
            terminal.ends_with(4);
        })
        .await;
    });
}

#[test]
fn ctrl_c_ends_a_pull() {
    lab::test(Setup::default(), async |lab| {
        let (server, built) = (StaticServer::start(), image::busybox());
        lab.paths.plain_http(&server.host());
        server.set("/v2/stuck/manifests/1", 200, built.media_type, &built.manifest);
        for blob in &built.blobs {
            // Of the layer only the half: the configuration has to be there before.
            let sent = if blob.starts_with(b"{") { blob.len() } else { blob.len() / 2 };
            server.set_stuck(&format!("/v2/stuck/blobs/{}", image::digest(blob)), blob, sent);
        }
        let name = server.reference("stuck:1");
        at_terminal(lab, &["pull", &name], |mut terminal| {
            terminal.wait_for("downloading");
            terminal.press("\x03");
            let (status, shown) = terminal.end();
            assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "after {shown:?}");
        })
        .await;
        lab.assert_nothing_left().await;
    });
}
