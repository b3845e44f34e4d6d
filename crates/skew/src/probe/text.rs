//! The report for people.

use std::fmt::Write;

use corten_cri::history::Severity;

use super::{Lack, Report, Source, State, WithKubelet};

impl Source {
    fn words(self) -> &'static str {
        match self {
            Self::Surveyed => "asked the runtime's decoder",
            Self::Unimplemented => "answered Unimplemented",
            Self::StatusFeature => "Status, features",
            Self::RuntimeHandlerFeature => "Status, runtime handlers",
            Self::Table => "by the release",
        }
    }
}

/// The report in words.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let runtime = &report.runtime;
    let implements = &report.implements;
    line(&mut out, "runtime", &format!("{} {} at {}", runtime.name, runtime.version, report.socket));
    line(&mut out, "versions", &format!("{} (asked in {})", report.versions.join(", "), report.asked_in));
    let range = if implements.oldest == implements.newest {
        implements.oldest.to_string()
    } else {
        format!("{} to {}", implements.oldest, implements.newest)
    };
    line(&mut out, "implements", &format!("CRI {range}"));
    for contradiction in &implements.contradictions {
        line(&mut out, "", &format!("but {contradiction}"));
    }
    line(&mut out, "kubelets", &format!("1.{} to 1.{} by the policy", report.kubelets.oldest, report.kubelets.newest));
    lacks(&mut out, report);
    features(&mut out, report);
    if let Some(with) = &report.with_kubelet {
        effects(&mut out, with);
    }
    out
}

fn line(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "{key:<11} {value}");
}

fn lacks(out: &mut String, report: &Report) {
    if report.lacking_rpcs.is_empty() && report.lacking_fields.is_empty() {
        let _ = writeln!(out, "\nLacks nothing that requests of CRI {} have.", report.compared_with);
    } else {
        let _ = writeln!(out, "\nLacks, of CRI {}:", report.compared_with);
    }
    for Lack { name, since, source } in report.lacking_rpcs.iter().chain(&report.lacking_fields) {
        let _ = writeln!(out, "  {name} (since {since}; {})", source.words());
    }
    for unclear in &report.unclear {
        let _ = writeln!(out, "  {unclear}: cannot be told from this runtime's answers");
    }
}

fn features(out: &mut String, report: &Report) {
    for (state, heading) in [(State::Lacks, "Features that it lacks"), (State::Partly, "Features that it has in part")]
    {
        let of_state = report.features.iter().filter(|feature| feature.state == state && !feature.is_for_windows());
        // What only words say is in every runtime or none.
        let lines: Vec<_> = of_state
            .filter(|report| report.feature.severity != Severity::Harmless)
            .map(|report| {
                let since: Vec<_> = report.feature.since.iter().map(ToString::to_string).collect();
                format!("  {} (since {}; {})\n", report.feature.title, since.join(", "), report.source.words())
            })
            .collect();
        if !lines.is_empty() {
            let _ = write!(out, "\n{heading}:\n{}", lines.concat());
        }
    }
}

fn effects(out: &mut String, with: &WithKubelet) {
    let _ = writeln!(out, "\nWith kubelet {}: {}.", with.kubelet, with.policy);
    let told: Vec<_> = with.effects.iter().filter(|effect| effect.severity != Severity::Harmless).collect();
    if told.is_empty() {
        let _ = writeln!(out, "  Nothing degrades.");
    }
    for effect in told {
        let mark = if effect.breaks { "BREAKS" } else { "degrades" };
        let _ = writeln!(out, "  {mark}: {} ({}; {})", effect.title, effect.severity, effect.source.words());
        let _ = writeln!(out, "    {}", effect.what);
        let _ = writeln!(out, "    Pods: {}", effect.pod);
    }
}
