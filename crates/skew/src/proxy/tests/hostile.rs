//! Clients and runtimes that do not keep to the rules.

use std::os::unix::fs::PermissionsExt;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::Code;

use super::*;

const VERSION: &str = "/runtime.v1.RuntimeService/Version";

/// One stage that looks at everything.
fn versions() -> Vec<Box<dyn Stage>> {
    let name = |text: &str| Some(text.parse().unwrap());
    vec![Box::new(Versions::new(name("1.30"), name("1.30")).unwrap())]
}

/// What the proxy still does.
async fn works(world: &World) {
    let got = timeout(PATIENCE, world.client().call(VERSION, &[Bytes::from_static(b"\x0a\x01v")])).await.unwrap();
    assert_eq!((got.status.code(), got.responses), (Code::Ok, vec![Bytes::from_static(b"\x0a\x01v")]));
}

#[tokio::test]
async fn clients_that_send_garbage_lose_their_connection_and_no_more() {
    let world = World::new(versions(), echo);
    let mut runner = TestRunner::deterministic();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for _ in 0..64 {
        let garbage = prop::collection::vec(any::<u8>(), 1..400).new_tree(&mut runner).unwrap().current();
        for start in [&b""[..], preface] {
            let mut stream = UnixStream::connect(world.socket()).await.unwrap();
            let _ = stream.write_all(&[start, &garbage].concat()).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            // Reset or closed, as it likes.
            let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        }
    }
    works(&world).await;
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_refused_and_do_not_reach_the_runtime() {
    let world = World::new(versions(), |_| {});
    for (body, code) in [
        (&b"\x00\x01\x00\x00\x01"[..], "8"),
        (b"\x00\xff\xff\xff\xff", "8"),
        (b"\x01\x00\x00\x00\x01x", "13"),
        (b"\x07\x00\x00\x00\x01x", "13"),
    ] {
        let whole = world.raw(grpc_headers(), Bytes::from_static(body)).await;
        assert_eq!(whole.headers["grpc-status"], code, "{body:?}");
    }
    let mut headers = grpc_headers();
    headers.insert("grpc-encoding", "gzip".parse().unwrap());
    let whole = world.raw(headers, Bytes::from_static(b"\x01\x00\x00\x00\x01x")).await;
    assert_eq!(whole.headers["grpc-status"], "12");
}

#[tokio::test]
async fn too_large_headers_are_refused() {
    for stages in [Vec::new(), versions()] {
        let world = World::new(stages, echo);
        let mut headers = grpc_headers();
        for number in 0..100 {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            headers.insert(name, "v".repeat(1000).parse().unwrap());
        }
        let upstream = Upstream::new(world.socket());
        let mut request = Request::post(format!("http://localhost{VERSION}")).body(Sent::own(b"")).unwrap();
        *request.headers_mut() = headers;
        let refused = match timeout(PATIENCE, upstream.send(request)).await.unwrap() {
            Ok(response) => response.status() == http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Err(_) => true,
        };
        assert!(refused);
        works(&world).await;
    }
}

/// Says something to everybody who connects, and closes.
fn says(bytes: &'static [u8]) -> impl FnOnce(&Path) {
    move |socket| {
        let listener = UnixListener::bind(socket).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
            }
        });
    }
}

#[tokio::test]
async fn a_runtime_that_is_none_is_unavailable() {
    let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for said in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", settings, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
        for stages in [Vec::new(), versions()] {
            let world = World::new(stages, says(said));
            let got = timeout(PATIENCE, world.client().call(VERSION, &[Bytes::new()])).await.unwrap();
            assert_eq!(got.status.code(), Code::Unavailable, "{said:?}: {}", got.status);
        }
    }
}

/// Answers every call with these bytes, and trailers or none.
fn answers(bytes: &'static [u8], trailers: Option<HeaderMap>) -> impl FnOnce(&Path) {
    move |socket| {
        serve(socket, move |_| {
            let mut response =
                Response::new(Fixed { data: Some(Bytes::from_static(bytes)), trailers: trailers.clone() });
            *response.headers_mut() = grpc_headers();
            response
        });
    }
}

struct Fixed {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Fixed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let next = data.or_else(|| self.trailers.take().map(Frame::trailers));
        std::task::Poll::Ready(next.map(Ok))
    }
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_an_error() {
    let fine = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    for (bytes, trailers, code) in [
        (&b"\x00\x01\x00\x00\x01"[..], Some(fine.clone()), Code::ResourceExhausted),
        (b"\x01\x00\x00\x00\x01x", Some(fine.clone()), Code::Internal),
        (b"\x00\x00\x00\x00\x05cut", Some(fine), Code::Internal),
        (b"\x09", None, Code::Internal),
        (b"\x00\x00\x00\x00\x00", None, Code::Internal),
    ] {
        let world = World::new(versions(), answers(bytes, trailers));
        let got = timeout(PATIENCE, world.client().call(VERSION, &[Bytes::new()])).await.unwrap();
        assert_eq!(got.status.code(), code, "{bytes:?}: {}", got.status);
    }
}

#[tokio::test]
async fn a_status_as_large_as_a_runtime_makes_it_goes_through() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "2".parse().unwrap());
    trailers.insert("grpc-message", "x".repeat(40_000).parse().unwrap());
    for stages in [Vec::new(), versions()] {
        let world = World::new(stages, answers(b"", Some(trailers.clone())));
        let got = timeout(PATIENCE, world.client().call(VERSION, &[Bytes::new()])).await.unwrap();
        assert_eq!((got.status.code(), got.status.message().len()), (Code::Unknown, 40_000));
    }
}

#[tokio::test]
async fn the_socket_is_its_groups_and_not_taken_from_who_serves_on_it() {
    let world = World::new(Vec::new(), echo);
    let mode = world.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let again = Proxy::bind(Setup::plain(world.socket(), "/nowhere"));
    assert_eq!(again.err().unwrap().to_string(), format!("something else serves on {}", world.socket().display()));
    works(&world).await;
}
