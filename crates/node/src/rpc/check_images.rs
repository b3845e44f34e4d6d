//! CheckImages of `corten.v1.Node`: layers verified against what was recorded when they were unpacked.

use std::sync::Arc;

use corten_cri::node as api;
use corten_images::{CheckEvent, CheckOptions, Findings, Verdict};
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tonic::Status;

use crate::error::{Error, Result};
use crate::node::Node;

/// What is known and not yet told.
const AHEAD: usize = 64;

/// Verifies, and tells what was found as it goes on; the last message of a failed check is its error. It ends early when
/// the client goes away.
pub async fn handle(
    node: &Arc<Node>,
    request: api::CheckImagesRequest,
) -> Result<impl Stream<Item = Result<api::CheckImagesResponse, Status>> + Send + 'static> {
    let api::CheckImagesRequest { images, repair } = request;
    let (sender, mut events) = mpsc::channel(AHEAD);
    // Not the stream's to poll: what was begun of a repair is ended well, also when the client goes away.
    let check = tokio::spawn(node.images.check(CheckOptions { images, repair }, sender));
    let end = check.into_stream().filter_map(|result| async move {
        let failed = match result {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => Error::from(error),
            Err(error) => Error::node("check the images", error),
        };
        tracing::info!(rpc = "check_images", error = %failed, "refused or failed");
        Some(Err(failed.into()))
    });
    let events = stream::poll_fn(move |context| events.poll_recv(context));
    Ok(events.map(|event| Ok(message(event))).chain(end))
}

fn message(event: CheckEvent) -> api::CheckImagesResponse {
    let what = match event {
        CheckEvent::Progress { layer, number, layers, done, entries } => {
            api::check_images_response::What::Progress(api::CheckProgress {
                layer: layer.to_string(),
                number: number as u64,
                layers: layers as u64,
                files_done: done,
                files: entries,
            })
        }
        CheckEvent::Layer { layer, images, verdict } => {
            api::check_images_response::What::Found(found(layer.to_string(), images, verdict))
        }
        CheckEvent::Blob { blob, images, verdict } => api::check_images_response::What::Found(api::CheckFound {
            blob: blob.to_string(),
            ..found(String::new(), images, verdict)
        }),
        CheckEvent::Image { image, verdict } => {
            api::check_images_response::What::Found(found(String::new(), vec![image], verdict))
        }
    };
    api::CheckImagesResponse { what: Some(what) }
}

fn found(layer: String, images: Vec<String>, verdict: Verdict) -> api::CheckFound {
    let (verdict, findings, why) = match verdict {
        Verdict::Good => (api::CheckVerdict::Good, Findings::default(), String::new()),
        Verdict::Broken(findings) => (api::CheckVerdict::Broken, findings, String::new()),
        Verdict::NotRecorded => (api::CheckVerdict::NotRecorded, Findings::default(), String::new()),
        Verdict::Repaired => (api::CheckVerdict::Repaired, Findings::default(), String::new()),
        Verdict::NotRepaired { why } => (api::CheckVerdict::NotRepaired, Findings::default(), why),
    };
    let finding = |finding: corten_images::Finding| api::CheckFinding { path: finding.path, what: finding.what };
    api::CheckFound {
        layer,
        images,
        verdict: verdict.into(),
        findings: findings.first.into_iter().map(finding).collect(),
        findings_count: findings.count,
        why,
        blob: String::new(),
    }
}
