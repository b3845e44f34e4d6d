//! Whether a volume's source can propagate mounts as it is asked to.

use std::path::Path;

use corten_host::mount::Propagation;
use rustix::fs::{AtFlags, StatxFlags, statx};

use super::errors::{Blame, container, node};
use crate::protocol::CallError;

/// Checks that the mount a source is on is shared (or a slave, for a slave). The kernel would accept any, and nothing
/// would propagate. Reads the mount table, so only for volumes that ask for propagation.
pub(super) fn check(source: &Path, wanted: Propagation) -> Result<(), CallError> {
    let (accepted, text): (&[&str], _) = match wanted {
        Propagation::Shared => (&["shared:"], "a shared mount"),
        Propagation::Slave => (&["shared:", "master:"], "a shared or slave mount"),
        Propagation::Private | Propagation::Unbindable => return Ok(()),
    };
    let step = || format!("find the mount of {}", source.display());
    let id = statx(rustix::fs::CWD, source, AtFlags::empty(), StatxFlags::MNT_ID).node(step)?.stx_mnt_id.to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").node(step)?;
    let mut fields = table.lines().map(|line| line.split(' ')).find(|line| line.clone().next() == Some(&id));
    let Some(fields) = fields.as_mut() else { return Err(node(step(), "it is not in the mount table")) };
    let mount_point = fields.nth(4).unwrap_or_default().to_owned();
    if fields.skip(1).take_while(|field| *field != "-").any(|field| accepted.iter().any(|a| field.starts_with(a))) {
        return Ok(());
    }
    let error = format!("path {:?} is mounted on {mount_point:?} but it is not {text}", source.display().to_string());
    Err(container("mount propagation", error))
}
