//! What the daemon says about itself, what it refuses to start with, and what it does not do yet.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    process::Command,
};

use corten_cri::v1::*;
use corten_e2e::{
    cgroups::Driver,
    daemon::{self, Network, Setup},
    lab, programs,
};
use tonic::Code;

#[test]
fn version_is_what_the_kubelet_insists_on() {
    lab::test(Setup::default(), async |lab| {
        let version = lab.cri.runtime().version(VersionRequest::default()).await.unwrap().into_inner();
        assert_eq!(version.version, "0.1.0");
        assert_eq!(version.runtime_api_version, "v1");
        assert_eq!(version.runtime_name, "corten");
        assert_eq!(version.runtime_version, env!("CARGO_PKG_VERSION"));
    });
}

#[test]
fn status_has_both_conditions_and_the_runtime_handlers() {
    lab::test(Setup::default(), async |lab| {
        let status = lab.cri.runtime().status(StatusRequest { verbose: true }).await.unwrap().into_inner();
        let conditions = status.status.unwrap().conditions;
        for kind in ["RuntimeReady", "NetworkReady"] {
            let condition = conditions.iter().find(|condition| condition.r#type == kind).unwrap();
            assert!(condition.status, "{condition:?}");
        }
        let handlers: Vec<&str> = status.runtime_handlers.iter().map(|handler| handler.name.as_str()).collect();
        for handler in ["", "corten", "runc"] {
            assert!(handlers.contains(&handler), "{handler:?} is not in {handlers:?}");
        }
        let config: serde_json::Value = serde_json::from_str(&status.info["config"]).unwrap();
        assert_eq!(config["root"], lab.paths.root().display().to_string());
        assert_eq!(config["streaming"]["address"], "127.0.0.1", "what is not set is in force by default");
        let network: serde_json::Value = serde_json::from_str(&status.info["network"]).unwrap();
        assert_eq!(
            (&network["mode"], &network["subnets"][0]),
            (&"bridge".into(), &config["network"]["bridge"]["subnets"][0])
        );
        assert_eq!(status.info["lastCNILoadStatus"], "OK");
    });
}

/// runc's own word for what it can, and a runtime that says nothing of itself.
#[test]
fn handlers_features_are_what_their_programs_say() {
    let extra = "[runtimes.mute]\nbinary = \"/bin/false\"".to_owned();
    lab::test(Setup { extra, ..Setup::default() }, async |lab| {
        let runc = Command::new(programs::installed("runc", "runc")).arg("features").output().unwrap();
        let runc: serde_json::Value = serde_json::from_slice(&runc.stdout).unwrap();
        let rro = runc["mountOptions"].as_array().unwrap().contains(&"rro".into());
        let status = lab.cri.runtime().status(StatusRequest::default()).await.unwrap().into_inner();
        let can = |name: &str| {
            let handler = status.runtime_handlers.iter().find(|handler| handler.name == name).unwrap();
            handler.features.unwrap().recursive_read_only_mounts
        };
        let idmapped = runc["linux"]["mountExtensions"]["idmap"]["enabled"] == true;
        let users = |name: &str| {
            let handler = status.runtime_handlers.iter().find(|handler| handler.name == name).unwrap();
            handler.features.unwrap().user_namespaces
        };
        // The tests of user namespaces run on this machine, so it has them.
        assert_eq!((users("corten"), users(""), users("runc"), users("mute")), (true, true, idmapped, false));
        let features = status.features.unwrap();
        assert!(features.user_namespaces_host_network && features.mount_options);
        assert_eq!((can("corten"), can(""), can("runc"), can("mute")), (true, true, rro, false));
    });
}

#[test]
fn without_a_cni_configuration_the_network_is_not_ready_and_says_where_it_looked() {
    lab::test(Setup { network: Network::CniUnconfigured, ..Setup::default() }, async |lab| {
        let status = lab.cri.runtime().status(StatusRequest::default()).await.unwrap().into_inner();
        let conditions = status.status.unwrap().conditions;
        let condition = |kind: &str| conditions.iter().find(|condition| condition.r#type == kind).unwrap().clone();
        assert!(condition("RuntimeReady").status);
        let network = condition("NetworkReady");
        assert!(!network.status);
        assert_eq!((network.reason.as_str(), condition("RuntimeReady").reason.as_str()), ("NetworkNotReady", ""));
        assert!(network.message.contains(&lab.paths.cni().display().to_string()), "{}", network.message);
        let refused = lab.cri.run_pod(&lab.pod("offline"), "").await;
        assert!(refused.is_err(), "a pod ran without a network: {refused:?}");
    });
}

#[test]
fn the_runtime_config_names_the_cgroup_driver() {
    lab::test(Setup::default(), async |lab| {
        let config = lab.cri.runtime().runtime_config(RuntimeConfigRequest::default()).await.unwrap().into_inner();
        let driver = match Driver::chosen() {
            Driver::Cgroupfs => CgroupDriver::Cgroupfs,
            Driver::Systemd => CgroupDriver::Systemd,
        };
        assert_eq!(config.linux.unwrap().cgroup_driver(), driver);
    });
}

#[test]
fn the_socket_is_roots_alone() {
    lab::test(Setup::default(), async |lab| {
        let socket = fs::metadata(lab.paths.socket()).unwrap();
        assert!(socket.file_type().is_socket());
        assert_eq!((socket.mode() & 0o7777, socket.uid(), socket.gid()), (0o660, 0, 0));
    });
}

/// Sends an empty request to each RPC and asserts the code that older and newer kubelets look for.
macro_rules! assert_unimplemented {
    ($client:expr, $($rpc:ident($request:ident)),+ $(,)?) => {
        $(
            let code = $client.$rpc($request::default()).await.err().map(|status| status.code());
            assert_eq!(code, Some(Code::Unimplemented), stringify!($rpc));
        )+
    };
}

#[test]
fn what_is_not_built_yet_says_unimplemented() {
    lab::test(Setup::default(), async |lab| {
        let mut runtime = lab.cri.runtime();
        assert_unimplemented!(
            runtime,
            checkpoint_container(CheckpointContainerRequest),
            checkpoint_pod(CheckpointPodRequest),
            restore_pod(RestorePodRequest),
        );
    });
}

/// Runs `cortend` with a configuration that it must refuse; its standard error.
fn refused(text: Option<&str>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    if let Some(text) = text {
        fs::write(&file, text).unwrap();
    }
    let error = daemon::refusal(&file);
    assert!(error.contains("config.toml") || text.is_some(), "the file is not named: {error}");
    error
}

#[test]
fn a_bad_configuration_is_refused_by_key_and_value() {
    for (text, words) in [
        ("rooot = \"/x\"", ["rooot", "unknown"]),
        ("root = \"relative\"", ["root", "relative"]),
        ("[network]\nmode = \"magic\"", ["mode", "magic"]),
        ("[network]\nbridges = 1", ["bridges", "unknown"]),
        ("default_runtime = \"kata\"", ["default_runtime", "kata"]),
        ("[runtimes.x]\nbinary = \"runc\"", ["runtimes.x.binary", "runc"]),
        ("root = 5", ["root", "5"]),
        ("root = ", ["root", "config.toml"]),
    ] {
        let error = refused(Some(text));
        for word in words {
            assert!(error.contains(word), "{text:?}: {word:?} is not in: {error}");
        }
    }
}

#[test]
fn a_missing_configuration_file_is_refused_by_name() {
    assert!(refused(None).contains("config.toml"));
}

#[test]
fn a_second_daemon_with_the_same_state_is_refused() {
    lab::test(Setup::default(), async |lab| {
        assert!(!daemon::refusal(&lab.paths.config()).is_empty(), "no word about why");
        // The first one is still there, and still reachable.
        lab.cri.runtime().version(VersionRequest::default()).await.unwrap();
        let again = corten_e2e::cri::Cri::connect(&lab.paths.socket()).await;
        again.runtime().version(VersionRequest::default()).await.unwrap();
    });
}
