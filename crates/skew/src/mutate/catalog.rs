//! The mutations.

use std::{collections::BTreeSet, fmt};

use prost_reflect::{Kind as FieldKind, MessageDescriptor, MethodDescriptor};
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
    /// A refusal with one code has another.
    OtherCode {
        /// The code that it has.
        of: Code,
        /// The one in its place.
        to: Code,
    },
    /// What has worked is said not to have.
    ErrorInstead,
    /// What has worked is refused when it is asked for again.
    ErrorAgain,
    /// The answer is what the same request was answered with before.
    Stale,
    /// The filter of the request is not looked at, or one of its fields is not.
    Unfiltered {
        /// The field's number in the filter; none for all of it.
        field: Option<u32>,
    },
    /// The request does not reach the runtime, and is said to have worked.
    NotDone,
    /// A stream ends after its first message.
    EndsEarly,
    /// Every second message of a stream is lost.
    MessageLost,
}

/// What sort of a fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A state or another value is not what it is.
    State,
    /// What was not asked for comes too.
    Filter,
    /// Something is not there.
    Lost,
    /// An error in place of success, success in place of an error, or another error.
    Code,
    /// What was so before, and is no more.
    Stale,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 5] = [Self::State, Self::Filter, Self::Lost, Self::Code, Self::Stale];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "wrong state or value",
            Self::Filter => "ignored filter",
            Self::Lost => "lost field, element or message",
            Self::Code => "wrong code",
            Self::Stale => "stale",
        })
    }
}

impl Fault {
    /// What sort of a fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Field { change: Change::Lost | Change::LastLost, .. } | Self::EndsEarly | Self::MessageLost => {
                Kind::Lost
            }
            Self::Field { change: Change::Changed | Change::FirstTwice | Change::Swapped, .. } => Kind::State,
            Self::OkInstead | Self::OtherCode { .. } | Self::ErrorInstead | Self::ErrorAgain => Kind::Code,
            Self::Unfiltered { .. } => Kind::Filter,
            // Nothing has become of the request: everything is as it was.
            Self::Stale | Self::NotDone => Kind::Stale,
        }
    }
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
const EFFECTIVE: [&str; 9] = [
    "RuntimeService/StopPodSandbox",
    "RuntimeService/RemovePodSandbox",
    "RuntimeService/StartContainer",
    "RuntimeService/StopContainer",
    "RuntimeService/RemoveContainer",
    "RuntimeService/ReopenContainerLog",
    "RuntimeService/UpdateContainerResources",
    "ImageService/PullImage",
    "ImageService/RemoveImage",
];

/// RPCs that are documented to be idempotent.
const IDEMPOTENT: [&str; 6] = [
    "RuntimeService/StopPodSandbox",
    "RuntimeService/RemovePodSandbox",
    "RuntimeService/StopContainer",
    "RuntimeService/RemoveContainer",
    "ImageService/PullImage",
    "ImageService/RemoveImage",
];

/// RPCs whose answer to the same request is another after a while. Statistics are not among them: a runtime may keep a measurement.
const CHANGING: [&str; 11] = [
    "RuntimeService/PodSandboxStatus",
    "RuntimeService/ListPodSandbox",
    "RuntimeService/ListContainers",
    "RuntimeService/ContainerStatus",
    "RuntimeService/ExecSync",
    "RuntimeService/Exec",
    "RuntimeService/StreamPodSandboxes",
    "RuntimeService/StreamContainers",
    "ImageService/ListImages",
    "ImageService/ImageStatus",
    "ImageService/StreamImages",
];

/// What refusals are documented to say.
const CODES: [(&str, Code); 4] = [
    ("RuntimeService/PodSandboxStatus", Code::NotFound),
    ("RuntimeService/ContainerStatus", Code::NotFound),
    ("RuntimeService/ExecSync", Code::NotFound),
    ("RuntimeService/ExecSync", Code::DeadlineExceeded),
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
        if let (FieldKind::Message(inner), false) = (field.kind(), field.is_map()) {
            let below = if field.is_list() { format!("{here}[]") } else { here };
            walk(&inner, path, below, found);
        }
        path.pop();
    }
}

/// Every field of every answer, by its whole path.
#[cfg(test)]
pub(super) fn places() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (_, method) in schema::rpcs() {
        let mut fields = Vec::new();
        walk(&method.output(), &mut Vec::new(), String::new(), &mut fields);
        all.extend(fields.into_iter().map(|(_, text, _)| format!("{}{text}", method.output().name())));
    }
    all
}

/// The filter of a request: its first field, if that is one.
fn filter(method: &MethodDescriptor) -> Option<MessageDescriptor> {
    match method.input().get_field(1)?.kind() {
        FieldKind::Message(filter) if filter.name().ends_with("Filter") => Some(filter),
        _ => None,
    }
}

fn by_hand(rpc: &str, method: &MethodDescriptor) -> Vec<Mutation> {
    let mut faults = vec![("an error where it has worked".to_owned(), Fault::ErrorInstead)];
    let mut add = |text: &str, fault| faults.push((text.to_owned(), fault));
    if let Some(filter) = filter(method) {
        add("the filter ignored", Fault::Unfiltered { field: None });
        for field in filter.fields() {
            add(&format!("the filter's {} ignored", field.name()), Fault::Unfiltered { field: Some(field.number()) });
        }
    }
    if REFUSING.contains(&rpc) {
        add("success where it has failed", Fault::OkInstead);
    }
    for (_, of) in CODES.into_iter().filter(|(name, _)| *name == rpc) {
        for to in [Code::Unknown, Code::Internal] {
            add(&format!("{to:?} where it was {of:?}"), Fault::OtherCode { of, to });
        }
    }
    if EFFECTIVE.contains(&rpc) {
        add("not done", Fault::NotDone);
    }
    if IDEMPOTENT.contains(&rpc) {
        add("an error when asked again", Fault::ErrorAgain);
    }
    if CHANGING.contains(&rpc) {
        add("the answer before again", Fault::Stale);
    }
    if method.is_server_streaming() {
        add("ends early", Fault::EndsEarly);
        add("every second message lost", Fault::MessageLost);
    }
    let named = |(text, fault)| Mutation { name: format!("{rpc} {text}"), rpc: rpc.to_owned(), fault };
    faults.into_iter().map(named).collect()
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
        let codes = CODES.map(|(rpc, _)| rpc);
        let rpcs = REFUSING.iter().chain(&EFFECTIVE).chain(&CHANGING).chain(&IDEMPOTENT).chain(&codes);
        for rpc in rpcs {
            assert!(schema::rpc(rpc).is_some(), "{rpc}");
        }
    }

    #[test]
    fn every_kind_and_every_rpc_is_among_them() {
        let all = catalog(|_, _, _| true);
        for kind in Kind::ALL {
            assert!(all.iter().any(|mutation| mutation.fault.kind() == kind), "{kind}");
        }
        for (rpc, _) in schema::rpcs() {
            assert!(all.iter().any(|mutation| mutation.rpc == rpc), "{rpc}");
        }
        let filters =
            all.iter().filter(|mutation| mutation.name.starts_with("RuntimeService/ListContainers the filter"));
        assert_eq!(filters.count(), 5, "all of it, id, state, sandbox, labels");
    }
}
