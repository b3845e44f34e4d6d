//! Writing calls down as they go by.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use tonic::Status;

use super::{Methods, Recorded, RecordedMessage, RecordedStatus, blank, json};
use crate::proxy::{Answer, Begin, Call, Exchange, Next, Stage};

/// How long a message may be to be taken apart, for its secrets and for reading: it takes many times its length then.
const MAX_APART: usize = 256 * 1024;

/// How much of one call is written for reading beside the bytes. One call at a time is.
const MAX_APART_OF_CALL: usize = 1024 * 1024;

/// How many bytes of messages of all calls that go on are kept.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// How many of one call.
const MAX_KEPT_OF_CALL: usize = 4 * 1024 * 1024;

/// How many messages of one call.
const MAX_MESSAGES: usize = 10_000;

/// What a message costs beside its bytes.
const OVERHEAD: usize = 64;

/// Why a recording cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made or written.
    #[error("record to {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The descriptors of this build are broken, which a test excludes.
    #[error("record: {0}")]
    Descriptors(String),
}

/// A stage that writes every call to a file when it has ended. As the first stage it sees what the client sees.
///
/// Credentials of registries are blanked. Everything else is there, the containers' environment variables too: the file is
/// its owner's alone.
pub struct Recorder {
    shared: Arc<Shared>,
}

/// What a [`Recorder`] has written.
#[derive(Clone)]
pub struct Written(Arc<Shared>);

struct Shared {
    methods: Methods,
    path: PathBuf,
    file: Mutex<Sink>,
    kept: AtomicUsize,
}

struct Sink {
    file: File,
    calls: u64,
    failure: Option<io::Error>,
}

impl Recorder {
    /// Writes to a file, of mode 0600; what was in it is gone.
    ///
    /// # Errors
    /// [`Error`]: it cannot be made.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let methods = Methods::compiled().map_err(|error| Error::Descriptors(error.to_string()))?;
        // Another's mode would stay: a new file is ours from the beginning.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = File::options().append(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let file = Mutex::new(Sink { file, calls: 0, failure: None });
        Ok(Self { shared: Arc::new(Shared { methods, path: path.to_owned(), file, kept: AtomicUsize::new(0) }) })
    }

    /// How it goes, once the recorder is a proxy's.
    pub fn written(&self) -> Written {
        Written(self.shared.clone())
    }
}

impl Written {
    /// How many calls have been written.
    ///
    /// # Errors
    /// [`Error::File`], the first time that something could not be written. Nothing was after that.
    pub fn calls(&self) -> Result<u64, Error> {
        let mut sink = self.0.sink();
        match sink.failure.take() {
            Some(source) => Err(Error::File { path: self.0.path.clone(), source }),
            None => Ok(sink.calls),
        }
    }
}

impl Shared {
    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, recorded: &mut Recorded, method: Option<&MethodDescriptor>) {
        let mut sink = self.sink();
        if sink.failure.is_some() {
            return;
        }
        if let Some(method) = method {
            let mut room = MAX_APART_OF_CALL;
            for_reading(&mut recorded.requests, &method.input(), &mut room);
            for_reading(&mut recorded.responses, &method.output(), &mut room);
        }
        let line = serde_json::to_vec(recorded).map_err(io::Error::other);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            sink.file.write_all(&line)
        });
        match written {
            Ok(()) => sink.calls += 1,
            Err(error) => sink.failure = Some(error),
        }
    }
}

impl Stage for Recorder {
    fn begin(&self, call: &mut Call) -> Begin {
        let path = call.path();
        Begin::Follow(Box::new(Recording {
            method: self.shared.methods.of(&path),
            shared: self.shared.clone(),
            begun: Instant::now(),
            kept: 0,
            recorded: Recorded {
                time: Timestamp::now(),
                duration_us: 0,
                path,
                requests: Vec::new(),
                responses: Vec::new(),
                status: None,
                left_out: 0,
            },
        }))
    }
}

/// A call that is being recorded. Written when dropped.
struct Recording {
    method: Option<MethodDescriptor>,
    shared: Arc<Shared>,
    begun: Instant,
    /// How much is kept of it.
    kept: usize,
    recorded: Recorded,
}

impl Recording {
    /// A message to keep, if there is room.
    fn keep(&mut self, message: &Bytes, of: Option<MessageDescriptor>) -> Option<RecordedMessage> {
        let size = message.len().saturating_add(OVERHEAD);
        let messages = self.recorded.requests.len() + self.recorded.responses.len();
        let room = self.kept.saturating_add(size) <= MAX_KEPT_OF_CALL && messages < MAX_MESSAGES;
        let more = |kept: usize| kept.checked_add(size).filter(|kept| *kept <= MAX_KEPT);
        if !room || self.shared.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            self.recorded.left_out += 1;
            return None;
        }
        self.kept += size;
        match recorded(message, of) {
            Some(recorded) => Some(recorded),
            None => {
                self.recorded.left_out += 1;
                None
            }
        }
    }
}

/// A message without its secrets. None if nobody can tell whether it has any.
fn recorded(message: &Bytes, of: Option<MessageDescriptor>) -> Option<RecordedMessage> {
    let as_it_is = || RecordedMessage { bytes: message.to_vec(), json: None };
    let may_have_secrets = of.filter(|descriptor| descriptor.full_name() == "runtime.v1.PullImageRequest");
    let Some(descriptor) = may_have_secrets else { return Some(as_it_is()) };
    if message.len() > MAX_APART {
        return None;
    }
    let mut decoded = DynamicMessage::decode(descriptor, message.clone()).ok()?;
    let blanked = blank::credentials(&mut decoded);
    Some(if blanked { RecordedMessage { bytes: decoded.encode_to_vec(), json: None } } else { as_it_is() })
}

/// Puts beside the bytes what they say, as far as there is room.
fn for_reading(messages: &mut [RecordedMessage], of: &MessageDescriptor, room: &mut usize) {
    for message in messages.iter_mut().filter(|message| message.bytes.len() <= MAX_APART) {
        let Some(left) = room.checked_sub(message.bytes.len()) else { return };
        *room = left;
        message.json = DynamicMessage::decode(of.clone(), &message.bytes[..]).ok().and_then(|decoded| json(&decoded));
    }
}

impl Exchange for Recording {
    fn request(&mut self, message: Bytes) -> Next {
        let kept = self.keep(&message, self.method.as_ref().map(MethodDescriptor::input));
        self.recorded.requests.extend(kept);
        Next::Forward(message)
    }

    fn response(&mut self, message: Bytes) -> Next {
        let kept = self.keep(&message, self.method.as_ref().map(MethodDescriptor::output));
        self.recorded.responses.extend(kept);
        Next::Forward(message)
    }

    fn end(&mut self, status: Status) -> Answer {
        self.recorded.status = Some(RecordedStatus::of(&status));
        Answer::status(status)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.recorded.duration_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let method = self.method.take();
        self.shared.write(&mut self.recorded, method.as_ref());
        self.shared.kept.fetch_sub(self.kept, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::{fs, os::unix::fs::PermissionsExt};

    use corten_cri::v1::{AuthConfig, ImageSpec, PullImageRequest};
    use http::HeaderMap;

    use super::*;

    fn recording(recorder: &Recorder, path: &str) -> Box<dyn Exchange> {
        match recorder.begin(&mut Call::parse(path, HeaderMap::new()).unwrap()) {
            Begin::Follow(exchange) => exchange,
            Begin::Pass | Begin::Answer(_) => panic!("not recorded"),
        }
    }

    fn lines(path: &Path) -> (String, Vec<Recorded>) {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (text, lines)
    }

    #[test]
    fn a_call_is_written_without_its_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls");
        fs::write(&path, "old").unwrap();
        let recorder = Recorder::create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let auth = AuthConfig {
            username: "me".into(),
            password: "hunter2".into(),
            auth: "aHVudGVyMg==".into(),
            identity_token: "hunter3".into(),
            registry_token: "hunter4".into(),
            ..Default::default()
        };
        let image = Some(ImageSpec { image: "busybox".into(), ..Default::default() });
        let request = PullImageRequest { image: image.clone(), auth: Some(auth), ..Default::default() };
        for api in ["v1", "v1alpha2"] {
            let mut call = recording(&recorder, &format!("/runtime.{api}.ImageService/PullImage"));
            let sent = request.encode_to_vec();
            assert!(matches!(call.request(sent.clone().into()), Next::Forward(message) if message == sent));
            call.end(Status::not_found("none"));
        }
        let (text, calls) = lines(&path);
        assert!(!text.contains("hunter") && !text.contains("aHVudGVy") && !text.contains("old"), "{text}");
        let left = AuthConfig { username: "me".into(), ..Default::default() };
        let expected = PullImageRequest { image, auth: Some(left), ..Default::default() };
        for call in calls {
            assert_eq!(PullImageRequest::decode(&call.requests[0].bytes[..]).unwrap(), expected);
            assert_eq!(call.requests[0].json.as_ref().unwrap()["image"]["image"], "busybox");
            assert_eq!(
                call.status.unwrap(),
                RecordedStatus { code: 5, name: "NotFound".into(), message: "none".into() }
            );
        }
        assert_eq!(recorder.written().calls().unwrap(), 2);
    }

    #[test]
    fn what_may_hold_secrets_and_cannot_be_read_is_left_out_and_so_is_what_is_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls");
        let recorder = Recorder::create(&path).unwrap();
        recording(&recorder, "/runtime.v1.ImageService/PullImage").request(Bytes::from_static(b"\x00hunter2"));
        let mut large = recording(&recorder, "/other.Service/Method");
        for _ in 0..3 {
            large.response(vec![0; MAX_KEPT_OF_CALL / 2].into());
        }
        drop(large);
        let (_, calls) = lines(&path);
        assert_eq!((calls[0].requests.len(), calls[0].left_out, calls[0].status.as_ref()), (0, 1, None));
        assert_eq!((calls[1].responses.len(), calls[1].left_out), (1, 2));
        // Long messages are kept, but not taken apart: not for reading, and not for secrets either.
        let call = |path: &str, text: usize| {
            let image = Some(ImageSpec { image: "x".repeat(text), ..Default::default() });
            let mut call = recording(&recorder, path);
            call.request(PullImageRequest { image, ..Default::default() }.encode_to_vec().into());
        };
        call("/runtime.v1.ImageService/ImageStatus", MAX_APART);
        call("/runtime.v1.ImageService/PullImage", MAX_APART);
        call("/runtime.v1.ImageService/ImageStatus", 10);
        let (_, calls) = lines(&path);
        let requests: Vec<_> = calls[2..]
            .iter()
            .map(|call| call.requests.iter().map(|one| one.json.is_some()).collect::<Vec<_>>())
            .collect();
        assert_eq!(requests, [vec![false], vec![], vec![true]]);
        assert_eq!(recorder.shared.kept.load(Ordering::Relaxed), 0);
    }
}
