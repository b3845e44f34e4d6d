//! Bodies that are sent.

use std::{
    error, mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::task::AbortHandle;

use super::body::Error;

/// Sends a body to its end, never more than a frame of it beyond what the other side takes. If the body fails, the stream is
/// reset for the reason that it names; if the other side resets the stream, the body is dropped.
pub(super) struct Pump<B> {
    body: B,
    stream: SendStream<Bytes>,
    state: State,
}

enum State {
    /// Nothing is sent. The first data need no room: they go with the headers, and the other side has room for that much.
    Opening,
    /// More is to come.
    Open,
    /// These data wait for room. Whether they are the last?
    Full(Bytes, bool),
}

impl<B> Pump<B> {
    pub(super) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, state: State::Opening }
    }
}

impl<B: Body<Data = Bytes, Error: Into<Error>> + Unpin> Pump<B> {
    /// Goes on until something has to be waited for.
    fn go_on(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if self.stream.poll_reset(context)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            let (data, last) = match mem::replace(&mut self.state, State::Open) {
                State::Full(data, last) => match self.room(context)? {
                    Poll::Ready(true) => (data, last),
                    Poll::Ready(false) => return Poll::Ready(Ok(())),
                    Poll::Pending => {
                        self.state = State::Full(data, last);
                        return Poll::Pending;
                    }
                },
                state => match self.body(context)? {
                    Poll::Ready(Some((data, last))) if matches!(state, State::Opening) || data.is_empty() => {
                        (data, last)
                    }
                    Poll::Ready(Some((data, last))) => {
                        // Asked for when there is something to send: it is taken from the connection's other streams.
                        self.stream.reserve_capacity(1);
                        self.state = State::Full(data, last);
                        continue;
                    }
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => {
                        self.state = state;
                        return Poll::Pending;
                    }
                },
            };
            self.stream.send_data(data, last)?;
            if last {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// More data, and whether they are the last. None if the body has ended, which the other side is told.
    fn body(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<(Bytes, bool)>, h2::Error>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.stream.send_reset(reason_of(&error.into()));
                return Poll::Ready(Ok(None));
            }
            None => return Poll::Ready(Ok(Some((Bytes::new(), true)))),
        };
        Poll::Ready(match frame.into_data() {
            Ok(data) => Ok(Some((data, self.body.is_end_stream()))),
            Err(frame) => {
                self.stream.reserve_capacity(0);
                self.stream.send_trailers(frame.into_trailers().unwrap_or_default()).map(|()| None)
            }
        })
    }

    /// Whether the other side takes some more, when it does. It does not if the stream has ended.
    fn room(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, h2::Error>> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(context)) {
                Some(room) => drop(room?),
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl<B: Body<Data = Bytes, Error: Into<Error>> + Unpin> Future for Pump<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // An error is the stream's or the connection's: whoever reads from the other side sees it too.
        self.go_on(context).map(drop)
    }
}

/// A body that is being sent beside something else. It ends with this.
pub(super) struct Sending(AbortHandle);

impl Sending {
    /// Sends what can be sent at once. Nothing is left to do if that is all.
    pub(super) fn begin<B>(mut pump: Pump<B>) -> Option<Self>
    where
        B: Body<Data = Bytes, Error: Into<Error>> + Unpin + Send + 'static,
    {
        let done = Pin::new(&mut pump).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        (!done).then(|| Self(tokio::spawn(pump).abort_handle()))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The reason that an error names for HTTP/2.
pub(super) fn reason_of(error: &Error) -> Reason {
    let mut cause: Option<&(dyn error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return reason;
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}
