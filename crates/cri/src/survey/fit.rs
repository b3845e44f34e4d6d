//! The releases that a survey speaks for.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{Finding, Survey, listen::Heard, schema};
use crate::{
    history::{Error, Range, Release, Schema},
    wire::Shapes,
};

/// The releases that contradict a survey least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// The oldest of them.
    pub oldest: Release,
    /// The newest of them known.
    pub newest: Release,
    /// What contradicts even these: a runtime that took some of a release, or more.
    pub contradictions: Vec<Contradiction>,
}

/// Something that a runtime has and a release does not, or the other way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Contradiction {
    /// `Service/Method`, `Message.field`, or the path of a field of an answer.
    pub what: String,
    /// Whether it is the runtime that has it.
    pub runtime_has_it: bool,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it {} {}", if self.runtime_has_it { "has" } else { "lacks" }, self.what)
    }
}

impl Survey {
    /// The releases that fit best.
    ///
    /// # Errors
    /// When the table of this build is broken.
    pub fn release(&self) -> Result<Fit, Error> {
        let schema = schema(self.version).map_err(|_| Error::NoReleases)?;
        let mut best: Option<Fit> = None;
        for release in candidates(schema) {
            let contradictions = self.contradictions(schema, release)?;
            match &mut best {
                Some(fit) if contradictions.len() == fit.contradictions.len() => {
                    fit.newest = release;
                }
                Some(fit) if contradictions.len() > fit.contradictions.len() => {}
                _ => best = Some(Fit { oldest: release, newest: release, contradictions }),
            }
        }
        best.ok_or(Error::NoReleases)
    }

    /// What contradicts a release.
    fn contradictions(&self, schema: &Schema, release: Release) -> Result<Vec<Contradiction>, Error> {
        let snapshot = schema.in_release(release)?;
        let mut found = Vec::new();
        for (name, finding) in &self.rpcs {
            found.extend(contradiction(finding, snapshot.rpcs.contains_key(name), (*name).to_owned()));
        }
        for (key, finding) in &self.fields {
            let field = snapshot.messages.get(key.message).and_then(|fields| fields.get(&key.number));
            let has = field.is_some_and(|field| field.field_type.to_string() == key.field_type);
            found.extend(contradiction(finding, has, format!("{}.{}", key.message, key.name)));
        }
        if !self.heard.is_empty() {
            let shapes = Shapes::of(&snapshot);
            found.extend(self.heard.iter().flat_map(|heard| beyond(&shapes, heard)));
        }
        Ok(found)
    }
}

/// What an answer says that a release cannot.
fn beyond(shapes: &Shapes, heard: &Heard) -> Vec<Contradiction> {
    let Some(message) = shapes.message(heard.message) else { return Vec::new() };
    let unknown = message.unknown(&heard.bytes).fields.into_iter();
    unknown
        .map(|unknown| Contradiction {
            what: format!("{}, field {}", unknown.path, unknown.number),
            runtime_has_it: true,
        })
        .collect()
}

fn contradiction(finding: &Finding, release_has_it: bool, what: String) -> Option<Contradiction> {
    let runtime_has_it = match finding {
        Finding::Has => true,
        Finding::Lacks => false,
        Finding::Unclear { .. } => return None,
    };
    (runtime_has_it != release_has_it).then_some(Contradiction { what, runtime_has_it })
}

/// Every release in which something changed, and the newest of each minor; ascending.
fn candidates(schema: &Schema) -> BTreeSet<Release> {
    let rpcs = schema.rpcs.values().flat_map(|rpc| &rpc.ranges);
    let fields = schema.messages.values().flat_map(|message| &message.fields).flat_map(|field| &field.ranges);
    let changes = rpcs.chain(fields).map(|range: &Range| range.from);
    changes.chain(schema.releases.iter().copied()).collect()
}
