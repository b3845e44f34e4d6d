//! What a process can say about itself.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{self, IsTerminal, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    process,
};

use crate::{Failure, Next, Outcome, files, output, required};

/// `args WORD...`: each word on a line.
pub fn args(words: &[OsString]) -> Outcome {
    print_lines(words.iter().map(|word| word.as_bytes().to_vec()))
}

/// `env`: the environment as the kernel has it: `NAME=value`, each followed by a zero byte.
pub fn environment() -> Outcome {
    files::cat(&["/proc/self/environ".into()])
}

/// `variable NAME`: its value and a newline. It fails if it is not set.
pub fn variable(words: &[OsString]) -> Outcome {
    let name = required(words, 0)?;
    let not_set = || Failure::of(name.display().to_string())(io::Error::other("not set"));
    print_lines([env::var_os(name).ok_or_else(not_set)?.into_vec()].into_iter())
}

/// `cwd`: the working directory.
pub fn working_directory() -> Outcome {
    let dir = env::current_dir().map_err(Failure::of("cwd"))?;
    print_lines([dir.into_os_string().into_vec()].into_iter())
}

/// `pid`: this process's id in its own namespace.
pub fn own_id() -> Outcome {
    print_lines([process::id().to_string().into_bytes()].into_iter())
}

/// `id`: the effective user and group and then the other groups, in numbers, on one line.
pub fn id() -> Outcome {
    let status = status()?;
    let effective = |key| field(&status, key).nth(1).unwrap_or_default();
    let line = [effective("Uid"), effective("Gid")].into_iter().chain(field(&status, "Groups"));
    print_lines([line.collect::<Vec<_>>().join(" ").into_bytes()].into_iter())
}

/// What `privileges` calls lines of `/proc/self/status`.
const PRIVILEGES: [(&str, &str); 7] = [
    ("CapInh", "inheritable"),
    ("CapPrm", "permitted"),
    ("CapEff", "effective"),
    ("CapBnd", "bounding"),
    ("CapAmb", "ambient"),
    ("NoNewPrivs", "no_new_privs"),
    ("Seccomp", "seccomp"),
];

/// `privileges`: what this process may, as `name=value` lines: five sets of capabilities (16 hex digits each),
/// `no_new_privs` (0 or 1) and `seccomp` (0, or 2 with a filter).
pub fn privileges() -> Outcome {
    let status = status()?;
    let line =
        |(key, name): &(&str, &str)| format!("{name}={}", field(&status, key).next().unwrap_or_default()).into_bytes();
    print_lines(PRIVILEGES.iter().map(line))
}

fn status() -> Result<String, Failure> {
    fs::read_to_string("/proc/self/status").map_err(Failure::of("/proc/self/status"))
}

/// The words of a line of `/proc/self/status`.
fn field<'a>(status: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_default().split_whitespace()
}

/// `tty`: `tty` if stdin is a terminal, else `no tty`.
pub fn terminal() -> Outcome {
    let text: &[u8] = if io::stdin().is_terminal() { b"tty" } else { b"no tty" };
    print_lines([text.to_vec()].into_iter())
}

/// `namespaces`: each as `name=net:[4026531840]`.
pub fn namespaces() -> Outcome {
    let dir = "/proc/self/ns";
    let entries = fs::read_dir(dir).map_err(Failure::of(dir))?;
    let mut lines = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Failure::of(dir))?;
        let target = fs::read_link(entry.path()).map_err(Failure::of(entry.path().display().to_string()))?;
        lines.push([entry.file_name().as_bytes(), target.as_os_str().as_bytes()].join(&b'='));
    }
    lines.sort();
    print_lines(lines.into_iter())
}

/// `processes`: every process that can be seen, a line each: its id, and its arguments with spaces between them.
pub fn processes() -> Outcome {
    let mut found: Vec<(u32, Vec<u8>)> = Vec::new();
    for entry in fs::read_dir("/proc").map_err(Failure::of("/proc"))?.flatten() {
        let Some(pid) = pid(&entry.file_name()) else { continue };
        // It may have ended meanwhile.
        if let Ok(arguments) = fs::read(entry.path().join("cmdline")) {
            found.push((pid, arguments.strip_suffix(b"\0").unwrap_or(&arguments).to_vec()));
        }
    }
    found.sort();
    print_lines(found.into_iter().map(|(pid, arguments)| {
        let words: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
        [pid.to_string().as_bytes(), words.join(&b' ').as_slice()].join(&b' ')
    }))
}

fn pid(name: &OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// Writes lines to stdout.
fn print_lines(lines: impl Iterator<Item = Vec<u8>>) -> Outcome {
    for line in lines {
        output::echo(&[OsString::from_vec(line)], &mut io::stdout().lock())?;
    }
    io::stdout().flush()?;
    Ok(Next::Go)
}
