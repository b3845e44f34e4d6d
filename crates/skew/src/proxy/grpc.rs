//! gRPC over HTTP/2: messages in frames, statuses in headers, and how grpc-go words what it refuses.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use corten_cri::client::MAX_MESSAGE;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use tonic::{Code, Status};

/// The bytes before each message: a flag and the length.
const PREFIX: usize = 5;

/// How many bytes of messages that have not come whole are kept in all calls together.
const MAX_BUFFERED: usize = 256 * 1024 * 1024;

/// The media type of gRPC.
pub(super) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The status of a call's end.
pub(super) const GRPC_STATUS: &str = "grpc-status";

/// Which way a message goes: grpc-go words the same refusal differently at a server and a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Request,
    Response,
}

/// Whether a request is a gRPC call by its headers.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = value.strip_prefix(GRPC.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How many bytes all calls of a proxy keep of messages that have not come whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// Takes a stream of bytes apart into messages.
#[derive(Debug)]
pub(super) struct Decoder {
    way: Way,
    buffer: BytesMut,
    budget: Budget,
    /// How much of the budget is taken.
    taken: usize,
    /// What `grpc-encoding` says.
    encoding: Option<String>,
}

impl Decoder {
    pub(super) fn new(way: Way, headers: &HeaderMap, budget: &Budget) -> Self {
        let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
        let encoding = encoding.filter(|name| *name != "identity").map(str::to_owned);
        Self { way, buffer: BytesMut::new(), budget: budget.clone(), taken: 0, encoding }
    }

    /// More bytes. Call [`Decoder::next`] until it has nothing before the next.
    ///
    /// # Errors
    /// `ResourceExhausted` when too much is kept already.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), Status> {
        self.buffer.extend_from_slice(data);
        self.account();
        if self.budget.0.load(Ordering::Relaxed) > MAX_BUFFERED {
            return Err(Status::resource_exhausted("skew proxy: too many large messages at once"));
        }
        Ok(())
    }

    /// The next message that has come whole.
    ///
    /// # Errors
    /// What grpc-go answers to a message that is too large or compressed, or to a flag that means nothing.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((prefix, rest)) = self.buffer.split_at_checked(PREFIX) else { return Ok(None) };
        let (flag, mut length) = (prefix.first().copied().unwrap_or_default(), prefix.get(1..).unwrap_or_default());
        let length = usize::try_from(length.get_u32()).unwrap_or(usize::MAX);
        self.acceptable(flag, length)?;
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length).freeze();
        self.account();
        Ok(Some(message))
    }

    /// What has come of a message that did not come whole.
    pub(super) fn rest(&mut self) -> Bytes {
        let rest = self.buffer.split().freeze();
        self.account();
        rest
    }

    fn acceptable(&self, flag: u8, length: usize) -> Result<(), Status> {
        match (flag, &self.encoding) {
            (0, _) => {}
            (1, None) => return Err(Status::internal("grpc: compressed flag set with identity or empty encoding")),
            (1, Some(encoding)) => {
                let code = if self.way == Way::Request { Code::Unimplemented } else { Code::Internal };
                let why = format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}");
                return Err(Status::new(code, why));
            }
            (flag, _) => return Err(Status::internal(format!("grpc: received unexpected payload format {flag}"))),
        }
        if length > MAX_MESSAGE {
            let why = format!("grpc: received message larger than max ({length} vs. {MAX_MESSAGE})");
            return Err(Status::resource_exhausted(why));
        }
        Ok(())
    }

    fn account(&mut self) {
        let now = self.buffer.len();
        if now > self.taken {
            self.budget.0.fetch_add(now - self.taken, Ordering::Relaxed);
        } else {
            self.budget.0.fetch_sub(self.taken - now, Ordering::Relaxed);
        }
        self.taken = now;
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// A message in its frame.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    // Nothing longer than MAX_MESSAGE is read, and what a stage makes of it is not 4 GB.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// The trailers of an end.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.clear();
        trailers.insert(GRPC_STATUS, HeaderValue::from(i32::from(status.code())));
    }
    trailers
}

/// The end that trailers tell, or headers if there is nothing else.
pub(super) fn status_of(trailers: &HeaderMap) -> Status {
    // tonic takes it for granted that these can be decoded. They go on as they are, with the other trailers.
    let mut plain = trailers.clone();
    plain.remove("grpc-status-details-bin");
    Status::from_header_map(&plain)
        .unwrap_or_else(|| Status::internal("server closed the stream without sending trailers"))
}

/// The connection broke during a call.
pub(super) fn broken() -> Status {
    Status::unavailable("error reading from server: EOF")
}

/// A text that is not UTF-8: `sending` says that the side that made the message would refuse to send it.
pub(super) fn invalid_text(way: Way, sending: bool) -> Status {
    let what = match (sending, way) {
        (true, _) => "error while marshaling",
        (false, Way::Request) => "error unmarshalling request",
        (false, Way::Response) => "failed to unmarshal the received message",
    };
    Status::internal(format!("grpc: {what}: string field contains invalid UTF-8"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn decoder() -> Decoder {
        Decoder::new(Way::Request, &HeaderMap::new(), &Budget::default())
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let messages: [&[u8]; 3] = [b"", b"one", &[7; 70_000]];
        let bytes: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        for size in [1, 4, 5, 6, 1000, bytes.len()] {
            let (mut decoder, mut found) = (decoder(), Vec::new());
            for piece in bytes.chunks(size) {
                decoder.push(piece).unwrap();
                while let Some(message) = decoder.next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, messages, "{size}");
            assert_eq!((decoder.rest().len(), decoder.budget.0.load(Ordering::Relaxed)), (0, 0));
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_as_grpc_go_does() {
        let refusal = |bytes: &[u8], encoding: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(encoding) = encoding {
                headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
            }
            let mut decoder = Decoder::new(Way::Request, &headers, &Budget::default());
            decoder.push(bytes).unwrap();
            let status = decoder.next().unwrap_err();
            (status.code(), status.message().to_owned())
        };
        let larger = "grpc: received message larger than max (16777217 vs. 16777216)".to_owned();
        assert_eq!(refusal(&[0, 1, 0, 0, 1], None), (Code::ResourceExhausted, larger));
        let unset = "grpc: compressed flag set with identity or empty encoding".to_owned();
        assert_eq!(refusal(&[1, 0, 0, 0, 0], Some("identity")), (Code::Internal, unset));
        let none = "grpc: Decompressor is not installed for grpc-encoding \"gzip\"".to_owned();
        assert_eq!(refusal(&[1, 0, 0, 0, 0], Some("gzip")), (Code::Unimplemented, none));
        let format = "grpc: received unexpected payload format 9".to_owned();
        assert_eq!(refusal(&[9, 0, 0, 0, 0], None), (Code::Internal, format));
    }

    #[test]
    fn all_calls_share_a_budget_and_give_it_back() {
        let budget = Budget::default();
        let half = vec![0; MAX_BUFFERED / 2];
        let mut one = Decoder::new(Way::Request, &HeaderMap::new(), &budget);
        let mut other = Decoder::new(Way::Request, &HeaderMap::new(), &budget);
        one.push(&half).unwrap();
        other.push(&half).unwrap();
        assert_eq!(one.push(&[0]).unwrap_err().code(), Code::ResourceExhausted);
        drop(one);
        other.push(&[0]).unwrap();
        drop(other);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_grpc_call_is_known_by_its_media_type() {
        for (value, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", true),
            ("application/grpc-web", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_grpc(&headers), is, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn a_status_goes_into_trailers_and_comes_back() {
        let status = Status::not_found("naïve\n100%");
        let read = status_of(&trailers(&status));
        assert_eq!((read.code(), read.message()), (Code::NotFound, "naïve\n100%"));
        assert_eq!(status_of(&HeaderMap::new()).code(), Code::Internal);
    }

    #[test]
    fn details_that_cannot_be_decoded_do_not_cost_the_status() {
        for details in ["!", "=", "not base64 at all", "AAAA===", "\u{e9}"] {
            let mut read = trailers(&Status::not_found("gone"));
            read.insert("grpc-status-details-bin", HeaderValue::from_bytes(details.as_bytes()).unwrap());
            let status = status_of(&read);
            assert_eq!((status.code(), status.message()), (Code::NotFound, "gone"), "{details:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
            let mut decoder = decoder();
            for piece in &pieces {
                if decoder.push(piece).is_err() || std::iter::from_fn(|| decoder.next().transpose()).any(|m| m.is_err()) {
                    break;
                }
            }
        }
    }
}
