//! Clients that make no request, or a request that nobody could want.

use std::fmt::Write as _;

use corten_e2e::{
    cri::assert_refused,
    streaming::{OUTPUT, TRANSPORTS, remote_command, to_end, uri},
};
use corten_streaming::remote_command::Outcome;
use tonic::Code;

use crate::{
    raw::{Flood, Raw},
    world::{Gauge, World, test},
};

/// The most bytes that a server may have taken of a request without an end, in the kernel's buffers too.
const TAKEN: usize = 64 << 20;

async fn url(world: &World<'_>) -> String {
    world.cri.exec_url(&world.container, &["true"], OUTPUT).await.unwrap()
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    test(async |world| {
        world.warm_up().await;
        let memory = Gauge::new(world.cortend);
        let path = uri(&url(world).await).path().to_owned();
        let upgrade = "Host: node\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
        let mut many = String::new();
        (0..101).for_each(|number| write!(many, "h{number}: v\r\n").unwrap());
        let large = format!("h: {}\r\n", "v".repeat(1000)).repeat(20);
        let (line, name) = ("v".repeat(20_000), "n".repeat(20_000));
        for (what, request) in [
            ("more than 100 headers", format!("POST {path} HTTP/1.1\r\n{upgrade}{many}\r\n")),
            ("more than 16 KiB of headers", format!("POST {path} HTTP/1.1\r\n{upgrade}{large}\r\n")),
            ("a long header line", format!("POST {path} HTTP/1.1\r\n{upgrade}h: {line}\r\n\r\n")),
            ("a long header name", format!("POST {path} HTTP/1.1\r\n{upgrade}{name}: v\r\n\r\n")),
            ("a long request line", format!("POST {path}?{line} HTTP/1.1\r\n{upgrade}\r\n")),
            ("a long method", format!("{name} {path} HTTP/1.1\r\n{upgrade}\r\n")),
        ] {
            world
                .survives(what, async |world| {
                    let mut raw = Raw::connect(&url(world).await).await;
                    // It may be closed, and so reset, before all was sent or all was read.
                    let _ = raw.send(request.as_bytes()).await;
                    let answer = raw.head().await;
                    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
                    raw.closed().await;
                })
                .await;
        }
        for (what, start, piece) in [
            ("an endless header line", format!("POST {path} HTTP/1.1\r\n{upgrade}h: "), "v"),
            ("an endless request line", "POST /exec/".to_owned(), "v"),
            ("an endless method", String::new(), "V"),
            ("endless headers", format!("POST {path} HTTP/1.1\r\n"), "h: v\r\n"),
            ("endless empty lines", String::new(), "\r\n"),
        ] {
            world
                .survives(what, async |world| {
                    let mut raw = Raw::connect(&url(world).await).await;
                    raw.send(start.as_bytes()).await.unwrap();
                    let flood = raw.flood(piece.repeat(1000).as_bytes(), TAKEN).await;
                    assert!(matches!(flood, Flood::Closed(_)), "{what}: {flood:?}");
                })
                .await;
        }
        memory.assert_bounded("requests that are too large");
    });
}

#[test]
fn who_says_nothing_is_closed_and_keeps_nobody_out() {
    test(async |world| {
        let url = url(world).await;
        let path = uri(&url).path().to_owned();
        let mut waiting = Vec::new();
        for number in 0..300 {
            let mut raw = Raw::connect(&url).await;
            let half = format!("POST {path} HTTP/1.1\r\nHost: node\r\nConnect");
            match number % 3 {
                0 => {}
                1 => raw.send(&half.as_bytes()[..number / 8]).await.unwrap(),
                _ => raw.send(half.as_bytes()).await.unwrap(),
            }
            waiting.push(raw);
        }
        world.serves_the_next().await;
        // They have been there for the whole time, and the URL that half of them were about to use is still good.
        for transport in TRANSPORTS.iter().take(1) {
            let said = to_end(remote_command(&url, *transport, OUTPUT).await.unwrap()).await;
            assert_eq!(said.outcome, Outcome::Exited(0));
        }
        for raw in &mut waiting {
            raw.closed().await;
        }
    });
}

#[test]
fn too_many_urls_are_refused_until_one_is_used() {
    test(async |world| {
        // All before the first of them is too old.
        let urls = futures::future::join_all((0..1000).map(|_| url(world))).await;
        let one_more = world.cri.exec_url(&world.container, &["true"], OUTPUT).await;
        assert_refused(one_more, Code::ResourceExhausted, &["1000"]);
        let attach = world.cri.attach_url(&world.container, OUTPUT).await;
        assert_refused(attach, Code::ResourceExhausted, &["1000"]);
        let port_forward = world.cri.port_forward_url(&world.pod, &[80]).await;
        assert_refused(port_forward, Code::ResourceExhausted, &["1000"]);
        // Two for `serves_the_next`.
        for (url, transport) in urls.iter().zip(TRANSPORTS) {
            let said = to_end(remote_command(url, transport, OUTPUT).await.unwrap()).await;
            assert_eq!(said.outcome, Outcome::Exited(0));
        }
        world.serves_the_next().await;
    });
}
