#![allow(clippy::unwrap_used, clippy::panic)]
use std::time::Duration;

use super::*;

fn parse(text: &str, domain: &str) -> Result<Vec<Host>, String> {
    file::parse(text, Path::new("/certs/hosts.toml"), domain)
}

fn parsed(text: &str, domain: &str) -> Vec<Host> {
    parse(text, domain).unwrap()
}

fn bases(hosts: &[Host]) -> Vec<&str> {
    hosts.iter().map(|host| host.base.as_str()).collect()
}

/// What a host's table says about TLS.
fn tls(text: &str) -> Tls {
    parsed(&format!("[host.\"https://m.example\"]\n{text}"), "r.example").swap_remove(0).tls
}

#[test]
fn hosts_come_in_the_files_order_and_the_registry_last() {
    let text = r#"
        server = "https://registry-1.docker.io"
        [host."https://z.example"]
        capabilities = ["pull"]
        [host."http://a.example:5000"]
        capabilities = []
        [host."https://harbor.example/v2/proxy"]
        override_path = true
        [host."https://m.example/team/"]
        [host."https://M.example/v2"]
        [host."plain.example:5000"]
        [host."https://registry-1.docker.io"]
    "#;
    let hosts = parsed(text, "docker.io");
    assert_eq!(
        bases(&hosts),
        [
            "https://z.example/v2",
            "http://a.example:5000/v2",
            "https://harbor.example/v2/proxy",
            "https://m.example/team/v2",
            "https://m.example/v2",
            "https://plain.example:5000/v2",
            "https://registry-1.docker.io/v2",
            "https://registry-1.docker.io/v2",
        ]
    );
    assert_eq!(hosts[0].capabilities, [Capability::Pull]);
    assert_eq!(hosts[1].capabilities, [Capability::Pull, Capability::Resolve]);
    assert!(hosts[..6].iter().all(|host| host.mirror));
    // The registry itself is not told whose images are meant.
    assert!(hosts[6..].iter().all(|host| !host.mirror));
    assert_eq!(hosts[1].said.to_string(), "/certs/hosts.toml:5");
    assert_eq!(hosts[7].said.to_string(), "/certs/hosts.toml:2");
}

#[test]
fn without_a_file_the_registry_is_asked() {
    let base = |domain| find(&Config::default(), domain).unwrap()[0].base.clone();
    assert_eq!(base("docker.io"), "https://registry-1.docker.io/v2");
    assert_eq!(base("quay.io"), "https://quay.io/v2");
    assert_eq!(base("localhost:5000"), "http://localhost:5000/v2");
    assert_eq!(base("127.0.0.1:80"), "http://127.0.0.1:80/v2");
    assert_eq!(base("[::1]:5000"), "http://[::1]:5000/v2");
    assert_eq!(base("[fd00::1]:5000"), "https://[fd00::1]:5000/v2");
    assert_eq!(base("localhost.example"), "https://localhost.example/v2");
    // As containerd: without a port it must be TLS, and who would sign for localhost.
    for domain in ["localhost", "127.0.0.1", "localhost:443", "[::1]"] {
        let host = find(&Config::default(), domain).unwrap().swap_remove(0);
        assert_eq!((host.base.as_str(), host.tls.skip_verify), (&*format!("https://{domain}/v2"), true));
    }
}

#[test]
fn the_server_is_the_registry_where_none_is_named() {
    for text in ["capabilities = [\"pull\"]", "server = \"\"\ncapabilities = [\"PULL\"]"] {
        let hosts = parsed(text, "docker.io");
        assert_eq!(bases(&hosts), ["https://registry-1.docker.io/v2"]);
        assert_eq!(hosts[0].capabilities, [Capability::Pull]);
    }
    assert!(!parsed("server = \"https://docker.io\"", "docker.io")[0].mirror);
    assert!(parsed("server = \"https://other.example\"", "docker.io")[0].mirror);
    let mut hosts = parsed("[host.\"https://m\"]\nskip_verify = true", "localhost");
    assert!(hosts.pop().unwrap().tls.skip_verify);
    assert!(!parsed("skip_verify = false", "localhost")[0].tls.skip_verify);
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
        proxy = "http://user:secret@proxy.example:3128"
        [host."https://m.example".header]
        x-token = ["a", "b"]
    "#;
    let hosts = parsed(text, "r.example");
    let tls = &hosts[0].tls;
    assert_eq!(tls.ca, [Path::new("/certs/one.pem"), Path::new("/certs/two.pem")]);
    assert_eq!(tls.client, [("/certs/c.pem".into(), Some("/certs/k.pem".into()))]);
    assert!(tls.skip_verify);
    assert_eq!(tls.dial_timeout, Some(Duration::from_secs(5)));
    assert_eq!(tls.proxy.as_ref().unwrap().to_string(), "http://proxy.example:3128");
    assert!(!format!("{hosts:?}").contains("secret"));
    assert_eq!(hosts[0].headers.get_all("x-token").iter().count(), 2);
    assert_eq!(hosts[1].tls.ca, [Path::new("/abs/ca.pem")]);
}

#[test]
fn client_certificates_come_in_every_form() {
    let path = |name: &str| Path::new("/certs").join(name);
    for (text, want) in [
        ("\"both.pem\"", vec![(path("both.pem"), None)]),
        ("[\"one.pem\", \"/two.pem\"]", vec![(path("one.pem"), None), ("/two.pem".into(), None)]),
        (
            "[[\"c.pem\", \"k.pem\"], [\"both.pem\", \"\"]]",
            vec![(path("c.pem"), Some(path("k.pem"))), (path("both.pem"), None)],
        ),
        ("[]", vec![]),
    ] {
        assert_eq!(tls(&format!("client = {text}")).client, want);
    }
}

#[test]
fn durations_are_gos() {
    for (text, want) in [
        ("5s", Some(Duration::from_secs(5))),
        ("1m30s", Some(Duration::from_secs(90))),
        ("1.5s", Some(Duration::from_millis(1500))),
        ("1h0m0.25s", Some(Duration::from_millis(3_600_250))),
        ("200ms", Some(Duration::from_millis(200))),
        ("0s", None),
        ("", None),
    ] {
        assert_eq!(tls(&format!("dial_timeout = \"{text}\"")).dial_timeout, want, "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_and_no_secret() {
    let refused = |text: &str| parse(text, "r.example").unwrap_err();
    let in_host = |text: &str| refused(&format!("\n[host.\"https://m\"]\n{text}"));
    let host = "line 2: host.\"https://m\": ";
    assert_eq!(in_host("capabilities = [\"fly\"]"), format!("{host}capabilities: unknown capability \"fly\""));
    assert!(in_host("client = [[\"a\", \"b\", \"c\"]]").starts_with(&format!("{host}client: want pairs")));
    for bad in ["5", "s", "5 s", "-1s", "1.2.3s", "5d", "99999999999999999999h"] {
        assert!(in_host(&format!("dial_timeout = \"{bad}\"")).contains("dial_timeout: want a duration"), "{bad}");
    }
    for bad in ["proxy", "ftp://p", "http://p/path", "http://user:hunter2@p/path"] {
        let why = in_host(&format!("proxy = \"{bad}\""));
        assert!(why.contains("proxy: want the URL") && !why.contains("hunter2"), "{why}");
    }
    assert!(refused("[host.\"ftp://m\"]").contains("ftp://m"));
    assert!(!refused("server = \"https://user:hunter2@m\"").contains("hunter2"));
    assert_eq!(refused("skip_verify = \"yes\""), "server: skip_verify: want true or false");
    assert!(refused("server = ").starts_with("line 1: "));
    let syntax = refused("[header]\nx-token = \"hunter2\n");
    assert!(syntax.starts_with("line 2: ") && !syntax.contains("hunter2"), "{syntax}");
    // Keys of a later containerd are no reason to fail.
    assert_eq!(parsed("future = 1", "r.example").len(), 1);
}

#[test]
fn directories_are_found_in_containerds_order() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |base: &tempfile::TempDir, name: &str, server: &str| {
        std::fs::create_dir_all(base.path().join(name)).unwrap();
        std::fs::write(base.path().join(name).join("hosts.toml"), format!("server = \"{server}\"")).unwrap();
    };
    let config_path = vec!["/does/not/exist".into(), first.path().to_owned(), second.path().to_owned()];
    let config = Config { config_path, ..Config::default() };
    let server = || find(&config, "r.example:1").unwrap().pop().unwrap().base;
    write(&second, "r.example_1_", "https://second");
    assert_eq!(server(), "https://second/v2");
    write(&first, "_default", "https://default");
    assert_eq!(server(), "https://default/v2");
    write(&first, "r.example:1", "https://exact");
    assert_eq!(server(), "https://exact/v2");
    write(&first, "r.example_1_", "https://underscored");
    assert_eq!(server(), "https://underscored/v2");
}

#[test]
fn dockers_certificates_are_found() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("r.example");
    std::fs::create_dir(&directory).unwrap();
    // An empty file is no file.
    for name in ["ca.crt", "client.cert", "client.key", "other.cert", "README", "hosts.toml"] {
        std::fs::write(directory.join(name), "").unwrap();
    }
    let config = Config { config_path: vec![base.path().to_owned()], ..Config::default() };
    let hosts = find(&config, "r.example").unwrap();
    assert_eq!(hosts[0].tls.ca, [directory.join("ca.crt")]);
    let client =
        [(directory.join("client.cert"), Some(directory.join("client.key"))), (directory.join("other.cert"), None)];
    assert_eq!(hosts[0].tls.client, client);
    assert_eq!(hosts[0].base, "https://r.example/v2");
}

#[test]
fn http_with_certificates_may_mean_tls() {
    let may = |text: &str| parsed(text, "r.example")[0].may_speak_tls();
    assert!(may("[host.\"http://192.0.2.1:5000\"]\nskip_verify = true"));
    assert!(may("[host.\"http://192.0.2.1\"]\nca = \"ca.pem\""));
    for plain in ["http://192.0.2.1:80\"]\nskip_verify = true", "http://h\"]", "http://h\"]\ndial_timeout = \"1s\""] {
        assert!(!may(&format!("[host.\"{plain}")), "{plain}");
    }
    assert!(!may("[host.\"https://192.0.2.1:5000\"]\nskip_verify = true"));
}

#[test]
fn our_own_configuration_says_the_same() {
    let base = tempfile::tempdir().unwrap();
    let write = |name: &str, server: &str| {
        std::fs::create_dir_all(base.path().join(name)).unwrap();
        std::fs::write(base.path().join(name).join("hosts.toml"), format!("server = \"{server}\"")).unwrap();
    };
    let text = r#"
        [hosts."r.example:1"]
        server = "https://block"
        capabilities = ["resolve"]
        [hosts."r.example:1".host."https://z.example"]
        ca = "/ca.pem"
        [hosts."r.example:1".host."https://a.example"]
        [hosts._default]
        server = "https://last"
    "#;
    let config: Config = toml::from_str(text).unwrap();
    let config = Config { config_path: vec![base.path().to_owned()], ..config };
    let found = |domain: &str| find(&config, domain).unwrap();
    let server = |domain: &str| found(domain).pop().unwrap().base;
    // Of no directory's: the default for all; then a directory's; the registry's own table comes before both.
    assert_eq!(server("other.example"), "https://last/v2");
    write("_default", "https://default");
    assert_eq!(server("other.example"), "https://default/v2");
    write("r.example:1", "https://exact");
    let hosts = found("r.example:1");
    assert_eq!(bases(&hosts), ["https://z.example/v2", "https://a.example/v2", "https://block/v2"]);
    assert_eq!(hosts[0].tls.ca, [Path::new("/ca.pem")]);
    assert_eq!(hosts[2].capabilities, [Capability::Resolve]);
    assert!(hosts.iter().all(|host| host.said.to_string() == "registry.hosts.\"r.example:1\""));
    let places: Vec<_> = places(&config, "r.example:1").iter().map(ToString::to_string).collect();
    let directory = |name: &str| base.path().join(name).display().to_string();
    let want = [
        "registry.hosts.\"r.example:1\"".to_owned(),
        directory("r.example_1_"),
        directory("r.example:1"),
        directory("_default"),
        "registry.hosts.\"_default\"".to_owned(),
    ];
    assert_eq!(places, want);
}
