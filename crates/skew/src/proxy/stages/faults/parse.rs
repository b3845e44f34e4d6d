//! Reading faults as they are written.

use std::{str::FromStr, time::Duration};

use corten_cri::history::History;
use jiff::SignedDuration;
use tonic::Code;

use super::{At, Fault, Target};

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault {text:?}: {why}")]
pub struct Error {
    text: String,
    why: String,
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        read(text).map_err(|why| Error { text: text.to_owned(), why })
    }
}

fn read(text: &str) -> Result<Fault, String> {
    let (target, items) = text.split_once(':').ok_or("must be RPC: WHAT, as in RuntimeService/Version: delay=1s")?;
    let target = target_of(target.trim())?;
    let mut fault = Fault { target, error: None, delay: None, rate: 1.0, count: u64::MAX, skip: 0, at: At::Request };
    let mut seen = Vec::new();
    for item in split(items)? {
        let (key, value) = item.split_once('=').ok_or_else(|| format!("{item:?} is not KEY=VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        if seen.contains(&key) {
            return Err(format!("{key} is said twice"));
        }
        seen.push(key);
        match key {
            "error" => fault.error = Some(error(value)?),
            "delay" => fault.delay = Some(delay(value)?),
            "rate" => fault.rate = rate(value)?,
            "count" => fault.count = number(key, value)?,
            "skip" => fault.skip = number(key, value)?,
            "at" => fault.at = at(value)?,
            _ => return Err(format!("{key:?} is none of error, delay, rate, count, skip, at")),
        }
    }
    if fault.error.is_none() && fault.delay.is_none() {
        return Err("needs an error or a delay".to_owned());
    }
    Ok(fault)
}

/// An RPC of any release.
fn target_of(text: &str) -> Result<Target, String> {
    let history = History::embedded().map_err(ToString::to_string)?;
    let rpcs = || history.v1.rpcs.keys();
    if text == "*" {
        return Ok(Target::All);
    }
    if let Some(service) = text.strip_suffix("/*") {
        let known = rpcs().any(|rpc| rpc.split_once('/').is_some_and(|(name, _)| name == service));
        return if known { Ok(Target::Service(service.to_owned())) } else { Err(format!("no service {service:?}")) };
    }
    if history.v1.rpcs.contains_key(text) {
        return Ok(Target::Rpc(text.to_owned()));
    }
    let near = rpcs().max_by(|one, other| strsim::jaro(one, text).total_cmp(&strsim::jaro(other, text)));
    let hint = near.map(|near| format!("; is {near} meant?")).unwrap_or_default();
    Err(format!("no release of the CRI has an RPC {text:?}{hint}"))
}

/// Items between commas that are in no text.
fn split(items: &str) -> Result<Vec<&str>, String> {
    let (mut found, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, letter) in items.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                found.push(items.get(start..index).unwrap_or_default().trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err("a text has no end".to_owned());
    }
    found.push(items.get(start..).unwrap_or_default().trim());
    Ok(found)
}

fn error(value: &str) -> Result<(Code, String), String> {
    let (name, text) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    let code = (1..=16).map(Code::from_i32).find(|code| format!("{code:?}") == name);
    let code = code.ok_or_else(|| format!("{name:?} is no code of gRPC's, as NotFound or Unavailable are"))?;
    let text = text.trim();
    if text.is_empty() {
        return Ok((code, "injected by corten skew proxy".to_owned()));
    }
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|inner| !ends_escaped(inner));
    Ok((code, unescaped(inner.ok_or_else(|| format!("the text of an error is in quotes: {text}"))?)))
}

/// Whether the quote after it would be escaped.
fn ends_escaped(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn unescaped(text: &str) -> String {
    let (mut out, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        out.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
    }
    out
}

fn delay(value: &str) -> Result<Duration, String> {
    let refuse = || format!("delay {value:?} must be like 500ms or 2s");
    let parsed: SignedDuration = value.parse().map_err(|_| refuse())?;
    parsed.try_into().map_err(|_| refuse())
}

fn rate(value: &str) -> Result<f64, String> {
    let rate = value.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
    rate.ok_or_else(|| format!("rate {value:?} must be from 0 to 1"))
}

fn number(key: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{key} {value:?} must be a number"))
}

fn at(value: &str) -> Result<At, String> {
    match value {
        "request" => Ok(At::Request),
        "answer" => Ok(At::Answer),
        _ => Err(format!("at {value:?} must be request or answer")),
    }
}
