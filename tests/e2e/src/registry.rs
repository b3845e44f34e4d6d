//! Debian's docker-registry on a loopback port, and pushing images to it.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, Response, StatusCode, header};

use crate::{
    cri::PATIENCE,
    image::{self, Built},
    programs,
};

/// A running registry. Ends when dropped.
pub struct Registry {
    process: Child,
    address: SocketAddr,
    storage: PathBuf,
    http: Client,
}

impl Registry {
    /// Starts a registry that keeps its blobs and its log below `dir`, on a free port of this namespace's loopback.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(dir: &Path) -> Self {
        let storage = dir.join("storage");
        let address = free_address();
        let config = dir.join("config.yml");
        fs::create_dir_all(&storage).expect("make the registry's storage");
        fs::write(&config, settings(&storage, address)).expect("write the registry's configuration");
        let log = fs::File::create(dir.join("log")).expect("make the registry's log");
        let process = Command::new(programs::installed("docker-registry", "docker-registry"))
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log)
            .spawn()
            .expect("start docker-registry");
        // Built together with cortend, reqwest makes no client without one, also for plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().build().expect("make an HTTP client");
        let registry = Self { process, address, storage, http };
        registry.wait();
        registry
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen on {}", self.address);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// `127.0.0.1:port`: the host part of references to what it has.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The full reference of `name` (`repository:tag` or `repository@digest`) at this registry.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Pushes an image, or an index with its images, as `repository:tag` and returns its full reference.
    ///
    /// # Panics
    /// If the registry refuses.
    pub async fn push(&self, repository: &str, tag: &str, image: &Built) -> String {
        for member in &image.members {
            self.push_content(repository, &member.digest(), member).await;
        }
        self.push_content(repository, tag, image).await;
        self.reference(&format!("{repository}:{tag}"))
    }

    async fn push_content(&self, repository: &str, reference: &str, image: &Built) {
        for blob in &image.blobs {
            self.push_blob(repository, blob).await;
        }
        let url = self.url(repository, &format!("manifests/{reference}"));
        let request = self.http.put(url).header(header::CONTENT_TYPE, image.media_type).body(image.manifest.clone());
        expect(StatusCode::CREATED, request.send().await).await;
    }

    async fn push_blob(&self, repository: &str, blob: &[u8]) {
        let digest = image::digest(blob);
        let head = self.http.head(self.url(repository, &format!("blobs/{digest}"))).send().await;
        if head.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            return;
        }
        let begun =
            expect(StatusCode::ACCEPTED, self.http.post(self.url(repository, "blobs/uploads/")).send().await).await;
        let location = begun.headers()[header::LOCATION].to_str().expect("a location is text").to_owned();
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = self.http.put(format!("{location}{separator}digest={digest}")).body(blob.to_vec());
        expect(StatusCode::CREATED, put.send().await).await;
    }

    fn url(&self, repository: &str, rest: &str) -> String {
        format!("http://{}/v2/{repository}/{rest}", self.address)
    }

    /// The file in which it keeps a blob: it serves whatever is in there.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address on loopback that nothing listens on.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("find a free port")
}

fn settings(storage: &Path, address: SocketAddr) -> String {
    format!(
        "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
         delete: {{enabled: true}}\nhttp: {{addr: {address}}}\n",
        storage.display()
    )
}

async fn expect(status: StatusCode, answer: Result<Response, reqwest::Error>) -> Response {
    let answer = answer.expect("the registry answers");
    if answer.status() == status {
        return answer;
    }
    panic!("{}: {}: {}", answer.url().clone(), answer.status(), answer.text().await.unwrap_or_default())
}
