//! The built-in launcher and runc, given the same request, make the same container: whatever can be read of the two is
//! compared, and every difference is a bug or explained in [`allowed`].
//!
//! [`cases`] is the table of requests. For each, a container is run by each handler of one daemon, and [`facts`] reads what
//! there is to read of it, its first process and one executed in it, into a map of names and values: from the node's
//! `/proc` and cgroups, and from inside. What one container has and the other has not is a difference too.

mod allowed;
mod cases;
mod cgroups;
mod facts;
mod inside;
mod mounts;
mod process;

use std::{collections::BTreeSet, fmt::Write as _};

use corten_e2e::{
    daemon::Setup,
    lab::{self, Lab},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::{
    allowed::{ALLOWED, Allowed},
    cases::{Pod, World},
    facts::{Facts, Subject},
};

/// One difference.
#[derive(Debug, Clone)]
struct Difference {
    case: String,
    key: String,
    corten: String,
    runc: String,
}

/// What the value of a fact is that one of the containers does not have.
const ABSENT: &str = "(absent)";

/// What must have been read, or there was nothing to compare.
const READ: [&str; 11] = [
    "terminal status CapEff",
    "init status CapEff",
    "exec status Seccomp",
    "init uid_map",
    "exec limits Max open files",
    "init namespace net",
    "mount /proc: options",
    "file /dev/null",
    "cgroup ",
    "inside privileges",
    "inside sysctls /proc/sys/net",
];

#[test]
fn the_built_in_launcher_makes_what_runc_makes() {
    one_limit_of_open_files();
    lab::test(Setup::default(), async |lab| {
        let world = World::new(lab).await;
        let mut differences = Vec::new();
        let mut keys = BTreeSet::new();
        for pod in cases::pods() {
            let (corten, runc) = tokio::join!(run(lab, &world, &pod, "corten"), run(lab, &world, &pod, "runc"));
            for ((name, corten), (_, runc)) in corten.iter().zip(&runc) {
                keys.extend(corten.keys().chain(runc.keys()).cloned());
                differences.extend(compare(name, corten, runc));
            }
        }
        world.end();
        judge(&differences, &keys);
    });
}

/// Has the daemon start with a soft limit of open files that is the hard one where runc is older than 1.1.10: that gives its
/// containers not the soft limit it has, but that to which Go's runtime has raised it.
fn one_limit_of_open_files() {
    if allowed::runc() >= [1, 1, 10] {
        return;
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Runs a pod's containers one after another by a handler, and reads each.
async fn run(lab: &Lab, world: &World, pod: &Pod, handler: &str) -> Vec<(String, Facts)> {
    let config = pod.config(lab, handler);
    let pod_id = lab.cri.run_pod(&config, handler).await.unwrap_or_else(|e| panic!("{} by {handler}: {e}", pod.name));
    let peer = lab.start(&pod_id, &config, &pod.peer(world)).await;
    let mut all = Vec::new();
    for (name, container) in pod.containers(world, &peer) {
        let case = format!("{}/{name}", pod.name);
        let started = async { lab.cri.create(&pod_id, &config, &container).await };
        let id = started.await.unwrap_or_else(|e| panic!("create {case} by {handler}: {e}"));
        lab.cri.start(&id).await.unwrap_or_else(|e| panic!("start {case} by {handler}: {e}"));
        let thoroughly = container.tty || name == "default";
        let subject = Subject { lab, config: &config, pod: &pod_id, peer: &peer, id: &id, thoroughly };
        all.push((case, facts::read(&subject).await));
        lab.cri.remove(&id).await.unwrap();
    }
    lab.cri.stop_pod(&pod_id).await.unwrap();
    lab.cri.remove_pod(&pod_id).await.unwrap();
    all
}

fn compare(case: &str, corten: &Facts, runc: &Facts) -> Vec<Difference> {
    let keys: BTreeSet<&String> = corten.keys().chain(runc.keys()).collect();
    let value = |facts: &Facts, key: &str| facts.get(key).map_or(ABSENT.to_owned(), Clone::clone);
    let pairs = keys.into_iter().map(|key| (key, value(corten, key), value(runc, key)));
    let different = pairs.filter(|(_, corten, runc)| corten != runc);
    different.map(|(key, corten, runc)| Difference { case: case.to_owned(), key: key.clone(), corten, runc }).collect()
}

/// Fails if a difference is not allowed, or if something is allowed that does not differ.
fn judge(differences: &[Difference], keys: &BTreeSet<String>) {
    let mut report = String::new();
    for read in READ {
        if !keys.iter().any(|key| key.starts_with(read)) {
            writeln!(report, "nothing was read of {read:?}").unwrap();
        }
    }
    for row in ALLOWED {
        let protected = keys.iter().find(|key| allowed::is_protected(key) && allowed::matches(row.key, key));
        if let Some(key) = protected.filter(|_| !row.is_a_fault_of_runcs()) {
            writeln!(report, "{:?} would allow a difference in {key:?}, which may not differ", row.key).unwrap();
        }
        if row.applies() && !differences.iter().any(|difference| row.allows(difference)) {
            let Allowed { case, key, why, .. } = row;
            writeln!(report, "nothing differs (any more) as the row {case:?} {key:?} says ({why})").unwrap();
        }
    }
    let allowed = |difference: &&Difference| !ALLOWED.iter().any(|row: &Allowed| row.allows(difference));
    for Difference { case, key, corten, runc } in differences.iter().filter(allowed) {
        writeln!(report, "{case}: {key}\n  corten: {corten}\n  runc:   {runc}").unwrap();
    }
    assert!(report.is_empty(), "{report}");
}
