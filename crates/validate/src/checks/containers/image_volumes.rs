//! Images as volumes.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails, holds, present},
    image::names,
    make,
    verdict::Checked,
};

checks! {
    "mounts/image",
        "Mount.image: the root of an image is mounted, read-only; ContainerStatus.mounts tells it",
        ["Mount.image"], image;
    "mounts/image-sub-path",
        "Mount.image_sub_path: only that part of the image is mounted, and it must be there",
        ["Mount.image", "Mount.image_sub_path"], sub_path;
    "mounts/image-that-is-missing",
        "Mount.image: the image must have been pulled before", ["Mount.image"], missing;
}

/// The image of files only at a path.
async fn volume(ctx: &Ctx, inside: &str) -> Checked<Mount> {
    let image = ctx.image(names::FILES);
    ctx.pull(&image).await?;
    Ok(Mount {
        container_path: inside.to_owned(),
        readonly: true,
        image: Some(make::spec(&image)),
        ..Default::default()
    })
}

async fn image(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mounts = vec![volume(&ctx, "/mnt/image").await?];
    let id = ctx.start(&pod, &ContainerConfig { mounts: mounts.clone(), ..ctx.container("c", &["sleep"]) }).await?;
    let read = ctx.said(&id, &["cat", "/mnt/image/hello", "/mnt/image/directory/nested", "/mnt/image/link"]).await?;
    equal("what is in the image", read.as_str(), "hello from an image\nnested\nhello from an image\n")?;
    let output = ctx.exec_in(&id, &["write", "/mnt/image/hello", "x"]).await?;
    holds("a write to an image", output.stderr.starts_with("ERROR EROFS"), "EROFS", &output)?;
    let told = ctx.status_of(&id).await?.mounts;
    let told = told.iter().find(|one| one.container_path == "/mnt/image");
    let told = present("ContainerStatus.mounts: image", told.and_then(|mount| mount.image.clone()))?;
    equal("ContainerStatus.mounts: image", &told.image, &ctx.image(names::FILES))?;
    if !ctx.has("ImageSpec.image_ref") {
        return Ok(());
    }
    let request = ImageStatusRequest { image: Some(make::spec(&told.image)), verbose: false };
    let image = present("ImageStatusResponse.image", ctx.image_status(request).await?.image)?;
    let known = told.image_ref == image.id || image.repo_digests.contains(&told.image_ref);
    holds("ContainerStatus.mounts: image_ref", known, format!("{} or one of {:?}", image.id, image.repo_digests), &told)
}

async fn sub_path(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mount = |path: &str, volume: Mount| Mount { image_sub_path: path.to_owned(), ..volume };
    let mounts = vec![mount("directory", volume(&ctx, "/mnt/part").await?)];
    let id = ctx.start(&pod, &ContainerConfig { mounts, ..ctx.container("c", &["sleep"]) }).await?;
    equal("what is in that part", ctx.said(&id, &["ls", "/mnt/part"]).await?.as_str(), "nested\n")?;
    let told = ctx.status_of(&id).await?.mounts;
    let told = told.iter().find(|one| one.container_path == "/mnt/part").map(|one| one.image_sub_path.clone());
    equal("ContainerStatus.mounts: image_sub_path", told.as_deref(), Some("directory"))?;
    for (name, path) in [("missing", "nothing"), ("outside", "../etc")] {
        let mounts = vec![mount(path, volume(&ctx, "/mnt/part").await?)];
        let config = ContainerConfig { mounts, ..ctx.container(name, &["sleep"]) };
        // Runtimes differ in which of the two calls says it.
        if let Ok(id) = ctx.try_create(&pod, &config).await {
            fails(format!("StartContainer with the sub-path {path:?}"), ctx.start_id(&id).await)?;
        }
    }
    Ok(())
}

async fn missing(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let image = Some(make::spec(&ctx.image(names::NO_SUCH_REPOSITORY)));
    let mounts = vec![Mount { container_path: "/mnt/image".to_owned(), image, ..Default::default() }];
    let config = ContainerConfig { mounts, ..ctx.container("c", &["sleep"]) };
    if let Ok(id) = ctx.try_create(&pod, &config).await {
        fails("StartContainer with an image that was not pulled", ctx.start_id(&id).await)?;
    }
    Ok(())
}
