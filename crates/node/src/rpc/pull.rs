//! Pull of `corten.v1.Node`: PullImage for somebody who watches.

use std::sync::Arc;
use std::time::Duration;

use corten_cri::node as api;
use corten_images::{Auth, LayerProgress, Phase, Progress};
use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;

use super::pull_image;
use crate::error::{Error, Result};
use crate::node::Node;

/// How often progress is told.
const OFTEN: Duration = Duration::from_millis(100);

/// Pulls an image, telling how far it is. Unlike a pull of the CRI it ends when the caller goes away; another pull of the
/// same image then gets what is missing.
pub fn handle(
    node: &Arc<Node>,
    request: api::PullRequest,
) -> Result<impl Stream<Item = Result<api::PullResponse, Status>> + Send + 'static> {
    let api::PullRequest { image, credentials } = request;
    if image.is_empty() {
        return Err(Error::invalid("image", "", "must not be empty"));
    }
    let auth = credentials.map(auth).transpose()?;
    let progress = Progress::default();
    let pull = node.images.pull_watched(&image, auth, progress.clone());
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut told = Vec::new();
        let outcome = tokio::select! {
            outcome = pull => outcome,
            () = tell(&progress, &sender, &mut told) => return,
        };
        let last = outcome.map_err(|error| Status::from(Error::from(error))).map(|image| {
            let (layers, image_ref) = (changed(&mut told, &progress.layers()), image.id.clone());
            api::PullResponse { layers, image_ref }
        });
        // A caller who has gone needs no answer.
        let _ = sender.send(last).await;
    });
    Ok(futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))))
}

/// Tells what changes until the caller is gone. One who is slow is told less often.
async fn tell(
    progress: &Progress,
    caller: &mpsc::Sender<Result<api::PullResponse, Status>>,
    told: &mut Vec<LayerProgress>,
) {
    let mut often = interval(OFTEN);
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = caller.closed() => return,
            _ = often.tick() => {}
        }
        let Ok(place) = caller.try_reserve() else { continue };
        let layers = changed(told, &progress.layers());
        if !layers.is_empty() {
            place.send(Ok(api::PullResponse { layers, image_ref: String::new() }));
        }
    }
}

/// The layers that are not as they were told, which they then are.
fn changed(told: &mut Vec<LayerProgress>, now: &[LayerProgress]) -> Vec<api::LayerProgress> {
    let news = now.iter().enumerate().filter(|(number, layer)| told.get(*number) != Some(*layer));
    let news = news.map(|(number, layer)| message(number, layer)).collect();
    told.clear();
    told.extend_from_slice(now);
    news
}

fn message(number: usize, layer: &LayerProgress) -> api::LayerProgress {
    let phase = match layer.phase {
        Phase::Waiting => api::LayerPhase::Waiting,
        Phase::Downloading => api::LayerPhase::Downloading,
        Phase::Unpacking => api::LayerPhase::Unpacking,
        Phase::Syncing => api::LayerPhase::Syncing,
        Phase::Done => api::LayerPhase::Done,
        Phase::AlreadyThere => api::LayerPhase::AlreadyThere,
    };
    api::LayerProgress {
        digest: layer.digest.to_string(),
        phase: phase.into(),
        done: layer.done,
        total: layer.total,
        number: u32::try_from(number).unwrap_or(u32::MAX),
    }
}

fn auth(credentials: api::Credentials) -> Result<Auth> {
    let api::Credentials { username, password, auth, server_address, identity_token, registry_token } = credentials;
    let auth = Auth { username, password, auth, server_address, identity_token, registry_token };
    pull_image::checked(auth, "credentials")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_news_are_told() {
        let digest = format!("sha256:{:064x}", 1).parse().unwrap();
        let layer = |phase, done| LayerProgress { digest, phase, done, total: 9 };
        let mut told = Vec::new();
        let first = changed(&mut told, &[layer(Phase::Waiting, 0), layer(Phase::AlreadyThere, 0)]);
        assert_eq!(first.len(), 2);
        let next = changed(&mut told, &[layer(Phase::Downloading, 3), layer(Phase::AlreadyThere, 0)]);
        assert_eq!(next.iter().map(|layer| (layer.number, layer.done)).collect::<Vec<_>>(), [(0, 3)]);
        assert_eq!(changed(&mut told, &[layer(Phase::Downloading, 3), layer(Phase::AlreadyThere, 0)]), []);
    }
}
