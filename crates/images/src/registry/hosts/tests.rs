#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;

fn parsed(text: &str, domain: &str) -> Vec<Host> {
    parse(text, Path::new("/certs"), domain).unwrap()
}

fn bases(hosts: &[Host]) -> Vec<&str> {
    hosts.iter().map(|host| host.base.as_str()).collect()
}

#[test]
fn hosts_come_in_the_files_order_and_the_registry_last() {
    let text = r#"
        server = "https://registry-1.docker.io"
        [host."https://z.example"]
        capabilities = ["pull"]
        [host."http://a.example:5000"]
        [host."https://harbor.example/v2/proxy"]
        override_path = true
        [host."https://m.example/team"]
    "#;
    let hosts = parsed(text, "docker.io");
    assert_eq!(
        bases(&hosts),
        [
            "https://z.example/v2",
            "http://a.example:5000/v2",
            "https://harbor.example/v2/proxy",
            "https://m.example/v2/team",
            "https://registry-1.docker.io/v2",
        ]
    );
    assert_eq!(hosts[0].capabilities, [Capability::Pull]);
    assert!(hosts[..4].iter().all(|host| host.mirror));
    assert!(!hosts[4].mirror);
}

#[test]
fn without_a_file_the_registry_is_asked() {
    let base = |domain| find(&[], domain).unwrap()[0].base.clone();
    assert_eq!(base("docker.io"), "https://registry-1.docker.io/v2");
    assert_eq!(base("quay.io"), "https://quay.io/v2");
    assert_eq!(base("localhost:5000"), "http://localhost:5000/v2");
    assert_eq!(base("127.0.0.1"), "http://127.0.0.1/v2");
    assert_eq!(base("[::1]:5000"), "http://[::1]:5000/v2");
    assert_eq!(base("[fd00::1]:5000"), "https://[fd00::1]:5000/v2");
    assert_eq!(base("localhost.example"), "https://localhost.example/v2");
}

#[test]
fn tls_and_headers_are_read() {
    let text = r#"
        ca = "/abs/ca.pem"
        [host."https://m.example"]
        ca = ["one.pem", "two.pem"]
        client = [["c.pem", "k.pem"]]
        skip_verify = true
        dial_timeout = "5s"
        [host."https://m.example".header]
        x-token = ["a", "b"]
    "#;
    let hosts = parsed(text, "r.example");
    let tls = &hosts[0].tls;
    assert_eq!(tls.ca, [Path::new("/certs/one.pem"), Path::new("/certs/two.pem")]);
    assert_eq!(tls.client, Some(("/certs/c.pem".into(), Some("/certs/k.pem".into()))));
    assert!(tls.skip_verify);
    assert_eq!(tls.dial_timeout, Some(Duration::from_secs(5)));
    assert_eq!(hosts[0].headers.get_all("x-token").iter().count(), 2);
    assert_eq!(hosts[1].tls.ca, [Path::new("/abs/ca.pem")]);
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |text: &str| parse(text, Path::new("/certs"), "r.example").unwrap_err();
    assert!(refused("[host.\"https://m\"]\ncapabilities = [\"fly\"]").contains("\"fly\""));
    assert!(refused("[host.\"ftp://m\"]").contains("ftp://m"));
    assert!(refused("skip_verify = \"yes\"").contains("skip_verify"));
    assert!(refused("server = ").contains("server"));
    // Keys of a later containerd are no reason to fail.
    assert_eq!(parsed("future = 1", "r.example").len(), 1);
}

#[test]
fn directories_are_found_in_containerds_order() {
    let base = tempfile::tempdir().unwrap();
    let write = |name: &str, server: &str| {
        std::fs::create_dir_all(base.path().join(name)).unwrap();
        std::fs::write(base.path().join(name).join("hosts.toml"), format!("server = \"{server}\"")).unwrap();
    };
    let server = |domain: &str| find(&[base.path().to_owned()], domain).unwrap().pop().unwrap().base;
    write("_default", "https://default");
    assert_eq!(server("r.example:1"), "https://default/v2");
    write("r.example_1_", "https://underscored");
    assert_eq!(server("r.example:1"), "https://underscored/v2");
    write("r.example:1", "https://exact");
    assert_eq!(server("r.example:1"), "https://exact/v2");
}

#[test]
fn dockers_certificates_are_found() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("r.example");
    std::fs::create_dir(&directory).unwrap();
    for name in ["ca.crt", "client.cert", "client.key"] {
        std::fs::write(directory.join(name), "").unwrap();
    }
    let hosts = find(&[base.path().to_owned()], "r.example").unwrap();
    assert_eq!(hosts[0].tls.ca, [directory.join("ca.crt")]);
    assert_eq!(hosts[0].tls.client, Some((directory.join("client.cert"), Some(directory.join("client.key")))));
}
