//! A web server that answers what it was told to: the registry that lies.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What is answered for one path.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The media type.
    pub media_type: String,
    /// The body.
    pub body: Vec<u8>,
    /// How many bytes of it are sent before nothing happens any more.
    pub sent: usize,
}

type Answers = Arc<Mutex<BTreeMap<String, Answer>>>;

/// A running server; its thread ends with the test's process.
pub struct StaticServer {
    address: SocketAddr,
    answers: Answers,
}

impl StaticServer {
    /// Starts a server that answers 404 to everything, and 200 to `/v2/`.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let answers = Answers::default();
        let shared = answers.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let answers = shared.clone();
                thread::spawn(move || serve(&connection, &answers));
            }
        });
        let server = Self { address, answers };
        server.set("/v2/", 200, "application/json", b"{}");
        server
    }

    /// Sets the answer for a path.
    pub fn set(&self, path: &str, status: u16, media_type: &str, body: &[u8]) {
        self.answer(path, Answer { status, media_type: media_type.to_owned(), body: body.to_vec(), sent: body.len() });
    }

    /// Sets an answer that stops after so many bytes of the body, with the connection open.
    pub fn set_stuck(&self, path: &str, body: &[u8], sent: usize) {
        let media_type = "application/octet-stream".to_owned();
        self.answer(path, Answer { status: 200, media_type, body: body.to_vec(), sent });
    }

    fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().expect("no thread panicked").insert(path.to_owned(), answer);
    }

    /// The full reference of `name` at this server.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

fn serve(connection: &TcpStream, answers: &Answers) {
    let mut lines = BufReader::new(connection).lines();
    while let Some(Ok(request)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split('?').next().unwrap_or_default();
        let answer = answers.lock().expect("no thread panicked").get(path).cloned();
        let answer =
            answer.unwrap_or(Answer { status: 404, media_type: "text/plain".into(), body: Vec::new(), sent: 0 });
        if respond(connection, method, &answer).is_err() {
            return;
        }
    }
}

fn respond(mut connection: &TcpStream, method: &str, answer: &Answer) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {} -\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        answer.status,
        answer.media_type,
        answer.body.len()
    );
    connection.write_all(head.as_bytes())?;
    if method == "HEAD" { Ok(()) } else { connection.write_all(&answer.body[..answer.sent]) }
}
