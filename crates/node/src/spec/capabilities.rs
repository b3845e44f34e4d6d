//! What a container's processes may do beyond an ordinary user (capabilities(7)).

use std::collections::BTreeSet;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use super::Host;
use crate::check;
use crate::container::config::Security;
use crate::error::Result;

/// What a container has unless it asks for more or less: the set all Kubernetes runtimes have.
const DEFAULT: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// The word for all capabilities.
const ALL: &str = "ALL";

/// The five sets. Nothing is inheritable but what is ambient (CVE-2022-24769). What the node's daemon itself may not
/// grant is left out and added to `withheld`.
pub(super) fn capabilities(security: &Security, host: &Host, withheld: &mut Vec<String>) -> Result<LinuxCapabilities> {
    let (granted, ambient) = match security.privileged {
        true => (host.capabilities.iter().copied().collect(), Capabilities::new()),
        false => unprivileged(security, host, withheld)?,
    };
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(granted.clone()))
        .set_effective(Some(granted.clone()))
        .set_permitted(Some(granted))
        .set_inheritable(Some(ambient.clone()))
        .set_ambient(Some(ambient));
    Ok(sets)
}

/// The granted and the ambient set. `ALL` comes first, so that single ones can be taken from, or added to, it.
fn unprivileged(security: &Security, host: &Host, withheld: &mut Vec<String>) -> Result<(Capabilities, Capabilities)> {
    let field = |name: &str| format!("config.linux.security_context.capabilities.{name}");
    let add = Named::parse(&field("add_capabilities"), &security.add_capabilities)?;
    let drop = Named::parse(&field("drop_capabilities"), &security.drop_capabilities)?;
    let ambient = Named::parse(&field("add_ambient_capabilities"), &security.add_ambient_capabilities)?;

    let mut granted: Capabilities = match (drop.all, add.all || ambient.all) {
        (true, _) => Capabilities::new(),
        (false, true) => host.capabilities.iter().copied().collect(),
        (false, false) => DEFAULT.into(),
    };
    granted.extend(add.single.iter().chain(&ambient.single));
    granted.retain(|capability| !drop.single.contains(capability));
    withhold(&mut granted, &add, &ambient, host, withheld);
    let ambient = granted.iter().copied().filter(|one| ambient.all || ambient.single.contains(one)).collect();
    Ok((granted, ambient))
}

fn withhold(granted: &mut Capabilities, add: &Named, ambient: &Named, host: &Host, withheld: &mut Vec<String>) {
    let missing: BTreeSet<String> = add
        .single
        .union(&ambient.single)
        .filter(|one| granted.contains(one) && !host.capabilities.contains(one))
        .map(|one| format!("capability {one}"))
        .collect();
    withheld.extend(missing);
    granted.retain(|one| host.capabilities.contains(one));
}

/// A list of capabilities as named in a request.
struct Named {
    all: bool,
    single: Capabilities,
}

impl Named {
    /// Names are taken in either case, with and without `CAP_`.
    fn parse(field: &str, names: &[String]) -> Result<Self> {
        let mut named = Self { all: false, single: Capabilities::new() };
        for (index, name) in names.iter().enumerate() {
            let upper = name.to_ascii_uppercase();
            match upper.as_str() {
                ALL => named.all = true,
                upper => {
                    let short = upper.strip_prefix("CAP_").unwrap_or(upper);
                    named.single.insert(short.parse().map_err(|_| {
                        check::invalid(&format!("{field}[{index}]"), name, "is not a capability this runtime knows")
                    })?);
                }
            }
        }
        Ok(named)
    }
}
