//! The mutations.

use std::{collections::BTreeSet, fmt};

use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};
use tonic::Code;

use super::{change::Change, free, schema};

/// How deep in an answer fields are changed.
const DEPTH: usize = 7;

/// Something wrong that a runtime can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A field of the answer is wrong.
    Field {
        /// The numbers of the fields that lead to it.
        path: Vec<u32>,
        /// What is wrong with it.
        change: Change,
    },
    /// A refusal becomes an empty success.
    OkInstead,
    /// A refusal has another code.
    OtherCode(Code),
    /// What has worked is said not to have.
    ErrorInstead,
    /// The answer is what the same request was answered with before.
    Stale,
    /// The filter of the request is not looked at.
    Unfiltered,
    /// The request does not reach the runtime, and is said to have worked.
    NotDone,
    /// A stream ends after its first message.
    EndsEarly,
    /// Every second message of a stream is lost.
    MessageLost,
}

/// A fault of one RPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// Its name: the RPC, where and what.
    pub name: String,
    /// `Service/Method`.
    pub rpc: String,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// RPCs with a filter in the request, as field 1.
const FILTERED: [&str; 8] = [
    "RuntimeService/ListPodSandbox",
    "RuntimeService/ListContainers",
    "RuntimeService/ListContainerStats",
    "RuntimeService/ListPodSandboxStats",
    "RuntimeService/StreamPodSandboxes",
    "RuntimeService/StreamContainers",
    "RuntimeService/StreamContainerStats",
    "RuntimeService/StreamPodSandboxStats",
];

/// RPCs that are documented to refuse what there is not.
const REFUSING: [&str; 13] = [
    "RuntimeService/PodSandboxStatus",
    "RuntimeService/CreateContainer",
    "RuntimeService/StartContainer",
    "RuntimeService/ContainerStatus",
    "RuntimeService/UpdateContainerResources",
    "RuntimeService/ReopenContainerLog",
    "RuntimeService/ExecSync",
    "RuntimeService/Exec",
    "RuntimeService/Attach",
    "RuntimeService/PortForward",
    "RuntimeService/ContainerStats",
    "RuntimeService/RunPodSandbox",
    "ImageService/PullImage",
];

/// RPCs whose effect can be seen.
const EFFECTIVE: [&str; 7] = [
    "RuntimeService/StopPodSandbox",
    "RuntimeService/RemovePodSandbox",
    "RuntimeService/StartContainer",
    "RuntimeService/StopContainer",
    "RuntimeService/RemoveContainer",
    "RuntimeService/ReopenContainerLog",
    "ImageService/RemoveImage",
];

/// RPCs whose answer to the same request is another after a while.
const CHANGING: [&str; 10] = [
    "RuntimeService/PodSandboxStatus",
    "RuntimeService/ListPodSandbox",
    "RuntimeService/ListContainers",
    "RuntimeService/ContainerStatus",
    "RuntimeService/ExecSync",
    "RuntimeService/ContainerStats",
    "RuntimeService/ListContainerStats",
    "RuntimeService/Exec",
    "ImageService/ListImages",
    "ImageService/ImageStatus",
];

/// Every mutation, by RPC. Of fields those for which `has` (given `Service/Method`, the path and the change) says that the runtime's
/// answers have them.
pub fn catalog(has: impl Fn(&str, &[u32], Change) -> bool) -> Vec<Mutation> {
    let mut all = Vec::new();
    for (rpc, method) in schema::rpcs() {
        let mut fields = Vec::new();
        walk(&method.output(), &mut Vec::new(), String::new(), &mut fields);
        for (path, text, changes) in fields {
            let message = method.output().name().to_owned();
            let changes = changes.into_iter().filter(|change| has(&rpc, &path, *change));
            let changes = changes.filter(|change| free::reason(&message, &text, *change).is_none());
            all.extend(changes.map(|change| Mutation {
                name: format!("{rpc} {message}{text} {change}"),
                rpc: rpc.clone(),
                fault: Fault::Field { path: path.clone(), change },
            }));
        }
        all.extend(by_hand(&rpc, &method));
    }
    let mut names = BTreeSet::new();
    all.retain(|mutation| names.insert(mutation.name.clone()));
    all
}

/// A field: its path in numbers and in words, and what can become of it.
type Place = (Vec<u32>, String, Vec<Change>);

fn walk(message: &MessageDescriptor, path: &mut Vec<u32>, text: String, found: &mut Vec<Place>) {
    if path.len() >= DEPTH {
        return;
    }
    for field in message.fields() {
        path.push(field.number());
        let here = format!("{text}.{}", field.name());
        found.push((path.clone(), here.clone(), Change::of(&field)));
        if let (Kind::Message(inner), false) = (field.kind(), field.is_map()) {
            let below = if field.is_list() { format!("{here}[]") } else { here };
            walk(&inner, path, below, found);
        }
        path.pop();
    }
}

fn by_hand(rpc: &str, method: &MethodDescriptor) -> Vec<Mutation> {
    let mut faults = vec![("an error where it has worked", Fault::ErrorInstead)];
    if FILTERED.contains(&rpc) || rpc.ends_with("/ListImages") {
        faults.push(("the filter ignored", Fault::Unfiltered));
    }
    if REFUSING.contains(&rpc) {
        faults.push(("success where it has failed", Fault::OkInstead));
    }
    if matches!(method.name(), "PodSandboxStatus" | "ContainerStatus") {
        faults.push(("Unknown where it was NotFound", Fault::OtherCode(Code::Unknown)));
        faults.push(("Internal where it was NotFound", Fault::OtherCode(Code::Internal)));
    }
    if EFFECTIVE.contains(&rpc) {
        faults.push(("not done", Fault::NotDone));
    }
    if CHANGING.contains(&rpc) {
        faults.push(("the answer before again", Fault::Stale));
    }
    if method.is_server_streaming() {
        faults.push(("ends early", Fault::EndsEarly));
        faults.push(("every second message lost", Fault::MessageLost));
    }
    let made =
        faults.into_iter().map(|(text, fault)| Mutation { name: format!("{rpc} {text}"), rpc: rpc.to_owned(), fault });
    made.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_and_names_are_unique_and_the_same_every_time() {
        let all = catalog(|_, _, _| true);
        assert!(all.len() > 200, "{}", all.len());
        let names: BTreeSet<_> = all.iter().map(|mutation| &mutation.name).collect();
        assert_eq!(names.len(), all.len());
        assert_eq!(all, catalog(|_, _, _| true));
    }

    #[test]
    fn every_rpc_named_by_hand_exists() {
        let rpcs = FILTERED.iter().chain(&REFUSING).chain(&EFFECTIVE).chain(&CHANGING);
        for rpc in rpcs {
            assert!(schema::rpc(rpc).is_some(), "{rpc}");
        }
    }
}
