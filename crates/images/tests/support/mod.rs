//! What the tests stand on: Debian's docker-registry on loopback, images made here, and a server that can lie.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

pub mod build;
pub mod liar;
pub mod tls;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use build::{Built, Form};
use corten_images::{Config, Digest, Downloads, Store};

/// A real registry on a free loopback port, with an empty store of its own; it ends with the value.
pub struct Registry {
    pub address: String,
    process: Child,
    _directory: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// A registry that wants `user` with `secret`.
    pub fn with_password() -> Self {
        Self::start_with(true)
    }

    fn start_with(password: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("htpasswd"), format!("user:{BCRYPT_SECRET}\n")).unwrap();
        let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path("htpasswd"));
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http: {{addr: \"127.0.0.1:0\"}}\n{}",
            path("data"),
            if password { auth } else { String::new() },
        );
        let config = path("config.yml");
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry: {error} (apt-get install docker-registry)"));
        let address = listening(&mut process);
        Self { address, process, _directory: directory }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}", self.address)
    }

    /// A reference into this registry.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let client = client();
        let digest = Digest::of(bytes);
        let start = client.post(self.url(&format!("{repository}/blobs/uploads/"))).send().await.unwrap();
        assert_eq!(start.status(), 202);
        let location = start.headers()["location"].to_str().unwrap().to_owned();
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = client.put(format!("{location}{separator}digest={digest}")).body(bytes.to_vec());
        assert_eq!(put.send().await.unwrap().status(), 201);
        digest
    }

    pub async fn push_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let put = client().put(self.url(&format!("{repository}/manifests/{tag}")));
        let response = put.header("content-type", media_type).body(bytes.to_vec()).send().await.unwrap();
        let status = response.status();
        assert_eq!(status, 201, "{}", response.text().await.unwrap());
        Digest::of(bytes)
    }

    /// Pushes an image with all its blobs; returns its manifest's digest.
    pub async fn push(&self, repository: &str, tag: &str, image: &Built, form: Form) -> Digest {
        for blob in image.blobs() {
            self.push_blob(repository, &blob).await;
        }
        self.push_manifest(repository, tag, form.manifest(), &image.manifest(form)).await
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Registries without passwords do not mind.
    let basic = ("authorization".parse().unwrap(), "Basic dXNlcjpzZWNyZXQ=".parse().unwrap());
    reqwest::Client::builder().tls_certs_only([]).default_headers([basic].into_iter().collect()).build().unwrap()
}

/// Waits until the registry says where it listens, and keeps reading what it logs.
fn listening(process: &mut Child) -> String {
    let log = BufReader::new(process.stderr.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut seen = String::new();
        for line in log.lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|character: char| !character.is_ascii_digit() && !".:".contains(character));
                let _ = sender.send(Ok(rest[..end.unwrap_or(rest.len())].to_owned()));
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        let _ = sender.send(Err(seen));
    });
    receiver.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_or_else(|log| panic!("docker-registry: {log}"))
}

/// bcrypt, cost 4, of "secret".
const BCRYPT_SECRET: &str = "$2b$04$HSho7ZHMSNUGIPH3cYYu.utRSuSuu7uuUmlXTjOctgxadS7gk95vW";

/// The defaults, in a hurry.
pub fn config() -> Config {
    let download = Downloads { retry_milliseconds: 1, ..Downloads::default() };
    Config { download, ..Config::default() }
}

/// An empty store in a directory of its own.
pub async fn store(root: &Path) -> Store {
    Store::open(root, config()).await.unwrap()
}
