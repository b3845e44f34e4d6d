//! Both ends at once, and what Go sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;
use crate::spdy::frame::tests::{GO_CLIENT, bytes};

/// Sends everything back, on every stream.
async fn mirror(mut offers: mpsc::Receiver<Offer>) {
    while let Some(offer) = offers.recv().await {
        let (mut incoming, outgoing) = offer.accept().await.unwrap();
        tokio::spawn(async move {
            while let Ok(Some(bytes)) = incoming.next().await {
                outgoing.send(bytes).await.unwrap();
            }
            outgoing.finish().await.unwrap();
        });
    }
}

#[tokio::test]
async fn a_go_client_is_served() {
    let (mut theirs, ours) = duplex(64 * 1024);
    let (_connection, mut offers) = serve(ours, None);
    theirs.write_all(&bytes(GO_CLIENT)).await.unwrap();
    let mut raw = Raw::new(theirs);
    assert_eq!(raw.receive().await, Some(Frame::Ping(1)));
    let mut halves = Vec::new();
    for (id, kind) in [(1, "error"), (3, "stdin"), (5, "data")] {
        let offer = offers.recv().await.unwrap();
        assert_eq!((offer.id, offer.headers.get("Streamtype")), (id, Some(kind)));
        halves.push(offer.accept().await.unwrap().0);
    }
    let [error, stdin, data] = &mut halves[..] else { panic!() };
    assert_eq!(error.next().await, Ok(None));
    assert_eq!(stdin.collect(100).await, b"hello");
    assert_eq!(data.next().await, Err(Gone));
}

/// Streams of many bytes in both directions at once, over this.
async fn transfer<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(client: T, server: T) {
    const LENGTH: usize = 3_000_000;
    let (_server, offers) = serve(server, None);
    let mirror = tokio::spawn(mirror(offers));
    let (client, opener) = connect(client);
    let mut streams = Vec::new();
    for number in 0..3_u8 {
        let (mut incoming, outgoing) = opener.open(Headers::from_iter([("port", number.to_string())])).await.unwrap();
        let all = (0..LENGTH).map(|at| (at * 31 / 7) as u8 ^ number).collect::<Bytes>();
        let sent = all.clone();
        streams.push(tokio::spawn(async move {
            let mut rest = sent;
            // Of many lengths: with and without copies.
            for length in (0..).map(|step| 1 << (step % 18)) {
                if rest.is_empty() {
                    return outgoing.finish().await.unwrap();
                }
                outgoing.send(rest.split_to(rest.len().min(length))).await.unwrap();
            }
        }));
        streams.push(tokio::spawn(async move {
            assert!(incoming.collect(2 * LENGTH).await == all);
        }));
    }
    for stream in streams {
        stream.await.unwrap();
    }
    client.close(Closing::Normal).await;
    mirror.await.unwrap();
}

#[tokio::test]
async fn bytes_come_out_as_they_went_in_over_a_pipe() {
    let (client, server) = duplex(10_000);
    transfer(client, server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_come_out_as_they_went_in_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    transfer(client, listener.accept().await.unwrap().0).await;
}

#[tokio::test]
async fn bytes_come_out_as_they_went_in_where_slices_are_not_written_at_once() {
    let (client, server) = duplex(10_000);
    transfer(Plain(client), Plain(server)).await;
}

/// Writes one slice at a time.
struct Plain(DuplexStream);

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
