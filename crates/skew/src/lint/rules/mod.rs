//! The rules: within a major version of the CRI every change is backward and forward compatible.

mod enums;
mod fields;
mod reserved;
mod types;

use super::{
    finding::{Finding, Rule},
    schema::{Interface, Rpc},
};

/// What the new interface breaks of the old one, the worst first.
pub fn compare(old: &Interface, new: &Interface) -> Vec<Finding> {
    let mut findings = Vec::new();
    if old.package != new.package {
        let what = format!("package {} became {}: no RPC has the path that it had", old.package, new.package);
        findings.push(Finding::error(Rule::PackageChanged, "package", what));
    }
    rpcs(old, new, &mut findings);
    messages(old, new, &mut findings);
    enums(old, new, &mut findings);
    findings.sort_by_key(|finding| (finding.severity, finding.rule));
    findings
}

fn rpcs(old: &Interface, new: &Interface, findings: &mut Vec<Finding>) {
    for (name, before) in &old.rpcs {
        match new.rpcs.get(name) {
            Some(now) => rpc(name, before, now, (old, new), findings),
            None => findings.push(Finding::error(Rule::RpcRemoved, name, "it is gone: callers get Unimplemented")),
        }
    }
    for name in new.rpcs.keys().filter(|name| !old.rpcs.contains_key(*name)) {
        findings.push(Finding::added(name, "a new RPC"));
    }
}

fn rpc(name: &str, before: &Rpc, now: &Rpc, (old, new): (&Interface, &Interface), findings: &mut Vec<Finding>) {
    for (what, was, is) in [("takes", &before.request, &now.request), ("returns", &before.response, &now.response)] {
        if was == is {
            continue;
        }
        let text = format!("it {what} {is}, not {was}");
        findings.push(match types::same_shape(old.messages.get(was), new.messages.get(is)) {
            true => Finding::warning(Rule::RpcChanged, name, format!("{text}, which has the same fields")),
            false => Finding::error(Rule::RpcChanged, name, text),
        });
    }
    let streams = [
        ("it takes", before.client_streaming, now.client_streaming),
        ("it returns", before.server_streaming, now.server_streaming),
    ];
    for (what, _, is) in streams.into_iter().filter(|(_, was, is)| was != is) {
        let how = if is { "a stream now" } else { "a stream no longer" };
        findings.push(Finding::error(Rule::StreamingChanged, name, format!("{what} {how}")));
    }
}

fn messages(old: &Interface, new: &Interface, findings: &mut Vec<Finding>) {
    for (name, before) in &old.messages {
        match new.messages.get(name) {
            Some(now) => fields::compare(name, before, now, (old, new), findings),
            None => findings.push(Finding::warning(
                Rule::Removed,
                format!("message {name}"),
                "it is gone; on the wire only its fields and RPCs have to do with it",
            )),
        }
    }
    for name in new.messages.keys().filter(|name| !old.messages.contains_key(*name)) {
        findings.push(Finding::added(format!("message {name}"), "a new message"));
    }
}

fn enums(old: &Interface, new: &Interface, findings: &mut Vec<Finding>) {
    for (name, before) in &old.enums {
        match new.enums.get(name) {
            Some(now) => enums::compare(name, before, now, findings),
            None => findings.push(Finding::warning(
                Rule::Removed,
                format!("enum {name}"),
                "it is gone; on the wire only its fields have to do with it",
            )),
        }
    }
    for name in new.enums.keys().filter(|name| !old.enums.contains_key(*name)) {
        findings.push(Finding::added(format!("enum {name}"), "a new enum"));
    }
}
