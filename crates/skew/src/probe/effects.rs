//! What a kubelet has to expect of a runtime.

use corten_cri::history::{Handshake, Release, Severity, Younger};
use serde::Serialize;

use super::{FeatureReport, Policy, Source, State};

/// What a kubelet has to expect.
#[derive(Debug, Serialize)]
pub struct WithKubelet {
    /// The kubelet's release.
    pub kubelet: Release,
    /// What the policy says.
    pub policy: Policy,
    /// What is otherwise than between two of the same release, the worst first.
    pub effects: Vec<Effect>,
}

/// What it means that one side lacks a feature.
#[derive(Debug, Serialize)]
pub struct Effect {
    /// The feature's short name.
    pub id: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Whether a pod that needs the feature breaks, rather than being refused or served less well.
    pub breaks: bool,
    /// What the side that lacks nothing does.
    pub what: &'static str,
    /// What becomes of a pod that needs the feature.
    pub pod: &'static str,
    /// How it is known that the runtime has the feature or not.
    pub source: Source,
}

impl WithKubelet {
    /// Whether the two do not fit.
    pub fn breaks(&self) -> bool {
        self.policy != Policy::Fits || self.effects.iter().any(|effect| effect.breaks)
    }
}

pub(super) fn with(kubelet: Release, policy: Policy, features: &[FeatureReport]) -> WithKubelet {
    let mut effects: Vec<_> = features.iter().filter_map(|report| effect(kubelet, report)).collect();
    effects.sort_by_key(|effect| (std::cmp::Reverse(effect.breaks), std::cmp::Reverse(effect.severity)));
    WithKubelet { kubelet, policy, effects }
}

fn effect(kubelet: Release, report: &FeatureReport) -> Option<Effect> {
    let feature = report.feature;
    let uses = feature.is_in(kubelet) && feature.until.is_none_or(|until| kubelet < until.first());
    let what = match (uses, report.state) {
        (true, State::Lacks | State::Partly) if feature.younger != Younger::Runtime => &feature.kubelet,
        (false, State::Has) if feature.younger != Younger::Kubelet && !feature.is_in(kubelet) => &feature.runtime,
        _ => return None,
    };
    if report.is_for_windows() {
        return None;
    }
    let severity = feature.severity_with(kubelet);
    Some(Effect {
        id: &feature.id,
        title: &feature.title,
        severity,
        breaks: breaks(kubelet, &feature.handshake, severity),
        what,
        pod: &feature.pod,
        source: report.source,
    })
}

/// What fails after a handshake was asked for where there is none: the kubelet knows, and says so.
fn breaks(kubelet: Release, handshake: &Handshake, severity: Severity) -> bool {
    let asked_before = match handshake {
        Handshake::Unimplemented | Handshake::Negotiation => true,
        Handshake::StatusFeature { since, .. } | Handshake::RuntimeHandlerFeature { since, .. } => {
            kubelet >= since.first()
        }
        Handshake::EmptyAnswer | Handshake::Dropped | Handshake::Wire | Handshake::Documentation => false,
    };
    severity == Severity::Wrong || (severity == Severity::Fails && !asked_before)
}
