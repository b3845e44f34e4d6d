//! The bridge with real namespaces, links, tables and traffic. Every test is a host of its own: a thread in fresh
//! network and mount namespaces, so tests run side by side and leave nothing behind even when they fail.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::network::testing::{TestHost, run};
use crate::network::{HostPort, Protocol};

const PATIENCE: Duration = Duration::from_secs(5);

/// A host with a bridge.
struct Node {
    host: TestHost,
    bridge: Bridge,
}

impl Node {
    fn new() -> Self {
        Self::with(BridgeConfig { subnets: vec!["10.77.0.0/24".parse().unwrap()], ..BridgeConfig::default() })
    }

    fn with(config: BridgeConfig) -> Self {
        let host = TestHost::new();
        let bridge = Bridge::open(config, &host.path("bridge")).unwrap();
        Node { host, bridge }
    }

    /// The daemon was killed, and is started again.
    fn reopen(&mut self) {
        self.bridge = Bridge::open(self.bridge.config.clone(), &self.host.path("bridge")).unwrap();
    }

    fn pod(&self, id: &str, host_ports: &[HostPort]) -> PodNetwork {
        let netns = self.host.path(&format!("netns/{id}"));
        if !netns::exists(&netns) {
            netns::create(&netns).unwrap();
        }
        PodNetwork { id: id.to_owned(), netns, host_ports: host_ports.to_vec(), ..PodNetwork::default() }
    }

    fn attach(&self, id: &str, host_ports: &[HostPort]) -> Pod {
        let pod = self.pod(id, host_ports);
        let attached = self.bridge.attach(&pod).unwrap();
        Pod { netns: pod.netns, ip: attached.ips[0], attached }
    }

    fn remove(&self, id: &str) {
        self.bridge.detach(id).unwrap();
        netns::remove(&self.host.path(&format!("netns/{id}"))).unwrap();
    }

    fn links(&self) -> Vec<String> {
        let links = link::list_links(&mut Socket::route().unwrap()).unwrap();
        links.into_iter().map(|link| link.name).filter(|name| name.starts_with("veth")).collect()
    }

    fn records(&self) -> usize {
        std::fs::read_dir(self.host.path("bridge/pods")).unwrap().count()
    }

    /// Nothing of any pod is left: not a link, element, record, namespace file or mount.
    fn assert_clean(&self) {
        assert_eq!(self.links(), Vec::<String>::new());
        assert_eq!(self.records(), 0);
        assert!(!run("nft list ruleset").contains("comment"), "{}", run("nft list ruleset"));
        self.host.assert_no_namespaces();
    }

    /// Waits for the kernel to end the namespaces' links, and then closes the bridge.
    fn assert_closes_clean(&self) {
        for _ in 0..500 {
            self.bridge.collect(&[]).unwrap();
            if self.links().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.assert_clean();
        assert!(self.bridge.close().unwrap());
        assert_eq!(run("nft list ruleset"), "");
        assert!(!run("ip -o link").contains("corten0"));
    }
}

struct Pod {
    netns: PathBuf,
    ip: IpAddr,
    attached: Attached,
}

impl Pod {
    fn listen(&self, port: u16) -> TcpListener {
        let address = SocketAddr::new(if self.ip.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() }, port);
        netns::enter(&self.netns, || TcpListener::bind(address)).unwrap().unwrap()
    }

    fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        netns::enter(&self.netns, || connect(to)).unwrap()
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, PATIENCE)
}

/// Bytes go both ways over the connection; returns the client's address as the server sees it.
fn talk(client: io::Result<TcpStream>, server: &TcpListener) -> IpAddr {
    let mut client = client.unwrap();
    let (mut served, peer) = server.accept().unwrap();
    let mut heard = [0; 4];
    client.write_all(b"ping").unwrap();
    served.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
    served.write_all(b"pong").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
    peer.ip()
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(host_port: u16, container_port: u16) -> HostPort {
    HostPort { protocol: Protocol::Tcp, host_port, container_port, host_ip: None }
}

#[test]
fn pods_and_the_host_reach_each_other() {
    TestHost::run(|| {
        let node = Node::new();
        let (a, b) = (node.attach("a1", &[]), node.attach("b2", &[]));
        assert_eq!(a.attached.interface, "eth0");
        assert_eq!(a.attached.gateways, [ip("10.77.0.1")]);
        assert_eq!(a.attached.mac.as_deref(), Some("0a:58:0a:4d:00:02"));
        assert_eq!((a.ip, b.ip), (ip("10.77.0.2"), ip("10.77.0.3")));
        let server = a.listen(80);
        assert_eq!(talk(connect(at(a.ip, 80)), &server), ip("10.77.0.1"));
        assert_eq!(talk(b.connect(at(a.ip, 80)), &server), b.ip);
        let host = TcpListener::bind("10.77.0.1:80").unwrap();
        assert_eq!(talk(a.connect(at(ip("10.77.0.1"), 80)), &host), a.ip);
        // Loopback is up in a pod.
        assert_eq!(talk(a.connect(at(ip("127.0.0.1"), 80)), &server), ip("127.0.0.1"));
        node.remove("a1");
        node.remove("b2");
        node.assert_closes_clean();
    });
}

#[test]
fn what_leaves_the_node_is_masqueraded() {
    TestHost::run(|| {
        let node = Node::new();
        let outside = node.host.outside("192.0.2");
        let pod = node.attach("a1", &[]);
        let server = netns::enter(&outside, || TcpListener::bind("192.0.2.2:80")).unwrap().unwrap();
        assert_eq!(talk(pod.connect(at(ip("192.0.2.2"), 80)), &server), ip("192.0.2.1"));
    });
}

#[test]
fn a_host_port_leads_to_the_pod_from_everywhere() {
    TestHost::run(|| {
        let node = Node::new();
        let outside = node.host.outside("192.0.2");
        let pod = node.attach("a1", &[port(8080, 80)]);
        let other = node.attach("b2", &[]);
        let server = pod.listen(80);
        assert_eq!(talk(connect(at(ip("127.0.0.1"), 8080)), &server), ip("10.77.0.1"));
        assert_eq!(talk(connect(at(ip("10.77.0.1"), 8080)), &server), ip("10.77.0.1"));
        talk(connect(at(ip("192.0.2.1"), 8080)), &server);
        let from_outside = netns::enter(&outside, || connect(at(ip("192.0.2.1"), 8080))).unwrap();
        assert_eq!(talk(from_outside, &server), ip("192.0.2.2"), "the client's address is kept");
        talk(other.connect(at(ip("192.0.2.1"), 8080)), &server);
        talk(other.connect(at(ip("10.77.0.1"), 8080)), &server);
        talk(pod.connect(at(ip("10.77.0.1"), 8080)), &server);
        // A port of the node is not a port of the world: what goes elsewhere passes.
        let far = netns::enter(&outside, || TcpListener::bind("192.0.2.2:8080")).unwrap().unwrap();
        talk(pod.connect(at(ip("192.0.2.2"), 8080)), &far);
        node.bridge.detach("a1").unwrap();
        assert_eq!(connect(at(ip("127.0.0.1"), 8080)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_host_port_can_be_bound_to_one_address_and_to_udp() {
    TestHost::run(|| {
        let node = Node::new();
        run("ip addr add 192.0.2.7/32 dev lo");
        let only = HostPort { host_ip: Some(ip("192.0.2.7")), ..port(8080, 80) };
        let every = HostPort { host_ip: Some(ip("0.0.0.0")), protocol: Protocol::Udp, ..port(8080, 53) };
        let other_family = HostPort { host_ip: Some(ip("::1")), ..port(8081, 80) };
        let pod = node.attach("a1", &[only, every, other_family]);
        let server = pod.listen(80);
        talk(connect(at(ip("192.0.2.7"), 8080)), &server);
        assert_eq!(connect(at(ip("127.0.0.1"), 8080)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let dns = netns::enter(&pod.netns, || UdpSocket::bind("0.0.0.0:53")).unwrap().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.0.0.1:8080").unwrap();
        let mut heard = [0; 4];
        for socket in [&client, &dns] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        client.send(b"ping").unwrap();
        let (_, from) = dns.recv_from(&mut heard).unwrap();
        dns.send_to(b"pong", from).unwrap();
        client.recv(&mut heard).unwrap();
        assert_eq!(&heard, b"pong");
    });
}

#[test]
fn a_udp_client_that_never_stops_reaches_the_next_pod() {
    TestHost::run(|| {
        let node = Node::new();
        let udp = HostPort { protocol: Protocol::Udp, ..port(8080, 53) };
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.0.0.1:8080").unwrap();
        // Nobody listens yet; the connection is tracked all the same.
        let _ = client.send(b"lost");
        for id in ["a1", "b2"] {
            let pod = node.attach(id, &[udp]);
            let server = netns::enter(&pod.netns, || UdpSocket::bind("0.0.0.0:53")).unwrap().unwrap();
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            // The first send may report what came back to an earlier one.
            let _ = client.send(b"ping");
            client.send(b"ping").unwrap();
            server.recv(&mut [0; 4]).unwrap_or_else(|e| panic!("{id}: {e}"));
            node.bridge.detach(id).unwrap();
        }
    });
}

#[test]
fn bandwidth_limits_are_set_on_both_ends() {
    TestHost::run(|| {
        let node = Node::new();
        let limits = crate::network::Bandwidth { ingress: Some(10_000_000), egress: Some(100_000_000_000) };
        let pod = PodNetwork { bandwidth: Some(limits), ..node.pod("a1", &[]) };
        let attached = node.bridge.attach(&pod).unwrap();
        let to_pod = run("tc qdisc show dev vetha1");
        assert!(to_pod.contains("tbf") && to_pod.contains("rate 10Mbit"), "{to_pod}");
        let from_pod = netns::enter(&pod.netns, || run("tc qdisc show dev eth0")).unwrap();
        assert!(from_pod.contains("tbf") && from_pod.contains("rate 100Gbit"), "{from_pod}");
        let server = netns::enter(&pod.netns, || TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
        talk(connect(at(attached.ips[0], 80)), &server);
    });
}

#[test]
fn pods_do_not_reach_the_hosts_loopback() {
    TestHost::run(|| {
        let node = Node::new();
        let pod = node.attach("a1", &[]);
        let _private = TcpListener::bind("127.0.0.1:9000").unwrap();
        // What a pod with CAP_NET_ADMIN can do to send packets for 127.0.0.1 to the host.
        let reached = netns::enter(&pod.netns, || {
            run("sysctl -qw net.ipv4.conf.all.route_localnet=1");
            run("ip addr del 127.0.0.1/8 dev lo");
            run("ip route flush table local dev lo");
            run("ip route add 127.0.0.1 via 10.77.0.1 dev eth0 src 10.77.0.2");
            TcpStream::connect_timeout(&"127.0.0.1:9000".parse().unwrap(), Duration::from_millis(1500)).is_ok()
        });
        assert!(!reached.unwrap());
    });
}

#[test]
fn a_taken_host_port_is_refused_before_anything_is_made() {
    TestHost::run(|| {
        let node = Node::new();
        node.attach("a1", &[port(8080, 80)]);
        let at_one = HostPort { host_ip: Some(ip("127.0.0.1")), ..port(8080, 81) };
        for taken in [port(8080, 80), at_one] {
            let error = node.bridge.attach(&node.pod("b2", &[taken])).unwrap_err().to_string();
            assert!(error.contains(":8080 is taken by sandbox a1"), "{error}");
        }
        assert_eq!((node.records(), node.links().len()), (1, 1));
        let udp = HostPort { protocol: Protocol::Udp, ..port(8080, 80) };
        node.attach("b2", &[udp]);
    });
}

#[test]
fn a_port_is_free_for_the_next_pod_at_once_after_detach() {
    TestHost::run(|| {
        let node = Node::new();
        node.attach("a1", &[port(8080, 80)]);
        // The namespace, and with it the old veth, is still there.
        node.bridge.detach("a1").unwrap();
        let next = node.attach("b2", &[port(8080, 80)]);
        assert_eq!(node.links(), ["vethb2"], "the port was given out after the old veth was gone");
        let server = next.listen(80);
        talk(connect(at(ip("127.0.0.1"), 8080)), &server);
    });
}

#[test]
fn addresses_go_round_and_an_exhausted_pool_says_so() {
    TestHost::run(|| {
        let small = BridgeConfig { subnets: vec!["10.77.0.0/29".parse().unwrap()], ..BridgeConfig::default() };
        let mut node = Node::with(small);
        assert_eq!(node.attach("a", &[]).ip, ip("10.77.0.2"));
        node.remove("a");
        assert_eq!(node.attach("b", &[]).ip, ip("10.77.0.3"));
        node.reopen();
        for (id, last) in [("c", "4"), ("d", "5"), ("e", "6"), ("f", "2")] {
            assert_eq!(node.attach(id, &[]).ip, ip(&format!("10.77.0.{last}")), "{id}");
        }
        let error = node.bridge.attach(&node.pod("g", &[])).unwrap_err().to_string();
        assert_eq!(error, "no free address in 10.77.0.0/29: 5 pods have one");
        assert_eq!((node.records(), node.links().len()), (5, 5));
        // A pod that is leaving, with its veth still there, gives its address up.
        node.bridge.detach("d").unwrap();
        assert_eq!(node.attach("g", &[]).ip, ip("10.77.0.5"));
        assert!(!node.links().contains(&"vethd".to_owned()));
    });
}

#[test]
fn an_address_is_not_reused_while_the_old_veth_is_there() {
    TestHost::run(|| {
        let small = BridgeConfig { subnets: vec!["10.77.0.0/30".parse().unwrap()], ..BridgeConfig::default() };
        let node = Node::with(small);
        node.attach("a", &[]);
        let held = netns::open(&node.host.path("netns/a")).unwrap();
        node.remove("a");
        assert_eq!((node.records(), node.links().len()), (1, 1), "something still holds the namespace");
        assert_eq!(node.attach("b", &[]).ip, ip("10.77.0.2"));
        assert_eq!(node.links(), ["vethb"]);
        drop(held);
    });
}

#[test]
fn threads_attach_and_detach_at_the_same_time() {
    TestHost::run(|| {
        let node = Node::new();
        let ips = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4u16 {
                let (node, ips) = (&node, &ips);
                scope.spawn(move || {
                    for round in 0..5 {
                        let id = format!("pod-{thread}-{round}");
                        let pod = node.attach(&id, &[port(8000 + thread * 10 + round, 80)]);
                        ips.lock().unwrap().push(pod.ip);
                        if round % 2 == 0 {
                            node.remove(&id);
                        }
                    }
                });
            }
        });
        let mut ips = ips.into_inner().unwrap();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), 20, "no address was given out twice");
        for (thread, round) in (0..4).flat_map(|thread| [(thread, 1), (thread, 3)]) {
            node.remove(&format!("pod-{thread}-{round}"));
        }
        node.assert_closes_clean();
    });
}

#[test]
fn a_killed_daemon_forgets_nothing() {
    TestHost::run(|| {
        let mut node = Node::new();
        let pod = node.attach("a1", &[port(8080, 80)]);
        let server = pod.listen(80);
        node.reopen();
        talk(connect(at(ip("127.0.0.1"), 8080)), &server);
        let error = node.bridge.attach(&node.pod("b2", &[port(8080, 80)])).unwrap_err().to_string();
        assert!(error.contains("taken by sandbox a1"), "{error}");
        node.remove("a1");
        node.remove("b2");
        node.reopen();
        node.assert_closes_clean();
    });
}

#[test]
fn collect_removes_what_belongs_to_no_live_pod() {
    TestHost::run(|| {
        let mut node = Node::new();
        node.attach("live", &[port(8080, 80)]);
        node.attach("dead", &[port(8081, 80)]);
        node.attach("lost", &[port(8082, 80)]);
        // A pod that nothing is written about any more.
        std::fs::remove_file(node.host.path("bridge/pods/lost.json")).unwrap();
        node.reopen();
        let mut collected = node.bridge.collect(&["live".to_owned()]).unwrap();
        collected.sort();
        assert_eq!(collected, ["dead", "lost"]);
        assert_eq!((node.links(), node.records()), (vec!["vethlive".to_owned()], 1));
        let rules = run("nft list ruleset");
        assert!(rules.contains("comment \"live\"") && !rules.contains("dead") && !rules.contains("lost"), "{rules}");
    });
}

#[test]
fn detach_is_idempotent_and_knows_pods_without_a_record() {
    TestHost::run(|| {
        let mut node = Node::new();
        node.bridge.detach("never").unwrap();
        node.attach("a1", &[port(8080, 80)]);
        std::fs::remove_file(node.host.path("bridge/pods/a1.json")).unwrap();
        node.reopen();
        node.remove("a1");
        node.remove("a1");
        node.assert_clean();
        let error = node.bridge.detach("../etc").unwrap_err().to_string();
        assert!(error.contains("sandbox id `../etc`"), "{error}");
    });
}

#[test]
fn a_failed_attach_leaves_nothing() {
    TestHost::run(|| {
        let node = Node::new();
        let mut pod = node.pod("a1", &[port(8080, 80)]);
        netns::enter(&pod.netns, || run("ip link add eth0 type bridge")).unwrap();
        let error = node.bridge.attach(&pod).unwrap_err().to_string();
        assert!(error.contains("create veth vetha1"), "{error}");
        assert_eq!((node.links().len(), node.records()), (0, 0));
        pod.netns = node.host.path("netns/none");
        let error = node.bridge.attach(&pod).unwrap_err().to_string();
        assert!(error.contains("netns/none: open"), "{error}");
        netns::remove(&node.host.path("netns/a1")).unwrap();
        node.assert_clean();
    });
}

#[test]
fn what_an_interrupted_write_left_goes_when_the_bridge_is_opened() {
    TestHost::run(|| {
        let mut node = Node::new();
        let left = ["bridge/last.new", "bridge/subnets.new", "bridge/pods/a1.new"].map(|name| node.host.path(name));
        for path in &left {
            std::fs::write(path, "[").unwrap();
        }
        node.reopen();
        assert_eq!(left.iter().filter(|path| path.exists()).count(), 0);
    });
}

#[test]
fn attaching_again_replaces_what_an_interrupted_attach_made() {
    TestHost::run(|| {
        let node = Node::new();
        node.attach("a1", &[port(8080, 80)]);
        let again = node.attach("a1", &[port(8080, 80)]);
        assert_eq!((node.links().len(), node.records()), (1, 1));
        let new_server = again.listen(80);
        talk(connect(at(ip("127.0.0.1"), 8080)), &new_server);
    });
}

#[test]
fn status_repairs_what_somebody_removed() {
    TestHost::run(|| {
        let node = Node::new();
        let pod = node.attach("a1", &[port(8080, 80)]);
        let server = pod.listen(80);
        run("nft flush ruleset");
        assert_eq!(node.bridge.status().unwrap(), Vec::<String>::new());
        talk(connect(at(ip("127.0.0.1"), 8080)), &server);
        run("ip link del corten0");
        assert_eq!(node.bridge.status().unwrap(), Vec::<String>::new());
        talk(connect(at(ip("127.0.0.1"), 8080)), &server);
        run("nft flush ruleset");
        let other = node.attach("b2", &[port(8081, 80)]);
        let other_server = other.listen(80);
        talk(connect(at(ip("127.0.0.1"), 8081)), &other_server);
        talk(connect(at(ip("127.0.0.1"), 8080)), &server);
    });
}

#[test]
fn a_bridge_that_was_half_made_is_completed_at_open() {
    TestHost::run(|| {
        let mut node = Node::new();
        run("ip addr flush dev corten0");
        run("sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.corten0.route_localnet=0");
        run("ip link set corten0 down");
        node.reopen();
        let pod = node.attach("a1", &[port(8080, 80)]);
        let server = pod.listen(80);
        talk(connect(at(ip("127.0.0.1"), 8080)), &server);
    });
}

#[test]
fn tables_that_drop_forwarded_packets_are_reported() {
    TestHost::run(|| {
        let node = Node::new();
        run("nft add table inet fw");
        run("nft add chain inet fw accepts { type filter hook forward priority 0; policy accept; }");
        assert_eq!(node.bridge.status().unwrap(), Vec::<String>::new());
        run("nft add chain inet fw drops { type filter hook forward priority 0; policy drop; }");
        run("iptables-nft -P FORWARD DROP");
        let warnings = node.bridge.status().unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings.iter().any(|w| w.contains("table inet fw, chain drops")), "{warnings:?}");
        assert!(warnings.iter().any(|w| w.contains("table ip filter, chain FORWARD")), "{warnings:?}");
        run("nft add rule inet fw drops iifname corten0 accept");
        run("iptables-nft -A FORWARD -i corten0 -j ACCEPT");
        assert_eq!(node.bridge.status().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_route_that_overlaps_is_reported_and_a_link_that_is_no_bridge_refused() {
    TestHost::run(|| {
        let node = Node::new();
        run("ip link add other type veth peer name other2");
        run("ip link set other2 up");
        run("ip link set other up");
        run("ip route add 10.77.0.128/25 dev other");
        let warnings = node.bridge.status().unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("10.77.0.128/25"), "{warnings:?}");
        let config = BridgeConfig { name: "other".into(), ..BridgeConfig::default() };
        let error = Bridge::open(config, &node.host.path("other")).unwrap_err().to_string();
        assert_eq!(error, "link other is there and is not a bridge");
    });
}

#[test]
fn the_mtu_is_that_of_the_default_route_unless_configured() {
    TestHost::run(|| {
        let host = TestHost::new();
        run("ip link add up0 mtu 1400 type bridge");
        run("ip addr add 192.0.2.1/24 dev up0");
        run("ip link set up0 up");
        run("ip route add default via 192.0.2.2");
        let bridge = Bridge::open(BridgeConfig::default(), &host.path("bridge")).unwrap();
        let netns = host.path("netns/a1");
        netns::create(&netns).unwrap();
        let pod = PodNetwork { id: "a1".into(), netns: netns.clone(), ..PodNetwork::default() };
        bridge.attach(&pod).unwrap();
        assert!(netns::enter(&netns, || run("ip link show eth0")).unwrap().contains("mtu 1400"));
        // A bridge without ports forgets an MTU that nobody set.
        run("ip link del vetha1");
        assert!(run("ip link show corten0").contains("mtu 1400"), "{}", run("ip link show corten0"));
    });
}

#[test]
fn two_subnets_make_pods_dual_stack() {
    TestHost::run(|| {
        let subnets = vec!["10.77.0.0/24".parse().unwrap(), "fd00:77::/64".parse().unwrap()];
        let node = Node::with(BridgeConfig { subnets, ..BridgeConfig::default() });
        let pod = node.attach("a1", &[port(8080, 80)]);
        let other = node.attach("b2", &[]);
        assert_eq!(pod.attached.ips, [ip("10.77.0.2"), ip("fd00:77::2")]);
        let v6 = netns::enter(&pod.netns, || TcpListener::bind("[::]:80")).unwrap().unwrap();
        talk(connect(at(ip("fd00:77::2"), 80)), &v6);
        talk(other.connect(at(ip("fd00:77::2"), 80)), &v6);
        talk(connect(at(ip("fd00:77::1"), 8080)), &v6);
        talk(other.connect(at(ip("fd00:77::1"), 8080)), &v6);
        talk(connect(at(ip("127.0.0.1"), 8080)), &v6);
    });
}

#[test]
fn a_mac_address_can_be_asked_for() {
    TestHost::run(|| {
        let node = Node::new();
        let pod = PodNetwork { mac: Some("02:00:00:00:00:07".into()), ..node.pod("a1", &[]) };
        assert_eq!(node.bridge.attach(&pod).unwrap().mac.as_deref(), Some("02:00:00:00:00:07"));
        assert!(netns::enter(&pod.netns, || run("ip link show eth0")).unwrap().contains("02:00:00:00:00:07"));
    });
}

#[test]
fn records_that_are_not_ours_are_refused_by_name() {
    TestHost::run(|| {
        let node = Node::new();
        for content in ["{", r#"{"version": 1}"#] {
            std::fs::write(node.host.path("bridge/pods/bad.json"), content).unwrap();
            let error = Bridge::open(BridgeConfig::default(), &node.host.path("bridge")).unwrap_err().to_string();
            assert!(error.contains("bad.json"), "{error}");
        }
    });
}

#[test]
fn new_subnets_are_for_new_pods_and_the_others_keep_what_they_have() {
    TestHost::run(|| {
        let mut node = Node::new();
        let old = node.attach("old", &[]);
        let (wanted, other): (Subnet, Subnet) = ("10.78.3.0/24".parse().unwrap(), "fd00:78::/64".parse().unwrap());
        node.bridge.set_subnets(&[wanted, other]).unwrap();
        let server = old.listen(80);
        for id in ["new-1", "new-2"] {
            assert_eq!(node.bridge.subnets(), [wanted, other]);
            let new = node.attach(id, &[]);
            assert!(wanted.contains(new.ip) && other.contains(new.attached.ips[1]), "{:?}", new.attached);
            assert_eq!(new.attached.gateways, [wanted.gateway(), other.gateway()]);
            let addresses = run("ip -o addr show dev corten0");
            for address in ["10.77.0.1/24", "10.78.3.1/24", "fd00:78::1/64"] {
                assert!(addresses.contains(address), "{addresses}");
            }
            assert_eq!(talk(new.connect(at(old.ip, 80)), &server), new.ip, "from the new subnet to the old one");
            node.reopen();
        }
        node.remove("old");
        node.bridge.collect(&["new-1".to_owned(), "new-2".to_owned()]).unwrap();
        node.bridge.set_subnets(&["10.79.0.0/24".parse().unwrap()]).unwrap();
        let addresses = run("ip -o addr show dev corten0");
        assert!(!addresses.contains("10.77.0.1/24"), "nobody is there any more: {addresses}");
        assert!(addresses.contains("10.78.3.1/24") && addresses.contains("10.79.0.1/24"), "{addresses}");
    });
}

#[test]
fn subnets_that_cannot_be_are_refused_and_those_of_a_changed_configuration_win() {
    TestHost::run(|| {
        let mut node = Node::new();
        let pods: Vec<Pod> = ["a", "b", "c", "d"].iter().map(|id| node.attach(id, &[])).collect();
        assert_eq!(pods[3].ip, ip("10.77.0.5"));
        for (bad, word) in
            [(vec!["10.77.0.4/30"], "a pod has it"), (vec!["10.1.0.0/24", "10.2.0.0/24"], "IPv6"), (vec![], "one")]
        {
            let bad: Vec<Subnet> = bad.iter().map(|text| text.parse().unwrap()).collect();
            let error = node.bridge.set_subnets(&bad).unwrap_err().to_string();
            assert!(error.contains("subnets") && error.contains(word), "{error}");
            assert_eq!(node.bridge.subnets(), node.bridge.config().subnets);
        }
        node.bridge.set_subnets(&["10.78.0.0/24".parse().unwrap()]).unwrap();
        let subnets = vec!["10.79.0.0/24".parse().unwrap()];
        let config = BridgeConfig { subnets: subnets.clone(), ..BridgeConfig::default() };
        node.bridge = Bridge::open(config, &node.host.path("bridge")).unwrap();
        assert_eq!(node.bridge.subnets(), subnets);
        assert!(subnets[0].contains(node.attach("e", &[]).ip));
    });
}
