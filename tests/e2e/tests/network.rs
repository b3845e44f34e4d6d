//! Pod networks: the built-in bridge and CNI's, which must do the same for a pod.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    process::Command,
};

use corten_cri::v1::*;
use corten_e2e::{
    cri::{PATIENCE, until},
    daemon::{Network, Setup},
    image,
    lab::{self, Lab},
    namespace::{inside, run},
    pods,
};
use tokio::io::AsyncWriteExt;

/// Makes a test of each function for both networks.
macro_rules! for_each_network {
    ($($name:ident),+ $(,)?) => {
        mod bridge {
            $(#[test] fn $name() { super::$name(super::Setup { network: super::Network::Bridge, ..Default::default() }) })+
        }
        mod cni {
            $(#[test] fn $name() { super::$name(super::Setup { network: super::Network::Cni, ..Default::default() }) })+
        }
    };
}

for_each_network!(
    a_pod_has_an_address_and_is_reached_at_it,
    pods_reach_each_other,
    a_pod_reaches_itself_by_loopback,
    every_pod_has_an_address_of_its_own_and_it_becomes_free,
    a_host_port_leads_to_the_pod,
    a_host_port_is_free_again,
    pods_reach_the_outside_masqueraded,
    a_host_network_pod_has_no_address_of_its_own,
    resolv_conf_is_the_dns_config,
    resolv_conf_is_the_hosts_without_one,
    hosts_are_named,
    many_pods_at_once_come_and_go,
);

/// A web server's container: it serves the image's page on port 80.
fn web_server(image: &str) -> ContainerConfig {
    pods::container("web", image, &["httpd", "-f", "-p", "80", "-h", "/www"])
}

/// Runs a pod with a web server; the pod's id.
async fn serving(lab: &Lab, config: &PodSandboxConfig) -> String {
    let image = lab.busybox().await;
    let pod = lab.run_pod(config).await;
    lab.start(&pod, config, &web_server(&image)).await;
    pod
}

/// What is fetched over HTTP from the test's own network namespace, when there is an answer.
async fn fetch(address: &str) -> String {
    let url = format!("http://{address}/");
    let client = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(2)).build().unwrap();
    until(&url, async || client.get(&url).send().await.ok()?.text().await.ok()).await
}

/// What the web server's page says.
const PAGE: &str = "served by Corten\n";

fn a_pod_has_an_address_and_is_reached_at_it(setup: Setup) {
    lab::test(setup, async |lab| {
        let pod = serving(lab, &lab.pod("web")).await;
        let ip = lab.cri.pod_ip(&pod).await;
        assert!(ip.parse::<IpAddr>().is_ok(), "{ip}");
        assert_eq!(fetch(&ip).await, PAGE);
        lab.cri.stop_pod(&pod).await.unwrap();
        let network = lab.cri.pod_status(&pod).await.unwrap().network.unwrap_or_default();
        assert_eq!(network.ip, "", "a stopped pod has no address");
    });
}

fn pods_reach_each_other(setup: Setup) {
    lab::test(setup, async |lab| {
        let server = serving(lab, &lab.pod("server")).await;
        let ip = lab.cri.pod_ip(&server).await;
        fetch(&ip).await;
        let config = lab.pod("client");
        let client = lab.run_pod(&config).await;
        let id = lab.start(&client, &config, &pods::sleeper("c", &lab.busybox().await)).await;
        assert_eq!(lab.cri.shell(&id, &format!("wget -q -O - http://{ip}/")).await, PAGE);
    });
}

fn a_pod_reaches_itself_by_loopback(setup: Setup) {
    lab::test(setup, async |lab| {
        let config = lab.pod("self");
        let pod = serving(lab, &config).await;
        fetch(&lab.cri.pod_ip(&pod).await).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &lab.busybox().await)).await;
        assert_eq!(lab.cri.shell(&id, "wget -q -O - http://127.0.0.1/").await, PAGE);
    });
}

fn every_pod_has_an_address_of_its_own_and_it_becomes_free(setup: Setup) {
    lab::test(setup, async |lab| {
        let mut seen = Vec::new();
        for number in 0..4 {
            let pod = lab.run_pod(&lab.pod(&format!("pod-{number}"))).await;
            seen.push(lab.cri.pod_ip(&pod).await);
        }
        let mut distinct = seen.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len(), "{seen:?}");
        lab.assert_nothing_left().await;
    });
}

/// A pod whose port 80 is a port of the host's.
fn with_host_port(mut config: PodSandboxConfig, host_port: i32) -> PodSandboxConfig {
    config.port_mappings = vec![PortMapping { container_port: 80, host_port, ..Default::default() }];
    config
}

/// A second host, with a wire to this one: 192.0.2.1 here, 192.0.2.2 there, and no way from there to the pods.
struct Outside;

impl Outside {
    fn connect() -> Self {
        for command in [
            "netns add outside",
            "link add wire type veth peer name wire netns outside",
            "addr add 192.0.2.1/24 dev wire",
            "link set wire up",
            "-n outside addr add 192.0.2.2/24 dev wire",
            "-n outside link set wire up",
            "-n outside link set lo up",
        ] {
            run("ip", &command.split(' ').collect::<Vec<_>>());
        }
        Self
    }

    /// The answer of a web server as it is seen from there.
    async fn fetch(address: &'static str) -> String {
        let connect = move || inside("outside", || TcpStream::connect(address));
        let exchange = move || -> std::io::Result<String> {
            let mut connection = connect()?;
            connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            Ok(answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned())
        };
        tokio::task::spawn_blocking(exchange).await.unwrap().unwrap()
    }

    /// Answers one connection to port 80 there; the address that it came from.
    async fn answer_one() -> IpAddr {
        let listener = inside("outside", || TcpListener::bind("192.0.2.2:80")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (mut connection, peer) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        connection.write_all(b"from outside\n").await.unwrap();
        peer.ip()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", "outside"]).status();
        let _ = Command::new("ip").args(["link", "del", "wire"]).status();
    }
}

fn a_host_port_leads_to_the_pod(setup: Setup) {
    lab::test(setup, async |lab| {
        let _outside = Outside::connect();
        let pod = serving(lab, &with_host_port(lab.pod("port"), 8081)).await;
        fetch(&lab.cri.pod_ip(&pod).await).await;
        assert_eq!(fetch("127.0.0.1:8081").await, PAGE, "from the host by loopback");
        assert_eq!(fetch("192.0.2.1:8081").await, PAGE, "from the host by its address");
        assert_eq!(Outside::fetch("192.0.2.1:8081").await, PAGE, "from outside");
        // A pod reaches itself by the host's address. (busybox's wget crashes where a connection fails.)
        let id = lab.cri.list(None).await.unwrap().remove(0);
        let request = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 192.0.2.1 8081";
        let answer = lab.cri.exec(&id, &["/bin/sh", "-c", request]).await;
        assert!(answer.stdout.ends_with(PAGE), "from the pod itself: {answer:?}");
    });
}

fn a_host_port_is_free_again(setup: Setup) {
    lab::test(setup, async |lab| {
        for name in ["first", "second"] {
            let pod = serving(lab, &with_host_port(lab.pod(name), 8082)).await;
            assert_eq!(fetch("127.0.0.1:8082").await, PAGE, "{name}");
            lab.cri.stop_pod(&pod).await.unwrap();
            assert!(TcpStream::connect("127.0.0.1:8082").is_err(), "the port of {name} is still open");
            lab.cri.remove_pod(&pod).await.unwrap();
        }
    });
}

fn pods_reach_the_outside_masqueraded(setup: Setup) {
    lab::test(setup, async |lab| {
        let _outside = Outside::connect();
        let config = lab.pod("inside");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &lab.busybox().await)).await;
        let fetch = async || lab.cri.shell(&id, "nc -w 10 192.0.2.2 80 < /dev/null").await;
        let (seen, page) = tokio::join!(Outside::answer_one(), fetch());
        assert_eq!(page, "from outside\n");
        assert_eq!(seen.to_string(), "192.0.2.1", "the outside saw another address than the host's");
    });
}

fn a_host_network_pod_has_no_address_of_its_own(setup: Setup) {
    lab::test(setup, async |lab| {
        let config =
            pods::with_namespaces(lab.pod("host"), |namespaces| namespaces.network = NamespaceMode::Node as i32);
        let before = lab.snapshot();
        let pod = lab.run_pod(&config).await;
        assert_eq!(lab.cri.pod_status(&pod).await.unwrap().network.unwrap_or_default().ip, "");
        let after = lab.snapshot();
        for kind in ["netns file", "mount", "link"] {
            assert_eq!(after.appeared_since(&before, kind), Vec::<String>::new());
        }
    });
}

fn resolv_conf_is_the_dns_config(setup: Setup) {
    lab::test(setup, async |lab| {
        let mut config = lab.pod("dns");
        config.dns_config = Some(DnsConfig {
            servers: vec!["192.0.2.53".into(), "2001:db8::53".into()],
            searches: vec!["one.example".into(), "two.example".into()],
            options: vec!["ndots:5".into(), "use-vc".into()],
        });
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &lab.busybox().await)).await;
        let seen = lab.cri.shell(&id, "cat /etc/resolv.conf").await;
        for line in [
            "search one.example two.example",
            "nameserver 192.0.2.53",
            "nameserver 2001:db8::53",
            "options ndots:5 use-vc",
        ] {
            assert!(seen.lines().any(|own| own == line), "{line:?} is not in {seen:?}");
        }
    });
}

fn resolv_conf_is_the_hosts_without_one(setup: Setup) {
    lab::test(setup, async |lab| {
        let config = lab.pod("nodns");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &lab.busybox().await)).await;
        let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!(lab.cri.shell(&id, "cat /etc/resolv.conf").await.trim(), host.trim());
    });
}

fn hosts_are_named(setup: Setup) {
    lab::test(setup, async |lab| {
        let config = lab.pod("named");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &lab.busybox().await)).await;
        let seen = lab.cri.shell(&id, "cat /etc/hosts").await;
        assert!(seen.contains("127.0.0.1") && seen.contains("localhost"), "{seen}");
    });
}

fn many_pods_at_once_come_and_go(setup: Setup) {
    lab::test(setup, async |lab| {
        lab.image("busybox", image::busybox()).await;
        let running: Vec<_> = (0..8)
            .map(|number| {
                let (cri, config) = (lab.cri.clone(), lab.pod(&format!("pod-{number}")));
                tokio::spawn(async move { cri.run_pod(&config, "").await.unwrap() })
            })
            .collect();
        let mut pods = Vec::new();
        for pod in running {
            pods.push(pod.await.unwrap());
        }
        let mut addresses = Vec::new();
        for pod in &pods {
            addresses.push(lab.cri.pod_ip(pod).await);
        }
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 8);
        let removing: Vec<_> = pods
            .into_iter()
            .map(|pod| {
                let cri = lab.cri.clone();
                tokio::spawn(async move {
                    cri.stop_pod(&pod).await.unwrap();
                    cri.remove_pod(&pod).await.unwrap();
                })
            })
            .collect();
        for removed in removing {
            removed.await.unwrap();
        }
    });
}
