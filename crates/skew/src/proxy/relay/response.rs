//! From the runtime to the client.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::{Chain, Early, Waiting, chain::Flow};
use crate::proxy::{
    body::Error,
    grpc::{Decoder, broken, framed, status_of, trailers},
    incoming::Incoming,
    stage::{Answer, Next},
};

/// Something on its way to the client with so many stages to pass.
enum Event {
    Message(Next, usize),
    End(End, usize),
}

/// The end of a call, with the trailers it came with.
struct End {
    status: Status,
    trailers: Option<HeaderMap>,
}

impl End {
    fn of(status: Status) -> Self {
        Self { status, trailers: None }
    }

    /// As one stage leaves it.
    fn after(self, status: Status) -> Self {
        let same = (status.code(), status.message(), status.details())
            == (self.status.code(), self.status.message(), self.status.details());
        Self { trailers: self.trailers.filter(|_| same), status }
    }

    fn trailers(self) -> HeaderMap {
        let Self { status, trailers: came_with } = self;
        came_with.unwrap_or_else(|| trailers(&status))
    }
}

/// A response's body as it goes to the client.
pub(in crate::proxy) struct Responses {
    chain: Chain,
    source: Option<(Incoming, Decoder)>,
    early: Option<oneshot::Receiver<Early>>,
    events: VecDeque<Event>,
    waiting: Option<Waiting>,
    primed: Option<Frame<Bytes>>,
    ended: bool,
}

/// What a response that the proxy makes itself begins with.
pub(in crate::proxy) enum Head {
    /// Messages; more of the body follows.
    Messages,
    /// Its end at once.
    Only(HeaderMap),
}

impl Responses {
    /// What the runtime answers. A stage may still answer a later message of the request.
    pub(in crate::proxy) fn relay(
        chain: Chain,
        incoming: Incoming,
        decoder: Decoder,
        early: oneshot::Receiver<Early>,
    ) -> Self {
        // The request may have ended: nothing comes from there any more.
        let early = Some(early).filter(|early| !early.is_terminated());
        Self { source: Some((incoming, decoder)), early, ..Self::empty(chain) }
    }

    /// What a stage answers.
    pub(in crate::proxy) fn early(chain: Chain, early: Early) -> Self {
        let mut made = Self::empty(chain);
        made.push(early.answer, early.to_client, None);
        made
    }

    /// An end that all stages see, with the trailers it came with.
    pub(in crate::proxy) fn end(chain: Chain, status: Status, trailers: Option<HeaderMap>) -> Self {
        let mut made = Self::empty(chain);
        let all = made.chain.len();
        made.push(Answer::status(status), all, trailers);
        made
    }

    fn empty(chain: Chain) -> Self {
        let events = VecDeque::new();
        Self { chain, source: None, early: None, events, waiting: None, primed: None, ended: false }
    }

    /// Waits for what comes first.
    ///
    /// # Errors
    /// The runtime's, if it reset the call.
    pub(in crate::proxy) async fn prime(&mut self) -> Result<Head, Error> {
        match poll_fn(|context| self.poll(context)).await {
            None => Ok(Head::Only(HeaderMap::new())),
            Some(Err(error)) => Err(error),
            Some(Ok(frame)) => Ok(match frame.into_trailers() {
                Ok(trailers) => Head::Only(trailers),
                Err(data) => {
                    self.primed = Some(data);
                    Head::Messages
                }
            }),
        }
    }

    fn push(&mut self, answer: Answer, position: usize, trailers: Option<HeaderMap>) {
        let Answer { messages, status } = answer;
        let messages = messages.into_iter().map(|message| Event::Message(Next::Forward(message), position));
        self.events.extend(messages);
        self.events.push_back(Event::End(End { status, trailers }, position));
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
                if let Some(Waiting { next, position, .. }) = self.waiting.take() {
                    self.events.push_front(Event::Message(next, position));
                }
            }
            if let Some(event) = self.events.pop_front() {
                if let Some(frame) = self.go_on(event) {
                    return Poll::Ready(Some(Ok(frame)));
                }
                continue;
            }
            if self.answered(context) {
                continue;
            }
            if let Err(error) = ready!(self.read(context)) {
                self.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Whether a stage has answered a message of the request meanwhile.
    fn answered(&mut self, context: &mut Context<'_>) -> bool {
        let Some(receiver) = &mut self.early else { return false };
        match Pin::new(receiver).poll(context) {
            Poll::Pending => false,
            Poll::Ready(result) => {
                self.early = None;
                let Ok(early) = result else { return false };
                self.source = None;
                self.push(early.answer, early.to_client, None);
                true
            }
        }
    }

    fn go_on(&mut self, event: Event) -> Option<Frame<Bytes>> {
        match event {
            Event::Message(next, position) => match self.chain.response(next, position) {
                Flow::Forward(message) => return Some(Frame::data(framed(&message))),
                Flow::Dropped => {}
                Flow::Several { messages, position } => {
                    for message in messages.into_iter().rev() {
                        self.events.push_front(Event::Message(Next::Forward(message), position));
                    }
                }
                Flow::Wait { delay, next, position } => self.waiting = Some(Waiting::new(delay, next, position)),
                Flow::Answer { answer, to_client } => {
                    self.source = None;
                    self.events.clear();
                    self.push(answer, to_client, None);
                }
            },
            Event::End(end, position) => match position.checked_sub(1) {
                None => {
                    self.ended = true;
                    return Some(Frame::trailers(end.trailers()));
                }
                Some(index) => {
                    let Answer { messages, status } = self.chain.end(end.status.clone(), index);
                    let messages = messages.into_iter().map(|message| Event::Message(Next::Forward(message), index));
                    self.events.extend(messages);
                    self.events.push_back(Event::End(end.after(status), index));
                }
            },
        }
        None
    }

    /// More from the runtime: events.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let all = self.chain.len();
        let Some((incoming, decoder)) = &mut self.source else {
            self.events.push_back(Event::End(End::of(broken()), all));
            return Poll::Ready(Ok(()));
        };
        match decoder.next() {
            Ok(Some(message)) => {
                self.events.push_back(Event::Message(Next::Forward(message), all));
                return Poll::Ready(Ok(()));
            }
            Ok(None) => {}
            Err(status) => {
                self.source = None;
                self.events.push_back(Event::End(End::of(status), all));
                return Poll::Ready(Ok(()));
            }
        }
        let frame = ready!(Pin::new(incoming).poll_frame(context));
        // A stage that answers is why the call was cancelled: its answer came first, even if it is seen last.
        if matches!(frame, Some(Err(_))) && self.answered(context) {
            return Poll::Ready(Ok(()));
        }
        let Some((_, decoder)) = &mut self.source else { return Poll::Ready(Ok(())) };
        let end = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => decoder.push(&data).err().map(End::of),
                Err(frame) => frame.into_trailers().ok().map(|trailers| end_of(trailers, &decoder.rest())),
            },
            Some(Err(error)) if error.is_reset() => return Poll::Ready(Err(Box::new(error))),
            Some(Err(_)) => Some(End::of(broken())),
            None => Some(End::of(status_of(&HeaderMap::new()))),
        };
        if let Some(end) = end {
            self.source = None;
            self.events.push_back(Event::End(end, all));
        }
        Poll::Ready(Ok(()))
    }
}

/// The end after so many bytes of a message that did not come whole.
fn end_of(trailers: HeaderMap, rest: &[u8]) -> End {
    let status = status_of(&trailers);
    if status.code() == Code::Ok && !rest.is_empty() {
        return End::of(Status::internal("unexpected EOF"));
    }
    End { status, trailers: Some(trailers) }
}

impl Body for Responses {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll(context)
    }

    fn is_end_stream(&self) -> bool {
        self.primed.is_none() && self.ended
    }
}
