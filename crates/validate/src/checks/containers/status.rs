//! What ContainerStatus and ListContainers say.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds, present, same},
    image::names,
    make::{self, Pod},
    time::Window,
    verdict::Checked,
};

checks! {
    "containers/status-gives-back-the-config",
        "ContainerStatus: id, metadata, state, creation time, image, labels, annotations, mounts and log path",
        [], status_gives_back_the_config;
    "containers/list-gives-back-the-config",
        "Container: id, sandbox, metadata, image, state, creation time, labels and annotations",
        [], list_gives_back_the_config;
    "containers/status-names-the-image",
        "ContainerStatus.image_ref and Container.image_ref: a reference to the image in use",
        [], names_the_image;
    "containers/status-has-the-image-id",
        "image_id of ContainerStatus and Container: the id of the image, as in Image.id",
        ["ContainerStatus.image_id", "Container.image_id"], has_the_image_id;
    "containers/list-agrees-with-status",
        "ListContainers and ContainerStatus tell the same of a container, whatever becomes of it", [], list_agrees;
    "containers/verbose-adds-information",
        "ContainerStatusResponse.info: extra information, returned only when verbose is set", [], verbose;
}

/// A configuration in which everything that comes back is set.
fn full(ctx: &Ctx) -> Checked<ContainerConfig> {
    let mut config = ctx.container("full", &["pause"]);
    config.metadata.get_or_insert_default().attempt = 3;
    config.labels.insert("empty".to_owned(), String::new());
    config.labels.insert("example.org/kind".to_owned(), "with spaces, and \"quotes\"".to_owned());
    config.annotations.insert("example.org/note".to_owned(), "caf\u{e9}\nsecond line".to_owned());
    config.log_path = "full_3.log".to_owned();
    let directory = ctx.directory()?.display().to_string();
    let mount = |path: &str, readonly| Mount {
        container_path: path.to_owned(),
        host_path: directory.clone(),
        readonly,
        ..Default::default()
    };
    config.mounts = vec![mount("/mnt/a", false), mount("/mnt/b", true)];
    Ok(config)
}

/// Everything but what the checks of users, resources, images and stop signals look at.
fn expected(pod: &Pod, id: &str, config: &ContainerConfig, seen: &ContainerStatus) -> ContainerStatus {
    let image =
        ImageSpec { image: config.image.clone().unwrap_or_default().image, ..seen.image.clone().unwrap_or_default() };
    ContainerStatus {
        id: id.to_owned(),
        metadata: config.metadata.clone(),
        state: ContainerState::ContainerRunning.into(),
        created_at: seen.created_at,
        started_at: seen.started_at,
        finished_at: 0,
        exit_code: 0,
        image: Some(image),
        image_ref: seen.image_ref.clone(),
        reason: String::new(),
        message: String::new(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: seen.mounts.clone(),
        log_path: format!("{}/{}", pod.config.log_directory, config.log_path),
        resources: seen.resources.clone(),
        image_id: seen.image_id.clone(),
        user: seen.user.clone(),
        stop_signal: seen.stop_signal,
    }
}

async fn status_gives_back_the_config(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = full(&ctx)?;
    let window = Window::open();
    let id = ctx.start(&pod, &config).await?;
    let window = window.close();
    let status = ctx.status_of(&id).await?;
    same("ContainerStatus", &status, &expected(&pod, &id, &config, &status))?;
    window.holds("ContainerStatus.created_at", status.created_at)?;
    window.holds("ContainerStatus.started_at", status.started_at)?;
    let in_order = status.created_at <= status.started_at;
    holds("ContainerStatus.created_at", in_order, "not after started_at", (status.created_at, status.started_at))?;
    let spec = status.image.clone().unwrap_or_default();
    let named = spec.user_specified_image.is_empty();
    holds("ImageSpec.user_specified_image, which was not given", named, "none", &spec)?;
    mounts(&status.mounts, &config.mounts)
}

/// That the mounts asked for are told; the runtime may have made more.
fn mounts(seen: &[Mount], expected: &[Mount]) -> Checked {
    for wanted in expected {
        let mut found = seen.iter().filter(|mount| mount.container_path == wanted.container_path);
        let mount = present(format!("ContainerStatus.mounts: {}", wanted.container_path), found.next())?;
        equal(format!("ContainerStatus.mounts: how often {}", wanted.container_path), 1 + found.count(), 1)?;
        same("ContainerStatus.mounts", mount, wanted)?;
    }
    Ok(())
}

async fn list_gives_back_the_config(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = full(&ctx)?;
    let window = Window::open();
    let id = ctx.create(&pod, &config).await?;
    let window = window.close();
    for filter in [None, Some(ContainerFilter { id: id.clone(), ..Default::default() })] {
        let listed = ctx.list_containers(ListContainersRequest { filter }).await?.containers;
        let mut ours = listed.into_iter().filter(|one| one.id == id);
        let item = present("our container in ListContainers", ours.next())?;
        equal("our container in ListContainers: how often", 1 + ours.count(), 1)?;
        let spec = item.image.clone().unwrap_or_default();
        let expected = Container {
            id: id.clone(),
            pod_sandbox_id: pod.id.clone(),
            metadata: config.metadata.clone(),
            image: Some(ImageSpec { image: config.image.clone().unwrap_or_default().image, ..spec }),
            image_ref: item.image_ref.clone(),
            state: ContainerState::ContainerCreated.into(),
            created_at: item.created_at,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            image_id: item.image_id.clone(),
        };
        same("Container in ListContainers", &item, &expected)?;
        window.holds("Container.created_at", item.created_at)?;
    }
    Ok(())
}

/// The plain image as the runtime has it.
async fn image(ctx: &Ctx) -> Checked<Image> {
    let request = ImageStatusRequest { image: Some(make::spec(&ctx.image(names::PLAIN))), verbose: false };
    present("ImageStatusResponse.image", ctx.image_status(request).await?.image)
}

/// A container as it is listed.
async fn item(ctx: &Ctx, id: &str) -> Checked<Container> {
    let filter = ContainerFilter { id: id.to_owned(), ..Default::default() };
    let listed = ctx.list_containers(ListContainersRequest { filter: Some(filter) }).await?.containers;
    present("our container in ListContainers", listed.into_iter().find(|one| one.id == id))
}

async fn names_the_image(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let image = image(&ctx).await?;
    let id = ctx.create(&pod, &ctx.container("c", &["pause"])).await?;
    let (status, item) = (ctx.status_of(&id).await?, item(&ctx, &id).await?);
    for (what, reference) in [("ContainerStatus", status.image_ref), ("Container", item.image_ref)] {
        let known = reference == image.id || image.repo_digests.contains(&reference);
        holds(
            format!("{what}.image_ref"),
            known,
            format!("{} or one of {:?}", image.id, image.repo_digests),
            reference,
        )?;
    }
    Ok(())
}

async fn has_the_image_id(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let image = image(&ctx).await?;
    let id = ctx.create(&pod, &ctx.container("c", &["pause"])).await?;
    equal("ContainerStatus.image_id", &ctx.status_of(&id).await?.image_id, &image.id)?;
    equal("Container.image_id", &item(&ctx, &id).await?.image_id, &image.id)
}

async fn agrees(ctx: &Ctx, pod: &Pod, id: &str) -> Checked {
    let (status, item) = (ctx.status_of(id).await?, item(ctx, id).await?);
    let expected = Container {
        id: status.id,
        pod_sandbox_id: pod.id.clone(),
        metadata: status.metadata,
        image: status.image,
        // Some name the image by its id in one place and by its digest in the other.
        image_ref: item.image_ref.clone(),
        state: status.state,
        created_at: status.created_at,
        labels: status.labels,
        annotations: status.annotations,
        image_id: status.image_id,
    };
    same("Container in ListContainers", &item, &expected)
}

async fn list_agrees(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = ContainerConfig { mounts: Vec::new(), ..full(&ctx)? };
    let id = ctx.create(&pod, &config).await?;
    agrees(&ctx, &pod, &id).await?;
    ctx.start_id(&id).await?;
    agrees(&ctx, &pod, &id).await?;
    ctx.stop(&id, 0).await?;
    agrees(&ctx, &pod, &id).await
}

async fn verbose(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let plain = ctx.try_status_of(&id).await?;
    equal("ContainerStatusResponse.info without verbose", plain.info.len(), 0)?;
    let request = ContainerStatusRequest { container_id: id.clone(), verbose: true };
    let verbose = ctx.container_status(request).await?;
    holds("ContainerStatusResponse.info with verbose", !verbose.info.is_empty(), "something", &verbose.info)?;
    equal("ContainerStatusResponse.status with verbose", verbose.status, plain.status)
}
