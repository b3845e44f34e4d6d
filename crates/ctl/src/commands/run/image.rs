//! The image of a container: there already, or pulled.

use corten_cri::v1;

use super::bring_up::BringUp;
use crate::{
    commands::pull,
    error::Error,
    manifest::schema::{Container, PullPolicy},
};

/// The policy of a container: its own, else as Kubernetes chooses it by the tag.
fn policy(container: &Container) -> PullPolicy {
    container.image_pull_policy.unwrap_or_else(|| {
        let name = container.image.rsplit('/').next().unwrap_or_default();
        let latest = match name.split_once(':') {
            None => true,
            Some((_, tag)) => tag == "latest",
        };
        if latest && !name.contains('@') { PullPolicy::Always } else { PullPolicy::IfNotPresent }
    })
}

/// Makes sure the image is there, and returns it with the reference to use for it.
pub(super) async fn ensure(bring_up: &BringUp<'_>, container: &Container) -> Result<(String, v1::Image), Error> {
    let (runtime, name) = (bring_up.runtime, &container.image);
    let policy = policy(container);
    if policy != PullPolicy::Always
        && let Some(image) = runtime.image(name).await?
    {
        return Ok((image.id.clone(), image));
    }
    if policy == PullPolicy::Never {
        return Err(Error::condition(format!("image {name}"), "it is not there, and imagePullPolicy is Never"));
    }
    pull::announce(name);
    let reference = bring_up.interrupt.unless(runtime.pull(name, bring_up.auth.clone(), None)).await?;
    let image = runtime.image(&reference).await?;
    let image = image.ok_or_else(|| Error::condition(format!("image {name}"), "it was pulled and is not there"))?;
    Ok((reference, image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_moving_tag_is_pulled_always() {
        for (image, expected) in [
            ("web", PullPolicy::Always),
            ("web:latest", PullPolicy::Always),
            ("localhost:5000/web", PullPolicy::Always),
            ("web:1", PullPolicy::IfNotPresent),
            ("localhost:5000/web:1", PullPolicy::IfNotPresent),
            ("web@sha256:00", PullPolicy::IfNotPresent),
            ("web:latest@sha256:00", PullPolicy::IfNotPresent),
        ] {
            let container = Container { image: image.into(), ..Container::default() };
            assert_eq!(policy(&container), expected, "{image}");
        }
        let never = Container { image_pull_policy: Some(PullPolicy::Never), ..Container::default() };
        assert_eq!(policy(&never), PullPolicy::Never);
    }
}
