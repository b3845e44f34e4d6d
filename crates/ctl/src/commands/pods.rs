//! `corten pods`

use corten_cri::v1;

use crate::{
    args::List,
    error::Error,
    output::{self, Format},
    runtime::Runtime,
    table::{Table, age, now, short_id},
};

/// Lists the pods, the newest first, with their addresses.
pub async fn run(runtime: &Runtime, args: List) -> Result<(), Error> {
    let mut answer = runtime.pods().await?;
    answer.items.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
    if args.quiet {
        return answer.items.iter().try_for_each(|pod| output::line(&pod.id));
    }
    if args.output != Format::Table {
        return output::value(&output::message("ListPodSandboxResponse", &answer)?, args.output);
    }
    let mut table = Table::new(["POD ID", "CREATED", "STATE", "NAMESPACE", "NAME", "ADDRESS", "RUNTIME"]);
    for pod in answer.items {
        let address = address(runtime, &pod).await?;
        let state = state(&pod);
        let v1::PodSandboxMetadata { name, namespace, .. } = pod.metadata.unwrap_or_default();
        let handler = if pod.runtime_handler.is_empty() { "(default)".to_owned() } else { pod.runtime_handler };
        table.row([short_id(&pod.id), age(pod.created_at, now()), state.to_owned(), namespace, name, address, handler]);
    }
    output::print(&table.to_string())
}

/// The state in one word. One that only a newer runtime knows is unknown, and not the first that there is.
fn state(pod: &v1::PodSandbox) -> &'static str {
    match v1::PodSandboxState::try_from(pod.state) {
        Ok(v1::PodSandboxState::SandboxReady) => "Ready",
        Ok(v1::PodSandboxState::SandboxNotready) => "NotReady",
        Err(_) => "Unknown",
    }
}

/// The pod's address; a dash for one that has none, or that went away meanwhile.
async fn address(runtime: &Runtime, pod: &v1::PodSandbox) -> Result<String, Error> {
    let none = || "-".to_owned();
    if v1::PodSandboxState::try_from(pod.state) != Ok(v1::PodSandboxState::SandboxReady) {
        return Ok(none());
    }
    let status = match runtime.pod_status(&pod.id, false).await {
        Err(error) if error.is_not_found() => return Ok(none()),
        other => other?.status.unwrap_or_default(),
    };
    Ok(status.network.map(|network| network.ip).filter(|ip| !ip.is_empty()).unwrap_or_else(none))
}
