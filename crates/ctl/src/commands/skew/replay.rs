//! `corten skew replay`

use std::process::ExitCode;

use corten_cri::client::socket_path;
use corten_skew::replay::{self, Options, Outcome};

use super::json;
use crate::{
    args::{Replay, Report},
    error::Error,
    output,
};

/// Sends the calls; 1 if something went otherwise.
pub async fn run(endpoint: &str, args: Replay) -> Result<ExitCode, Error> {
    let refused = |error: replay::Error| Error::condition("skew replay", error.to_string());
    let socket = socket_path(endpoint)?;
    let calls = replay::read(&args.file).map_err(refused)?;
    let options = Options { only: args.only, speed: args.speed, compare: args.compare, limit: args.limit };
    let outcome = replay::run(&calls, &socket, &options).await.map_err(refused)?;
    match args.output {
        Report::Text => output::print(&text(&outcome))?,
        Report::Json => json(&outcome)?,
    }
    Ok(ExitCode::from(u8::from(!outcome.differences.is_empty())))
}

fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for found in &outcome.differences {
        text += &format!(
            "call {} {}: {}\n  recorded  {}\n  now       {}\n",
            found.call, found.path, found.what, found.recorded, found.now
        );
    }
    text + &format!(
        "{} calls replayed, {} left out, {} differences\n",
        outcome.replayed,
        outcome.left_out,
        outcome.differences.len()
    )
}
