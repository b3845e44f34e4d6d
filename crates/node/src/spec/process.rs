//! A container's process: what it runs, as whom, and with what environment.

use std::path::PathBuf;

use oci_spec::image::Config;
use oci_spec::runtime::{Process, Spec, User};

use super::{SpecInput, capabilities, confinement, pod_hostname};
use crate::check;
use crate::error::{Error, Result};

/// The search path of images that say nothing about it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The terminal that programs are told they have.
const TERM: &str = "xterm";

pub(super) fn process(input: &SpecInput<'_>, withheld: &mut Vec<String>) -> Result<Process> {
    let security = &input.config.security;
    let image = input.image.config().as_ref();
    let mut process = Process::default();
    process
        .set_terminal(Some(input.config.tty))
        .set_user(user(input))
        .set_args(Some(args(input, image)?))
        .set_env(Some(env(input, image)?))
        .set_cwd(cwd(input, image)?)
        .set_capabilities(Some(capabilities::capabilities(security, input.host, withheld)?))
        .set_rlimits(None)
        .set_no_new_privileges(Some(security.no_new_privs))
        .set_oom_score_adj(Some(oom_score_adj(input, withheld)))
        .set_apparmor_profile(confinement::apparmor(security, input.host)?)
        .set_selinux_label(confinement::process_label(input)?);
    Ok(process)
}

/// A process to run in a container beside its first one, under the same confinement. The command must not be empty.
///
/// # Errors
/// [`Error::Invalid`] if the command is empty or has NUL bytes, [`Error::Container`] if the spec has no process.
pub fn exec_process(spec: &Spec, command: &[String], tty: bool) -> Result<Process> {
    let Some(init) = spec.process() else {
        return Err(Error::Container("the container's spec has no process".to_owned()));
    };
    if command.is_empty() {
        return Err(check::invalid("cmd", "", "must not be empty"));
    }
    for (index, argument) in command.iter().enumerate() {
        check::text(&format!("cmd[{index}]"), argument.clone(), check::MAX_ARGUMENT - 1)?;
    }
    let mut process = init.clone();
    process.set_args(Some(command.to_vec())).set_terminal(Some(tty)).set_console_size(None);
    if tty {
        let mut env = Environment(init.env().clone().unwrap_or_default());
        env.set_default("TERM", TERM);
        process.set_env(Some(env.0));
    }
    Ok(process)
}

fn user(input: &SpecInput<'_>) -> User {
    let mut user = User::default();
    user.set_uid(input.user.uid).set_gid(input.user.gid).set_additional_gids(Some(input.user.additional_gids.clone()));
    user
}

/// A command takes the place of the image's entrypoint and of its arguments; arguments that of its arguments only.
fn args(input: &SpecInput<'_>, image: Option<&Config>) -> Result<Vec<String>> {
    let config = input.config;
    let of_image =
        |list: fn(&Config) -> &Option<Vec<String>>| image.and_then(|image| list(image).clone()).unwrap_or_default();
    let (entrypoint, args) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (config.command.clone(), config.args.clone()),
        (true, false) => (of_image(Config::entrypoint), config.args.clone()),
        (true, true) => (of_image(Config::entrypoint), of_image(Config::cmd)),
    };
    // An entrypoint of one empty string is how images undo their base image's.
    let entrypoint = if entrypoint == [""] && config.command.is_empty() { Vec::new() } else { entrypoint };
    let args = [entrypoint, args].concat();
    if args.is_empty() {
        return Err(Error::Container("no command specified".to_owned()));
    }
    match args.iter().any(|argument| argument.contains('\0')) {
        true => Err(Error::Container("the image's entrypoint or command has a NUL byte".to_owned())),
        false => Ok(args),
    }
}

/// Later ones win: the defaults, the image's, the request's.
fn env(input: &SpecInput<'_>, image: Option<&Config>) -> Result<Vec<String>> {
    let mut env = Environment::default();
    env.set("PATH", PATH);
    if input.config.tty {
        env.set("TERM", TERM);
    }
    env.set("HOSTNAME", pod_hostname(input.pod, input.host));
    for entry in image.and_then(|image| image.env().as_ref()).into_iter().flatten() {
        if entry.contains('\0') {
            return Err(Error::Container("the image's environment has a NUL byte".to_owned()));
        }
        if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) {
            env.set(name, value);
        }
    }
    for (name, value) in &input.config.envs {
        env.set(name, value);
    }
    env.set_default("HOME", input.user.home.as_deref().unwrap_or("/"));
    Ok(env.0)
}

/// `NAME=value` entries, each name once, in the order of first mention.
#[derive(Default)]
struct Environment(Vec<String>);

impl Environment {
    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|entry| entry.split_once('=').is_some_and(|(key, _)| key == name))
    }

    fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.position(name).and_then(|at| self.0.get_mut(at)) {
            Some(old) => *old = entry,
            None => self.0.push(entry),
        }
    }

    fn set_default(&mut self, name: &str, value: &str) {
        if self.position(name).is_none() {
            self.set(name, value);
        }
    }
}

/// The request's, else the image's, else the root. The image's may lack the leading slash.
fn cwd(input: &SpecInput<'_>, image: Option<&Config>) -> Result<PathBuf> {
    if let Some(directory) = &input.config.working_dir {
        return Ok(directory.clone());
    }
    let directory = image.and_then(|image| image.working_dir().as_deref()).unwrap_or_default();
    check::container_path("the image's WorkingDir", format!("/{directory}"))
        .map_err(|error| Error::Container(error.to_string()))
}

/// Lower than the daemon may go is the lowest it may.
fn oom_score_adj(input: &SpecInput<'_>, withheld: &mut Vec<String>) -> i32 {
    let (wanted, floor) = (input.config.resources.oom_score_adj, input.host.oom_score_adj_floor);
    if wanted < floor {
        withheld.push(format!("oom_score_adj below {floor}"));
    }
    wanted.max(floor)
}
