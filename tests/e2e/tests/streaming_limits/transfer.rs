//! Much data, each way and both ways at once, arrives as it was sent.

use std::{
    fmt,
    sync::{Mutex, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use corten_e2e::{
    image,
    streaming::{PIPES, TRANSPORTS, to_end},
};
use corten_streaming::{
    client::Transport,
    remote_command::Outcome,
    stream::{Incoming, Outgoing},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::{Gauge, World, test};

const SMALL: usize = 64 << 20;
const LARGE: usize = 1 << 30;

#[test]
fn exec_transfers_64_mib() {
    test(async |world| exec(world, SMALL).await);
}

#[test]
fn port_forward_transfers_64_mib() {
    test(async |world| port_forward(world, SMALL).await);
}

#[test]
#[ignore = "takes minutes; run by hand: cargo test -p corten-e2e --test streaming_limits -- --ignored"]
fn exec_transfers_1_gib() {
    test(async |world| exec(world, LARGE).await);
}

#[test]
#[ignore = "takes minutes; run by hand: cargo test -p corten-e2e --test streaming_limits -- --ignored"]
fn port_forward_transfers_1_gib() {
    test(async |world| port_forward(world, LARGE).await);
}

/// To a command, and to one and back again at once.
async fn exec(world: &World<'_>, length: usize) {
    world.warm_up().await;
    let memory = Gauge::new(world.cortend);
    let of_monitor = Gauge::new(world.monitor);
    for transport in TRANSPORTS {
        let mut up = world.cri.exec_session(&world.container, &["sha256sum"], PIPES, transport).await;
        let begun = Instant::now();
        send(&up.stdin.take().unwrap(), length).await;
        let said = to_end(up).await;
        report(transport, "to a command", length, begun);
        assert_eq!((said.text(), said.outcome), (format!("{}  -\n", checksum(length)), Outcome::Exited(0)));

        let script = format!("head -c {length} /dev/zero | tr '\\0' x");
        let mut down = world.cri.exec_session(&world.container, &["sh", "-c", &script], PIPES, transport).await;
        let begun = Instant::now();
        let stdout = down.stdout.as_mut().unwrap();
        let mut come = 0;
        while let Some(bytes) = stdout.next().await.unwrap() {
            assert!(bytes.iter().all(|byte| *byte == b'x'));
            come += bytes.len();
        }
        report(transport, "from a command", length, begun);
        assert_eq!((come, to_end(down).await.outcome), (length, Outcome::Exited(0)));

        let mut both = world.cri.exec_session(&world.container, &["cat"], PIPES, transport).await;
        let stdin = both.stdin.take().unwrap();
        let begun = Instant::now();
        tokio::join!(send(&stdin, length), receive(both.stdout.as_mut().unwrap(), length));
        report(transport, "through cat", length, begun);
        assert_eq!(to_end(both).await.outcome, Outcome::Exited(0));
    }
    memory.assert_bounded("transfers");
    of_monitor.assert_bounded("transfers, the monitor");
}

/// To a port and from it.
async fn port_forward(world: &World<'_>, length: usize) {
    world.warm_up().await;
    let memory = Gauge::new(world.cortend);
    for transport in TRANSPORTS {
        let (listener, port) = world.listen_in_pod();
        let session = world.cri.port_forward_session(&world.pod, transport).await;
        for what in ["to a port", "from a port", "both ways"] {
            let mut forwarded = session.open(port).await.unwrap();
            let (connected, _) = listener.accept().await.unwrap();
            let (up, down) = match what {
                "to a port" => (length, 0),
                "from a port" => (0, length),
                _ => (length, length),
            };
            let begun = Instant::now();
            tokio::join!(send(&forwarded.send, up), receive(&mut forwarded.receive, down), serve(connected, up, down));
            report(transport, what, length, begun);
            assert_eq!(forwarded.error.collect(1000).await, b"");
        }
        session.close().await;
    }
    memory.assert_bounded("transfers");
}

/// The port's end: so much comes, and so much is sent.
async fn serve(mut connected: TcpStream, up: usize, down: usize) {
    let (mut reader, mut writer) = connected.split();
    let reading = async {
        let mut pattern = Expected::new(up);
        let mut buffer = vec![0; 1 << 16];
        loop {
            match reader.read(&mut buffer).await.unwrap() {
                0 => return pattern.end(),
                read => pattern.come(&buffer[..read]),
            }
        }
    };
    let writing = async {
        for piece in pieces(down) {
            writer.write_all(&piece).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    tokio::join!(reading, writing);
}

async fn send(to: &Outgoing, length: usize) {
    for piece in pieces(length) {
        to.send(piece).await.unwrap();
    }
    to.finish().await.unwrap();
}

async fn receive(from: &mut Incoming, length: usize) {
    let mut expected = Expected::new(length);
    while let Some(bytes) = from.next().await.unwrap() {
        expected.come(&bytes);
    }
    expected.end();
}

fn report(transport: Transport, what: impl fmt::Display, length: usize, begun: Instant) {
    let (mib, seconds) = (length >> 20, begun.elapsed().as_secs_f64());
    eprintln!("{mib} MiB {what} over {transport:?}: {seconds:.2} s, {:.0} MiB/s", mib as f64 / seconds);
}

/// Of no length that a buffer has, so that bytes that are missing, twice or in another place are noticed.
const BLOCK: usize = 65_537;

/// Bytes that follow no rule, over and over.
fn block() -> Bytes {
    static ONCE: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let next = |_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_le_bytes()[3]
        };
        (0..BLOCK).map(next).collect::<Vec<_>>().into()
    };
    ONCE.get_or_init(make).clone()
}

/// So many bytes of [`block`].
fn pieces(length: usize) -> impl Iterator<Item = Bytes> {
    let block = block();
    (0..length).step_by(BLOCK).map(move |at| block.slice(..BLOCK.min(length - at)))
}

/// SHA-256 of so many bytes of [`block`], in hexadecimal.
fn checksum(length: usize) -> String {
    static KNOWN: Mutex<Vec<(usize, String)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap();
    if let Some((_, checksum)) = known.iter().find(|(of, _)| *of == length) {
        return checksum.clone();
    }
    let digest = image::digest(&pieces(length).collect::<Vec<_>>().concat());
    let checksum = digest.strip_prefix("sha256:").unwrap().to_owned();
    known.push((length, checksum.clone()));
    checksum
}

/// Compares what comes with [`block`].
struct Expected {
    block: Bytes,
    length: usize,
    come: usize,
}

impl Expected {
    fn new(length: usize) -> Self {
        Self { block: block(), length, come: 0 }
    }

    fn come(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = self.come % BLOCK;
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - at));
            assert!(now == &self.block[at..at + now.len()], "other bytes than were sent, after {}", self.come);
            self.come += now.len();
            bytes = rest;
        }
    }

    fn end(&self) {
        assert_eq!(self.come, self.length);
    }
}
