//! systemd as the one who makes cgroups: scopes for processes, slices for scopes.
//!
//! It is asked over D-Bus (org.freedesktop.systemd1(5)), on the system's bus or, where there is none, on its own socket. A
//! connection that breaks, as when systemd executes itself anew, is made again by the next call. Everything blocks.

mod dbus;
mod error;
mod placeholder;
mod properties;
mod slice;

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

pub use dbus::Value;
pub use error::Error;
pub use placeholder::Placeholder;
use properties::{INFINITY, TASKS};
pub use properties::{Property, properties};
pub use slice::Slice;

use dbus::{Address, Call, Connection, Writer};

/// There when systemd is the machine's init: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

const BUS: &str = "/run/dbus/system_bus_socket";
const OWN_SOCKET: &str = "/run/systemd/private";

const NAME: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// How long systemd may be away or silent, and the first pause before it is asked again.
const AWAY: Duration = Duration::from_secs(50);
const PAUSE: Duration = Duration::from_millis(20);

/// How often it is looked whether another thread has done with connecting.
const LOCKED: Duration = Duration::from_millis(1);

/// How long a job may take, and how often it is looked whether its end was missed.
const JOB: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_secs(2);

/// Sets of CPUs and memory nodes. Before systemd 254, what a unit was started with and what was set later are one set after a
/// daemon-reload: so they are always set later, which replaces what was set before.
const SETS: [&str; 2] = ["AllowedCPUs", "AllowedMemoryNodes"];

/// How often a unit is started whose name another still has.
const STARTS: u32 = 8;

/// Whether systemd is this machine's init.
pub fn is_running() -> bool {
    Path::new(BOOTED).is_dir()
}

/// systemd's manager of units.
#[derive(Default)]
pub struct Manager {
    connection: Mutex<Option<Arc<Connection>>>,
}

/// A scope to be started.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Its name.
    pub name: &'a str,
    /// The slice that it is in.
    pub slice: &'a str,
    /// What it is for, for people.
    pub description: &'a str,
    /// Its limits.
    pub limits: &'a [Property],
}

impl Manager {
    /// Connects, so that whoever starts with this knows that it can work.
    ///
    /// # Errors
    /// If systemd cannot be asked.
    pub fn connect() -> Result<Self, Error> {
        let manager = Self::default();
        manager.attempt("listen", |_| Ok(()))?;
        Ok(manager)
    }

    /// Starts a scope around a process that `placeholder` starts: a scope ends when it has none. Its cgroup exists until both the
    /// placeholder and whatever else was put into it have ended. A unit that has the name already is stopped.
    ///
    /// # Errors
    /// If the process cannot be started or systemd does not make the scope.
    pub fn start_scope(
        &self,
        scope: Scope<'_>,
        placeholder: impl Fn() -> Result<Placeholder, String>,
    ) -> Result<Placeholder, Error> {
        let what = format!("start {}", scope.name);
        let (sets, limits) = scope.limits.iter().cloned().partition::<Vec<_>, _>(|(name, _)| SETS.contains(name));
        let mut left = STARTS;
        let held = loop {
            let held = placeholder().map_err(|why| Error::Placeholder { what: what.clone(), why })?;
            match self.job(&what, || start(scope.name, &scope_properties(&scope, &limits, held.pid()))) {
                Err(Error::Asking { source, .. }) if source.is(UNIT_EXISTS) && left > 0 => {
                    self.stop(scope.name)?;
                    thread::sleep(PAUSE);
                }
                outcome => {
                    outcome?;
                    break held;
                }
            }
            left -= 1;
        };
        self.set(scope.name, &sets)?;
        Ok(held)
    }

    /// Starts a slice with these limits, or sets those of one that is there.
    ///
    /// # Errors
    /// If systemd does not do it.
    pub fn start_slice(&self, slice: &Slice, limits: &[Property]) -> Result<(), Error> {
        let mut properties = vec![
            ("Description", Value::Text("pods of Corten".to_owned())),
            ("DefaultDependencies", Value::Bool(false)),
        ];
        properties.extend(accounting());
        properties.extend_from_slice(limits);
        match self.job(&format!("start {slice}"), || start(slice.name(), &properties)) {
            Err(Error::Asking { source, .. }) if source.is(UNIT_EXISTS) => self.set(slice.name(), limits),
            outcome => outcome,
        }
    }

    /// Stops a unit and has it forgotten. Done if there is none.
    ///
    /// # Errors
    /// If systemd does not do it.
    pub fn stop(&self, unit: &str) -> Result<(), Error> {
        let stop = || {
            let mut body = Writer::default();
            body.text(unit);
            body.text("replace");
            call("StopUnit", "ss", body)
        };
        match self.job(&format!("stop {unit}"), stop) {
            Err(Error::Asking { source, .. }) if source.is(NO_SUCH_UNIT) => return Ok(()),
            outcome => outcome?,
        }
        // One that was made by others may stay as a failed one. There is none, mostly.
        let _ = self.attempt("forget a unit", |connection| {
            let mut body = Writer::default();
            body.text(unit);
            connection.call(call("ResetFailedUnit", "s", body))
        });
        Ok(())
    }

    /// Sets limits of a unit until the machine is booted again; its cgroup's files are written then, all of them. Done if there is
    /// no such unit.
    ///
    /// # Errors
    /// If systemd does not do it.
    pub fn set(&self, unit: &str, limits: &[Property]) -> Result<(), Error> {
        if limits.is_empty() {
            return Ok(());
        }
        let set = self.attempt(&format!("limit {unit}"), |connection| {
            let mut body = Writer::default();
            body.text(unit);
            body.bool(true);
            body.properties(limits);
            connection.call(call("SetUnitProperties", "sba(sv)", body))?;
            // It answers before it writes the cgroup's files, and writes them before it takes the next call.
            connection.call(Call {
                path: "/",
                interface: "org.freedesktop.DBus.Peer",
                ..call("Ping", "", Writer::default())
            })
        });
        match set {
            Err(Error::Asking { source, .. }) if source.is(NO_SUCH_UNIT) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Has systemd do a job, and waits for its end.
    fn job<'a>(&self, what: &str, call: impl Fn() -> Call<'a>) -> Result<(), Error> {
        let result = self.attempt(what, |connection| {
            let (job, ended) = connection.call_for_job(call())?;
            let result = wait(connection, &job, &ended, Instant::now() + JOB);
            connection.forget_job(&job);
            result
        })?;
        match result.as_deref() {
            Some("done") => Ok(()),
            Some(result) => Err(Error::Job { what: what.to_owned(), result: result.to_owned() }),
            None => Err(Error::Slow { what: what.to_owned(), seconds: JOB.as_secs() }),
        }
    }

    /// Asks, and asks again for a while if systemd or the bus is away, or an answer is lost: whatever is asked can be asked twice.
    fn attempt<T>(&self, what: &str, ask: impl Fn(&Connection) -> Result<T, dbus::Error>) -> Result<T, Error> {
        let (deadline, mut pause) = (Instant::now() + AWAY, PAUSE);
        loop {
            match self.connection(deadline).and_then(|connection| ask(&connection)) {
                Err(error) if error.is_passing() && Instant::now() < deadline => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                outcome => return outcome.map_err(|source| Error::Asking { what: what.to_owned(), source }),
            }
        }
    }

    /// Who waits for another that is connecting waits no longer than it would itself.
    fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, dbus::Error> {
        let mut held = loop {
            match self.connection.try_lock() {
                Ok(held) => break held,
                Err(TryLockError::Poisoned(held)) => break held.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCKED),
                Err(TryLockError::WouldBlock) => return Err(dbus::Error::Closed),
            }
        };
        if let Some(connection) = held.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let connection = Arc::new(open()?);
        *held = Some(connection.clone());
        Ok(connection)
    }
}

/// A connection on which the ends of jobs are told.
fn open() -> Result<Connection, dbus::Error> {
    let on_bus = Connection::open(Address::Bus(Path::new(BUS))).and_then(|connection| {
        connection.listen(&format!("type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'"))?;
        connection.call(call("Subscribe", "", Writer::default()))?;
        Ok(connection)
    });
    on_bus.or_else(|error| match Path::new(OWN_SOCKET).exists() {
        // Here it tells of everything unasked.
        true => Connection::open(Address::Peer(Path::new(OWN_SOCKET))),
        false => Err(error),
    })
}

/// The result of a job; `None` if it does not end in time. A job whose end was missed, as systemd was executing itself anew, has
/// been done for all that is known: what it was to make is looked at anyway.
fn wait(
    connection: &Connection,
    job: &str,
    ended: &Receiver<String>,
    deadline: Instant,
) -> Result<Option<String>, dbus::Error> {
    while Instant::now() < deadline {
        match ended.recv_timeout(LOOK) {
            Ok(result) => return Ok(Some(result)),
            Err(RecvTimeoutError::Disconnected) => return Err(dbus::Error::Closed),
            Err(RecvTimeoutError::Timeout) if is_gone(connection, job) => {
                // Its end may have been told between the two.
                return Ok(Some(ended.try_recv().unwrap_or_else(|_| "done".to_owned())));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Ok(None)
}

fn is_gone(connection: &Connection, job: &str) -> bool {
    let mut body = Writer::default();
    body.text("org.freedesktop.systemd1.Job");
    body.text("State");
    let interface = "org.freedesktop.DBus.Properties";
    let call = Call { destination: NAME, path: job, interface, member: "Get", signature: "ss", body };
    connection.call(call).is_err_and(|error| error.is("org.freedesktop.DBus.Error.UnknownObject"))
}

/// A method of the manager's.
fn call(member: &'static str, signature: &'static str, body: Writer) -> Call<'static> {
    Call { destination: NAME, path: OBJECT, interface: MANAGER, member, signature, body }
}

fn start(unit: &str, properties: &[Property]) -> Call<'static> {
    let mut body = Writer::default();
    body.text(unit);
    body.text("replace");
    body.properties(properties);
    // No units beside it.
    body.array(8, |_| {});
    call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
}

fn scope_properties(scope: &Scope<'_>, limits: &[Property], first: u32) -> Vec<Property> {
    let mut properties = vec![
        ("Description", Value::Text(scope.description.to_owned())),
        ("Slice", Value::Text(scope.slice.to_owned())),
        // It lives as long as its processes do, also while the machine is shut down.
        ("DefaultDependencies", Value::Bool(false)),
        ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
        ("Delegate", Value::Bool(true)),
        ("PIDs", Value::Numbers(vec![first])),
    ];
    properties.extend(accounting());
    properties.extend_from_slice(limits);
    // Else systemd has one for every unit but slices, `DefaultTasksMax`.
    if !limits.iter().any(|(name, _)| *name == TASKS) {
        properties.push((TASKS, Value::U64(INFINITY)));
    }
    properties
}

fn accounting() -> [Property; 4] {
    ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"].map(|name| (name, Value::Bool(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_all_ours_and_says_where_it_is() {
        let limits = [("MemoryMax", Value::U64(1))];
        let scope = Scope { name: "a.scope", slice: "b.slice", description: "c", limits: &limits };
        let properties = scope_properties(&scope, &limits, 7);
        for property in [
            ("Slice", Value::Text("b.slice".to_owned())),
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Numbers(vec![7])),
            ("MemoryMax", Value::U64(1)),
            ("TasksMax", Value::U64(u64::MAX)),
        ] {
            assert!(properties.contains(&property), "{property:?}");
        }
        let limited = scope_properties(&scope, &[("TasksMax", Value::U64(7))], 7);
        assert_eq!(limited.iter().filter(|(name, _)| *name == "TasksMax").count(), 1);
    }
}
