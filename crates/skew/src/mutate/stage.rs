//! The stages: one makes answers wrong, the other notes which fields they have.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, ReflectMessage, Value, prost::Message};
use tonic::{Code, Status};

use super::{
    catalog::{Fault, Mutation},
    schema,
};
use crate::proxy::{Answer, Begin, Call, Exchange, Next, Stage};

/// The most answers that are kept to be given again.
const KEPT: usize = 4096;

/// Makes the answers of one RPC wrong.
pub struct Mutate {
    mutation: Mutation,
    rpc: MethodDescriptor,
    shared: Arc<Shared>,
}

/// What outlives a call.
#[derive(Default)]
pub struct Shared {
    applied: AtomicBool,
    answers: Mutex<BTreeMap<Bytes, Bytes>>,
}

impl Shared {
    /// Whether the mutation has changed anything.
    pub fn is_applied(&self) -> bool {
        self.applied.load(Ordering::Relaxed)
    }

    fn apply(&self) {
        self.applied.store(true, Ordering::Relaxed);
    }
}

impl Mutate {
    /// A stage, and what tells whether it has done anything. Nothing if there is no such RPC.
    pub fn new(mutation: &Mutation) -> Option<(Self, Arc<Shared>)> {
        let shared = Arc::<Shared>::default();
        let rpc = schema::rpc(&mutation.rpc)?;
        Some((Self { mutation: mutation.clone(), rpc, shared: shared.clone() }, shared))
    }
}

impl Stage for Mutate {
    fn begin(&self, call: &mut Call) -> Begin {
        if call.rpc().as_ref() != Some(&self.mutation.rpc) {
            return Begin::Pass;
        }
        Begin::Follow(Box::new(Mutated {
            fault: self.mutation.fault.clone(),
            rpc: self.rpc.clone(),
            shared: self.shared.clone(),
            request: Bytes::new(),
            count: 0,
        }))
    }
}

/// A call with a fault.
struct Mutated {
    fault: Fault,
    rpc: MethodDescriptor,
    shared: Arc<Shared>,
    request: Bytes,
    count: usize,
}

impl Mutated {
    fn ok(&self, messages: Vec<Bytes>) -> Answer {
        self.shared.apply();
        Answer { messages, status: Status::new(Code::Ok, "") }
    }

    fn changed(&self, message: Bytes) -> Bytes {
        let Fault::Field { path, change } = &self.fault else { return message };
        let Some(mut read) = schema::response(&self.rpc, &message) else { return message };
        if !change.apply(&mut read, path) {
            return message;
        }
        self.shared.apply();
        read.encode_to_vec().into()
    }

    /// What this request was answered with before; the answer now is kept for the next time.
    fn stale(&self, message: Bytes) -> Bytes {
        let mut answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= KEPT && !answers.contains_key(&self.request) {
            return message;
        }
        let before = answers.insert(self.request.clone(), message.clone());
        if before.as_ref().is_some_and(|before| *before != message) {
            self.shared.apply();
        }
        before.unwrap_or(message)
    }

    /// The request without its filter, or without one field of it.
    fn unfiltered(&self, message: Bytes, field: Option<u32>) -> Bytes {
        let Some(mut read) = schema::request(&self.rpc, &message) else { return message };
        let Some(filter) = read.descriptor().get_field(1).filter(|filter| read.has_field(filter)) else {
            return message;
        };
        match (field, read.get_field_mut(&filter)) {
            (None, _) => read.clear_field(&filter),
            (Some(number), Value::Message(inner)) => {
                let Some(field) = inner.descriptor().get_field(number).filter(|field| inner.has_field(field)) else {
                    return message;
                };
                inner.clear_field(&field);
            }
            _ => return message,
        }
        self.shared.apply();
        read.encode_to_vec().into()
    }

    /// Whether the same was asked for before, with success; from now on it was.
    fn is_again(&self) -> bool {
        let mut answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= KEPT {
            return answers.contains_key(&self.request);
        }
        answers.insert(self.request.clone(), Bytes::new()).is_some()
    }
}

impl Exchange for Mutated {
    fn request(&mut self, message: Bytes) -> Next {
        self.request = message.clone();
        match self.fault {
            Fault::NotDone => Next::Answer(self.ok(vec![Bytes::new()])),
            Fault::Unfiltered { field } => Next::Forward(self.unfiltered(message, field)),
            _ => Next::Forward(message),
        }
    }

    fn response(&mut self, message: Bytes) -> Next {
        self.count += 1;
        match self.fault {
            Fault::Field { .. } => Next::Forward(self.changed(message)),
            Fault::Stale => Next::Forward(self.stale(message)),
            Fault::ErrorInstead => Next::Drop,
            Fault::ErrorAgain if self.is_again() => {
                self.shared.apply();
                Next::Answer(Answer::status(Status::not_found("mutated: not again")))
            }
            Fault::EndsEarly if self.count > 1 => Next::Answer(self.ok(Vec::new())),
            Fault::EndsEarly => Next::Forward(message),
            Fault::MessageLost if self.count.is_multiple_of(2) => {
                self.shared.apply();
                Next::Drop
            }
            _ => Next::Forward(message),
        }
    }

    fn end(&mut self, status: Status) -> Answer {
        let code = status.code();
        match self.fault {
            Fault::OkInstead if code != Code::Ok => self.ok(vec![Bytes::new()]),
            Fault::OtherCode { of, to } if code == of => {
                self.shared.apply();
                Answer::status(Status::new(to, status.message()))
            }
            Fault::ErrorInstead if code == Code::Ok => {
                self.shared.apply();
                Answer::status(Status::internal("mutated"))
            }
            _ => Answer::status(status),
        }
    }
}

/// The fields that answers have, by RPC, and whether they are ever set to more than their default.
pub type Seen = BTreeMap<String, BTreeMap<Vec<u32>, bool>>;

/// Notes which fields answers have.
#[derive(Default)]
pub struct Note {
    seen: Arc<Mutex<Seen>>,
}

impl Note {
    /// What has been noted.
    pub fn seen(&self) -> Arc<Mutex<Seen>> {
        self.seen.clone()
    }
}

impl Stage for Note {
    fn begin(&self, call: &mut Call) -> Begin {
        let Some(name) = call.rpc() else { return Begin::Pass };
        let Some(rpc) = schema::rpc(&name) else { return Begin::Pass };
        Begin::Follow(Box::new(Noted { name, rpc, seen: self.seen.clone() }))
    }
}

struct Noted {
    name: String,
    rpc: MethodDescriptor,
    seen: Arc<Mutex<Seen>>,
}

impl Exchange for Noted {
    fn response(&mut self, message: Bytes) -> Next {
        if let Some(read) = schema::response(&self.rpc, &message) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            note(&read, &mut Vec::new(), seen.entry(self.name.clone()).or_default());
        }
        Next::Forward(message)
    }
}

/// Numbers without a presence of their own count wherever their message is; of a text that is empty nothing can be made.
fn note(message: &DynamicMessage, path: &mut Vec<u32>, seen: &mut BTreeMap<Vec<u32>, bool>) {
    for field in message.descriptor().fields() {
        let is_text = matches!(field.kind(), Kind::String | Kind::Bytes);
        let scalar = !field.is_list() && !field.is_map() && !field.supports_presence() && !is_text;
        let set = message.has_field(&field);
        if !set && !scalar {
            continue;
        }
        path.push(field.number());
        *seen.entry(path.clone()).or_default() |= set;
        match message.get_field(&field).as_ref() {
            Value::Message(inner) => note(inner, path, seen),
            Value::List(elements) => {
                for element in elements {
                    if let Value::Message(inner) = element {
                        note(inner, path, seen);
                    }
                }
            }
            _ => {}
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use corten_cri::v1::{ContainerFilter, ListContainersRequest, StopContainerRequest};

    use super::*;

    fn mutated(rpc: &str, fault: Fault) -> Mutated {
        let rpc = schema::rpc(rpc).unwrap();
        Mutated { fault, rpc, shared: Arc::default(), request: Bytes::new(), count: 0 }
    }

    #[test]
    fn a_filter_is_ignored_wholly_or_by_a_field_and_without_it_nothing_is_applied() {
        let filter = ContainerFilter { id: "a".to_owned(), pod_sandbox_id: "b".to_owned(), ..Default::default() };
        let rest = ContainerFilter { pod_sandbox_id: "b".to_owned(), ..Default::default() };
        let asked = |filter| ListContainersRequest { filter };
        let cases = [
            (None, Some(filter.clone()), (true, None)),
            (Some(1), Some(filter.clone()), (true, Some(rest))),
            (Some(4), Some(filter.clone()), (false, Some(filter))),
            (None, None, (false, None)),
        ];
        for (field, before, (applied, after)) in cases {
            let mut call = mutated("RuntimeService/ListContainers", Fault::Unfiltered { field });
            let Next::Forward(bytes) = call.request(asked(before).encode_to_vec().into()) else { panic!("{field:?}") };
            assert_eq!(ListContainersRequest::decode(bytes).unwrap(), asked(after), "{field:?}");
            assert_eq!(call.shared.is_applied(), applied, "{field:?}");
        }
    }

    #[test]
    fn only_the_second_of_equal_requests_is_refused() {
        let first = mutated("RuntimeService/StopContainer", Fault::ErrorAgain);
        let shared = first.shared.clone();
        let mut refused = Vec::new();
        for id in ["a", "b", "a"] {
            let mut call = mutated("RuntimeService/StopContainer", Fault::ErrorAgain);
            call.shared = shared.clone();
            let request = StopContainerRequest { container_id: id.to_owned(), timeout: 0 };
            call.request(request.encode_to_vec().into());
            assert!(!shared.is_applied(), "before the answer to {id}");
            refused.push(matches!(call.response(Bytes::new()), Next::Answer(_)));
        }
        assert_eq!(refused, [false, false, true]);
        assert!(shared.is_applied());
    }

    #[test]
    fn another_code_is_for_the_one_code_that_is_meant() {
        let fault = Fault::OtherCode { of: Code::NotFound, to: Code::Unknown };
        for (code, expected) in
            [(Code::NotFound, Code::Unknown), (Code::Internal, Code::Internal), (Code::Ok, Code::Ok)]
        {
            let mut call = mutated("RuntimeService/ExecSync", fault.clone());
            assert_eq!(call.end(Status::new(code, "")).status.code(), expected);
            assert_eq!(call.shared.is_applied(), code != expected);
        }
    }
}
