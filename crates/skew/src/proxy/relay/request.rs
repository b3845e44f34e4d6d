//! From the client to the runtime.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame};
use tokio::sync::oneshot;
use tonic::Status;

use super::{Chain, Early, Waiting, chain::Flow};
use crate::proxy::{
    body::Error,
    grpc::{Decoder, framed},
    incoming::Incoming,
    stage::{Answer, Next},
};

/// A request's body as it goes on to the runtime. When a stage answers, the answer goes to the response's side and the
/// body fails, which cancels the call at the runtime.
pub(in crate::proxy) struct Requests {
    incoming: Incoming,
    decoder: Decoder,
    chain: Chain,
    early: Option<oneshot::Sender<Early>>,
    waiting: Option<Waiting>,
    /// The next frame, if it has been waited for.
    primed: Option<Frame<Bytes>>,
    ended: bool,
}

impl Requests {
    pub(in crate::proxy) fn new(
        incoming: Incoming,
        decoder: Decoder,
        chain: Chain,
        early: oneshot::Sender<Early>,
    ) -> Self {
        Self { incoming, decoder, chain, early: Some(early), waiting: None, primed: None, ended: false }
    }

    /// Waits for the first message (or the end, or an answer): what a stage answers to it never reaches the runtime.
    ///
    /// # Errors
    /// The client's: it went away. None when a stage answered.
    pub(in crate::proxy) async fn prime(&mut self) -> Result<(), Option<Error>> {
        match poll_fn(|context| self.poll(context)).await {
            Some(Ok(frame)) => {
                self.primed = Some(frame);
                Ok(())
            }
            None => Ok(()),
            Some(Err(_)) if self.early.is_none() => Err(None),
            Some(Err(error)) => Err(Some(error)),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.primed.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.sleep.as_mut().poll(context));
                let Some(Waiting { next, position, .. }) = self.waiting.take() else { continue };
                if let Some(frame) = self.go_on(next, position) {
                    return Poll::Ready(Some(frame));
                }
                continue;
            }
            match self.decoder.next() {
                Err(status) => return Poll::Ready(Some(self.refuse(status))),
                Ok(Some(message)) => {
                    if let Some(frame) = self.go_on(Next::Forward(message), 0) {
                        return Poll::Ready(Some(frame));
                    }
                    continue;
                }
                Ok(None) => {}
            }
            if let Some(frame) = ready!(self.read(context)) {
                return Poll::Ready(Some(frame));
            }
        }
    }

    /// A message on its way; nothing if it does not go on now.
    fn go_on(&mut self, next: Next, position: usize) -> Option<Result<Frame<Bytes>, Error>> {
        match self.chain.request(next, position) {
            Flow::Forward(message) => Some(Ok(Frame::data(framed(&message)))),
            Flow::Dropped | Flow::Several { .. } => None,
            Flow::Wait { delay, next, position } => {
                self.waiting = Some(Waiting::new(delay, next, position));
                None
            }
            Flow::Answer { answer, to_client } => Some(Err(self.answer(answer, to_client))),
        }
    }

    /// More from the client: into the decoder, or what goes on as it is.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(Box::new(error)))),
            None => {
                self.ended = true;
                // A message that did not come whole is for the runtime to refuse.
                let rest = self.decoder.rest();
                return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))));
            }
        };
        Poll::Ready(match frame.into_data() {
            Ok(data) => self.decoder.push(&data).err().map(|status| self.refuse(status)),
            Err(trailers) => {
                self.ended = true;
                Some(Ok(trailers))
            }
        })
    }

    /// What cannot be read is answered as if by the runtime: every stage sees the answer.
    fn refuse(&mut self, status: Status) -> Result<Frame<Bytes>, Error> {
        let all = self.chain.len();
        Err(self.answer(Answer::status(status), all))
    }

    fn answer(&mut self, answer: Answer, to_client: usize) -> Error {
        self.ended = true;
        if let Some(early) = self.early.take() {
            // If nobody waits for it, the call is over.
            let _ = early.send(Early { answer, to_client });
        }
        Box::new(h2::Error::from(Reason::CANCEL))
    }
}

impl Body for Requests {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll(context)
    }

    fn is_end_stream(&self) -> bool {
        self.primed.is_none() && self.ended
    }
}
