//! A small HTTP server that answers what a test wants, also what no honest registry would.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
}

/// What to answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), cut: None }
    }

    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok("") }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The server; it ends with the value.
pub struct Liar {
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Liar {
    pub async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (log, answer) = (seen.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (log.clone(), answer.clone());
                tokio::spawn(async move { serve(stream, &log, &*answer).await });
            }
        });
        Self { address, seen, task }
    }

    /// Serves an image, and what `lie` answers instead.
    pub async fn of(
        image: &super::build::Built,
        lie: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let form = super::build::Form::Oci;
        let manifest = image.manifest(form);
        let blobs: HashMap<_, _> =
            image.blobs().into_iter().map(|blob| (corten_images::Digest::of(&blob).to_string(), blob)).collect();
        Self::start(move |seen| {
            if let Some(answer) = lie(seen) {
                return answer;
            }
            let path = seen.path.split('?').next().unwrap();
            if path.contains("/manifests/") {
                return Answer::ok(manifest.clone()).header("content-type", form.manifest());
            }
            match blobs.get(path.rsplit('/').next().unwrap()) {
                Some(blob) => Answer::ok(blob.clone()),
                None => Answer::status(404),
            }
        })
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests had this in their path.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(part)).count()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<Seen>>, answer: &(dyn Fn(&Seen) -> Answer + Send + Sync)) {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    let Ok(Some(first)) = lines.next_line().await else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = HashMap::new();
    while let Ok(Some(line)) = lines.next_line().await {
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let seen = Seen { method, path, headers };
    log.lock().unwrap().push(seen.clone());
    let Answer { status, headers, body, cut } = answer(&seen);
    let mut head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let _ = writer.write_all(format!("{head}\r\n").as_bytes()).await;
    let _ = writer.write_all(&body[..cut.unwrap_or(body.len())]).await;
    let _ = writer.shutdown().await;
}
