//! The interface as it was in one release.

use std::collections::BTreeMap;

use super::{EnumValue, Field, Range, Release, Rpc, Schema};

/// What one release has. Everything borrows from the table.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The release.
    pub release: Release,
    /// By `Service/Method`.
    pub rpcs: BTreeMap<&'a str, &'a Rpc>,
    /// By name.
    pub messages: BTreeMap<&'a str, SnapshotMessage<'a>>,
    /// By name.
    pub enums: BTreeMap<&'a str, SnapshotEnum<'a>>,
}

/// A message as it was: its fields by number.
pub type SnapshotMessage<'a> = BTreeMap<i32, &'a Field>;

/// An enum as it was: its values by number.
pub type SnapshotEnum<'a> = BTreeMap<i32, &'a EnumValue>;

impl<'a> Snapshot<'a> {
    pub(super) fn of(schema: &'a Schema, release: Release) -> Self {
        let has = |ranges: &[Range]| ranges.iter().any(|range| range.contains(release));
        let fields = |fields: &'a [Field]| {
            fields.iter().filter(|field| has(&field.ranges)).map(|field| (field.number, field)).collect()
        };
        let values = |values: &'a [EnumValue]| {
            values.iter().filter(|value| has(&value.ranges)).map(|value| (value.number, value)).collect()
        };
        Self {
            release,
            rpcs: schema
                .rpcs
                .iter()
                .filter(|(_, rpc)| has(&rpc.ranges))
                .map(|(name, rpc)| (name.as_str(), rpc))
                .collect(),
            messages: schema
                .messages
                .iter()
                .filter(|(_, message)| has(&message.ranges))
                .map(|(name, message)| (name.as_str(), fields(&message.fields)))
                .collect(),
            enums: schema
                .enums
                .iter()
                .filter(|(_, an_enum)| has(&an_enum.ranges))
                .map(|(name, an_enum)| (name.as_str(), values(&an_enum.values)))
                .collect(),
        }
    }

    /// How many fields all messages have together.
    pub fn field_count(&self) -> usize {
        self.messages.values().map(BTreeMap::len).sum()
    }
}
