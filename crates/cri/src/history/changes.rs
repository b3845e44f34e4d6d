//! What came, went and changed from release to release.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use super::{EnumValue, Field, Range, Release, Rpc, Schema};

/// One thing that a release did to the interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change<'a> {
    /// To what.
    #[serde(flatten)]
    pub element: Element<'a>,
    /// What was done.
    #[serde(flatten)]
    pub what: What,
}

/// A part of the interface, by the name that it has afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "element", rename_all = "snake_case")]
pub enum Element<'a> {
    /// A remote procedure.
    Rpc {
        /// `Service/Method`.
        name: &'a str,
    },
    /// A message with its fields.
    Message {
        /// Its name.
        name: &'a str,
    },
    /// A field of a message that was there before and after.
    Field {
        /// The message.
        message: &'a str,
        /// The field.
        name: &'a str,
        /// Its number.
        number: i32,
    },
    /// An enum with its values.
    Enum {
        /// Its name.
        name: &'a str,
    },
    /// A value of an enum that was there before and after.
    Value {
        /// The enum.
        of: &'a str,
        /// The value.
        name: &'a str,
        /// Its number.
        number: i32,
    },
}

/// What was done to an element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum What {
    /// It is new.
    Came {
        /// What it is: an RPC's messages, a message's fields, a field's type, an enum's values; empty for a value.
        definition: String,
    },
    /// It is no longer there.
    Gone,
    /// Only the name is another.
    Renamed {
        /// The name before.
        from: String,
    },
    /// What has this number is something else.
    Changed {
        /// Type and name before.
        from: String,
        /// Type and name from now on.
        to: String,
    },
}

impl<'a> Element<'a> {
    /// The message or enum that it is or is part of; `None` for an RPC.
    pub fn container(&self) -> Option<&'a str> {
        match self {
            Self::Rpc { .. } => None,
            Self::Message { name } | Self::Enum { name } => Some(name),
            Self::Field { message, .. } => Some(message),
            Self::Value { of, .. } => Some(of),
        }
    }

    /// The name by which the overlay covers it: a field by itself, a value of an enum with its enum.
    pub fn path(&self) -> String {
        match self {
            Self::Rpc { name } | Self::Message { name } | Self::Enum { name } => (*name).to_owned(),
            Self::Field { message, name, .. } => format!("{message}.{name}"),
            Self::Value { of, .. } => (*of).to_owned(),
        }
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rpc { name } => write!(f, "{name}"),
            Self::Message { name } => write!(f, "message {name}"),
            Self::Field { message, name, number } => write!(f, "{message}.{name} = {number}"),
            Self::Enum { name } => write!(f, "enum {name}"),
            Self::Value { of, name, number } => write!(f, "{of}.{name} = {number}"),
        }
    }
}

impl fmt::Display for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = if self.server_streaming { "stream " } else { "" };
        write!(f, "({}) returns ({stream}{})", self.request, self.response)
    }
}

impl Schema {
    /// Everything that happened after the first release of the table, by release. The branch of a minor is taken to
    /// start where the one before it started: what a patch release changed is not undone by the next `.0` without it,
    /// it is changed there again by a patch release of its own.
    pub fn changes(&self) -> BTreeMap<Release, Vec<Change<'_>>> {
        let mut found = Found { oldest: self.minors().map_or(0, |(oldest, _)| oldest), by_release: BTreeMap::new() };
        for (name, rpc) in &self.rpcs {
            found.whole(Element::Rpc { name }, &rpc.ranges, |_| rpc.to_string());
        }
        for (name, message) in &self.messages {
            found.whole(Element::Message { name }, &message.ranges, |at| {
                named(message.fields.iter().filter(|field| has(&field.ranges, at)).map(|field| field.name.as_str()))
            });
            found.parts(&message.ranges, &message.fields, |field| Element::Field {
                message: name,
                name: &field.name,
                number: field.number,
            });
        }
        for (name, an_enum) in &self.enums {
            found.whole(Element::Enum { name }, &an_enum.ranges, |at| {
                named(an_enum.values.iter().filter(|value| has(&value.ranges, at)).map(|value| value.name.as_str()))
            });
            found.parts(&an_enum.ranges, &an_enum.values, |value| Element::Value {
                of: name,
                name: &value.name,
                number: value.number,
            });
        }
        found.by_release.values_mut().for_each(|changes| changes.sort_by_key(|change| change.element));
        found.by_release
    }
}

/// A field or an enum's value.
trait Part {
    fn name(&self) -> &str;
    fn number(&self) -> i32;
    fn ranges(&self) -> &[Range];
    /// What it is beside name and number.
    fn definition(&self) -> String;
}

impl Part for Field {
    fn name(&self) -> &str {
        &self.name
    }

    fn number(&self) -> i32 {
        self.number
    }

    fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    fn definition(&self) -> String {
        self.field_type.to_string()
    }
}

impl Part for EnumValue {
    fn name(&self) -> &str {
        &self.name
    }

    fn number(&self) -> i32 {
        self.number
    }

    fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    fn definition(&self) -> String {
        String::new()
    }
}

struct Found<'a> {
    oldest: u32,
    by_release: BTreeMap<Release, Vec<Change<'a>>>,
}

impl<'a> Found<'a> {
    fn add(&mut self, release: Release, element: Element<'a>, what: What) {
        self.by_release.entry(release).or_default().push(Change { element, what });
    }

    /// The comings and goings of an element as a whole.
    fn whole(&mut self, element: Element<'a>, ranges: &[Range], define: impl Fn(Release) -> String) {
        for (before, at) in self.turns(ranges.iter()) {
            match (has(ranges, before), has(ranges, at)) {
                (false, true) => self.add(at, element, What::Came { definition: define(at) }),
                (true, false) => self.add(at, element, What::Gone),
                _ => {}
            }
        }
    }

    /// What became of the parts of an element while it was there.
    fn parts<P: Part>(&mut self, whole: &[Range], parts: &'a [P], element: impl Fn(&'a P) -> Element<'a>) {
        let numbers: BTreeSet<i32> = parts.iter().map(Part::number).collect();
        for number in numbers {
            let of_number = || parts.iter().filter(move |part| part.number() == number);
            let at = |release| of_number().find(|part| has(part.ranges(), release));
            for (before, now) in self.turns(of_number().flat_map(Part::ranges)) {
                if !has(whole, before) || !has(whole, now) {
                    continue;
                }
                match (at(before), at(now)) {
                    (None, Some(new)) => self.add(now, element(new), What::Came { definition: new.definition() }),
                    (Some(old), None) => self.add(now, element(old), What::Gone),
                    (Some(old), Some(new)) => self.changed(now, element(new), old, new),
                    (None, None) => {}
                }
            }
        }
    }

    fn changed<P: Part>(&mut self, at: Release, element: Element<'a>, old: &P, new: &P) {
        let whole = |part: &P| format!("{} {}", part.definition(), part.name());
        if old.definition() != new.definition() {
            self.add(at, element, What::Changed { from: whole(old), to: whole(new) });
        } else if old.name() != new.name() {
            self.add(at, element, What::Renamed { from: old.name().to_owned() });
        }
    }

    /// The releases at which one of the ranges begins or has ended, each with the one before it.
    fn turns<'r>(&self, ranges: impl Iterator<Item = &'r Range>) -> BTreeSet<(Release, Release)> {
        let releases: BTreeSet<Release> =
            ranges.flat_map(|range| [Some(range.from), range.ended()]).flatten().collect();
        releases.into_iter().filter_map(|at| Some((self.before(at)?, at))).collect()
    }

    fn before(&self, release: Release) -> Option<Release> {
        let Release { major, minor, patch } = release;
        match patch.checked_sub(1) {
            Some(patch) => Some(Release { major, minor, patch }),
            None if minor <= self.oldest => None,
            None => Some(Release { major, minor: minor.checked_sub(1)?, patch: 0 }),
        }
    }
}

fn has(ranges: &[Range], release: Release) -> bool {
    ranges.iter().any(|range| range.contains(release))
}

fn named<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
