//! A container as a program in it sees it.

use super::facts::{Facts, Subject};

/// Prints sections that begin with `# name`. `/proc/1` is the first process unless the PID namespace is shared.
const SCRIPT: &str = "
echo '# names'; hostname; pwd; id; umask; ulimit -a
echo '# cgroup of init'; cat /proc/1/cgroup
echo '# cgroup of exec'; cat /proc/self/cgroup
echo '# maps'; cat /proc/self/uid_map /proc/self/gid_map
echo '# privileges'; grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status
echo '# keys'; cat /proc/keys
echo '# interfaces'; ls /sys/class/net
echo '# network'; ip route
echo '# resolv.conf'; cat /etc/resolv.conf
echo '# hosts'; cat /etc/hosts
exit 0";

/// What is its pod's.
const SYSCTLS: &str = "
echo '# sysctls'; grep -r '' /proc/sys/net /proc/sys/user /proc/sys/fs/mqueue /proc/sys/kernel/shm* \
    /proc/sys/kernel/msg* /proc/sys/kernel/sem* /proc/sys/kernel/hostname /proc/sys/kernel/domainname";

/// What counts by itself.
const COUNTERS: [&str; 3] = ["nf_conntrack_count", "/nf_conntrack_buckets", "/random"];

pub async fn read(facts: &mut Facts, subject: &Subject<'_>) {
    let script = if subject.thoroughly { [SYSCTLS, SCRIPT].concat() } else { SCRIPT.to_owned() };
    let output = subject.lab.cri.exec(subject.id, &["/bin/sh", "-c", &script]).await;
    facts.insert("inside: exit code".into(), output.code.to_string());
    let mut section = "";
    let mut number = 0;
    for line in output.stdout.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            (section, number) = (name, 0);
            continue;
        }
        // All keys of the user are listed, not only the container's.
        if section == "keys" {
            if line.contains(&format!("_ses.{}", subject.id)) {
                facts.insert("inside keyring of its id".into(), "is there".into());
            }
            continue;
        }
        number += 1;
        let (key, value) = match section {
            "sysctls" => line.split_once(':').map_or((line, String::new()), |(key, value)| (key, value.to_owned())),
            _ => ("", line.to_owned()),
        };
        if COUNTERS.iter().any(|counter| key.contains(counter)) {
            continue;
        }
        let key = if key.is_empty() { number.to_string() } else { key.to_owned() };
        facts.insert(format!("inside {section} {key}"), value);
    }
}
