//! A client's connection.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use corten_cri::socket::Stream;
use h2::{
    Reason, RecvStream,
    server::{Builder, SendResponse},
};
use http::{Request, Response};
use http_body::Body as _;
use tokio::sync::watch;

use super::{
    dispatch::Dispatch,
    incoming::Incoming,
    limits,
    sending::{Pump, reason_of},
};

/// Answers what comes on a connection until it ends. Once `ending` changes no new calls are taken, and it ends with the
/// last that is running.
pub(super) async fn serve(stream: Stream, dispatch: Arc<Dispatch>, mut ending: watch::Receiver<()>) {
    let mut http = Builder::new();
    http.initial_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_concurrent_streams(limits::STREAMS)
        .max_header_list_size(limits::REQUEST_HEADERS);
    let made = tokio::select! {
        made = http.handshake::<_, Bytes>(stream) => made,
        _ = ending.changed() => return,
    };
    let Ok(mut connection) = made else { return };
    let mut told = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => drop(tokio::spawn(answer(dispatch.clone(), request, respond))),
                // However it ends: what a client does to its connection is its own.
                Some(Err(_)) | None => return,
            },
            _ = ending.changed(), if !told => {
                told = true;
                connection.graceful_shutdown();
            }
        }
    }
}

async fn answer(dispatch: Arc<Dispatch>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let answered = tokio::select! {
        biased;
        // The client gave up, or is gone.
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
        answered = dispatch.call(request.map(Incoming::request)) => answered,
    };
    let (head, body) = match answered {
        Ok(response) => response.into_parts(),
        Err(error) => return respond.send_reset(reason_of(&error)),
    };
    let nothing = body.is_end_stream();
    match respond.send_response(Response::from_parts(head, ()), nothing) {
        Ok(_) if nothing => {}
        Ok(stream) => Pump::new(body, stream).await,
        Err(_) => respond.send_reset(Reason::INTERNAL_ERROR),
    }
}
