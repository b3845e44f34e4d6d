//! What goes through, and what stages make of it.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::net::UnixStream;
use tonic::{Code, Status};

use super::*;

const VERSION: &str = "/runtime.v1.RuntimeService/Version";

/// A stage made of functions.
struct Made<B>(B);

impl<B: Fn(&mut Call) -> Begin + Send + Sync> Stage for Made<B> {
    fn begin(&self, call: &mut Call) -> Begin {
        (self.0)(call)
    }
}

/// Follows every call and changes nothing.
struct Looker;

impl Exchange for Looker {}

fn looker() -> Vec<Box<dyn Stage>> {
    vec![Box::new(Made(|_: &mut Call| Begin::Follow(Box::new(Looker))))]
}

fn frames(messages: &[&[u8]]) -> Bytes {
    messages.iter().flat_map(|message| grpc::framed(message)).collect()
}

#[tokio::test]
async fn every_byte_header_and_trailer_goes_through() {
    let large = vec![7; 3_000_000];
    for stages in [Vec::new(), looker()] {
        let plain = stages.is_empty();
        let world = World::new(stages, echo);
        let mut headers = grpc_headers();
        headers.insert("x-own", "value".parse().unwrap());
        headers.append("x-own", "another".parse().unwrap());
        headers.insert("x-own-bin", "AAEC/w".parse().unwrap());
        headers.insert("grpc-timeout", "20S".parse().unwrap());
        let mut bodies = vec![frames(&[]), frames(&[b""]), frames(&[b"one", b"", b"two"]), frames(&[&large, &large])];
        // The proxy that changes nothing does not look at it either.
        if plain {
            bodies.extend([&b"\x00\x00\x00\x00\x05cut"[..], b"\x09no message at all"].map(Bytes::from_static));
        }
        for body in bodies {
            let whole = world.raw(headers.clone(), body.clone()).await;
            assert!(whole.body == body, "{} bytes became {}", body.len(), whole.body.len());
            let mut expected = headers.clone();
            expected.insert("grpc-status", "0".parse().unwrap());
            assert_eq!(whole.trailers, expected);
            assert_eq!(whole.headers, grpc_headers());
        }
    }
}

#[tokio::test]
async fn what_is_no_grpc_goes_through_as_it_is() {
    let world = World::new(looker(), echo);
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, "text/plain".parse().unwrap())]);
    let whole = world.raw(headers, Bytes::from_static(b"text")).await;
    assert_eq!(whole.body, b"text"[..]);
}

/// What an exchange was shown.
type Seen = Arc<Mutex<Vec<String>>>;

/// Notes what it sees, and does to requests what it is told.
struct Noting<F> {
    seen: Seen,
    request: F,
}

impl<F: FnMut(Bytes) -> Next + Send> Exchange for Noting<F> {
    fn request(&mut self, message: Bytes) -> Next {
        self.seen.lock().unwrap().push(format!("request {message:?}"));
        (self.request)(message)
    }

    fn response(&mut self, message: Bytes) -> Next {
        self.seen.lock().unwrap().push(format!("response {message:?}"));
        Next::Forward(message)
    }

    fn end(&mut self, status: Status) -> Answer {
        self.seen.lock().unwrap().push(format!("end {:?}", status.code()));
        Answer::status(status)
    }
}

/// Two stages in a row: the first notes, the second does something to requests and notes.
fn two(does: fn(Bytes) -> Next) -> (Vec<Box<dyn Stage>>, Seen, Seen) {
    let (first, second) = (Seen::default(), Seen::default());
    let note = |seen: &Seen, request: fn(Bytes) -> Next| {
        let seen = seen.clone();
        Box::new(Made(move |_: &mut Call| Begin::Follow(Box::new(Noting { seen: seen.clone(), request }))))
            as Box<dyn Stage>
    };
    (vec![note(&first, Next::Forward), note(&second, does)], first, second)
}

#[tokio::test]
async fn stages_stand_in_a_row() {
    let (stages, first, second) = two(|message| Next::Forward([&message[..], b"!"].concat().into()));
    let got = World::new(stages, echo).client().call(VERSION, &[Bytes::from_static(b"a")]).await;
    assert_eq!((got.responses, got.status.code()), (vec![Bytes::from_static(b"a!")], Code::Ok));
    assert_eq!(*first.lock().unwrap(), ["request b\"a\"", "response b\"a!\"", "end Ok"]);
    assert_eq!(*second.lock().unwrap(), ["request b\"a\"", "response b\"a!\"", "end Ok"]);
}

#[tokio::test]
async fn a_stage_may_answer_itself() {
    let (stages, first, second) = two(|_| {
        let messages = vec![Bytes::from_static(b"mine")];
        Next::Answer(Answer { messages, status: Status::aborted("enough") })
    });
    // Nobody is behind it, nor is anybody needed.
    let got = World::new(stages, |_| {}).client().call(VERSION, &[Bytes::from_static(b"a")]).await;
    assert_eq!(got.responses, [&b"mine"[..]]);
    assert_eq!((got.status.code(), got.status.message()), (Code::Aborted, "enough"));
    assert_eq!(*first.lock().unwrap(), ["request b\"a\"", "response b\"mine\"", "end Aborted"]);
    assert_eq!(*second.lock().unwrap(), ["request b\"a\""]);
}

#[tokio::test]
async fn a_call_refused_as_it_begins_is_seen_by_the_stages_before() {
    let (mut stages, first, _) = two(Next::Forward);
    stages.truncate(1);
    stages.push(Box::new(Made(|_: &mut Call| Begin::Answer(Answer::status(Status::unimplemented("no"))))));
    let world = World::new(stages, |_| {});
    let whole = world.raw(grpc_headers(), frames(&[b"a"])).await;
    assert_eq!(*first.lock().unwrap(), ["request b\"a\"", "end Unimplemented"]);
    // Trailers only, as grpc-go answers.
    assert!(whole.body.is_empty() && whole.trailers.is_empty());
    assert_eq!(
        (whole.headers["grpc-status"].as_bytes(), whole.headers["grpc-message"].as_bytes()),
        (&b"12"[..], &b"no"[..])
    );
    assert_eq!(whole.headers["content-type"], "application/grpc");
}

#[tokio::test]
async fn a_later_message_may_be_dropped_delayed_or_end_the_call() {
    let (stages, ..) = two(|message| match &message[..] {
        b"drop" => Next::Drop,
        b"late" => Next::After(Duration::from_millis(100), Box::new(Next::Forward(message))),
        b"stop" => Next::Answer(Answer::status(Status::cancelled("stopped"))),
        _ => Next::Forward(message),
    });
    let client = World::new(stages, echo);
    let send = async |messages: &[&'static [u8]]| {
        let messages: Vec<_> = messages.iter().map(|message| Bytes::from_static(message)).collect();
        client.client().call(VERSION, &messages).await
    };
    let begun = Instant::now();
    let got = send(&[b"a", b"drop", b"late", b"b"]).await;
    assert_eq!(got.responses, [&b"a"[..], b"late", b"b"]);
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let got = send(&[b"a", b"stop", b"b"]).await;
    assert_eq!((got.status.code(), got.status.message()), (Code::Cancelled, "stopped"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stages_answer_never_loses_against_the_reset_it_causes() {
    let (stages, ..) = two(|message| match &message[..] {
        b"stop" => Next::Answer(Answer::status(Status::cancelled("stopped"))),
        _ => Next::Forward(message),
    });
    let world = World::new(stages, echo);
    let client = world.client();
    for round in 0..300 {
        let got = client.call(VERSION, &[Bytes::from_static(b"a"), Bytes::from_static(b"stop")]).await;
        assert_eq!((got.status.code(), got.status.message()), (Code::Cancelled, "stopped"), "round {round}");
    }
}

/// Changes how calls end.
struct Ender;

impl Exchange for Ender {
    fn end(&mut self, _: Status) -> Answer {
        Answer { messages: vec![Bytes::from_static(b"last")], status: Status::data_loss("lost") }
    }
}

#[tokio::test]
async fn the_end_may_be_changed_and_a_call_sent_elsewhere() {
    let stages: Vec<Box<dyn Stage>> = vec![
        Box::new(Made(|call: &mut Call| {
            call.method = "Other".to_owned();
            call.metadata.insert("x-added", "yes".parse().unwrap());
            Begin::Pass
        })),
        Box::new(Made(|call: &mut Call| {
            assert_eq!(call.path(), "/runtime.v1.RuntimeService/Other");
            Begin::Follow(Box::new(Ender))
        })),
    ];
    let world = World::new(stages, |socket| {
        serve(socket, |request| {
            assert_eq!(request.uri().path(), "/runtime.v1.RuntimeService/Other");
            assert_eq!(request.headers()["x-added"], "yes");
            let mut response = Response::new(Echo { body: request.into_body(), trailers: None });
            *response.headers_mut() = grpc_headers();
            response
        });
    });
    let got = world.client().call(VERSION, &[Bytes::from_static(b"a")]).await;
    assert_eq!(got.responses, [&b"a"[..], b"last"]);
    assert_eq!(got.status.code(), Code::DataLoss);
}

#[tokio::test]
async fn who_does_not_read_holds_up_who_sends() {
    let most = 8 << 20;
    for stages in [Vec::new(), looker()] {
        let world = World::new(stages, echo);
        let socket = UnixStream::connect(world.socket()).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("http://localhost{VERSION}")).body(()).unwrap();
        *request.headers_mut() = grpc_headers();
        let (answer, mut sending) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        let message = grpc::framed(&[7; 16_000]);
        let mut sent = 0;
        while timeout(Duration::from_millis(500), room(&mut sending, message.len())).await.is_ok() {
            sending.send_data(message.clone(), false).unwrap();
            sent += message.len();
            assert!(sent < most, "nobody reads, and {sent} bytes are taken");
        }
        sending.send_data(Bytes::new(), true).unwrap();
        let mut body = timeout(PATIENCE, answer).await.unwrap().unwrap().into_body();
        let mut got = 0;
        while let Some(data) = timeout(PATIENCE, body.data()).await.unwrap() {
            let length = data.unwrap().len();
            got += length;
            body.flow_control().release_capacity(length).unwrap();
        }
        assert_eq!(got, sent);
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    }
}

/// Waits until so much can be sent.
async fn room(sending: &mut h2::SendStream<Bytes>, length: usize) {
    sending.reserve_capacity(length);
    while sending.capacity() < length {
        std::future::poll_fn(|context| sending.poll_capacity(context)).await.unwrap().unwrap();
    }
}
