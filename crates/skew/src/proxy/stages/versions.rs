//! Looking like another release: what a kubelet of one release would not say, and what a runtime of one release would not
//! understand, is taken out of every message, in both directions.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use corten_cri::{
    ApiVersion,
    history::{Error, History, Release, ReleaseName, Rpc},
    unimplemented::{unknown_method, unknown_service},
    wire::{Message, Shapes},
};
use tonic::Status;

use crate::proxy::{
    call::{Call, Callee},
    grpc::{Way, invalid_text},
    stage::{Answer, Begin, Exchange, Next, Stage},
};

/// The releases that the two sides are made to look like.
///
/// Calls of RPCs that one of them lacks are answered as grpc-go answers what it does not know, `v1alpha2` is served to
/// 1.25. Fields and values of enums that one of them lacks are dropped from requests and responses; bytes that cannot be read go
/// on as they are, for the other side to refuse.
pub struct Versions {
    history: &'static History,
    sides: Arc<Sides>,
}

struct Sides {
    newest: &'static Shapes,
    kubelet: Option<Side>,
    runtime: Option<Side>,
}

/// A release as one side has it.
struct Side {
    /// By `Service/Method`.
    v1: BTreeSet<&'static str>,
    /// The same, if it has that version.
    v1alpha2: Option<BTreeSet<&'static str>>,
    /// Its messages, which are those of both versions.
    shapes: Shapes,
}

impl Versions {
    /// What a kubelet and a runtime of these releases have. None leaves a side as it is.
    ///
    /// # Errors
    /// [`Error`] for a release that the history does not have.
    pub fn new(kubelet: Option<ReleaseName>, runtime: Option<ReleaseName>) -> Result<Self, Error> {
        let history = History::embedded().map_err(|_| Error::NoReleases)?;
        let newest = Shapes::compiled().map_err(|_| Error::NoReleases)?;
        let side =
            |name: Option<ReleaseName>| name.map(|name| Side::of(history, history.v1.release(name)?)).transpose();
        let sides = Sides { newest, kubelet: side(kubelet)?, runtime: side(runtime)? };
        Ok(Self { history, sides: Arc::new(sides) })
    }
}

impl Side {
    fn of(history: &'static History, release: Release) -> Result<Self, Error> {
        let (own, newest) = (history.v1.in_release(release)?, history.v1.in_release(history.v1.newest()?)?);
        Ok(Self {
            // A number that has come to mean something else goes: neither side would make sense of the other's.
            shapes: Shapes::common(&own, &[&newest]),
            v1: own.rpcs.into_keys().collect(),
            v1alpha2: history.v1alpha2.in_release(release).ok().map(|alpha| alpha.rpcs.into_keys().collect()),
        })
    }

    /// What a server of this release answers to a call that it does not have.
    fn refusal(&self, call: &Call, api: ApiVersion, rpc: &str) -> Option<Status> {
        let rpcs = match api {
            ApiVersion::V1 => Some(&self.v1),
            ApiVersion::V1Alpha2 => self.v1alpha2.as_ref(),
        };
        match rpcs {
            None => Some(unknown_service(&call.callee.full_name())),
            Some(rpcs) if !rpcs.contains(rpc) => Some(unknown_method(&call.method, &call.callee.full_name())),
            Some(_) => None,
        }
    }

    fn message(&self, name: &str) -> Option<Message<'_>> {
        self.shapes.message(name)
    }
}

impl Stage for Versions {
    fn begin(&self, call: &mut Call) -> Begin {
        let (Callee::Cri(api, _), Some(rpc)) = (&call.callee, call.rpc()) else { return Begin::Pass };
        for side in [&self.sides.kubelet, &self.sides.runtime].into_iter().flatten() {
            if let Some(status) = side.refusal(call, *api, &rpc) {
                return Begin::Answer(Answer::status(status));
            }
        }
        // What neither side has an opinion on is nobody's to change.
        match self.history.v1.rpcs.get(&rpc) {
            Some(rpc) => Begin::Follow(Box::new(Lowered { sides: self.sides.clone(), rpc })),
            None => Begin::Pass,
        }
    }
}

/// A call between two releases.
struct Lowered {
    sides: Arc<Sides>,
    rpc: &'static Rpc,
}

impl Exchange for Lowered {
    fn request(&mut self, message: Bytes) -> Next {
        let sides = [(&self.sides.kubelet, true), (&self.sides.runtime, false)];
        self.lower(&self.rpc.request, message, Way::Request, sides)
    }

    fn response(&mut self, message: Bytes) -> Next {
        let sides = [(&self.sides.runtime, true), (&self.sides.kubelet, false)];
        self.lower(&self.rpc.response, message, Way::Response, sides)
    }
}

impl Lowered {
    /// Lowers by each side, the one that made the message first.
    fn lower(&self, name: &str, mut message: Bytes, way: Way, sides: [(&Option<Side>, bool); 2]) -> Next {
        for (side, sending) in sides {
            let Some(shape) = side.as_ref().and_then(|side| side.message(name)) else { continue };
            // Text in that release, and bytes at the other side, which would not refuse it.
            let newest = self.sides.newest.message(name);
            if shape.invalid_text(&message).is_some()
                && newest.is_some_and(|newest| newest.invalid_text(&message).is_none())
            {
                return Next::Answer(Answer::status(invalid_text(way, sending)));
            }
            if let Cow::Owned(lowered) = shape.lower(&message) {
                message = lowered.into();
            }
        }
        Next::Forward(message)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use corten_cri::v1;
    use http::HeaderMap;
    use prost::Message as _;
    use tonic::Code;

    use super::*;

    fn versions(kubelet: Option<&str>, runtime: Option<&str>) -> Versions {
        let name = |name: Option<&str>| name.map(|name| name.parse().unwrap());
        Versions::new(name(kubelet), name(runtime)).unwrap()
    }

    fn begin(versions: &Versions, path: &str) -> Begin {
        versions.begin(&mut Call::parse(path, HeaderMap::new()).unwrap())
    }

    fn exchange(versions: &Versions, path: &str) -> Box<dyn Exchange> {
        match begin(versions, path) {
            Begin::Follow(exchange) => exchange,
            Begin::Pass | Begin::Answer(_) => panic!("{path} is not followed"),
        }
    }

    fn refusal(versions: &Versions, path: &str) -> Option<String> {
        match begin(versions, path) {
            Begin::Answer(answer) => {
                assert_eq!(answer.status.code(), Code::Unimplemented);
                Some(answer.status.message().to_owned())
            }
            Begin::Pass | Begin::Follow(_) => None,
        }
    }

    fn forwarded(next: Next) -> Bytes {
        match next {
            Next::Forward(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_either_side_lacks_is_unimplemented() {
        let method = "unknown method RuntimeConfig for service runtime.v1.RuntimeService".to_owned();
        let path = "/runtime.v1.RuntimeService/RuntimeConfig";
        for (kubelet, runtime, expected) in [
            (None, Some("1.28"), None),
            (None, Some("1.27"), Some(&method)),
            (Some("1.27"), None, Some(&method)),
            (Some("1.30"), Some("1.29.3"), None),
        ] {
            assert_eq!(refusal(&versions(kubelet, runtime), path).as_ref(), expected, "{kubelet:?} {runtime:?}");
        }
        let newer = "unknown method NoSuch for service runtime.v1.ImageService".to_owned();
        assert_eq!(refusal(&versions(None, Some("1.37")), "/runtime.v1.ImageService/NoSuch"), Some(newer));
        assert!(matches!(begin(&versions(None, Some("1.20")), "/corten.v1.Node/LoadImage"), Begin::Pass));
    }

    #[test]
    fn v1alpha2_is_served_to_1_25() {
        let path = "/runtime.v1alpha2.RuntimeService/Version";
        assert_eq!(refusal(&versions(None, Some("1.25")), path), None);
        let unknown = "unknown service runtime.v1alpha2.RuntimeService".to_owned();
        assert_eq!(refusal(&versions(None, Some("1.26")), path).as_ref(), Some(&unknown));
        let events = "/runtime.v1alpha2.RuntimeService/GetContainerEvents";
        let unknown = "unknown method GetContainerEvents for service runtime.v1alpha2.RuntimeService".to_owned();
        assert_eq!(refusal(&versions(None, Some("1.25")), events), Some(unknown));
        assert_eq!(refusal(&versions(None, Some("1.25")), &events.replace("v1alpha2", "v1")), None);
    }

    #[test]
    fn younger_fields_go_in_both_directions() {
        let mount = v1::Mount { container_path: "/d".into(), recursive_read_only: true, ..Default::default() };
        let request = |mount| v1::CreateContainerRequest {
            config: Some(v1::ContainerConfig { mounts: vec![mount], ..Default::default() }),
            ..Default::default()
        };
        let bytes: Bytes = request(mount.clone()).encode_to_vec().into();
        let older = request(v1::Mount { recursive_read_only: false, ..mount }).encode_to_vec();
        let path = "/runtime.v1.RuntimeService/CreateContainer";
        for (kubelet, runtime, expected) in [
            (None, Some("1.30"), &bytes[..]),
            (Some("1.29"), None, &older),
            (None, Some("1.29"), &older),
            (Some("1.33"), Some("1.29"), &older),
        ] {
            let mut exchange = exchange(&versions(kubelet, runtime), path);
            assert_eq!(forwarded(exchange.request(bytes.clone())), expected, "{kubelet:?} {runtime:?}");
        }
        let container = v1::Container { id: "c".into(), image_id: "i".into(), ..Default::default() };
        let answer = v1::ListContainersResponse { containers: vec![container.clone()] };
        let expected =
            v1::ListContainersResponse { containers: vec![v1::Container { image_id: "".into(), ..container }] };
        let mut exchange = exchange(&versions(Some("1.29"), None), "/runtime.v1.RuntimeService/ListContainers");
        assert_eq!(forwarded(exchange.response(answer.encode_to_vec().into())), expected.encode_to_vec());
    }

    #[test]
    fn bytes_are_no_text_where_a_release_has_text() {
        let env = v1::KeyValue { key: "K".into(), value: vec![0xff] };
        let config = v1::ContainerConfig { envs: vec![env], ..Default::default() };
        let request = v1::CreateContainerRequest { config: Some(config), ..Default::default() };
        let refused = |kubelet, runtime| {
            let mut exchange = exchange(&versions(kubelet, runtime), "/runtime.v1.RuntimeService/CreateContainer");
            match exchange.request(request.encode_to_vec().into()) {
                Next::Answer(answer) => Some((answer.status.code(), answer.status.message().to_owned())),
                _ => None,
            }
        };
        let says = |what: &str| Some((Code::Internal, format!("grpc: {what}: string field contains invalid UTF-8")));
        assert_eq!(refused(None, Some("1.36.2")), None);
        assert_eq!(refused(None, Some("1.36.1")), says("error unmarshalling request"));
        assert_eq!(refused(Some("1.36.1"), Some("1.36.1")), says("error while marshaling"));
    }

    #[test]
    fn what_cannot_be_read_goes_on() {
        let mut exchange = exchange(&versions(Some("1.20"), Some("1.20")), "/runtime.v1.RuntimeService/Version");
        assert_eq!(forwarded(exchange.request(Bytes::from_static(&[0]))), [0][..]);
        // A field that is not known, and then something that is no field.
        assert_eq!(forwarded(exchange.request(Bytes::from_static(&[0xa8, 0x06, 0x01, 0x00]))), [0][..]);
    }

    #[test]
    fn a_release_that_nobody_knows_is_refused() {
        for name in ["1.19", "1.38"] {
            let error = Versions::new(Some(name.parse().unwrap()), None).err().unwrap();
            assert!(error.to_string().contains("it goes from 1.20 to 1.37"), "{error}");
        }
    }
}
