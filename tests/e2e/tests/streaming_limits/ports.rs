//! Port-forwards of which one end does not read.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use corten_e2e::{cri::until, streaming::TRANSPORTS};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    memory::{MUCH, fill},
    world::{Gauge, test},
};

/// Writes to the first who connects, until that is gone; how much has been taken.
fn endless(listener: TcpListener) -> Arc<AtomicU64> {
    let taken = Arc::new(AtomicU64::new(0));
    let count = taken.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(written) = stream.write(&[b'x'; 65536]).await {
            count.fetch_add(written as u64, Ordering::Relaxed);
        }
    });
    taken
}

/// Resolves when something is taken no more.
async fn stalled(taken: &AtomicU64) {
    let (mut last, mut times) = (0, 0);
    until("a port to wait until it is read", async || {
        let now = taken.load(Ordering::Relaxed);
        times = if now > 0 && now == last { times + 1 } else { 0 };
        last = now;
        (times > 30).then_some(())
    })
    .await;
}

#[test]
fn a_port_waits_for_a_client_that_does_not_read() {
    test(async |world| {
        world.warm_up().await;
        let memory = Gauge::new(world.cortend);
        for transport in TRANSPORTS {
            let (listener, port) = world.listen_in_pod();
            let taken = endless(listener);
            world
                .survives(&format!("a port that is not read, {transport:?}"), async |world| {
                    let session = world.cri.port_forward_session(&world.pod, transport).await;
                    let forwarded = session.open(port).await.unwrap();
                    stalled(&taken).await;
                    eprintln!("{} KiB were taken", taken.load(Ordering::Relaxed) >> 10);
                    memory.assert_bounded("a port that is not read");
                    drop((forwarded, session));
                })
                .await;
        }
    });
}

#[test]
fn a_client_waits_for_a_port_that_does_not_read() {
    test(async |world| {
        world.warm_up().await;
        let memory = Gauge::new(world.cortend);
        for transport in TRANSPORTS {
            let (listener, port) = world.listen_in_pod();
            world
                .survives(&format!("a port that does not read, {transport:?}"), async |world| {
                    let session = world.cri.port_forward_session(&world.pod, transport).await;
                    let forwarded = session.open(port).await.unwrap();
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let sent = fill(&forwarded.send, MUCH).await;
                    eprintln!("{} KiB were taken", sent >> 10);
                    assert!(sent < MUCH, "{sent} bytes were taken by nobody");
                    memory.assert_bounded("a port that does not read");
                    drop((forwarded, session));
                    // Who is connected to the port learns that the client is gone.
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                })
                .await;
        }
    });
}
