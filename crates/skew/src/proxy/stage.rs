//! What may be done to the calls that go by.
//!
//! A [`Stage`] is asked about every call of a gRPC service. It lets it pass, follows it message by message, or answers it
//! itself. Stages stand in a row between client and runtime, the first at the client: requests meet them in that order,
//! responses and the status in the opposite one. What a stage answers is seen by those nearer to the client as if it had
//! come from the runtime; those behind it see nothing, or the call's end without a status.
//!
//! A call that no stage follows goes by as bytes that nobody looks at.

use std::time::Duration;

use bytes::Bytes;
use tonic::Status;

use super::call::Call;

/// Something done to calls. One serves all calls of a proxy.
pub trait Stage: Send + Sync {
    /// A call begins. Nothing of it has gone on yet, and the stages nearer to the client have had their say. What is
    /// changed in `call` (callee, method, metadata) is what goes on.
    fn begin(&self, call: &mut Call) -> Begin;
}

/// What a stage does of a call.
pub enum Begin {
    /// Nothing: its messages need not be shown to the stage.
    Pass,
    /// Its messages and its end are shown to this.
    Follow(Box<dyn Exchange>),
    /// It ends here.
    Answer(Answer),
}

/// One call followed by a stage. Dropped when the call is over; without [`Exchange::end`] if the client gave up, the proxy
/// ended or another stage nearer to the client answered.
pub trait Exchange: Send {
    /// A message from the client, encoded.
    fn request(&mut self, message: Bytes) -> Next {
        Next::Forward(message)
    }

    /// A message from the runtime, encoded.
    fn response(&mut self, message: Bytes) -> Next {
        Next::Forward(message)
    }

    /// How the call ended. The answer's messages come before that end. [`Status`] of code `Ok` is success. Left as it is,
    /// the status goes on with all trailers it came with.
    fn end(&mut self, status: Status) -> Answer {
        Answer::status(status)
    }
}

/// What becomes of a message.
#[derive(Debug)]
pub enum Next {
    /// This goes on, altered or not.
    Forward(Bytes),
    /// These go on instead, one after another. Of a request, which is one message in the CRI, only the first.
    Several(Vec<Bytes>),
    /// It does not go on, the call does.
    Drop,
    /// The call ends here. If it has gone on to the runtime, it is cancelled there.
    Answer(Answer),
    /// The same after some time.
    After(Duration, Box<Next>),
}

/// The rest of a call's answer.
#[derive(Debug)]
pub struct Answer {
    /// Messages before the end, encoded.
    pub messages: Vec<Bytes>,
    /// The end.
    pub status: Status,
}

impl Answer {
    /// An end without messages.
    pub fn status(status: Status) -> Self {
        Self { messages: Vec::new(), status }
    }
}
