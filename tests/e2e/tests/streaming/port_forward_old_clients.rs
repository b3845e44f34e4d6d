//! PortForward by clients that speak what ours does not: channels of a WebSocket, and SPDY without request numbers.

use std::net::Ipv4Addr;

use corten_e2e::{
    daemon::Setup,
    lab,
    streaming::{everything, put},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    channels::Channels,
    noise,
    old_clients::{open, spdy},
    port_forward::{echo, listen, serve},
};

/// The number of a port's data channel and of its error channel.
fn of_port(index: u8) -> (u8, u8) {
    (2 * index, 2 * index + 1)
}

/// Each channel begins with the port, in two bytes, the lower one first.
async fn read_ports(client: &mut Channels, ports: &[u16]) {
    let mut expected: Vec<(u8, Vec<u8>)> = Vec::new();
    for (index, port) in (0..).zip(ports) {
        let (data, error) = of_port(index);
        expected.extend([(data, port.to_le_bytes().to_vec()), (error, port.to_le_bytes().to_vec())]);
    }
    for first in expected {
        assert_eq!(client.next().await, Some(first));
    }
}

/// Reads a channel until so many bytes have come.
async fn read(client: &mut Channels, channel: u8, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        let (on, bytes) = client.next().await.unwrap();
        assert_eq!(on, channel, "{}", String::from_utf8_lossy(&bytes));
        all.extend(bytes);
    }
    all
}

const SUBPROTOCOLS: [Option<&str>; 4] =
    [None, Some("v4.channel.k8s.io"), Some("v4.base64.channel.k8s.io"), Some("v5.channel.k8s.io")];

#[test]
fn channels_carry_the_ports_that_were_named_beforehand() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("channels")).await;
        let _first = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        let _second = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 4660)), echo);
        let input = noise(30_000);
        for protocol in SUBPROTOCOLS {
            let url = lab.cri.port_forward_url(&pod, &[7, 4660]).await.unwrap();
            let mut client = Channels::open(&url, protocol).await;
            read_ports(&mut client, &[7, 4660]).await;
            for index in [1, 0, 1] {
                let (data, _) = of_port(index);
                client.say(data, &input).await;
                assert!(read(&mut client, data, input.len()).await == input, "{protocol:?}");
            }
        }
    });
}

#[test]
fn a_channels_error_names_the_port_and_the_others_go_on() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("channels")).await;
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        for protocol in SUBPROTOCOLS {
            let url = lab.cri.port_forward_url(&pod, &[9, 7]).await.unwrap();
            let mut client = Channels::open(&url, protocol).await;
            read_ports(&mut client, &[9, 7]).await;
            let (channel, error) = client.next().await.unwrap();
            let error = String::from_utf8(error).unwrap();
            assert!(channel == of_port(0).1 && error.contains("localhost:9 "), "{channel}: {error}");
            let (data, _) = of_port(1);
            client.say(data, b"and on").await;
            assert_eq!(read(&mut client, data, 6).await, b"and on");
        }
    });
}

/// There is no other way to tell the client that a port has said its last word.
#[test]
fn channels_end_when_all_their_ports_have() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("channels")).await;
        let answer = async |mut stream: TcpStream| {
            let byte = stream.read_u8().await.unwrap();
            stream.write_all(&[byte; 3]).await.unwrap();
        };
        let _first = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), answer);
        let _second = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 8)), answer);
        for protocol in SUBPROTOCOLS {
            let url = lab.cri.port_forward_url(&pod, &[7, 8, 9]).await.unwrap();
            let mut client = Channels::open(&url, protocol).await;
            read_ports(&mut client, &[7, 8, 9]).await;
            assert_eq!(client.next().await.unwrap().0, of_port(2).1, "nothing listens on the third");
            client.say(0, b"x").await;
            assert_eq!(read(&mut client, 0, 3).await, b"xxx");
            client.say(2, b"y").await;
            assert_eq!(read(&mut client, 2, 3).await, b"yyy");
            client.rest().await;
        }
    });
}

#[test]
fn channels_end_with_the_pod() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("channels")).await;
        let server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        let mut clients = Vec::new();
        for protocol in SUBPROTOCOLS {
            let url = lab.cri.port_forward_url(&pod, &[7]).await.unwrap();
            let mut client = Channels::open(&url, protocol).await;
            read_ports(&mut client, &[7]).await;
            clients.push(client);
        }
        lab.cri.stop_pod(&pod).await.unwrap();
        for mut client in clients {
            client.rest().await;
        }
        drop(server);
    });
}

/// Clients of the first days number no requests: the two streams of a connection come one after the other.
#[test]
fn without_request_numbers_streams_pair_by_their_order() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("old")).await;
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        for protocol in [None, Some("portforward.k8s.io")] {
            let url = lab.cri.port_forward_url(&pod, &[]).await.unwrap();
            let spdy = spdy(&url, protocol).await;
            let mut open_connections = Vec::new();
            for port in ["7", "9", "7"] {
                let error = open(&spdy, &[("streamType", "error"), ("port", port)]).await;
                let data = open(&spdy, &[("streamType", "data"), ("port", port)]).await;
                open_connections.push((port, error.0, data));
            }
            for (port, mut error, (mut receive, send)) in open_connections {
                put(Some(send), b"hello").await;
                let (come, error) = (everything(&mut receive).await.unwrap(), everything(&mut error).await.unwrap());
                match port {
                    "7" => assert_eq!((come.as_slice(), error.as_slice()), (&b"hello"[..], &b""[..])),
                    _ => assert!(come.is_empty() && String::from_utf8(error).unwrap().contains("localhost:9 ")),
                }
            }
        }
    });
}

/// The streams of a pair may come the other way round, and pairs mixed.
#[test]
fn streams_pair_by_their_request_number() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("mixed")).await;
        let _server = serve(listen(lab, &pod, (Ipv4Addr::LOCALHOST, 7)), echo);
        let url = lab.cri.port_forward_url(&pod, &[7]).await.unwrap();
        let spdy = spdy(&url, Some("portforward.k8s.io")).await;
        let headers = |kind, request| [("streamType", kind), ("port", "7"), ("requestID", request)];
        let second_data = open(&spdy, &headers("data", "second")).await;
        let first_error = open(&spdy, &headers("error", "first")).await;
        let first_data = open(&spdy, &headers("data", "first")).await;
        let second_error = open(&spdy, &headers("error", "second")).await;
        for (text, (mut receive, send), (mut error, _)) in
            [("first", first_data, first_error), ("second", second_data, second_error)]
        {
            put(Some(send), text.as_bytes()).await;
            assert_eq!(everything(&mut receive).await.unwrap(), text.as_bytes());
            assert_eq!(everything(&mut error).await.unwrap(), b"");
        }
    });
}
