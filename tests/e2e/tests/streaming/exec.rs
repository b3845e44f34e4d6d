//! Exec: a command's streams and how it ended.

use corten_e2e::{
    daemon::Setup,
    for_each_launcher, image, lab,
    streaming::{OUTPUT, PIPES, SCREEN, TERMINAL, TRANSPORTS, read_until, to_end},
};
use corten_streaming::remote_command::{Outcome, Wanted};

use super::{noise, sleeping, wait_gone};

for_each_launcher!(
    what_is_wanted_is_connected,
    exit_codes_come_back,
    what_cannot_be_run_is_named,
    the_end_of_input_is_seen,
    much_goes_both_ways_at_once,
    output_just_before_the_exit_is_complete,
    a_closed_output_ends_nothing,
    a_child_that_keeps_the_output_open_does_not_hold_the_session,
    a_child_that_goes_on_writing_does_not_hold_the_session,
    what_a_child_writes_soon_after_the_end_is_delivered,
);

/// More than all buffers on the way together.
const MUCH: usize = 20_000_000;

const NOTHING: Wanted = Wanted { stdin: false, stdout: false, stderr: false, tty: false };

fn what_is_wanted_is_connected(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let script = ["sh", "-c", "cat; echo out; echo err >&2"];
        let cases = [
            (PIPES, "in\nout\n", "err\n"),
            (OUTPUT, "out\n", "err\n"),
            (Wanted { stdout: true, ..NOTHING }, "out\n", ""),
            (Wanted { stderr: true, ..NOTHING }, "", "err\n"),
            (Wanted { stdin: true, stdout: true, ..NOTHING }, "in\nout\n", ""),
            (Wanted { stdin: true, stderr: true, ..NOTHING }, "", "err\n"),
        ];
        for transport in TRANSPORTS {
            for (wanted, stdout, stderr) in cases {
                let said = lab.cri.exec_to_end(&id, &script, wanted, transport, b"in\n").await;
                let expected = (stdout.to_owned(), stderr.to_owned(), Outcome::Exited(0));
                assert_eq!((said.text(), said.errors(), said.outcome), expected, "{wanted:?} {transport:?}");
            }
            let only_in = Wanted { stdin: true, ..NOTHING };
            let said = lab.cri.exec_to_end(&id, &["sh", "-c", "cat > /tmp/in"], only_in, transport, b"kept").await;
            assert_eq!(said.outcome, Outcome::Exited(0));
            assert_eq!(lab.cri.shell(&id, "cat /tmp/in; rm /tmp/in").await, "kept");
            let said = lab.cri.exec_to_end(&id, &["sh", "-c", "tty; echo err >&2"], SCREEN, transport, b"").await;
            assert!(said.text().starts_with("/dev/pts/") && said.text().ends_with("\r\nerr\r\n"), "{said:?}");
            let command = ["sh", "-c", "read line; echo got $line"];
            let said = lab.cri.exec_to_end(&id, &command, TERMINAL, transport, b"a line\n").await;
            assert_eq!(said.text(), "a line\r\ngot a line\r\n");
        }
    });
}

fn exit_codes_come_back(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, PIPES, SCREEN] {
                let endings = [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("exit 255", 255), ("kill -9 $$", 137)];
                for (script, code) in endings {
                    let said = lab.cri.exec_to_end(&id, &["sh", "-c", script], wanted, transport, b"").await;
                    assert_eq!(said.outcome, Outcome::Exited(code), "{script} {wanted:?} {transport:?}");
                }
            }
        }
    });
}

fn what_cannot_be_run_is_named(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, PIPES, TERMINAL] {
                for program in ["/no/such/program", "nowhere-in-the-path", "/etc/passwd", "/tmp"] {
                    let said = lab.cri.exec_to_end(&id, &[program], wanted, transport, b"").await;
                    assert!(said.failure().contains(program), "{program} {wanted:?} {transport:?}: {said:?}");
                    assert!(said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
                }
            }
        }
    });
}

fn the_end_of_input_is_seen(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let input = noise(100_000);
        for transport in TRANSPORTS {
            for input in [&b""[..], b"x", &input] {
                let said = lab.cri.exec_to_end(&id, &["cat"], PIPES, transport, input).await;
                assert_eq!(
                    (said.outcome.clone(), said.stdout.len()),
                    (Outcome::Exited(0), input.len()),
                    "{transport:?}"
                );
                assert!(said.stdout == input);
                let said = lab.cri.exec_to_end(&id, &["sha256sum"], PIPES, transport, input).await;
                assert_eq!(format!("sha256:{}", &said.text()[..64]), image::digest(input));
            }
        }
    });
}

fn much_goes_both_ways_at_once(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let input = noise(MUCH);
        for transport in TRANSPORTS {
            let said = lab.cri.exec_to_end(&id, &["cat"], PIPES, transport, &input).await;
            assert_eq!((&said.outcome, said.stdout.len()), (&Outcome::Exited(0), MUCH), "{transport:?}");
            assert_eq!(image::digest(&said.stdout), image::digest(&input), "{transport:?}");
        }
    });
}

fn output_just_before_the_exit_is_complete(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let command = ["sh", "-c", "head -c 300000 /dev/zero; exit 3"];
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, SCREEN] {
                for round in 0..15 {
                    let said = lab.cri.exec_to_end(&id, &command, wanted, transport, b"").await;
                    let ending = (said.outcome, said.stdout.len());
                    assert_eq!(ending, (Outcome::Exited(3), 300_000), "round {round}, {wanted:?}, {transport:?}");
                }
            }
        }
    });
}

fn a_closed_output_ends_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let script = "echo before; exec >&-; echo closed >&2; read line; echo \"got $line\" >&2; exit 7";
        for transport in TRANSPORTS {
            let mut session = lab.cri.exec_session(&id, &["sh", "-c", script], PIPES, transport).await;
            read_until(session.stderr.as_mut().unwrap(), "closed\n").await;
            session.stdin.as_ref().unwrap().send("a line\n".into()).await.unwrap();
            let said = to_end(session).await;
            assert_eq!((said.text().as_str(), said.errors().as_str()), ("before\n", "got a line\n"));
            assert_eq!(said.outcome, Outcome::Exited(7));
        }
    });
}

fn with_drain(mut setup: Setup, seconds: u32) -> Setup {
    setup.extra = format!("[exec]\ndrain_seconds = {seconds}");
    setup
}

fn a_child_that_keeps_the_output_open_does_not_hold_the_session(setup: Setup) {
    lab::test(with_drain(setup, 1), async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, PIPES] {
                let command = ["sh", "-c", "sleep 7777 & echo started; exit 4"];
                let said = lab.cri.exec_to_end(&id, &command, wanted, transport, b"").await;
                assert_eq!((said.text().as_str(), said.outcome), ("started\n", Outcome::Exited(4)));
            }
        }
        assert!(lab.cri.shell(&id, "ps -o args").await.contains("sleep 7777"), "the child is let be");
    });
}

fn a_child_that_goes_on_writing_does_not_hold_the_session(setup: Setup) {
    lab::test(with_drain(setup, 0), async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, SCREEN] {
                let command = ["sh", "-c", "(trap '' HUP; yes) & echo started; exit 4"];
                let said = lab.cri.exec_to_end(&id, &command, wanted, transport, b"").await;
                assert_eq!(said.outcome, Outcome::Exited(4));
                assert!(said.text().contains("started"));
            }
        }
        wait_gone(lab, &id, "yes").await;
    });
}

fn what_a_child_writes_soon_after_the_end_is_delivered(setup: Setup) {
    lab::test(with_drain(setup, 30), async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            let command = ["sh", "-c", "(sleep 0.3; echo late) & echo started; exit 4"];
            let said = lab.cri.exec_to_end(&id, &command, OUTPUT, transport, b"").await;
            assert_eq!((said.text().as_str(), said.outcome), ("started\nlate\n", Outcome::Exited(4)));
        }
    });
}
