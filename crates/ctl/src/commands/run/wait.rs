//! Waiting for containers to end.

use std::time::Duration;

use corten_cri::v1;

use super::bring_up::Made;
use crate::{commands::interrupt::Interrupt, error::Error, runtime::Runtime};

const FIRST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_millis(500);

/// Returns a container's status when it has ended.
pub(super) async fn for_end(runtime: &Runtime, id: &str) -> Result<v1::ContainerStatus, Error> {
    let mut interval = FIRST_INTERVAL;
    loop {
        let status = runtime.container_status(id, false).await?.status.unwrap_or_default();
        match status.state() {
            v1::ContainerState::ContainerExited => return Ok(status),
            v1::ContainerState::ContainerUnknown => {
                return Err(Error::condition(format!("container {id}"), "the runtime lost sight of it"));
            }
            v1::ContainerState::ContainerCreated | v1::ContainerState::ContainerRunning => {}
        }
        tokio::time::sleep(interval).await;
        interval = (interval * 2).min(LONGEST_INTERVAL);
    }
}

/// Waits for every container. The first exit code that is not 0, else 0; `None` when interrupted.
pub(super) async fn for_all(runtime: &Runtime, interrupt: &Interrupt, made: &[Made]) -> Result<Option<i32>, Error> {
    let mut first = 0;
    for container in made.iter().flat_map(|pod| &pod.containers) {
        let ended = tokio::select! {
            ended = for_end(runtime, &container.id) => ended?,
            () = interrupt.wanted() => return Ok(None),
        };
        if first == 0 {
            first = ended.exit_code;
        }
    }
    Ok(Some(first))
}
