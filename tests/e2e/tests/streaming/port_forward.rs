//! PortForward.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use corten_cri::v1::NamespaceMode;
use corten_e2e::{
    cri::{PATIENCE, until},
    daemon::{Paths, Setup},
    for_each_launcher, image,
    lab::{self, Lab},
    namespace, pods,
    streaming::{LONG, TRANSPORTS, everything},
};
use corten_streaming::{
    client::{Forwarded, PortForward, Transport},
    stream::Outgoing,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use super::{noise, running};

for_each_launcher!(a_container_is_reached);

/// The network namespace of a pod.
fn namespace_of(paths: &Paths, pod: &str) -> PathBuf {
    let files = fs::read_dir(paths.netns()).unwrap().map(|entry| entry.unwrap().path());
    let mut of_pod = files.filter(|path| path.to_string_lossy().contains(pod));
    of_pod.next().unwrap_or_else(|| panic!("{pod} has no network namespace"))
}

/// Listens on an address in a pod.
pub fn listen(lab: &Lab, pod: &str, address: impl Into<SocketAddr>) -> TcpListener {
    let address = address.into();
    let listener = namespace::inside_of(&namespace_of(&lab.paths, pod), || StdListener::bind(address)).unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

/// Serves every connection by a task of its own, until it is dropped.
pub fn serve<F>(listener: TcpListener, answer: impl Fn(TcpStream) -> F + Send + 'static) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream));
        }
    });
    server
}

/// Sends back what comes, and then its end.
pub async fn echo(mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
    let _ = writer.shutdown().await;
}

/// Reads to the end, and only then answers with the digest.
async fn digest(mut stream: TcpStream) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    stream.write_all(image::digest(&all).as_bytes()).await.unwrap();
}

/// Sends bytes and the end of them, and meanwhile reads to the end; what came, and what went wrong.
async fn exchange(forwarded: Forwarded, input: &[u8]) -> (Vec<u8>, String) {
    let Forwarded { mut receive, send, mut error } = forwarded;
    let all = async { tokio::join!(say(send, input), everything(&mut receive), everything(&mut error)) };
    let ((), come, error) = timeout(LONG, all).await.expect("the connection goes on and on");
    (come.unwrap(), String::from_utf8(error.unwrap()).unwrap())
}

async fn say(send: Outgoing, input: &[u8]) {
    if !input.is_empty() {
        send.send(Bytes::copy_from_slice(input)).await.unwrap();
    }
    send.finish().await.unwrap();
}

/// Asserts that a session ends soon.
async fn assert_ends(session: &mut PortForward) {
    timeout(PATIENCE, session.ended()).await.expect("the session goes on");
}

/// A web server in a container, over either transport.
fn a_container_is_reached(setup: Setup) {
    lab::test(setup, async |lab| {
        let web_server = ["httpd", "-f", "-p", "80", "-h", "/www"];
        let pod = running(lab, |image| pods::container("web", image, &web_server)).await.pod;
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            let page = until("the web server", async || {
                let forwarded = session.open(80).await.unwrap();
                let (page, error) = exchange(forwarded, b"GET / HTTP/1.0\r\n\r\n").await;
                error.is_empty().then(|| String::from_utf8(page).unwrap())
            });
            let page = page.await;
            assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("served by Corten\n"), "{page}");
            session.close().await;
        }
    });
}

#[test]
fn loopback_is_reached_over_either_protocol_at_several_ports() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("ports")).await;
        let _servers = [
            serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 4444)), |stream| close_after("four", stream)),
            serve(listen(lab, &pod, (Ipv6Addr::LOCALHOST, 6666)), |stream| close_after("six", stream)),
            serve(listen(lab, &pod, (Ipv4Addr::UNSPECIFIED, 8888)), |stream| close_after("any", stream)),
        ];
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            let (four, six, any) = (session.open(4444).await, session.open(6666).await, session.open(8888).await);
            for (forwarded, said) in [(four, "four"), (six, "six"), (any, "any")] {
                assert_eq!(exchange(forwarded.unwrap(), b"").await, (said.into(), String::new()), "{transport:?}");
            }
            session.close().await;
        }
    });
}

/// Says something and closes the connection.
async fn close_after(text: &'static str, mut stream: TcpStream) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[test]
fn on_the_hosts_network_it_is_the_hosts_loopback() {
    lab::test(Setup::default(), async |lab| {
        let config = pods::with_namespaces(lab.pod("host"), |options| options.network = NamespaceMode::Node as i32);
        let pod = lab.run_pod(&config).await;
        for (address, transport) in
            ["127.0.0.1:0", "[::1]:0"].into_iter().flat_map(|address| TRANSPORTS.map(|transport| (address, transport)))
        {
            let listener = TcpListener::bind(address).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let _server = serve(listener, echo);
            let session = lab.cri.port_forward_session(&pod, transport).await;
            let (come, error) = exchange(session.open(port).await.unwrap(), b"hello").await;
            assert_eq!((come.as_slice(), error.as_str()), (&b"hello"[..], ""));
            session.close().await;
        }
    });
}

#[test]
fn many_connections_at_once_do_not_mix() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("many")).await;
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            let mut exchanges = JoinSet::new();
            for number in 0..100_u32 {
                let forwarded = session.open(7).await.unwrap();
                let input: Vec<u8> =
                    (0..10_000).flat_map(|offset: u32| (number * 10_000 + offset).to_be_bytes()).collect();
                exchanges.spawn(async move { (exchange(forwarded, &input).await, input) });
            }
            for ((come, error), input) in exchanges.join_all().await {
                assert!(come == input, "{transport:?}");
                assert_eq!(error, "");
            }
            session.close().await;
        }
    });
}

#[test]
fn either_direction_may_end_first() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("half")).await;
        let _digests = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 1000)), digest);
        let (heard, mut hearing) = mpsc::unbounded_channel();
        let _first = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 2000)), move |mut stream| {
            let heard = heard.clone();
            async move {
                stream.write_all(b"all I have to say").await.unwrap();
                stream.shutdown().await.unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                heard.send(all).unwrap();
            }
        });
        let input = noise(1_000_000);
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            // The client's.
            let (come, error) = exchange(session.open(1000).await.unwrap(), &input).await;
            assert_eq!((String::from_utf8(come).unwrap(), error), (image::digest(&input), String::new()));
            // The port's.
            let Forwarded { mut receive, send, mut error } = session.open(2000).await.unwrap();
            assert_eq!(everything(&mut receive).await.unwrap(), b"all I have to say");
            assert_eq!(everything(&mut error).await.unwrap(), b"");
            say(send, &input).await;
            let all = timeout(PATIENCE, hearing.recv()).await.unwrap().unwrap();
            assert!(all == input, "{transport:?}: {} bytes of {}", all.len(), input.len());
            session.close().await;
        }
    });
}

#[test]
fn much_goes_both_ways_at_once() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("much")).await;
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        let input = noise(20_000_000);
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            let (come, error) = exchange(session.open(7).await.unwrap(), &input).await;
            assert_eq!((come.len(), error.as_str()), (input.len(), ""), "{transport:?}");
            assert_eq!(image::digest(&come), image::digest(&input), "{transport:?}");
            session.close().await;
        }
    });
}

#[test]
fn where_nothing_listens_the_error_names_the_port() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("nothing")).await;
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            for port in [9, 65535] {
                let (come, error) = exchange(session.open(port).await.unwrap(), b"anybody?").await;
                assert!(come.is_empty() && error.contains(&port.to_string()), "{come:?} {error}");
                assert!(error.contains("refused"), "{error}");
            }
            let (come, error) = exchange(session.open(7).await.unwrap(), b"and on").await;
            assert_eq!((come.as_slice(), error.as_str()), (&b"and on"[..], ""), "the session goes on");
            session.close().await;
        }
    });
}

#[test]
fn a_connection_that_the_port_resets_is_an_error() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("reset")).await;
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), async |mut stream: TcpStream| {
            stream.read_u8().await.unwrap();
            stream.set_zero_linger().unwrap();
        });
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            let Forwarded { mut receive, send, mut error } = session.open(7).await.unwrap();
            send.send("x".into()).await.unwrap();
            assert_eq!(everything(&mut receive).await, Ok(Vec::new()));
            let error = String::from_utf8(everything(&mut error).await.unwrap()).unwrap();
            assert!(error.contains("port 7:") && error.contains("reset"), "{error}");
            session.close().await;
        }
    });
}

#[test]
fn a_session_ends_with_its_pod() {
    lab::test(Setup::default(), async |lab| {
        for transport in TRANSPORTS {
            for connected in [false, true] {
                let pod = lab.run_pod(&lab.pod("ends")).await;
                let server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
                let mut session = lab.cri.port_forward_session(&pod, transport).await;
                let mut open = Vec::new();
                if connected {
                    let mut forwarded = session.open(7).await.unwrap();
                    forwarded.send.send("hello".into()).await.unwrap();
                    assert_eq!(forwarded.receive.next().await.unwrap().unwrap(), "hello");
                    open.push(forwarded);
                }
                lab.cri.stop_pod(&pod).await.unwrap();
                assert_ends(&mut session).await;
                drop((open, server));
                lab.cri.remove_pod(&pod).await.unwrap();
            }
        }
    });
}

#[test]
fn a_client_that_goes_takes_its_connections_with_it() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("goes")).await;
        let (ended, mut endings) = mpsc::unbounded_channel();
        // It goes on sending, so that a connection that is only half closed does not end.
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), move |mut stream| {
            let ended = ended.clone();
            async move {
                while stream.write_all(b"still here").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                ended.send(()).unwrap();
            }
        });
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            let mut connections = Vec::new();
            for _ in 0..3 {
                let mut forwarded = session.open(7).await.unwrap();
                assert!(forwarded.receive.next().await.unwrap().is_some());
                connections.push(forwarded);
            }
            drop((connections, session));
            for _ in 0..3 {
                timeout(PATIENCE, endings.recv()).await.expect("a connection without its client goes on");
            }
        }
    });
}

#[test]
fn one_client_does_not_hold_another_up() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("two")).await;
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        // It sends without end and reads nothing.
        let idle = lab.cri.port_forward_session(&pod, Transport::Spdy).await;
        let stuck = idle.open(7).await.unwrap();
        while timeout(Duration::from_secs(1), stuck.send.send(Bytes::from(vec![0; 32 << 10]))).await.is_ok() {}
        for transport in TRANSPORTS {
            let session = lab.cri.port_forward_session(&pod, transport).await;
            assert_eq!(exchange(session.open(7).await.unwrap(), b"hello").await.0, b"hello");
            session.close().await;
        }
    });
}
