//! `corten inspect`

use super::known;
use crate::{args::Inspect, error::Error, output, resolve::Target, runtime::Runtime};

/// Prints the verbose status of a pod or container.
pub async fn run(runtime: &Runtime, args: Inspect) -> Result<(), Error> {
    let value = match known(runtime).await?.target(&args.target)? {
        Target::Pod(pod) => output::message("PodSandboxStatusResponse", &runtime.pod_status(&pod.id, true).await?)?,
        Target::Container(container) => {
            output::message("ContainerStatusResponse", &runtime.container_status(&container.id, true).await?)?
        }
    };
    output::value(&output::unfold_info(value), args.output)
}
