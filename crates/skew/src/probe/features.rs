//! Which features of the CRI a runtime has.

use corten_cri::{
    history::{Feature, Handshake},
    survey::Finding,
};
use serde::Serialize;

use super::{Found, Source};

/// Whether a runtime has a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All of it.
    Has,
    /// Some of what it consists of, or by some runtime handlers.
    Partly,
    /// Nothing of it.
    Lacks,
}

/// A feature, and whether the runtime has it.
#[derive(Debug, Serialize)]
pub struct FeatureReport {
    /// The feature.
    pub feature: &'static Feature,
    /// Whether the runtime has it.
    pub state: State,
    /// How that is known.
    pub source: Source,
}

impl FeatureReport {
    /// Whether it matters on Windows nodes only, which have no unix sockets to ask.
    pub fn is_for_windows(&self) -> bool {
        self.feature.id.starts_with("windows-")
    }
}

/// Looks where the surest knowledge of a feature is: what the runtime says in so many words, then what its decoder
/// knows, then the table for its release.
pub(super) fn report(feature: &'static Feature, found: &Found) -> FeatureReport {
    let (state, source) = said(feature, found)
        .or_else(|| surveyed(feature, found))
        .unwrap_or((whether(feature.is_in(found.newest)), Source::Table));
    FeatureReport { feature, state, source }
}

fn whether(has: bool) -> State {
    if has { State::Has } else { State::Lacks }
}

/// What Status says of it. A runtime of before the handshake says nothing, which means that it is asked otherwise.
fn said(feature: &Feature, found: &Found) -> Option<(State, Source)> {
    match &feature.handshake {
        Handshake::StatusFeature { field, .. } => {
            let features = found.status.features.as_ref()?;
            Some((whether(flag(features, field)), Source::StatusFeature))
        }
        Handshake::RuntimeHandlerFeature { field, .. } => {
            let handlers = found.status.runtime_handlers.iter().filter_map(|handler| handler.features.as_ref());
            let flags: Vec<bool> = handlers.map(|features| flag(features, field)).collect();
            all(&flags).map(|state| (state, Source::RuntimeHandlerFeature))
        }
        _ => None,
    }
}

/// A field of a message by name.
fn flag(features: &impl Serialize, field: &str) -> bool {
    let value = serde_json::to_value(features).unwrap_or_default();
    value.get(field).and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// What the runtime's decoder knows of what the feature consists of.
fn surveyed(feature: &Feature, found: &Found) -> Option<(State, Source)> {
    let refused = feature.covers.iter().any(|name| found.unimplemented.contains(&name.as_str()));
    let parts: Vec<bool> = feature.covers.iter().filter_map(|name| part(name, found)).collect();
    let source = if refused { Source::Unimplemented } else { Source::Surveyed };
    all(&parts).map(|state| (state, source))
}

fn part(name: &str, found: &Found) -> Option<bool> {
    let survey = &found.survey;
    if let Some(finding) = survey.rpcs.get(name) {
        return is(finding).map(|has| has && !found.unimplemented.contains(&name));
    }
    if name.contains('/') {
        return None;
    }
    let of = |wanted: &dyn Fn(&str, &str) -> bool| {
        let fields = survey.fields.iter().filter(|(key, _)| wanted(key.message, key.name));
        let found: Vec<bool> = fields.filter_map(|(_, finding)| is(finding)).collect();
        (!found.is_empty()).then(|| found.contains(&true))
    };
    match name.rsplit_once('.') {
        Some((message, field)) => of(&|in_message, has| in_message == message && has == field),
        // Of the request of an RPC there is nothing more to tell than of the RPC.
        None if name.ends_with("Request") => None,
        None => of(&|in_message, _| in_message == name),
    }
}

fn is(finding: &Finding) -> Option<bool> {
    match finding {
        Finding::Has => Some(true),
        Finding::Lacks => Some(false),
        Finding::Unclear { .. } => None,
    }
}

/// Nothing when there are no parts.
fn all(parts: &[bool]) -> Option<State> {
    match (parts.contains(&true), parts.contains(&false)) {
        (true, false) => Some(State::Has),
        (true, true) => Some(State::Partly),
        (false, true) => Some(State::Lacks),
        (false, false) => None,
    }
}
