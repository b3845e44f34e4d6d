//! CNI with Debian's plugins, and with scripts that do what plugins must not. Every test is a host of its own.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};

use super::*;
use crate::network::testing::{TestHost, run, script};
use crate::network::{Bandwidth, Dns, HostPort, Protocol};

/// A host with CNI and a network configuration.
struct Node {
    host: TestHost,
    cni: Cni,
}

impl Node {
    /// A node whose network is this list of plugins, programs in `bin` or Debian's.
    fn new(version: &str, plugins: Value) -> Self {
        let host = TestHost::new();
        let conflist = json!({"cniVersion": version, "name": "testnet", "plugins": plugins});
        fs::create_dir_all(host.path("net.d")).unwrap();
        fs::write(host.path("net.d/10-test.conflist"), conflist.to_string()).unwrap();
        let config = CniConfig {
            conf_dir: host.path("net.d"),
            bin_dirs: vec![host.path("bin"), "/usr/lib/cni".into()],
            cache_dir: host.path("cache"),
            plugin_timeout_seconds: 60,
        };
        let cni = Cni::open(config);
        Node { host, cni }
    }

    /// A node with one plugin, `sh`, that is this script. `$CNI_COMMAND` and its kin are set, `$LOG` is a directory.
    fn scripted(version: &str, text: &str) -> Self {
        let node = Node::new(version, json!([{"type": "sh"}]));
        node.script("sh", text);
        node
    }

    fn script(&self, name: &str, text: &str) {
        fs::create_dir_all(self.host.path("log")).unwrap();
        script(&self.host.path(&format!("bin/{name}")), &format!("LOG={}\n{text}", self.host.path("log").display()));
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.host.path("log").join(name)).unwrap_or_default()
    }

    fn pod(&self, id: &str) -> PodNetwork {
        let netns = self.host.path(&format!("netns/{id}"));
        if !netns::exists(&netns) {
            netns::create(&netns).unwrap();
        }
        PodNetwork {
            id: id.to_owned(),
            netns,
            name: "web".into(),
            namespace: "default".into(),
            uid: "u1".into(),
            ..PodNetwork::default()
        }
    }

    fn cached(&self) -> usize {
        fs::read_dir(self.host.path("cache")).map_or(0, Iterator::count)
    }
}

/// A plugin's answer to ADD.
const ANSWER: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.9.9.9/24","interface":0}]}"#;

fn answering(version: &str) -> String {
    let answer = ANSWER.replace("1.0.0", version);
    format!(
        "cat > $LOG/$CNI_COMMAND; env | grep ^CNI_ > $LOG/$CNI_COMMAND.env; [ $CNI_COMMAND != ADD ] || echo '{answer}'"
    )
}

fn debian(host: &TestHost) -> Value {
    json!([
        {
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": host.path("leases"),
                "ranges": [[{"subnet": "10.66.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]
            }
        },
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "bandwidth", "capabilities": {"bandwidth": true}}
    ])
}

fn talk(client: &mut TcpStream, server: &TcpListener) {
    let (mut served, _) = server.accept().unwrap();
    client.write_all(b"ping").unwrap();
    let mut heard = [0; 4];
    served.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
}

#[test]
fn debians_plugins_attach_a_pod_with_a_host_port_and_detach_it() {
    TestHost::run(|| {
        for version in ["0.3.1", "0.4.0", "1.0.0"] {
            let mut node = Node::new(version, json!([{"type": "none"}]));
            let conflist = json!({"cniVersion": version, "name": "testnet", "plugins": debian(&node.host)});
            fs::write(node.host.path("net.d/10-test.conflist"), conflist.to_string()).unwrap();
            let ready = node.cni.status().unwrap();
            assert_eq!(ready.network, "testnet");
            let host_port = HostPort { protocol: Protocol::Tcp, host_port: 8080, container_port: 80, host_ip: None };
            let limits = Bandwidth { ingress: Some(100_000_000), egress: Some(100_000_000) };
            let pod = PodNetwork { host_ports: vec![host_port], bandwidth: Some(limits), ..node.pod("pod1") };
            let attached = node.cni.attach(&pod).unwrap();
            let ip: IpAddr = "10.66.0.2".parse().unwrap();
            assert_eq!((attached.interface.as_str(), attached.ips.as_slice()), ("eth0", &[ip][..]), "{version}");
            assert_eq!(attached.gateways, ["10.66.0.1".parse::<IpAddr>().unwrap()]);
            assert!(attached.mac.is_some());
            let server = netns::enter(&pod.netns, || TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
            talk(&mut TcpStream::connect((ip, 80)).unwrap(), &server);
            talk(&mut TcpStream::connect("10.66.0.1:8080").unwrap(), &server);
            // The daemon is killed and started again, and the network's configuration has changed meanwhile.
            node.cni = Cni::open(node.cni.config.clone());
            fs::remove_file(node.host.path("net.d/10-test.conflist")).unwrap();
            node.cni.detach("pod1").unwrap();
            node.cni.detach("pod1").unwrap();
            netns::remove(&pod.netns).unwrap();
            assert_eq!(node.cached(), 0);
            assert!(!node.host.path("leases/testnet/10.66.0.2").exists());
            assert!(!run("iptables-save -t nat").contains("8080"));
            run("ip link del cni0");
            assert!(!run("ip -o link").contains("veth"), "{}", run("ip -o link"));
            node.host.assert_no_namespaces();
        }
    });
}

#[test]
fn debians_bridge_is_checked_and_del_works_after_the_namespace_is_gone() {
    TestHost::run(|| {
        let node = Node::new("1.0.0", json!([{"type": "none"}]));
        // Only the first: Debian's portmap looks for IPv6 rules at CHECK that it never made.
        let plugins = json!([debian(&node.host)[0]]);
        let conflist = json!({"cniVersion": "1.0.0", "name": "testnet", "plugins": plugins});
        fs::write(node.host.path("net.d/10-test.conflist"), conflist.to_string()).unwrap();
        let pod = node.pod("pod1");
        node.cni.attach(&pod).unwrap();
        node.cni.check("pod1").unwrap();
        netns::enter(&pod.netns, || run("ip addr flush dev eth0")).unwrap();
        assert!(node.cni.check("pod1").unwrap_err().to_string().contains("CNI plugin bridge CHECK"));
        netns::remove(&pod.netns).unwrap();
        node.cni.detach("pod1").unwrap();
        assert!(!node.host.path("leases/testnet/10.66.0.2").exists());
        assert_eq!(node.cached(), 0);
    });
}

#[test]
fn plugins_are_told_about_the_pod_and_given_the_capabilities_they_declare() {
    TestHost::run(|| {
        let capabilities = json!({
            "portMappings": true, "bandwidth": true, "dns": true, "mac": true, "cgroupPath": true,
            "io.kubernetes.cri.pod-annotations": true
        });
        let plugins = json!([{"type": "first", "capabilities": {"mac": false}}, {"type": "second", "capabilities": capabilities}]);
        let node = Node::new("1.0.0", plugins);
        for name in ["first", "second"] {
            node.script(name, &answering("1.0.0").replace("$LOG/", &format!("$LOG/{name}.")));
        }
        let host_port = HostPort {
            protocol: Protocol::Udp,
            host_port: 53,
            container_port: 5353,
            host_ip: Some("127.0.0.1".parse().unwrap()),
        };
        let pod = PodNetwork {
            host_ports: vec![host_port],
            bandwidth: Some(Bandwidth { ingress: Some(1000), egress: None }),
            dns: Dns { servers: vec!["10.0.0.10".into()], ..Dns::default() },
            mac: Some("02:00:00:00:00:01".into()),
            cgroup_parent: "/kubepods/pod1".into(),
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            ..node.pod("pod1")
        };
        node.cni.attach(&pod).unwrap();
        let config = |name: &str| serde_json::from_str::<Value>(&node.log(name)).unwrap();
        let answer: Value = serde_json::from_str(ANSWER).unwrap();
        assert_eq!(config("first.ADD"), json!({"type": "first", "name": "testnet", "cniVersion": "1.0.0"}));
        let runtime = json!({
            "portMappings": [{"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "127.0.0.1"}],
            "bandwidth": {"ingressRate": 1000, "ingressBurst": i32::MAX},
            "dns": {"servers": ["10.0.0.10"], "searches": [], "options": []},
            "mac": "02:00:00:00:00:01",
            "cgroupPath": "/kubepods/pod1",
            "io.kubernetes.cri.pod-annotations": {"a": "b"}
        });
        let second = json!({
            "type": "second", "name": "testnet", "cniVersion": "1.0.0", "prevResult": answer, "runtimeConfig": runtime
        });
        assert_eq!(config("second.ADD"), second);
        let environment = node.log("first.ADD.env");
        for line in [
            "CNI_COMMAND=ADD".to_owned(),
            "CNI_CONTAINERID=pod1".to_owned(),
            "CNI_IFNAME=eth0".to_owned(),
            format!("CNI_NETNS={}", pod.netns.display()),
            format!("CNI_PATH={}:/usr/lib/cni", node.host.path("bin").display()),
            "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=pod1;\
             K8S_POD_UID=u1"
                .to_owned(),
        ] {
            assert!(environment.lines().any(|found| found == line), "{line} in {environment}");
        }
        node.cni.check("pod1").unwrap();
        node.cni.detach("pod1").unwrap();
        for log in ["first.DEL", "second.CHECK", "second.DEL"] {
            assert_eq!(config(log)["prevResult"], answer, "{log}");
        }
        assert_eq!(config("second.DEL")["runtimeConfig"], runtime);
    });
}

#[test]
fn a_pods_name_cannot_smuggle_arguments() {
    TestHost::run(|| {
        let node = Node::scripted("1.0.0", &answering("1.0.0"));
        let pod = PodNetwork { name: "web;K8S_POD_NAMESPACE=kube-system".into(), ..node.pod("pod1") };
        let error = node.cni.attach(&pod).unwrap_err().to_string();
        assert!(error.contains("K8S_POD_NAME `web;"), "{error}");
        assert_eq!(node.log("ADD"), "");
        let error = node.cni.attach(&PodNetwork { id: "../x".into(), ..pod }).unwrap_err().to_string();
        assert!(error.contains("sandbox id `../x`"), "{error}");
    });
}

#[test]
fn a_plugins_error_is_told_and_everything_is_undone_in_reverse_order() {
    TestHost::run(|| {
        let node = Node::new("1.0.0", json!([{"type": "first"}, {"type": "second"}, {"type": "third"}]));
        for name in ["first", "third"] {
            let answer = format!("echo {name} $CNI_COMMAND >> $LOG/calls; [ $CNI_COMMAND != ADD ] || echo '{ANSWER}'");
            node.script(name, &answer);
        }
        let fails = r#"echo second $CNI_COMMAND >> $LOG/calls; [ $CNI_COMMAND != ADD ] ||
            { echo '{"cniVersion":"1.0.0","code":11,"msg":"try again","details":"no lease"}'; exit 1; }"#;
        node.script("second", fails);
        let error = node.cni.attach(&node.pod("pod1")).unwrap_err().to_string();
        assert_eq!(error, "CNI plugin second ADD: try again (code 11): no lease");
        let calls = "first ADD\nsecond ADD\nthird DEL\nsecond DEL\nfirst DEL\n";
        assert_eq!(node.log("calls"), calls);
        assert_eq!(node.cached(), 0);
    });
}

#[test]
fn a_failed_del_is_remembered_and_every_plugin_is_tried() {
    TestHost::run(|| {
        let node = Node::new("1.0.0", json!([{"type": "first"}, {"type": "second"}]));
        let fails = format!(
            "case $CNI_COMMAND in ADD) echo '{ANSWER}';; DEL) echo $0 >> $LOG/dels; [ ! -e $LOG/broken ] || \
             {{ echo lost >&2; exit 3; }};; esac"
        );
        node.script("first", &fails);
        node.script("second", &fails);
        node.cni.attach(&node.pod("pod1")).unwrap();
        fs::write(node.host.path("log/broken"), "").unwrap();
        let error = node.cni.detach("pod1").unwrap_err().to_string();
        assert!(error.contains("second DEL: exit status: 3: lost; CNI plugin first DEL"), "{error}");
        assert_eq!((node.cached(), node.log("dels").lines().count()), (1, 2));
        let error = node.cni.gc(&[]).unwrap_err().to_string();
        assert!(error.contains("first DEL"), "{error}");
        fs::remove_file(node.host.path("log/broken")).unwrap();
        assert_eq!(node.cni.gc(&[]).unwrap(), ["pod1"]);
        assert_eq!(node.cached(), 0);
    });
}

#[test]
fn hostile_output_is_a_clear_error_and_is_undone() {
    TestHost::run(|| {
        let cases = [
            ("echo hello", "CNI plugin sh ADD: result: it is not JSON"),
            ("true", "CNI plugin sh ADD: result: it is not JSON"),
            ("echo '[]'", "result: it is not a JSON object"),
            ("echo '{}'", "result: it has no IP address on an interface in the sandbox"),
            (r#"echo '{"ips":[{"address":"x"}]}'"#, "result: ip `x` is not an address"),
            ("yes", "killed after more than 1048576 bytes of output"),
            ("yes >&2", "killed after more than 1048576 bytes of output"),
            ("echo oops >&2; exit 7", "CNI plugin sh ADD: exit status: 7: oops"),
            ("echo plain; exit 7", "CNI plugin sh ADD: exit status: 7: plain"),
            ("kill -9 $$", "CNI plugin sh ADD: signal: 9"),
            (r#"printf '{"code":5,"msg":"a\\u001b[31mred"}'; exit 1"#, "a [31mred (code 5)"),
            ("head -c 100000 /dev/zero | tr '\\0' '['", "result: it is not JSON"),
        ];
        for (text, expected) in cases {
            let node = Node::scripted("1.0.0", &format!("[ $CNI_COMMAND = ADD ] || exit 0\n{text}"));
            let error = node.cni.attach(&node.pod("pod1")).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(node.cached(), 0, "{text}");
        }
    });
}

#[test]
fn a_plugin_that_hangs_is_killed_with_what_it_started() {
    TestHost::run(|| {
        let mut node =
            Node::scripted("1.0.0", "[ $CNI_COMMAND = ADD ] || exit 0\nsleep 1000 & echo $! > $LOG/child; wait");
        node.cni.config.plugin_timeout_seconds = 1;
        let error = node.cni.attach(&node.pod("pod1")).unwrap_err().to_string();
        assert!(error.contains("CNI plugin sh ADD: killed after 1 s"), "{error}");
        let child = PathBuf::from(format!("/proc/{}/stat", node.log("child").trim()));
        // A killed process may have to wait for a processor to die on, and whoever adopted it may still have to reap it.
        let dead = || fs::read_to_string(&child).map_or(true, |state| state.contains(") Z ") || state.contains(") X "));
        let limit = std::time::Instant::now() + Duration::from_secs(30);
        while !dead() {
            assert!(std::time::Instant::now() < limit, "the child of the plugin is not killed");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn a_daemon_that_a_plugin_leaves_behind_does_not_hold_up_the_pod() {
    TestHost::run(|| {
        let node = Node::scripted("1.0.0", &format!("sleep 8 & {}", answering("1.0.0")));
        let before = std::time::Instant::now();
        node.cni.attach(&node.pod("pod1")).unwrap();
        assert!(before.elapsed() < Duration::from_secs(8), "it waited for the end of the outputs");
    });
}

#[test]
fn a_plugin_that_reads_nothing_and_large_configurations_do_not_block() {
    TestHost::run(|| {
        let node = Node::scripted("1.0.0", &format!("exec <&-; [ $CNI_COMMAND != ADD ] || echo '{ANSWER}'"));
        let pod = PodNetwork { annotations: BTreeMap::from([("a".into(), "x".repeat(900_000))]), ..node.pod("pod1") };
        node.cni.attach(&pod).unwrap();
        node.cni.detach("pod1").unwrap();
    });
}

#[test]
fn the_network_is_not_ready_for_a_reason() {
    TestHost::run(|| {
        let node = Node::scripted("1.1.0", "echo '{\"code\":50,\"msg\":\"no agent\"}'; exit 1");
        let reason = node.cni.status().unwrap_err().reason;
        assert!(reason.contains("10-test.conflist: CNI plugin sh STATUS: no agent (code 50)"), "{reason}");
        node.script("sh", "true");
        node.cni.status().unwrap();
        fs::remove_file(node.host.path("bin/sh")).unwrap();
        let reason = node.cni.status().unwrap_err().reason;
        assert!(reason.contains("CNI plugin sh: no such program in"), "{reason}");
        fs::write(node.host.path("net.d/10-test.conflist"), "{").unwrap();
        let reason = node.cni.status().unwrap_err().reason;
        assert!(reason.contains("10-test.conflist: not a JSON object"), "{reason}");
        let error = node.cni.attach(&node.pod("pod1")).unwrap_err().to_string();
        assert!(error.starts_with("CNI network is not ready: "), "{error}");
        assert_eq!(node.cached(), 0);
    });
}

#[test]
fn status_and_gc_are_asked_of_version_1_1_0_only_and_not_where_disabled() {
    TestHost::run(|| {
        for (version, disable, asked) in [("1.0.0", false, false), ("1.1.0", false, true), ("1.1.0", true, false)] {
            let node = Node::scripted(version, &answering(version));
            let conflist = json!({
                "cniVersion": version, "name": "testnet", "disableGC": disable, "disableCheck": disable,
                "plugins": [{"type": "sh"}]
            });
            fs::write(node.host.path("net.d/10-test.conflist"), conflist.to_string()).unwrap();
            node.cni.attach(&node.pod("live")).unwrap();
            node.cni.attach(&node.pod("dead")).unwrap();
            node.cni.status().unwrap();
            node.cni.check("live").unwrap();
            assert_eq!(node.cni.gc(&["live".to_owned()]).unwrap(), ["dead"]);
            assert_eq!(node.log("STATUS").is_empty(), version != "1.1.0");
            assert_eq!(node.log("CHECK").is_empty(), disable);
            assert_eq!(!node.log("GC").is_empty(), asked, "{version} {disable}");
            if asked {
                let config: Value = serde_json::from_str(&node.log("GC")).unwrap();
                let valid = json!([{"containerID": "live", "ifname": "eth0"}]);
                assert_eq!(config["cni.dev/valid-attachments"], valid);
                assert!(!node.log("GC.env").contains("CNI_CONTAINERID"));
            }
        }
    });
}

#[test]
fn an_interrupted_attach_is_undone_before_the_next() {
    TestHost::run(|| {
        let node = Node::scripted(
            "1.0.0",
            &format!("echo $CNI_COMMAND >> $LOG/calls; [ $CNI_COMMAND != ADD ] || echo '{ANSWER}'"),
        );
        node.cni.attach(&node.pod("pod1")).unwrap();
        node.cni.attach(&node.pod("pod1")).unwrap();
        assert_eq!(node.log("calls"), "ADD\nDEL\nADD\n");
    });
}

#[test]
fn what_an_interrupted_write_left_goes_with_the_pod() {
    TestHost::run(|| {
        let node = Node::scripted("1.0.0", "true");
        fs::create_dir(node.host.path("cache")).unwrap();
        fs::write(node.host.path("cache/pod1.new"), "{").unwrap();
        node.cni.detach("pod1").unwrap();
        assert_eq!(fs::read_dir(node.host.path("cache")).unwrap().count(), 0);
    });
}

#[test]
fn a_broken_cache_file_is_named() {
    TestHost::run(|| {
        let node = Node::scripted("1.0.0", "true");
        fs::create_dir(node.host.path("cache")).unwrap();
        fs::write(node.host.path("cache/pod1.json"), "{").unwrap();
        let error = node.cni.detach("pod1").unwrap_err().to_string();
        assert!(error.contains("cache/pod1.json"), "{error}");
    });
}
