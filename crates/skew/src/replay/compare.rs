//! What differs between two answers, but for what always does.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use serde_json::Value;

use super::ids::Ids;
use crate::recording::{Recorded, json};

/// How many differences of one answer are told.
const MOST: usize = 10;

/// Fields that are another's at every run: times, measurements, addresses, one-time URLs and what is for people.
const VOLATILE: [&str; 21] = [
    "additionalIps",
    "availableBytes",
    "createdAt",
    "finishedAt",
    "info",
    "inodesUsed",
    "ip",
    "pid",
    "processCount",
    "rssBytes",
    "runtimeVersion",
    "runtimeName",
    "startedAt",
    "timestamp",
    "url",
    "usageBytes",
    "usageCoreNanoSeconds",
    "usageNanoCores",
    "usedBytes",
    "value",
    "workingSetBytes",
];

/// Something that differs.
pub(super) struct Found {
    pub(super) at: String,
    pub(super) recorded: String,
    pub(super) now: String,
}

/// Compares a recorded answer with the new one. Lists are compared in any order.
pub(super) fn answers(
    call: &Recorded,
    responses: &[Bytes],
    method: Option<&MethodDescriptor>,
    ids: &Ids,
) -> Vec<Found> {
    let mut found = Vec::new();
    if call.responses.len() != responses.len() {
        let (recorded, now) = (call.responses.len().to_string(), responses.len().to_string());
        found.push(Found { at: "number of messages".to_owned(), recorded, now });
        return found;
    }
    let read = |bytes: &[u8]| {
        let message = DynamicMessage::decode(method?.output(), bytes).ok()?;
        json(&message)
    };
    for (recorded, now) in call.responses.iter().zip(responses) {
        match (read(&recorded.bytes), read(now)) {
            (Some(mut recorded), Some(mut now)) => {
                comparable(&mut recorded, &|text| ids.text(text));
                comparable(&mut now, &str::to_owned);
                differences("answer", &recorded, &now, &mut found);
            }
            _ if recorded.bytes == *now => {}
            _ => found.push(Found {
                at: "bytes".to_owned(),
                recorded: format!("{} bytes", recorded.bytes.len()),
                now: format!("{} bytes", now.len()),
            }),
        }
    }
    found.truncate(MOST);
    found
}

/// Takes out what is volatile, maps texts, and puts lists into an order.
fn comparable(value: &mut Value, text: &impl Fn(&str) -> String) {
    match value {
        Value::String(own) => *own = text(own),
        Value::Array(list) => {
            list.iter_mut().for_each(|value| comparable(value, text));
            list.sort_by_cached_key(Value::to_string);
        }
        Value::Object(object) => {
            object.retain(|key, _| !VOLATILE.contains(&key.as_str()));
            object.values_mut().for_each(|value| comparable(value, text));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn differences(at: &str, recorded: &Value, now: &Value, found: &mut Vec<Found>) {
    match (recorded, now) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                let below = format!("{at}.{key}");
                let side = |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                differences(&below, &side(one), &side(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (one, other) in one.iter().zip(other) {
                differences(&format!("{at}[]"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => {
            found.push(Found { at: at.to_owned(), recorded: shown(one), now: shown(other) });
        }
    }
}

/// A value, or its beginning.
fn shown(value: &Value) -> String {
    let text = if value.is_null() { "nothing".to_owned() } else { value.to_string() };
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
