//! Capabilities.

use corten_cri::v1::*;
use corten_e2e::pods::{self, with_security};

use crate::world::attack_on;

/// CVE-2022-29162 (and CVE-2022-24769 of Docker): containers and what was executed in them had capabilities in their
/// inheritable set, with which a user who is not root gains them from a file that names them as inheritable. It has to be
/// empty, but for capabilities that are to be ambient.
#[test]
fn cve_2022_29162_nothing_is_inheritable() {
    let privileged = |config: &mut PodSandboxConfig| {
        config.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
    };
    attack_on(privileged, async |world| {
        let image = world.lab.busybox().await;
        let add = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        type Change = fn(&mut LinuxContainerSecurityContext);
        let users: [(&str, Change); 3] = [
            ("root", |_| ()),
            ("user", |security| security.run_as_user = Some(Int64Value { value: 1000 })),
            ("privileged", |security| security.privileged = true),
        ];
        for (name, change) in users {
            for (kind, added, ambient) in [("plain", "", ""), ("added", "NET_ADMIN", ""), ("ambient", "", "NET_RAW")] {
                if (name, kind) == ("privileged", "ambient") {
                    continue;
                }
                let container = with_security(pods::sleeper(&format!("{name}-{kind}"), &image), |security| {
                    security.capabilities = Some(Capability {
                        add_capabilities: add(&[added].into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>()),
                        add_ambient_capabilities: add(&[ambient]
                            .into_iter()
                            .filter(|n| !n.is_empty())
                            .collect::<Vec<_>>()),
                        ..Default::default()
                    });
                    change(security);
                });
                let id = world.start(&container).await;
                let expected = if kind == "ambient" { "0000000000002000" } else { "0000000000000000" };
                for process in ["1", "self"] {
                    let script = format!("grep -E '^Cap(Inh|Amb)' /proc/{process}/status");
                    let sets = world.lab.cri.shell(&id, &script).await;
                    let wanted = format!("CapInh:\t{expected}\nCapAmb:\t{expected}\n");
                    assert_eq!(sets, wanted, "{name}, {kind}, process {process}");
                }
            }
        }
    });
}
