//! The node's pod CIDR, as the kubelet gives it by UpdateRuntimeConfig.

use std::{fs, net::IpAddr};

use corten_cri::v1::*;
use corten_e2e::{
    cri::assert_refused,
    daemon::{Network, Setup},
    lab::{self, Lab},
    pods, programs,
};
use tonic::{Code, Status};

async fn update(lab: &Lab, pod_cidr: &str) -> Result<(), Status> {
    let network_config = Some(NetworkConfig { pod_cidr: pod_cidr.to_owned() });
    let request = UpdateRuntimeConfigRequest { runtime_config: Some(RuntimeConfig { network_config }) };
    lab.cri.runtime().update_runtime_config(request).await.map(drop)
}

/// Runs a pod with a container; the pod's id, the container's, and the addresses that are seen inside.
async fn pod(lab: &Lab, name: &str) -> (String, String, Vec<IpAddr>) {
    let config = lab.pod(name);
    let pod = lab.run_pod(&config).await;
    let id = lab.start(&pod, &config, &pods::sleeper("c", &lab.busybox().await)).await;
    let text = lab.cri.shell(&id, "ip -o addr show dev eth0 scope global").await;
    let mut addresses: Vec<IpAddr> = text
        .lines()
        .map(|line| line.split_whitespace().nth(3).unwrap().split('/').next().unwrap().parse().unwrap())
        .collect();
    addresses.sort();
    let network = lab.cri.pod_status(&pod).await.unwrap().network.unwrap();
    let mut told: Vec<IpAddr> = network.additional_ips.iter().map(|more| more.ip.parse().unwrap()).collect();
    told.push(network.ip.parse().unwrap());
    told.sort();
    assert_eq!(addresses, told, "what is told is what is inside");
    (pod, id, addresses)
}

#[test]
fn the_bridges_pools_follow_the_pod_cidr() {
    lab::test(Setup::default(), async |lab| {
        let (old_pod, _, old) = pod(lab, "old").await;
        for unset in [
            UpdateRuntimeConfigRequest::default(),
            UpdateRuntimeConfigRequest { runtime_config: Some(RuntimeConfig::default()) },
        ] {
            lab.cri.runtime().update_runtime_config(unset).await.unwrap();
        }
        update(lab, "").await.unwrap();
        for bad in ["nonsense", "10.88.0.0/40", "10.88.0.1/24", "10.1.0.0/24,10.2.0.0/24", "127.0.0.0/8"] {
            let field = "runtime_config.network_config.pod_cidr";
            assert_refused(update(lab, bad).await, Code::InvalidArgument, &[field, bad]);
        }
        let (_, _, same) = pod(lab, "same").await;
        assert_eq!(same[0].to_string().rsplit_once('.').unwrap().0, old[0].to_string().rsplit_once('.').unwrap().0);
        update(lab, "10.88.5.0/24,fd00:88::/64").await.unwrap();
        for name in ["new", "restarted"] {
            let (_, id, new) = pod(lab, name).await;
            assert!(
                new[0].to_string().starts_with("10.88.5.") && new[1].to_string().starts_with("fd00:88::"),
                "{new:?}"
            );
            lab.cri.shell(&id, &format!("ping -c 1 -W 5 {}", old[0])).await;
            assert_eq!(lab.cri.pod_ip(&old_pod).await, old[0].to_string());
            lab.crash_and_restart().await;
        }
    });
}

const TEMPLATE: &str = r#"{"cniVersion": "1.0.0", "name": "made", "plugins": [{"type": "bridge", "bridge": "e2e0", "isGateway": true,
 "ipam": {"type": "host-local", "dataDir": "DATA", {{/* all ranges */}}
  "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
  "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]}}]}"#;

/// A table of the configuration may be there once only, so this one has the network's whole.
fn with_template(lab: &Lab) -> String {
    let template = lab.paths.dir.join("template.json");
    fs::write(&template, TEMPLATE.replace("DATA", &lab.paths.dir.join("leases").display().to_string())).unwrap();
    let config = fs::read_to_string(lab.paths.config()).unwrap();
    config.replace("[network]\n", &format!("[network]\nconf_template = {template:?}\n"))
}

#[test]
fn cni_is_configured_from_the_template() {
    let setup = Setup { network: Network::CniUnconfigured, ..Setup::default() };
    lab::test(setup, async |lab| {
        assert!(std::path::Path::new(programs::CNI_PLUGINS).exists());
        // Without a template there is nothing to do.
        update(lab, "10.88.6.0/24").await.unwrap();
        assert_eq!(fs::read_dir(lab.paths.cni()).unwrap().count(), 0);
        fs::write(lab.paths.config(), with_template(lab)).unwrap();
        lab.crash_and_restart().await;
        assert_refused(update(lab, "10.88.6.0").await, Code::InvalidArgument, &["pod_cidr", "10.88.6.0"]);
        assert_eq!(fs::read_dir(lab.paths.cni()).unwrap().count(), 0);
        update(lab, "10.88.6.0/24,fd00:88:6::/64").await.unwrap();
        let (_, _, addresses) = pod(lab, "made").await;
        assert!(addresses[0].to_string().starts_with("10.88.6."), "{addresses:?}");
        assert!(addresses[1].to_string().starts_with("fd00:88:6::"), "{addresses:?}");
        // What it made itself it makes anew; somebody else's it leaves alone.
        update(lab, "10.88.7.0/24").await.unwrap();
        let made = lab.paths.cni().join("10-corten.conflist");
        let text = fs::read_to_string(&made).unwrap();
        assert!(text.contains("10.88.7.0/24") && !text.contains("10.88.6.0"), "{text}");
        fs::copy(&made, lab.paths.cni().join("05-theirs.conflist")).unwrap();
        update(lab, "10.88.8.0/24").await.unwrap();
        assert_eq!(fs::read_to_string(&made).unwrap(), text);
        fs::remove_file(lab.paths.cni().join("05-theirs.conflist")).unwrap();
        fs::write(lab.paths.dir.join("template.json"), "{{.Hostname}}").unwrap();
        assert_refused(update(lab, "10.88.8.0/24").await, Code::Internal, &["template.json", ".Hostname"]);
        assert_eq!(fs::read_to_string(&made).unwrap(), text);
    });
}
