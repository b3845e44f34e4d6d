//! PullImage and RemoveImage.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails, holds, present},
    image::names,
    make::spec,
    registry::TestRegistry,
    verdict::{Checked, Refusal},
};

checks! {
    "images/pull-by-tag",
        "PullImage makes the image of a tag available; what it returns stands for the image", [], by_tag;
    "images/pull-by-digest", "PullImage of a reference by digest: the image has the digest and no tag", [], by_digest;
    "images/pull-again", "PullImage of what is there returns the same and lists it once", [], again;
    "images/pull-two-tags", "Image.repo_tags: an image pulled by two tags is one image with both", [], two_tags;
    "images/pull-for-this-platform", "PullImage of an index: the image for this platform", [], platform;
    "images/pull-of-what-is-not-there", "PullImage returns an error if there is no such image, and nothing is left",
        [], not_there;
    "images/pull-of-what-is-broken",
        "PullImage returns an error if the content is not what its digest says, or is missing", [], broken;
    "images/pull-with-credentials", "PullImageRequest.auth: the registry's user and password", [], credentials;
    "images/remove", "RemoveImage: the image is gone, by whatever it was named", [], remove;
    "images/remove-is-idempotent",
        "RemoveImage must not return an error if the image has been removed already", [], remove_twice;
    "images/status-of-a-missing-one",
        "ImageStatus returns no image, and no error, if the image is not present", [], missing;
}

/// What ImageStatus has for a name.
pub async fn image(ctx: &Ctx, name: &str) -> Checked<Option<Image>> {
    Ok(ctx.image_status(ImageStatusRequest { image: Some(spec(name)), verbose: false }).await?.image)
}

/// How often ListImages has an image of this id.
async fn listed(ctx: &Ctx, id: &str) -> Checked<usize> {
    let images = ctx.list_images(ListImagesRequest::default()).await?.images;
    Ok(images.iter().filter(|image| image.id == id).count())
}

async fn removed(ctx: &Ctx, name: &str) -> Result<(), Refusal> {
    ctx.remove_image(RemoveImageRequest { image: Some(spec(name)) }).await.map(drop)
}

/// That an id is that of a configuration: some runtimes leave the algorithm out.
pub fn is_id(what: &str, id: &str, registry: &TestRegistry, name: &str) -> Checked {
    let expected = registry.id(name).unwrap_or_default();
    holds(what, id == expected || expected.strip_prefix("sha256:") == Some(id), expected, id)
}

async fn by_tag(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let tag = registry.reference(names::PLAIN);
    equal("ImageStatus before the pull", image(&ctx, &tag).await?, None)?;
    let reference = ctx.pull(&tag).await?;
    holds("PullImageResponse.image_ref", !reference.is_empty(), "a reference", &reference)?;
    let image_of_tag = present("ImageStatus by the tag", image(&ctx, &tag).await?)?;
    is_id("Image.id", &image_of_tag.id, &registry, names::PLAIN)?;
    equal("Image.repo_tags", &image_of_tag.repo_tags, &vec![tag])?;
    let digest = registry.reference_by_digest(names::PLAIN).unwrap_or_default();
    equal("Image.repo_digests", &image_of_tag.repo_digests, &vec![digest.clone()])?;
    let stands_for = reference == image_of_tag.id || reference == digest;
    holds("PullImageResponse.image_ref", stands_for, format!("{} or {digest}", image_of_tag.id), &reference)?;
    for name in [&reference, &image_of_tag.id, &digest] {
        let found = image(&ctx, name).await?;
        equal(format!("ImageStatus by {name}"), found.as_ref(), Some(&image_of_tag))?;
    }
    equal("ListImages: how often the image", listed(&ctx, &image_of_tag.id).await?, 1)
}

async fn by_digest(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let digest = registry.reference_by_digest(names::OTHER).unwrap_or_default();
    ctx.pull(&digest).await?;
    let found = present("ImageStatus by the digest", image(&ctx, &digest).await?)?;
    is_id("Image.id", &found.id, &registry, names::OTHER)?;
    equal("Image.repo_digests", &found.repo_digests, &vec![digest])?;
    equal("Image.repo_tags", found.repo_tags.len(), 0)?;
    equal("ImageStatus by a tag that was not pulled", image(&ctx, &registry.reference(names::OTHER)).await?, None)
}

async fn again(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let tag = registry.reference(names::PLAIN);
    let first = ctx.pull(&tag).await?;
    let before = present("ImageStatus", image(&ctx, &tag).await?)?;
    equal("PullImageResponse.image_ref, a second time", &ctx.pull(&tag).await?, &first)?;
    equal("ImageStatus after a second pull", image(&ctx, &tag).await?.as_ref(), Some(&before))?;
    equal("ListImages: how often the image", listed(&ctx, &before.id).await?, 1)
}

async fn two_tags(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let mut tags = vec![registry.reference(names::OTHER), registry.reference(names::OTHER_TAG)];
    for tag in &tags {
        ctx.pull(tag).await?;
    }
    let first = present("ImageStatus", image(&ctx, &registry.reference(names::OTHER)).await?)?;
    equal(
        "ImageStatus by another tag",
        image(&ctx, &registry.reference(names::OTHER_TAG)).await?.as_ref(),
        Some(&first),
    )?;
    let mut seen = first.repo_tags.clone();
    seen.sort();
    tags.sort();
    equal("Image.repo_tags", seen, tags)?;
    equal("Image.repo_digests: how many", first.repo_digests.len(), 1)?;
    equal("ListImages: how often the image", listed(&ctx, &first.id).await?, 1)
}

async fn platform(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let tag = registry.reference(names::INDEX);
    ctx.pull(&tag).await?;
    let found = present("ImageStatus", image(&ctx, &tag).await?)?;
    is_id("Image.id of an index", &found.id, &registry, names::PLAIN)?;
    fails("PullImage of an index without this platform", ctx.pull(&registry.reference(names::OTHER_PLATFORM)).await)
}

async fn not_there(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    for name in [names::NO_SUCH_TAG, names::NO_SUCH_REPOSITORY] {
        let reference = registry.reference(name);
        fails(format!("PullImage of {name}"), ctx.pull(&reference).await)?;
        equal("ImageStatus after a pull that failed", image(&ctx, &reference).await?, None)?;
    }
    fails("PullImage of what is no reference", ctx.pull("Not A Reference!").await)
}

async fn broken(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    for name in [names::BROKEN_LAYER, names::ABSENT_LAYER, names::BROKEN_MANIFEST] {
        let reference = registry.reference(name);
        fails(format!("PullImage of {name}"), ctx.pull(&reference).await)?;
        equal(format!("ImageStatus of {name}"), image(&ctx, &reference).await?, None)?;
    }
    Ok(())
}

async fn credentials(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let reference = registry.reference(names::PRIVATE);
    let account = registry.account();
    let with = |password: &str| AuthConfig {
        username: account.user.clone(),
        password: password.to_owned(),
        ..Default::default()
    };
    let pull = async |auth| {
        ctx.pull_image(PullImageRequest { image: Some(spec(&reference)), auth, ..Default::default() }).await
    };
    fails("PullImage without credentials", pull(None).await)?;
    fails("PullImage with a wrong password", pull(Some(with("wrong"))).await)?;
    pull(Some(with(&account.password))).await?;
    let found = present("ImageStatus", image(&ctx, &reference).await?)?;
    is_id("Image.id", &found.id, &registry, names::PRIVATE)
}

async fn remove(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let tag = registry.reference(names::OTHER);
    for by in ["tag", "id", "digest"] {
        ctx.pull(&tag).await?;
        let found = present("ImageStatus", image(&ctx, &tag).await?)?;
        let name = match by {
            "tag" => tag.clone(),
            "id" => found.id.clone(),
            _ => found.repo_digests.first().cloned().unwrap_or_default(),
        };
        removed(&ctx, &name).await?;
        for name in [&tag, &found.id] {
            equal(format!("ImageStatus by {name} after a removal by {by}"), image(&ctx, name).await?, None)?;
        }
        equal("ListImages after a removal: how often the image", listed(&ctx, &found.id).await?, 0)?;
    }
    Ok(())
}

async fn remove_twice(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let tag = registry.reference(names::PLAIN);
    ctx.pull(&tag).await?;
    for _ in 0..3 {
        removed(&ctx, &tag).await?;
    }
    removed(&ctx, &format!("sha256:{}", "0".repeat(64))).await?;
    Ok(removed(&ctx, &registry.reference(names::NO_SUCH_REPOSITORY)).await?)
}

async fn missing(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    for name in [registry.reference(names::NO_SUCH_REPOSITORY), format!("sha256:{}", "0".repeat(64))] {
        for verbose in [false, true] {
            let request = ImageStatusRequest { image: Some(spec(&name)), verbose };
            let answer = ctx.image_status(request).await?;
            equal(format!("ImageStatusResponse.image of {name}"), answer.image, None)?;
            equal("ImageStatusResponse.info of a missing image", answer.info.len(), 0)?;
        }
    }
    Ok(())
}
