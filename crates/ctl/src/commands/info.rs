//! `corten info`

use crate::{
    args::OutputOnly,
    error::Error,
    output::{self, Format},
    runtime::Runtime,
    table::Table,
};

/// Prints the runtime's conditions and handlers; with another format also its verbose information.
pub async fn run(runtime: &Runtime, args: OutputOnly) -> Result<(), Error> {
    let answer = runtime.status().await?;
    if args.output != Format::Table {
        return output::value(&output::unfold_info(output::message("StatusResponse", &answer)?), args.output);
    }
    let mut conditions = Table::new(["CONDITION", "STATUS", "REASON", "MESSAGE"]);
    for condition in answer.status.unwrap_or_default().conditions {
        conditions.row([condition.r#type, condition.status.to_string(), condition.reason, condition.message]);
    }
    let mut handlers = Table::new(["HANDLER", "USER NAMESPACES", "RECURSIVE READ-ONLY MOUNTS"]);
    for handler in answer.runtime_handlers {
        let name = if handler.name.is_empty() { "(default)".to_owned() } else { handler.name };
        let features = handler.features.unwrap_or_default();
        handlers.row([name, features.user_namespaces.to_string(), features.recursive_read_only_mounts.to_string()]);
    }
    output::print(&format!("{conditions}\n{handlers}"))
}
