//! The arguments of the commands that go through the runtime's streaming server.

use std::path::PathBuf;

use clap::Args;

use crate::remote::{
    detach::DetachKeys,
    open::Choice,
    ports::{Address, Ports},
};

/// How to speak to the runtime's streaming server.
#[derive(Debug, Args)]
pub struct Streaming {
    /// What to speak to the runtime's streaming server. auto: WebSocket, and SPDY if that is refused.
    #[arg(long, value_enum, default_value_t)]
    pub transport: Choice,
    /// The authorities (PEM) to trust if the streaming server speaks TLS, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

/// Run a command in a container; the exit code is the command's.
///
/// With -i -t and a terminal as standard input, the command has a terminal that takes the place of ours.
#[derive(Debug, Args)]
pub struct Exec {
    /// Pass standard input on to the command, and its end.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// The keys that end the session: characters or ctrl-X, with commas between; "" for none. They need -i, -t and a
    /// terminal. What becomes of a command without its session is up to the runtime.
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: DetachKeys,
    #[command(flatten)]
    pub streaming: Streaming,
    /// Without streams: wait until the command has ended, then print what it wrote (ExecSync).
    #[arg(short, long, conflicts_with_all = ["stdin", "tty", "detach_keys", "transport", "tls_ca"])]
    pub sync: bool,
    /// With --sync: kill the command after this many seconds (0: never).
    #[arg(long, value_name = "SECONDS", requires = "sync")]
    pub timeout: Option<u32>,
    /// The container: its name, POD/NAME, its id or the beginning of it.
    pub container: String,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Connect to the output, and with -i to the input, of a running container.
///
/// When the container ends, its exit code is ours. Interrupting this leaves it running.
#[derive(Debug, Args)]
pub struct Attach {
    /// Pass standard input on to the container.
    #[arg(short = 'i', long, overrides_with = "no_stdin")]
    pub stdin: bool,
    /// Do not pass standard input on, as is the default.
    #[arg(long, overrides_with = "stdin")]
    pub no_stdin: bool,
    /// The container has a terminal. Only asked when the runtime does not say.
    #[arg(short, long)]
    pub tty: bool,
    /// The keys that end the session and leave the container running: characters or ctrl-X, with commas between; "" for
    /// none. They need -i and terminals at both ends.
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: DetachKeys,
    #[command(flatten)]
    pub streaming: Streaming,
    /// The container: its name, POD/NAME, its id or the beginning of it.
    pub container: String,
}

/// Forward local ports to ports of a pod, until interrupted.
#[derive(Debug, Args)]
pub struct PortForward {
    /// The local addresses, with commas between. localhost is 127.0.0.1 and ::1, at least one of them.
    #[arg(long, value_delimiter = ',', default_value = "localhost")]
    pub address: Vec<Address>,
    #[command(flatten)]
    pub streaming: Streaming,
    /// The pod: its name, NAMESPACE/NAME, its id or the beginning of it.
    pub pod: String,
    /// The ports: 8080:80 (local, remote), 80 (the same), :80 (any local port, which is printed).
    #[arg(required = true, value_name = "[LOCAL:]REMOTE")]
    pub ports: Vec<Ports>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use clap::Parser;

    use crate::args::{Cli, Command};

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from([&["corten"], words].concat()).map(|cli| cli.command)
    }

    #[test]
    fn exec_leaves_the_commands_own_flags_alone() {
        for words in [&["exec", "-it", "c", "--", "ls", "-l"][..], &["exec", "-i", "--tty", "c", "ls", "-l"]] {
            let Command::Exec(exec) = parse(words).unwrap() else { panic!("{words:?}") };
            assert!(exec.stdin && exec.tty && !exec.sync);
            assert_eq!(exec.command, ["ls", "-l"]);
        }
        assert!(parse(&["exec", "c"]).is_err(), "a command is required");
    }

    #[test]
    fn without_streams_there_is_nothing_to_say_about_them() {
        let Command::Exec(exec) = parse(&["exec", "-s", "--timeout", "5", "c", "ls"]).unwrap() else { panic!() };
        assert_eq!((exec.sync, exec.timeout), (true, Some(5)));
        let error = parse(&["exec", "--timeout", "5", "c", "ls"]).unwrap_err().to_string();
        assert!(error.contains("--timeout") && error.contains("--sync"), "{error}");
        for flag in [&["-i"][..], &["-t"], &["--detach-keys="], &["--transport=spdy"], &["--tls-ca=x"]] {
            let words = [&["exec", "-s"], flag, &["c", "ls"]].concat();
            assert!(parse(&words).unwrap_err().to_string().contains("--sync"), "{flag:?}");
        }
    }

    #[test]
    fn the_last_word_about_standard_input_counts() {
        for (words, stdin) in [(&["-i", "--no-stdin"][..], false), (&["--no-stdin", "-i"], true), (&[], false)] {
            let Command::Attach(attach) = parse(&[&["attach", "c"], words].concat()).unwrap() else { panic!() };
            assert_eq!(attach.stdin, stdin, "{words:?}");
        }
    }

    #[test]
    fn ports_are_forwarded_from_all_addresses() {
        let words = ["port-forward", "--address", "10.0.0.1,localhost", "p", "8080:80", ":53"];
        let Command::PortForward(forward) = parse(&words).unwrap() else { panic!() };
        assert_eq!((forward.address.len(), forward.ports.len()), (2, 2));
        assert!(parse(&["port-forward", "p"]).is_err(), "a port is required");
        assert!(parse(&["port-forward", "p", "80:"]).unwrap_err().to_string().contains("80:"));
    }
}
