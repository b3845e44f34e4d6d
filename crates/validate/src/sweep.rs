//! Removing what was made, and nothing else: what bears the run's own label, and images of its own registries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
    time::Duration,
};

use corten_cri::v1::{
    Image, ListImagesRequest, ListPodSandboxRequest, PodSandbox, PodSandboxFilter, RemoveImageRequest,
};
use tokio::time::timeout;

use crate::{
    cgroup,
    context::{CHECK_LABEL, Ctx, RUN_LABEL, Run},
    make::spec,
    verdict::Checked,
};

/// How long what is being made is waited for.
const MAKING: Duration = Duration::from_secs(120);

/// Removes what a check made.
///
/// # Errors
/// What could not be removed.
pub(crate) async fn check(ctx: &Ctx) -> Checked {
    pods(ctx, ctx.labels(), |_| true).await
}

/// Removes what a run made, except for what belongs to the checks `kept`.
///
/// # Errors
/// What could not be removed.
pub(crate) async fn run(run: &std::sync::Arc<Run>, kept: &BTreeSet<&'static str>) -> Checked {
    let ctx = Ctx::new(run.clone(), "clean-up");
    // Everybody has stopped: what is still under way is what was abandoned.
    let _nothing_is_made = timeout(MAKING, run.making.write()).await;
    let kept_labels: BTreeSet<String> = kept.iter().map(|name| name.replace('/', ".")).collect();
    let labels = [(RUN_LABEL.to_owned(), run.id.clone())].into();
    let removed =
        pods(&ctx, labels, |pod| !pod.labels.get(CHECK_LABEL).is_some_and(|label| kept_labels.contains(label)));
    // All of it is tried, whatever fails.
    let removed = removed.await;
    if !kept.is_empty() {
        return removed;
    }
    cgroup::remove(&ctx);
    removed.and(images(&ctx).await)
}

async fn pods(ctx: &Ctx, labels: BTreeMap<String, String>, wanted: impl Fn(&PodSandbox) -> bool) -> Checked {
    let filter = PodSandboxFilter { label_selector: labels.clone(), ..Default::default() };
    let listed = ctx.list_pod_sandbox(ListPodSandboxRequest { filter: Some(filter) }).await?.items;
    // A runtime that ignores the filter must not make us remove somebody else's pods.
    let ours = listed.into_iter().filter(|pod| labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value)));
    let mut result = Ok(());
    for pod in ours.filter(wanted) {
        let removed = remove(ctx, &pod.id).await;
        result = result.and(removed);
    }
    result
}

async fn remove(ctx: &Ctx, id: &str) -> Checked {
    ctx.stop_pod(id).await?;
    Ok(ctx.remove_pod(id).await?)
}

/// Removes the images that have no names but those at our registries.
async fn images(ctx: &Ctx) -> Checked {
    let hosts = ctx.run().hosts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let listed = ctx.list_images(ListImagesRequest::default()).await?.images;
    let mut result = Ok(());
    for image in listed.iter().filter(|image| is_ours(image, &hosts)) {
        let removed = ctx.remove_image(RemoveImageRequest { image: Some(spec(&image.id)) }).await;
        result = result.and(removed.map(drop).map_err(Into::into));
    }
    result
}

fn is_ours(image: &Image, hosts: &BTreeSet<String>) -> bool {
    let mut names = image.repo_tags.iter().chain(&image.repo_digests).peekable();
    let ours = |name: &String| name.split_once('/').is_some_and(|(host, _)| hosts.contains(host));
    names.peek().is_some() && names.all(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_ours_if_all_its_names_are() {
        let hosts = ["127.0.0.1:7".to_owned()].into();
        let image = |names: &[&str]| Image {
            repo_tags: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        assert!(is_ours(&image(&["127.0.0.1:7/a:1", "127.0.0.1:7/b:1"]), &hosts));
        assert!(!is_ours(&image(&["127.0.0.1:7/a:1", "example.org/b:1"]), &hosts));
        assert!(!is_ours(&image(&["127.0.0.1:70/a:1"]), &hosts));
        assert!(!is_ours(&image(&[]), &hosts), "what has no name is not ours");
    }
}
