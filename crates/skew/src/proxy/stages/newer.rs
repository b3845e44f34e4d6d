//! Looking like a release that is not there yet: what a side says has fields, and its events a type, that nobody knows.

use bytes::Bytes;
use corten_cri::{
    history::{Error, History},
    wire::{Message, Shapes},
};

use crate::proxy::{
    call::Call,
    stage::{Begin, Exchange, Next, Stage},
};

/// The number of the first unknown field; the history has none as high.
const FIRST_FIELD: u32 = 9000;

/// An event's type that nobody knows: field 2 of `ContainerEventResponse`, and the first such value.
const EVENT_TYPE: (u32, u32) = (2, 100);

/// Which side is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Kubelet,
    Runtime,
}

/// A side that is some minors newer than anything known: every message of its, and every message in one, has as many
/// unknown fields of each wire type, and after each event comes another of an unknown type.
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
        Begin::Follow(Box::new(Grown { side: self.side, message, fields, event: EVENT_TYPE.1 + self.minors }))
    }
}

/// A field of each wire type, as one more minor might bring.
fn unknown_fields(minor: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let values: [(u32, &[u8]); 4] =
        [(0, &[0x96, 0x01]), (2, b"\x05newer"), (5, &[1, 2, 3, 4]), (1, &[1, 2, 3, 4, 5, 6, 7, 8])];
    for (number, (wire_type, value)) in (FIRST_FIELD + 10 * minor..).zip(values) {
        put_varint(&mut out, number << 3 | wire_type);
        out.extend_from_slice(value);
    }
    out
}

fn put_varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// A call of which one side is newer.
struct Grown {
    side: Side,
    message: Message<'static>,
    fields: Vec<u8>,
    event: u32,
}

impl Grown {
    fn grown(&self, message: &[u8]) -> Bytes {
        self.message.with_fields(message, &self.fields).into()
    }
}

impl Exchange for Grown {
    fn request(&mut self, message: Bytes) -> Next {
        match self.side {
            Side::Kubelet => Next::Forward(self.grown(&message)),
            Side::Runtime => Next::Forward(message),
        }
    }

    fn response(&mut self, message: Bytes) -> Next {
        if self.side == Side::Kubelet {
            return Next::Forward(message);
        }
        let grown = self.grown(&message);
        if self.message.name() != "ContainerEventResponse" {
            return Next::Forward(grown);
        }
        // Of two values of a field the last counts.
        let mut other = grown.to_vec();
        put_varint(&mut other, EVENT_TYPE.0 << 3);
        put_varint(&mut other, self.event);
        Next::Several(vec![grown, other.into()])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use corten_cri::v1::{ContainerEventResponse, VersionRequest};
    use http::HeaderMap;
    use prost::Message as _;

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
    fn a_newer_runtimes_events_come_with_others_of_an_unknown_type() {
        let mut exchange = follow(&Newer::runtime(2).unwrap(), "/runtime.v1.RuntimeService/GetContainerEvents");
        let event = ContainerEventResponse { container_id: "c".into(), ..Default::default() };
        let Next::Several(sent) = exchange.response(event.encode_to_vec().into()) else { panic!() };
        let decoded: Vec<_> = sent.iter().map(|sent| ContainerEventResponse::decode(&**sent).unwrap()).collect();
        assert_eq!(decoded, [event.clone(), ContainerEventResponse { container_event_type: 102, ..event }]);
    }
}
