//! A small HTTP server that answers what a test wants, also what no honest registry would.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
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

impl Seen {
    /// The bytes asked for, the last one included.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().unwrap(), last.parse().unwrap()))
    }
}

/// What to answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close after so many bytes of the body.
    pub cut: Option<usize>,
    /// Then say nothing more and wait for the client to go, or for this to be true and send the rest.
    pub hang: Option<watch::Receiver<bool>>,
    /// Send so many bytes at a time, with pauses.
    pub trickle: Option<(usize, Duration)>,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), cut: None, hang: None, trickle: None }
    }

    /// What an honest server answers that does ranges.
    pub fn of(blob: &[u8], seen: &Seen) -> Self {
        let Some((first, last)) = seen.range() else { return Self::ok(blob) };
        if first >= blob.len() {
            return Self::status(416);
        }
        let last = last.min(blob.len() - 1);
        Self { status: 206, ..Self::ok(&blob[first..=last]) }
            .header("content-range", &format!("bytes {first}-{last}/{}", blob.len()))
    }

    /// Closes after so many bytes of the body.
    pub fn cut(self, cut: usize) -> Self {
        Self { cut: Some(cut.min(self.body.len())), ..self }
    }

    /// Says nothing more after so many bytes of the body, until it may.
    pub fn hang(self, after: usize, until: watch::Receiver<bool>) -> Self {
        Self { hang: Some(until), ..self.cut(after) }
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
    open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Liar {
    pub async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let open = Arc::<AtomicUsize>::default();
        let (log, answer, count) = (seen.clone(), Arc::new(answer), open.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer, count) = (log.clone(), answer.clone(), count.clone());
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    serve(stream, &log, &*answer).await;
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, open, task }
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
                Some(blob) => Answer::of(blob, seen),
                None => Answer::status(404),
            }
        })
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// The requests with this in their path.
    pub fn asked(&self, part: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.contains(part)).collect()
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
    let Answer { status, headers, body, cut, hang, trickle } = answer(&seen);
    let mut head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let _ = writer.write_all(format!("{head}\r\n").as_bytes()).await;
    let (now, later) = body.split_at(cut.unwrap_or(body.len()));
    let (size, pause) = trickle.unwrap_or((usize::MAX, Duration::ZERO));
    for piece in now.chunks(size) {
        if writer.write_all(piece).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    if let Some(mut until) = hang {
        let mut rest = lines.into_inner();
        let mut byte = [0];
        tokio::select! {
            _ = rest.read(&mut byte) => return,
            released = until.wait_for(|released| *released) => if released.is_err() { return },
        }
        let _ = writer.write_all(later).await;
    }
    let _ = writer.shutdown().await;
}
