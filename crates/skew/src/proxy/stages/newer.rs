//! Looking like a release that is not there yet: what a side says has fields and values that nobody knows.

use bytes::Bytes;
use corten_cri::{
    history::{Error, History},
    v1::*,
    wire::{Message, Shapes},
};
use prost::{
    Message as _,
    encoding::{WireType, encode_key},
};

use crate::proxy::{
    call::Call,
    stage::{Begin, Exchange, Next, Stage},
};

/// The number of the first unknown field; the history has none as high.
const FIRST_FIELD: u32 = 9000;

/// Below this are the values that enums have; the history has none as high.
const FIRST_VALUE: i32 = 100;

/// The name, and most of the id, of what a newer runtime has that nobody else has a word for.
const NEWER: &str = "corten-newer";

/// Which side is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Kubelet,
    Runtime,
}

/// A side that is some minors newer than anything known: every message of its, and every message in one, has as many
/// unknown fields of each wire type.
///
/// A runtime also has, in lists that no filter narrows, a pod and a container whose state has an unknown value, and a
/// metric of an unknown type; and after each event comes another in which every enum (the event's type, the states, the
/// stop signals) has an unknown value. Of what a client made itself the states and types stay: old values keep their
/// meaning. A cgroup driver stays too: a kubelet does not start with one that it does not know.
///
/// What a kubelet asks for stays what it is: a runtime has to refuse a value that it does not know (the checks of
/// [`crate::matrix`] for a newer kubelet send such requests), so nothing would be left to look at.
///
/// To be met by what the other side shall see: behind what makes a kubelet look like a release, before what makes a runtime
/// look like one.
pub struct Newer {
    side: Side,
    minors: u32,
    history: &'static History,
    shapes: &'static Shapes,
}

impl Newer {
    /// A newer kubelet: its requests.
    ///
    /// # Errors
    /// [`Error`] if the history in the repository is broken.
    pub fn kubelet(minors: u32) -> Result<Self, Error> {
        Self::new(Side::Kubelet, minors)
    }

    /// A newer runtime: its responses.
    ///
    /// # Errors
    /// [`Error`] if the history in the repository is broken.
    pub fn runtime(minors: u32) -> Result<Self, Error> {
        Self::new(Side::Runtime, minors)
    }

    fn new(side: Side, minors: u32) -> Result<Self, Error> {
        let history = History::embedded().map_err(|_| Error::NoReleases)?;
        let shapes = Shapes::compiled().map_err(|_| Error::NoReleases)?;
        Ok(Self { side, minors, history, shapes })
    }
}

impl Stage for Newer {
    fn begin(&self, call: &mut Call) -> Begin {
        let Some(rpc) = call.rpc().and_then(|rpc| self.history.v1.rpcs.get(&rpc)) else { return Begin::Pass };
        let name = match self.side {
            Side::Kubelet => &rpc.request,
            Side::Runtime => &rpc.response,
        };
        let Some(message) = self.shapes.message(name) else { return Begin::Pass };
        let fields = (0..self.minors).flat_map(unknown_fields).collect();
        match self.side {
            Side::Kubelet => Begin::Follow(Box::new(Kubelet { message, fields })),
            Side::Runtime => {
                let value = FIRST_VALUE + i32::try_from(self.minors).unwrap_or_default();
                Begin::Follow(Box::new(Runtime { message, fields, value, more: None }))
            }
        }
    }
}

/// A field of each wire type, as one more minor might bring.
fn unknown_fields(minor: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let values: [(WireType, &[u8]); 4] = [
        (WireType::Varint, &[0x96, 0x01]),
        (WireType::LengthDelimited, b"\x05newer"),
        (WireType::ThirtyTwoBit, &[1, 2, 3, 4]),
        (WireType::SixtyFourBit, &[1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    for (number, (wire_type, value)) in (FIRST_FIELD + 10 * minor..).zip(values) {
        encode_key(number, wire_type, &mut out);
        out.extend_from_slice(value);
    }
    out
}

/// A call of a newer kubelet.
struct Kubelet {
    message: Message<'static>,
    fields: Vec<u8>,
}

impl Exchange for Kubelet {
    fn request(&mut self, message: Bytes) -> Next {
        Next::Forward(self.message.with_fields(&message, &self.fields).into())
    }
}

/// A call of a newer runtime.
struct Runtime {
    message: Message<'static>,
    fields: Vec<u8>,
    /// A value that no enum has.
    value: i32,
    /// What the first answer has beside what is in it, encoded.
    more: Option<Vec<u8>>,
}

impl Exchange for Runtime {
    fn request(&mut self, message: Bytes) -> Next {
        self.more = more(self.message.name(), &message).map(|more| self.message.with_values(&more, self.value));
        Next::Forward(message)
    }

    fn response(&mut self, message: Bytes) -> Next {
        let known = [&message[..], &self.more.take().unwrap_or_default()].concat();
        let grown = self.message.with_fields(&known, &self.fields);
        if self.message.name() != "ContainerEventResponse" {
            return Next::Forward(grown.into());
        }
        let other = self.message.with_values(&grown, self.value);
        Next::Several(vec![grown.into(), other.into()])
    }
}

/// What a newer runtime lists beside the rest, as the answer's only item. Lists and streams have it under the same number.
fn more(answer: &str, request: &[u8]) -> Option<Vec<u8>> {
    let metadata = || (NEWER.to_owned(), format!("{NEWER}-id"));
    match answer {
        "ListPodSandboxResponse" | "StreamPodSandboxesResponse" => {
            let filter = ListPodSandboxRequest::decode(request).ok()?.filter;
            let (name, id) = metadata();
            let pod = PodSandbox {
                id,
                metadata: Some(PodSandboxMetadata { name, ..Default::default() }),
                ..Default::default()
            };
            is_everything(filter).then(|| ListPodSandboxResponse { items: vec![pod] }.encode_to_vec())
        }
        "ListContainersResponse" | "StreamContainersResponse" => {
            let filter = ListContainersRequest::decode(request).ok()?.filter;
            let (name, id) = metadata();
            let container = Container {
                pod_sandbox_id: id.clone(),
                id,
                metadata: Some(ContainerMetadata { name, ..Default::default() }),
                ..Default::default()
            };
            is_everything(filter).then(|| ListContainersResponse { containers: vec![container] }.encode_to_vec())
        }
        "ListPodSandboxMetricsResponse" | "StreamPodSandboxMetricsResponse" => {
            let (name, pod_sandbox_id) = metadata();
            let metrics = vec![Metric { name, value: Some(UInt64Value { value: 1 }), ..Default::default() }];
            let of_pod = PodSandboxMetrics { pod_sandbox_id, metrics, ..Default::default() };
            Some(ListPodSandboxMetricsResponse { pod_metrics: vec![of_pod] }.encode_to_vec())
        }
        _ => None,
    }
}

/// Whether a filter lets everything through.
fn is_everything<F: Default + PartialEq>(filter: Option<F>) -> bool {
    filter.is_none_or(|filter| filter == F::default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use http::HeaderMap;

    use super::*;

    fn follow(newer: &Newer, path: &str) -> Box<dyn Exchange> {
        match newer.begin(&mut Call::parse(path, HeaderMap::new()).unwrap()) {
            Begin::Follow(exchange) => exchange,
            Begin::Pass | Begin::Answer(_) => panic!("{path} is not followed"),
        }
    }

    #[test]
    fn a_newer_kubelets_requests_have_unknown_fields_of_every_wire_type() {
        for minors in 1..=3 {
            let mut exchange = follow(&Newer::kubelet(minors).unwrap(), "/runtime.v1.RuntimeService/Version");
            let request = VersionRequest { version: "0.1.0".into() };
            let Next::Forward(sent) = exchange.request(request.encode_to_vec().into()) else { panic!() };
            assert_eq!(VersionRequest::decode(&*sent).unwrap(), request);
            let unknown = Shapes::compiled().unwrap().message("VersionRequest").unwrap().unknown(&sent);
            assert_eq!(unknown.fields.len(), usize::try_from(4 * minors).unwrap());
            let Next::Forward(answer) = exchange.response(Bytes::from_static(b"any")) else { panic!() };
            assert_eq!(answer, "any");
        }
    }

    #[test]
    fn a_newer_runtimes_events_come_with_others_of_unknown_values() {
        let mut exchange = follow(&Newer::runtime(2).unwrap(), "/runtime.v1.RuntimeService/GetContainerEvents");
        let event = ContainerEventResponse {
            container_id: "c".into(),
            pod_sandbox_status: Some(PodSandboxStatus { state: 1, ..Default::default() }),
            containers_statuses: vec![ContainerStatus { stop_signal: 15, ..Default::default() }],
            ..Default::default()
        };
        let Next::Several(sent) = exchange.response(event.encode_to_vec().into()) else { panic!() };
        let decoded: Vec<_> = sent.iter().map(|sent| ContainerEventResponse::decode(&**sent).unwrap()).collect();
        let other = ContainerEventResponse {
            container_event_type: 102,
            pod_sandbox_status: Some(PodSandboxStatus { state: 102, ..Default::default() }),
            containers_statuses: vec![ContainerStatus { state: 102, stop_signal: 102, ..Default::default() }],
            ..event.clone()
        };
        assert_eq!(decoded, [event, other]);
    }

    #[test]
    fn a_newer_runtime_lists_what_nobody_has_a_word_for_where_nothing_narrows_the_list() {
        let listed = |rpc: &str, request: Vec<u8>| {
            let mut exchange = follow(&Newer::runtime(1).unwrap(), &format!("/runtime.v1.RuntimeService/{rpc}"));
            assert!(matches!(exchange.request(request.clone().into()), Next::Forward(sent) if sent == request));
            let own = ListPodSandboxResponse { items: vec![PodSandbox { id: "own".into(), ..Default::default() }] };
            let mut answer = || match exchange.response(own.encode_to_vec().into()) {
                Next::Forward(answer) => ListPodSandboxResponse::decode(&*answer).unwrap().items,
                other => panic!("{other:?}"),
            };
            let (first, second) = (answer(), answer());
            assert_eq!(second.len(), 1, "of a stream only the first answer has it");
            first.into_iter().map(|pod| (pod.id, pod.state)).collect::<Vec<_>>()
        };
        let own = ("own".to_owned(), 0);
        let filter = |filter| ListPodSandboxRequest { filter: Some(filter) }.encode_to_vec();
        for rpc in ["ListPodSandbox", "StreamPodSandboxes"] {
            for everything in [Vec::new(), filter(PodSandboxFilter::default())] {
                assert_eq!(listed(rpc, everything), [own.clone(), ("corten-newer-id".to_owned(), 101)]);
            }
            let narrow =
                filter(PodSandboxFilter { state: Some(PodSandboxStateValue::default()), ..Default::default() });
            assert_eq!(listed(rpc, narrow), std::slice::from_ref(&own));
        }
        let more = more("StreamContainersResponse", &[]).unwrap();
        assert_eq!(StreamContainersResponse::decode(&*more).unwrap().containers.len(), 1);
        let more = super::more("StreamPodSandboxMetricsResponse", &[]).unwrap();
        assert_eq!(StreamPodSandboxMetricsResponse::decode(&*more).unwrap().pod_sandbox_metrics.len(), 1);
    }
}
