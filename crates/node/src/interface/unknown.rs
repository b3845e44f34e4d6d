//! The fields that clients send and this version does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use corten_cri::wire::{Unknown, UnknownFields, WireType};
use tonic::Status;

use crate::operation::lock;

/// How many different fields are told apart; those beyond are counted together.
const MAX_KNOWN: usize = 1000;

/// What has been met since the start.
#[derive(Default)]
pub struct Met {
    fields: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// By the path of the message, the field's number and type.
    each: BTreeMap<(String, u32, WireType), u64>,
    others: u64,
}

impl Met {
    /// Counts what a request has, and logs what has not been met before.
    pub fn add(&self, found: &UnknownFields) {
        let mut counts = lock(&self.fields);
        counts.others += found.more;
        for Unknown { path, number, wire_type, count, .. } in &found.fields {
            let key = (path.clone(), *number, *wire_type);
            if let Some(known) = counts.each.get_mut(&key) {
                *known += count;
            } else if counts.each.len() < MAX_KNOWN {
                let wire_type = wire_type.name();
                tracing::warn!(
                    message = path,
                    number,
                    wire_type,
                    "a client sends a field that this version does not know"
                );
                counts.each.insert(key, *count);
            } else {
                counts.others += count;
            }
        }
    }

    /// The path of the message, the field's number, the name of its type, and how often it came; and how many others.
    pub fn all(&self) -> (Vec<(String, u32, &'static str, u64)>, u64) {
        let counts = lock(&self.fields);
        let each = counts.each.iter().map(|((path, number, kind), count)| (path.clone(), *number, kind.name(), *count));
        (each.collect(), counts.others)
    }
}

/// The refusal of a request with an unknown field where none may be.
///
/// # Errors
/// `InvalidArgument`, naming the first such field.
pub fn check(found: &UnknownFields, refused: &BTreeSet<String>) -> Result<(), Status> {
    for Unknown { path, within, number, wire_type, .. } in &found.fields {
        if let Some(message) = within.iter().find(|name| refused.contains(*name)) {
            let wire_type = wire_type.name();
            return Err(Status::invalid_argument(format!(
                "{path}: field {number} ({wire_type}) is not known to this version, and the configuration refuses \
                 unknown fields in {message} (interface.refuse_unknown_fields_in)"
            )));
        }
    }
    // What was too much to look at may be anywhere.
    if found.more > 0 && !refused.is_empty() {
        return Err(Status::invalid_argument(format!("{} more fields that are not known to this version", found.more)));
    }
    Ok(())
}
