//! What `hosts.toml` and the configuration say about hosts, with real servers: TLS, credentials, and how a pull is
//! explained. Needs root.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use corten_images::{Auth, Config, Fault, Image, Store};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use support::{
    build::Built,
    liar::{Answer, Liar, Seen},
    tls::Front,
};

/// A certificate authority, its files, and what it has issued for this machine.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub file: PathBuf,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Certificate and key, in PEM.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A store that reads its hosts from `certs.d` in this directory.
async fn store(root: &Path, config: Config) -> Store {
    let config = Config { config_path: vec![root.join("certs.d")], ..config };
    Store::open(&root.join("images"), config).await.unwrap()
}

fn hosts_toml(root: &Path, registry: &str, text: &str) {
    let directory = root.join("certs.d").join(registry);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("hosts.toml"), text).unwrap();
}

async fn pull(store: &Store, registry: &str) -> Result<Arc<Image>, corten_images::Error> {
    let image = store.pull(&format!("{registry}/app:1"), None).await?;
    store.remove(&image.id).await.unwrap();
    Ok(image)
}

#[tokio::test]
async fn a_server_is_trusted_as_hosts_toml_says() {
    let root = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(root.path(), "ours"), Authority::new(root.path(), "other"));
    let liar = Liar::of(&Built::simple("f", b"over TLS"), |_| None).await;
    let front = Front::start(&liar.address, ours.issue(), None).await;
    let store = store(root.path(), Config::default()).await;
    let address = &front.address;
    let say = |text: &str| hosts_toml(root.path(), address, &format!("server = \"https://{address}\"\n{text}"));
    say(&format!("ca = [{:?}, {:?}]", other.file, ours.file));
    pull(&store, address).await.unwrap();
    say("skip_verify = true");
    pull(&store, address).await.unwrap();
    for text in ["".to_owned(), format!("ca = {:?}", other.file)] {
        say(&text);
        let error = pull(&store, address).await.unwrap_err();
        assert!(error.to_string().contains("TLS: ") && error.to_string().contains("UnknownIssuer"), "{error}");
        // It is there, only not to be trusted.
        assert_eq!(error.fault(), Fault::Outside);
    }
    say("ca = \"absent.pem\"");
    let error = pull(&store, address).await.unwrap_err();
    assert!(error.to_string().contains("absent.pem"), "{error}");
    // By the URL it is not TLS, by the rest it is.
    hosts_toml(root.path(), address, &format!("server = \"http://{address}\"\nca = {:?}", ours.file));
    pull(&store, address).await.unwrap();
    let plain = &liar.address;
    hosts_toml(root.path(), plain, &format!("server = \"http://{plain}\"\nskip_verify = true"));
    pull(&store, plain).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_its_host_only() {
    let root = tempfile::tempdir().unwrap();
    let (ours, clients) = (Authority::new(root.path(), "ours"), Authority::new(root.path(), "clients"));
    let image = Built::simple("f", b"for some");
    let liar = Liar::of(&image, |_| None).await;
    let front = Front::start(&liar.address, ours.issue(), Some(&clients.file)).await;
    let store = store(root.path(), Config::default()).await;
    let address = &front.address;
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = clients.issue();
    let (wrong_certificate, wrong_key) = ours.issue();
    let wrong = write("wrong.pem", &format!("{wrong_certificate}{wrong_key}"));
    let both = write("both.pem", &format!("{certificate}{key}"));
    let (certificate, key) = (write("c.pem", &certificate), write("k.pem", &key));
    let settings = |client: &str| format!("ca = {:?}\n{client}", ours.file);
    for client in [
        format!("client = {both:?}"),
        format!("client = [{wrong:?}, {both:?}]"),
        format!("client = [[{wrong:?}, \"\"], [{certificate:?}, {key:?}]]"),
    ] {
        hosts_toml(root.path(), address, &format!("server = \"https://{address}\"\n{}", settings(&client)));
        pull(&store, address).await.unwrap();
    }
    for client in ["".to_owned(), format!("client = {wrong:?}")] {
        hosts_toml(root.path(), address, &format!("server = \"https://{address}\"\n{}", settings(&client)));
        let error = pull(&store, address).await.unwrap_err();
        assert!(error.to_string().contains("TLS: "), "{error}");
    }
    // Who redirects there does not lend its certificate; nor does its skip_verify hold there. Another name of this
    // machine, so that it is another host.
    let elsewhere = address.replace("127.0.0.1", "localhost");
    for (settings, why) in [
        (settings(&format!("client = {both:?}")), "CertificateRequired"),
        ("skip_verify = true".to_owned(), "UnknownIssuer"),
    ] {
        let target = format!("https://{elsewhere}");
        let redirecting =
            Liar::start(move |seen: &Seen| Answer::status(307).header("location", &format!("{target}{}", seen.path)))
                .await;
        let host = &redirecting.address;
        let first = Front::start(host, ours.issue(), None).await;
        let name = &first.address;
        hosts_toml(root.path(), name, &format!("server = \"https://{name}\"\n{settings}"));
        let error = pull(&store, name).await.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("TLS: "), "{error}");
        assert!(redirecting.count("/manifests/") > 0);
    }
}

#[tokio::test]
async fn credentials_go_to_whom_they_are_for() {
    let root = tempfile::tempdir().unwrap();
    let image = Built::simple("f", b"mirrored");
    let guarded = |seen: &Seen| match seen.headers.contains_key("authorization") {
        false => Some(Answer::status(401).header("www-authenticate", "Basic realm=\"r\"")),
        true => None,
    };
    let (mirror, registry) = (Liar::of(&image, guarded).await, Liar::of(&image, guarded).await);
    let name = &registry.address;
    hosts_toml(root.path(), name, &format!("server = \"http://{name}\"\n[host.\"http://{}\"]\n", mirror.address));
    let shown = |liar: &Liar| {
        let mut all: Vec<_> =
            liar.seen().into_iter().filter_map(|seen| seen.headers.get("authorization").cloned()).collect();
        all.dedup();
        all
    };
    let pull = async |store: &Store| {
        let auth = Auth { username: "user".into(), password: "secret".into(), ..Auth::default() };
        let image = store.pull(&format!("{name}/app:1"), Some(auth)).await.unwrap();
        store.remove(&image.id).await.unwrap();
    };
    let secret = "Basic dXNlcjpzZWNyZXQ=";
    {
        let store = store(root.path(), Config::default()).await;
        pull(&store).await;
        assert!(mirror.count("/manifests/") > 0);
        assert_eq!((shown(&mirror).len(), shown(&registry)), (0, vec![secret.to_owned()]));
    }
    {
        let store = store(root.path(), Config { credentials_for_mirrors: true, ..Config::default() }).await;
        pull(&store).await;
        assert_eq!(shown(&mirror), [secret]);
    }
    let docker = root.path().join("config.json");
    std::fs::write(&docker, format!(r#"{{"auths": {{"{}": {{"auth": "bWlycm9yOnA="}}}}}}"#, mirror.address)).unwrap();
    let store = store(root.path(), Config { docker_config: Some(docker), ..Config::default() }).await;
    pull(&store).await;
    assert_eq!(shown(&mirror), [secret, "Basic bWlycm9yOnA="]);
}

#[tokio::test]
async fn a_pull_is_explained() {
    let root = tempfile::tempdir().unwrap();
    let image = Built::simple("f", b"explained");
    let (mirror, registry) = (Liar::start(|_| Answer::status(404)).await, Liar::of(&image, |_| None).await);
    let text = format!(
        "server = \"http://{registry}\"\n[host.\"http://{mirror}\"]\n[host.\"http://{mirror}\".header]\n\
         x-token = \"hunter2\"\n[host.\"https://pull.invalid/team\"]\ncapabilities = [\"pull\"]\nca = \"absent.pem\"\n",
        registry = registry.address,
        mirror = mirror.address,
    );
    hosts_toml(root.path(), "docker.io", &text);
    let directory = root.path().join("certs.d/docker.io");
    let config: Config = toml::from_str(
        "[credentials.\"*.invalid\"]\nusername = \"u\"\npassword = \"hunter2\"\n[hosts._default]\nserver = \"https://x\"",
    )
    .unwrap();
    let store = store(root.path(), config).await;
    let explained = store.explain_pull("busybox", false).await.unwrap();
    assert_eq!(explained.reference, "docker.io/library/busybox:latest");
    let places: Vec<_> = explained.places.iter().map(|place| (place.name.as_str(), place.used)).collect();
    let default = root.path().join("certs.d/_default").display().to_string();
    assert_eq!(
        places,
        [
            ("registry.hosts.\"docker.io\"", false),
            (directory.to_str().unwrap(), true),
            (&default, false),
            ("registry.hosts.\"_default\"", false),
        ]
    );
    let [first, second, last] = explained.hosts.as_slice() else { panic!("{explained:?}") };
    assert_eq!((first.mirror, second.mirror, last.mirror), (true, true, true));
    assert_eq!(first.headers, ["x-token"]);
    assert_eq!(first.said_by, format!("{}/hosts.toml:2", directory.display()));
    let manifest = format!("http://{}/v2/library/busybox/manifests/latest?ns=docker.io", mirror.address);
    assert_eq!(first.manifest_url.as_deref(), Some(manifest.as_str()));
    assert_eq!((second.capabilities.as_slice(), &second.manifest_url), (["pull"].as_slice(), &None));
    let blob = "https://pull.invalid/team/v2/library/busybox/blobs/sha256:...?ns=docker.io";
    assert_eq!(second.blob_url.as_deref(), Some(blob));
    assert_eq!(second.authorities, [directory.join("absent.pem")]);
    assert!(second.problems[0].contains("absent.pem"), "{second:?}");
    assert_eq!(second.credentials, ["registry.credentials.\"*.invalid\""]);
    assert!(explained.hosts.iter().all(|host| host.answer.is_none()));
    assert_eq!((mirror.seen().len(), registry.seen().len()), (0, 0));

    let asked = store.explain_pull("busybox", true).await.unwrap();
    let answers: Vec<_> = asked.hosts.iter().map(|host| host.answer.as_ref()).collect();
    let [Some(first), None, Some(last)] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(!first.found && first.text.starts_with("404 Not Found"), "{first:?}");
    assert!(last.found && last.text.starts_with("200 OK, sha256:"), "{last:?}");
    assert!(!format!("{asked:?}").contains("hunter2"));
    assert_eq!(mirror.seen()[0].headers["x-token"], "hunter2");
    assert_eq!(store.explain_pull("A B", false).await.unwrap_err().fault(), Fault::Caller);
}
