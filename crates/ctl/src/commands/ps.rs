//! `corten ps`

use std::collections::HashMap;

use corten_cri::v1;

use crate::{
    args::Ps,
    error::Error,
    output::{self, Format},
    runtime::Runtime,
    table::{Table, age, now, short_id},
};

/// Lists the containers, the newest first.
pub async fn run(runtime: &Runtime, args: Ps) -> Result<(), Error> {
    let mut answer = runtime.containers().await?;
    if !args.all {
        answer.containers.retain(|container| container.state() == v1::ContainerState::ContainerRunning);
    }
    answer.containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    if args.list.quiet {
        return answer.containers.iter().try_for_each(|container| output::line(&container.id));
    }
    if args.list.output != Format::Table {
        return output::value(&output::message("ListContainersResponse", &answer)?, args.list.output);
    }
    let pods = pod_names(runtime).await?;
    let mut table = Table::new(["CONTAINER ID", "IMAGE", "CREATED", "STATE", "NAME", "POD ID", "POD"]);
    for container in answer.containers {
        let state = state(runtime, &container).await?;
        table.row([
            short_id(&container.id),
            image_name(&container),
            age(container.created_at, now()),
            state,
            container.metadata.unwrap_or_default().name,
            short_id(&container.pod_sandbox_id),
            pods.get(&container.pod_sandbox_id).cloned().unwrap_or_default(),
        ]);
    }
    output::print(&table.to_string())
}

async fn pod_names(runtime: &Runtime) -> Result<HashMap<String, String>, Error> {
    let pods = runtime.pods().await?.items;
    Ok(pods.into_iter().map(|pod| (pod.id, pod.metadata.unwrap_or_default().name)).collect())
}

/// What the manifest called the image, or its shortened id.
fn image_name(container: &v1::Container) -> String {
    let spec = container.image.clone().unwrap_or_default();
    match (spec.user_specified_image.is_empty(), spec.image) {
        (false, _) => spec.user_specified_image,
        (true, image) if image.starts_with("sha256:") => short_id(&image),
        (true, image) => image,
    }
}

/// The state in one word, with the exit code of one that has ended.
async fn state(runtime: &Runtime, container: &v1::Container) -> Result<String, Error> {
    Ok(match v1::ContainerState::try_from(container.state) {
        Ok(v1::ContainerState::ContainerCreated) => "Created".to_owned(),
        Ok(v1::ContainerState::ContainerRunning) => "Running".to_owned(),
        // What only a newer runtime has a word for is unknown, as it is to the kubelet.
        Ok(v1::ContainerState::ContainerUnknown) | Err(_) => "Unknown".to_owned(),
        Ok(v1::ContainerState::ContainerExited) => match runtime.container_status(&container.id, false).await {
            Err(error) if error.is_not_found() => "Removed".to_owned(),
            other => format!("Exited ({})", other?.status.unwrap_or_default().exit_code),
        },
    })
}
