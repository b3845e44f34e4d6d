//! What the releases of the CRI broke, one after another.

use corten_cri::history::{History, Release, Schema};

use super::{Error, Finding, Severity, compare, release};

/// What one release broke of the one before it.
#[derive(Debug)]
pub struct Breach {
    /// The one before.
    pub old: Release,
    /// The one that broke it.
    pub new: Release,
    /// Errors and warnings; there may be none.
    pub findings: Vec<Finding>,
}

/// Every release of `runtime.v1` compared with the one before it: the newest patch releases of all minors, and patch releases that
/// changed something.
///
/// # Errors
/// [`Error::Embedded`] if the history that comes with the program is broken; a test proves it is not.
pub fn breaches() -> Result<Vec<Breach>, Error> {
    let v1 = &History::embedded()?.v1;
    pairs(v1).into_iter().map(|(old, new)| breach(v1, old, new)).collect()
}

fn pairs(schema: &Schema) -> Vec<(Release, Release)> {
    let minors = schema.releases.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?)));
    let changed = schema.changes();
    let before = |release: &Release| Some((Release { patch: release.patch.checked_sub(1)?, ..*release }, *release));
    let mut pairs: Vec<_> = minors.chain(changed.keys().filter_map(before)).collect();
    pairs.sort_unstable_by_key(|(_, new)| *new);
    pairs.dedup();
    pairs
}

fn breach(schema: &Schema, old: Release, new: Release) -> Result<Breach, Error> {
    let interface = |at: Release| Ok::<_, Error>(release::interface("runtime.v1", &schema.in_release(at)?));
    let mut findings = compare(&interface(old)?, &interface(new)?);
    findings.retain(|finding| finding.severity != Severity::Note);
    Ok(Breach { old, new, findings })
}
