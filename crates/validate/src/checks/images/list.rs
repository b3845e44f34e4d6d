//! ListImages, ImageStatus and ImageFsInfo.

use std::collections::BTreeSet;

use corten_cri::v1::*;

use super::pull::{image, is_id};
use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds, present, same},
    image::{USER, names},
    make::spec,
    time::Window,
    verdict::Checked,
};

checks! {
    "images/list-tells-what-status-tells", "ListImages: every image, each as ImageStatus has it", [], list;
    "images/list-filters-by-image", "ImageFilter.image: only that image", [], filter;
    "images/user",
        "Image.uid and username: the user of the image's configuration, by number or by name; one of them", [], user;
    "images/size-and-pin", "Image.size is more than 0; Image.pinned is not set on what anybody may remove",
        ["Image.pinned"], size;
    "images/verbose-adds-information",
        "ImageStatusResponse.info: extra information, returned only when verbose is set", [], verbose;
    "images/user-specified-image",
        "ImageSpec.user_specified_image: what the user named, where image is an id; told in ContainerStatus.image",
        ["ImageSpec.user_specified_image"], user_specified;
    "images/container-from-any-name",
        "ContainerConfig.image: the image by its tag, its id or what PullImage returned", [], any_name;
    "images/container-from-a-missing-one", "CreateContainer from an image that is not present is an error", [], missing;
    "images/fs-info", "ImageFsInfo: the file systems that hold images, and how much is used", [], fs_info;
    "images/fs-info-of-containers",
        "ImageFsInfoResponse.container_filesystems: those that hold the containers' layers",
        ["ImageFsInfoResponse.container_filesystems"], container_fs_info;
    "images/stream-says-what-the-list-says", "StreamImages: ListImages as a stream, with the same filter",
        ["ImageService/StreamImages"], streamed;
}

async fn listed(ctx: &Ctx, filter: Option<ImageFilter>) -> Checked<Vec<Image>> {
    Ok(ctx.list_images(ListImagesRequest { filter }).await?.images)
}

async fn list(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let mut expected = Vec::new();
    for name in [names::PLAIN, names::OTHER, names::FILES] {
        ctx.pull(&registry.reference(name)).await?;
        expected.push((name, present("ImageStatus", image(&ctx, &registry.reference(name)).await?)?));
    }
    let all = listed(&ctx, None).await?;
    for (name, expected) in &expected {
        let mut found = all.iter().filter(|image| image.id == expected.id);
        let first = present(format!("ListImages: {name}"), found.next())?;
        equal(format!("ListImages: how often {name}"), 1 + found.count(), 1)?;
        same(format!("Image of {name} in ListImages"), first, expected)?;
        is_id("Image.id", &first.id, &registry, name)?;
        equal("Image.repo_tags", &first.repo_tags, &vec![registry.reference(name)])?;
        let digest = registry.reference_by_digest(name).unwrap_or_default();
        equal("Image.repo_digests", &first.repo_digests, &vec![digest])?;
    }
    let named = all.iter().all(|image| !image.id.is_empty());
    holds("Image.id", named, "an id of each", all.len())
}

async fn filter(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    for name in [names::PLAIN, names::OTHER] {
        ctx.pull(&registry.reference(name)).await?;
    }
    for name in [names::PLAIN, names::OTHER] {
        let reference = registry.reference(name);
        let expected = present("ImageStatus", image(&ctx, &reference).await?)?;
        for by in [&reference, &expected.id] {
            let found = listed(&ctx, Some(ImageFilter { image: Some(spec(by)) })).await?;
            equal(format!("ListImages by {by}"), found, vec![expected.clone()])?;
        }
    }
    let none = ImageFilter { image: Some(spec(&registry.reference(names::NO_SUCH_REPOSITORY))) };
    equal("ListImages by a name of none", listed(&ctx, Some(none)).await?, Vec::new())
}

async fn user(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    for (name, uid, username) in
        [(names::NUMERIC_USER, Some(1000), ""), (names::NAMED_USER, None, USER), (names::PLAIN, None, "")]
    {
        ctx.pull(&registry.reference(name)).await?;
        let found = present("ImageStatus", image(&ctx, &registry.reference(name)).await?)?;
        let seen = found.uid.map(|uid| uid.value);
        // What has no user runs as root: some say so.
        let as_expected = seen == uid || (name == names::PLAIN && seen == Some(0));
        holds(format!("Image.uid of {name}"), as_expected, format!("{uid:?}"), seen)?;
        equal(format!("Image.username of {name}"), found.username.as_str(), username)?;
    }
    Ok(())
}

async fn size(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let mut sizes = Vec::new();
    for name in [names::PLAIN, names::FILES] {
        ctx.pull(&registry.reference(name)).await?;
        let found = present("ImageStatus", image(&ctx, &registry.reference(name)).await?)?;
        equal("Image.pinned", found.pinned, false)?;
        sizes.push(found.size);
    }
    // Compressed or not: the program is larger than a few lines.
    let plausible =
        matches!(sizes.as_slice(), [large, small] if *small > 0 && (100_000..1 << 30).contains(large) && large > small);
    holds("Image.size of a large and of a small image", plausible, "bytes", sizes)
}

async fn verbose(ctx: Ctx) -> Checked {
    let image = Some(spec(&ctx.image(names::PLAIN)));
    let plain = ctx.image_status(ImageStatusRequest { image: image.clone(), verbose: false }).await?;
    let verbose = ctx.image_status(ImageStatusRequest { image, verbose: true }).await?;
    equal("ImageStatusResponse.info without verbose", plain.info.len(), 0)?;
    holds("ImageStatusResponse.info with verbose", !verbose.info.is_empty(), "something", &verbose.info)?;
    equal("ImageStatusResponse.image with verbose", verbose.image, plain.image)
}

async fn user_specified(ctx: Ctx) -> Checked {
    let tag = ctx.image(names::PLAIN);
    let id = present("ImageStatus", image(&ctx, &tag).await?)?.id;
    let pod = ctx.new_pod().await?;
    let asked = ImageSpec { image: id, user_specified_image: tag.clone(), ..Default::default() };
    let container = ctx.create(&pod, &ContainerConfig { image: Some(asked), ..ctx.container("c", &["pause"]) }).await?;
    let told = present("ContainerStatus.image", ctx.status_of(&container).await?.image)?;
    equal("ContainerStatus.image.user_specified_image", told.user_specified_image.as_str(), tag.as_str())
}

async fn any_name(ctx: Ctx) -> Checked {
    let tag = ctx.image(names::PLAIN);
    let returned = ctx.pull(&tag).await?;
    let found = present("ImageStatus", image(&ctx, &tag).await?)?;
    let pod = ctx.new_pod().await?;
    let digest = found.repo_digests.first().cloned().unwrap_or_default();
    for (name, image) in [("tag", tag), ("id", found.id), ("returned", returned), ("digest", digest)] {
        let config = ContainerConfig { image: Some(spec(&image)), ..ctx.container(name, &["cat", "/data/a.txt"]) };
        let (_, output) = ctx.run_to_end(&pod, &config).await?;
        equal(format!("a container from an image by {name}"), output.stdout.as_str(), "a\n")?;
    }
    Ok(())
}

async fn missing(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for image in [ctx.image(names::NO_SUCH_REPOSITORY), format!("sha256:{}", "0".repeat(64))] {
        let config = ContainerConfig { image: Some(spec(&image)), ..ctx.container("c", &["pause"]) };
        crate::expect::fails(format!("CreateContainer from {image}"), ctx.try_create(&pod, &config).await)?;
    }
    let none = ContainerConfig { image: None, ..ctx.container("c", &["pause"]) };
    crate::expect::fails("CreateContainer from no image", ctx.try_create(&pod, &none).await)
}

fn usage(what: &str, filesystems: &[FilesystemUsage], window: &crate::time::Closed) -> Checked {
    holds(what, !filesystems.is_empty(), "at least one", filesystems)?;
    let places: BTreeSet<_> = filesystems.iter().map(|one| one.fs_id.as_ref().map(|id| &id.mountpoint)).collect();
    equal(format!("{what}: different fs_id.mountpoint"), places.len(), filesystems.len())?;
    for one in filesystems {
        window.holds(&format!("{what}: timestamp"), one.timestamp)?;
        let path = present(format!("{what}: fs_id"), one.fs_id.clone())?.mountpoint;
        let exists = std::path::Path::new(&path).is_dir();
        holds(format!("{what}: fs_id.mountpoint"), exists, "a directory of the node", &path)?;
        let used = present(format!("{what}: used_bytes"), one.used_bytes)?.value;
        holds(format!("{what}: used_bytes"), (1..VAST).contains(&used), "more than 0, and what a node may have", used)?;
        let inodes = present(format!("{what}: inodes_used"), one.inodes_used)?.value;
        holds(
            format!("{what}: inodes_used"),
            (1..VAST).contains(&inodes),
            "more than 0, and what a node may have",
            inodes,
        )?;
    }
    Ok(())
}

/// Runtimes measure from time to time, not when they are asked.
fn recent() -> Window {
    let mut window = Window::open();
    window.reach_back(std::time::Duration::from_secs(120));
    window
}

/// More than the images of any node: only a wrong unit or a wrong field is that large.
const VAST: u64 = 64 << 40;

async fn fs_info(ctx: Ctx) -> Checked {
    let window = recent();
    let info = ctx.image_fs_info(ImageFsInfoRequest {}).await?;
    usage("ImageFsInfoResponse.image_filesystems", &info.image_filesystems, &window.close())
}

async fn container_fs_info(ctx: Ctx) -> Checked {
    let window = recent();
    let info = ctx.image_fs_info(ImageFsInfoRequest {}).await?;
    usage("ImageFsInfoResponse.container_filesystems", &info.container_filesystems, &window.close())
}

async fn streamed(ctx: Ctx) -> Checked {
    let registry = ctx.own_registry().await?;
    let mut ids = Vec::new();
    for name in [names::PLAIN, names::OTHER] {
        ctx.pull(&registry.reference(name)).await?;
        ids.push(present("ImageStatus", image(&ctx, &registry.reference(name)).await?)?.id);
    }
    let ours = |images: Vec<Image>| {
        let mut images: Vec<Image> = images.into_iter().filter(|image| ids.contains(&image.id)).collect();
        images.sort_by(|left, right| left.id.cmp(&right.id));
        ListImagesResponse { images }
    };
    let filters = [
        None,
        Some(ImageFilter { image: Some(spec(&registry.reference(names::OTHER))) }),
        Some(ImageFilter { image: Some(spec(&registry.reference(names::NO_SUCH_REPOSITORY))) }),
    ];
    for (filter, count) in filters.into_iter().zip([2, 1, 0]) {
        let listed = listed(&ctx, filter.clone()).await?;
        let streamed = ctx.stream_images(StreamImagesRequest { filter }).await?;
        let streamed = streamed.into_iter().flat_map(|batch| batch.images).collect();
        let (streamed, listed) = (ours(streamed), ours(listed));
        same("StreamImages", &streamed, &listed)?;
        equal("StreamImages: how many of ours", streamed.images.len(), count)?;
    }
    Ok(())
}
