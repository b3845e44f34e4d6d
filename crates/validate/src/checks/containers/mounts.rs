//! Volumes.

use std::{fs, path::PathBuf};

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{as_said, equal, holds},
    make::Pod,
    verdict::{Checked, Stop},
};

checks! {
    "mounts/host-path",
        "Mount.host_path at container_path: what one side writes the other reads", [], host_path;
    "mounts/readonly", "Mount.readonly: the mount is read-only", [], readonly;
    "mounts/a-file", "Mount: a file of the node, and not only a directory, can be mounted", [], a_file;
    "mounts/host-path-is-a-link", "Mount.host_path: if it is a symbolic link, its target is mounted", [], a_link;
    "mounts/propagation",
        "Mount.propagation: private, from the host (rslave), or both ways (rshared) for the privileged", [], propagation;
    "mounts/recursive-read-only",
        "Mount.recursive_read_only: what is mounted below is read-only as well, if and only if the handler's features say so",
        ["Mount.recursive_read_only"], recursive;
    "mounts/options",
        "Mount.mount_options: they hold for the mount, if and only if the features of the runtime say so",
        ["Mount.mount_options", "RuntimeFeatures.mount_options"], options;
    "mounts/several-of-one-container", "ContainerConfig.mounts: all of them, also one below another", [], several;
}

fn mount(host: &std::path::Path, inside: &str) -> Mount {
    Mount { host_path: host.display().to_string(), container_path: inside.to_owned(), ..Default::default() }
}

/// A directory of the check's with the file `given`.
fn directory(ctx: &Ctx, name: &str) -> Checked<PathBuf> {
    let path = ctx.directory()?.join(name);
    let failed = |error| Stop::node("make a volume", error);
    fs::create_dir_all(&path).map_err(failed)?;
    fs::write(path.join("given"), "from the node\n").map_err(failed)?;
    Ok(path)
}

async fn with(ctx: &Ctx, pod: &Pod, name: &str, mounts: Vec<Mount>) -> Checked<String> {
    ctx.start(pod, &ContainerConfig { mounts, ..ctx.container(name, &["sleep"]) }).await
}

async fn host_path(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let path = directory(&ctx, "volume")?;
    let id = with(&ctx, &pod, "c", vec![mount(&path, "/mnt")]).await?;
    equal("what the container reads", ctx.said(&id, &["cat", "/mnt/given"]).await?.as_str(), "from the node\n")?;
    ctx.said(&id, &["write", "/mnt/written", "from inside"]).await?;
    let written = fs::read_to_string(path.join("written")).unwrap_or_default();
    equal("what the container wrote", written.trim_end(), "from inside")
}

async fn refused_write(ctx: &Ctx, id: &str, path: &str) -> Checked {
    let output = ctx.exec_in(id, &["write", path, "x"]).await?;
    holds("a write to a read-only mount", output.stderr.starts_with("ERROR EROFS"), "EROFS", &output)
}

async fn readonly(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let path = directory(&ctx, "volume")?;
    let mounts = vec![Mount { readonly: true, ..mount(&path, "/mnt/read") }, mount(&path, "/mnt/write")];
    let id = with(&ctx, &pod, "c", mounts).await?;
    equal("what the container reads", ctx.said(&id, &["cat", "/mnt/read/given"]).await?.as_str(), "from the node\n")?;
    refused_write(&ctx, &id, "/mnt/read/new").await?;
    refused_write(&ctx, &id, "/mnt/read/given").await?;
    ctx.said(&id, &["write", "/mnt/write/new", "x"]).await?;
    let told = ctx.status_of(&id).await?.mounts;
    for (inside, readonly) in [("/mnt/read", true), ("/mnt/write", false)] {
        let found: Vec<bool> = told.iter().filter(|one| one.container_path == inside).map(|one| one.readonly).collect();
        equal(format!("ContainerStatus.mounts: readonly of {inside}"), found, vec![readonly])?;
    }
    Ok(())
}

async fn a_file(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let path = directory(&ctx, "volume")?;
    let id = with(&ctx, &pod, "c", vec![mount(&path.join("given"), "/etc/mounted")]).await?;
    equal("what the container reads", ctx.said(&id, &["cat", "/etc/mounted"]).await?.as_str(), "from the node\n")
}

async fn a_link(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let (path, link) = (directory(&ctx, "volume")?, ctx.directory()?.join("link"));
    std::os::unix::fs::symlink(&path, &link).map_err(|error| Stop::node("make a link", error))?;
    let id = with(&ctx, &pod, "c", vec![mount(&link, "/mnt")]).await?;
    equal("what the container reads", ctx.said(&id, &["cat", "/mnt/given"]).await?.as_str(), "from the node\n")
}

/// The optional fields of the line of `mountinfo` for a path.
fn optional_fields<'a>(mounts: &'a str, path: &str) -> Option<Vec<&'a str>> {
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let line = lines.find(|words| words.get(4) == Some(&path))?;
    Some(line.into_iter().skip(6).take_while(|word| *word != "-").collect())
}

async fn propagation(ctx: Ctx) -> Checked {
    let mut config = ctx.pod("pod")?;
    config.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
    let pod = ctx.run_pod(config).await?;
    // The node's own /proc tells whether there is anything to share: what is private there cannot be a slave here.
    let own = fs::read_to_string("/proc/self/mountinfo").map_err(|error| Stop::node("read mountinfo", error))?;
    let shared =
        optional_fields(&own, "/").is_some_and(|fields| fields.iter().any(|field| field.starts_with("shared:")));
    if !shared {
        return Err(Stop::NotSupported("the node's root is not shared, and mounts of it propagate nowhere".to_owned()));
    }
    let path = directory(&ctx, "volume")?;
    let with_mode = |inside: &str, mode: MountPropagation| Mount { propagation: mode.into(), ..mount(&path, inside) };
    let mut container = ctx.container("c", &["sleep"]);
    container.mounts = vec![
        with_mode("/mnt/private", MountPropagation::PropagationPrivate),
        with_mode("/mnt/slave", MountPropagation::PropagationHostToContainer),
        with_mode("/mnt/shared", MountPropagation::PropagationBidirectional),
    ];
    crate::make::security(&mut container).privileged = true;
    let id = ctx.start(&pod, &container).await?;
    let told = ctx.status_of(&id).await?.mounts;
    for mount in &container.mounts {
        let found = told.iter().find(|one| one.container_path == mount.container_path);
        let what = format!("ContainerStatus.mounts: propagation of {}", mount.container_path);
        equal(what, found.map(Mount::propagation), Some(mount.propagation()))?;
    }
    let mounts = ctx.said(&id, &["mounts"]).await?;
    for (inside, expected) in [("/mnt/private", &[][..]), ("/mnt/slave", &["master"]), ("/mnt/shared", &["shared"])] {
        let fields = optional_fields(&mounts, inside).unwrap_or_default();
        let mut kinds: Vec<&str> = fields.iter().filter_map(|field| field.split(':').next()).collect();
        // A shared mount of a slave is both.
        kinds.retain(|kind| *kind != "propagate_from" && !(expected == ["shared"] && *kind == "master"));
        equal(format!("the propagation of {inside}"), kinds, expected.to_vec())?;
    }
    Ok(())
}

/// The lines of `mountinfo` for a path and what is mounted below it, with the options of each mount.
fn options_below<'a>(mounts: &'a str, path: &str) -> Vec<(&'a str, Vec<&'a str>)> {
    let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let told = lines.filter_map(|words| Some((*words.get(4)?, words.get(5)?.split(',').collect())));
    told.filter(|(inside, _): &(&str, Vec<&str>)| inside.starts_with(path)).collect()
}

/// A container with a mount at `/mnt`; none if the runtime refuses that.
async fn tried(ctx: &Ctx, pod: &Pod, name: &str, mount: Mount) -> Checked<Option<String>> {
    let config = ContainerConfig { mounts: vec![mount], ..ctx.container(name, &["sleep"]) };
    let Ok(id) = ctx.try_create(pod, &config).await else { return Ok(None) };
    Ok(ctx.start_id(&id).await.is_ok().then_some(id))
}

async fn recursive(ctx: Ctx) -> Checked {
    let handlers = ctx.status(StatusRequest { verbose: false }).await?.runtime_handlers;
    let handler = handlers.iter().find(|handler| handler.name == ctx.handler());
    let said = handler.and_then(|handler| handler.features).is_some_and(|features| features.recursive_read_only_mounts);
    let pod = ctx.new_pod().await?;
    // /dev has mounts below it on every node.
    let below = |recursive_read_only| Mount {
        readonly: true,
        recursive_read_only,
        ..mount(std::path::Path::new("/dev"), "/mnt")
    };
    let mut writable = Vec::new();
    for (name, recursive_read_only) in [("flat", false), ("recursive", true)] {
        let Some(id) = tried(&ctx, &pod, name, below(recursive_read_only)).await? else {
            holds("a read-only mount", recursive_read_only, "it can be made", name)?;
            return as_said("RuntimeHandlerFeatures.recursive_read_only_mounts", said, false);
        };
        let told = ctx.status_of(&id).await?.mounts;
        let told = told.iter().find(|one| one.container_path == "/mnt").map(|one| one.recursive_read_only);
        let mounts = ctx.said(&id, &["mounts"]).await?;
        let inside = options_below(&mounts, "/mnt");
        let top = inside.iter().find(|(path, _)| *path == "/mnt");
        holds("the options of the mount", top.is_some_and(|(_, options)| options.contains(&"ro")), "ro", &inside)?;
        writable.push(inside.iter().filter(|(_, options)| !options.contains(&"ro")).count());
        if said {
            equal("ContainerStatus.mounts: recursive_read_only", told, Some(recursive_read_only))?;
        }
    }
    // Where nothing below is writable anyway there is nothing to see.
    let seen = if writable.first() == Some(&0) { said } else { writable.last() == Some(&0) };
    as_said("RuntimeHandlerFeatures.recursive_read_only_mounts", said, seen)
}

async fn options(ctx: Ctx) -> Checked {
    let features = ctx.status(StatusRequest { verbose: false }).await?.features;
    let said = features.is_some_and(|features| features.mount_options);
    let pod = ctx.new_pod().await?;
    let path = directory(&ctx, "volume")?;
    let wanted = ["noexec", "nosuid"];
    let mut seen = Vec::new();
    for (name, mount_options) in [("without", Vec::new()), ("with", wanted.map(str::to_owned).to_vec())] {
        let mount = Mount { mount_options, ..mount(&path, "/mnt") };
        let Some(id) = tried(&ctx, &pod, name, mount.clone()).await? else {
            holds("a mount", !mount.mount_options.is_empty(), "it can be made", name)?;
            return as_said("RuntimeFeatures.mount_options", said, false);
        };
        if said {
            let told = ctx.status_of(&id).await?.mounts;
            let told = told.into_iter().find(|one| one.container_path == "/mnt").map(|one| one.mount_options);
            equal("ContainerStatus.mounts: mount_options", told, Some(mount.mount_options))?;
        }
        let mounts = ctx.said(&id, &["mounts"]).await?;
        let inside = options_below(&mounts, "/mnt");
        seen.push(inside.iter().any(|(_, options)| wanted.iter().all(|option| options.contains(option))));
    }
    // Where the node's own mount has the options there is nothing to see.
    let seen = if seen.first() == Some(&true) { said } else { seen.last() == Some(&true) };
    as_said("RuntimeFeatures.mount_options", said, seen)
}

async fn several(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let (outer, inner) = (directory(&ctx, "outer")?, directory(&ctx, "inner")?);
    fs::create_dir_all(outer.join("below")).map_err(|error| Stop::node("make a directory", error))?;
    // The inner one first: the order that counts is that of the paths.
    let id = with(&ctx, &pod, "c", vec![mount(&inner, "/mnt/below"), mount(&outer, "/mnt")]).await?;
    ctx.said(&id, &["write", "/mnt/below/x", "inner"]).await?;
    ctx.said(&id, &["write", "/mnt/x", "outer"]).await?;
    equal("what is written below the inner mount", inner.join("x").exists() && !outer.join("below/x").exists(), true)?;
    equal("what is written below the outer mount", outer.join("x").exists(), true)
}
