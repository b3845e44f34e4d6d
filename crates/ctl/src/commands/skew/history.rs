//! `corten skew history`

use std::process::ExitCode;

use corten_skew::history::{self, Entry, Selection};
use serde_json::json;

use super::json;
use crate::{
    args::{Api, History, Report},
    error::Error,
    output,
};

/// Prints the changes that were asked for, release by release.
pub fn run(args: &History) -> Result<ExitCode, Error> {
    let selection = Selection { since: args.since, until: args.until, message: args.message.clone() };
    let schema = history::embedded(args.api == Api::V1alpha2).map_err(refused)?;
    let entries = history::select(schema, &selection).map_err(refused)?;
    match args.output {
        Report::Text => output::print(&text(&entries))?,
        Report::Json => json(&json!({"api": api(args.api), "releases": entries}))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(error: history::Error) -> Error {
    Error::condition("skew history", error.to_string())
}

fn api(api: Api) -> &'static str {
    match api {
        Api::V1 => "v1",
        Api::V1alpha2 => "v1alpha2",
    }
}

fn text(entries: &[Entry<'_>]) -> String {
    if entries.is_empty() {
        return "nothing changed\n".to_owned();
    }
    let mut text = String::new();
    for entry in entries {
        text += &format!("{}\n", entry.release);
        for line in history::lines(&entry.changes).into_iter().chain(history::meanings(&entry.features)) {
            text += &format!("  {line}\n");
        }
    }
    text
}
