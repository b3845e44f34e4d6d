//! `corten version`

use serde_json::json;

use crate::{
    args::OutputOnly,
    error::Error,
    output::{self, Format},
    runtime::Runtime,
};

/// Prints our version and the runtime's.
pub async fn run(runtime: &Runtime, args: OutputOnly) -> Result<(), Error> {
    let answer = runtime.version().await?;
    let own = env!("CARGO_PKG_VERSION");
    if args.output != Format::Table {
        let runtime = output::message("VersionResponse", &answer)?;
        return output::value(&json!({"corten": own, "runtime": runtime}), args.output);
    }
    output::line(&format!("corten   {own}"))?;
    output::line(&format!(
        "runtime  {} {} (CRI {})",
        answer.runtime_name, answer.runtime_version, answer.runtime_api_version
    ))
}
