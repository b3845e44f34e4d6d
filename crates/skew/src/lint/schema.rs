//! What is compared: an interface, wherever it was read from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::RangeInclusive,
};

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The package that its names are in.
    pub package: String,
    /// By `Service/Method`.
    pub rpcs: BTreeMap<String, Rpc>,
    /// By name; one inside another is `Outer.Inner`.
    pub messages: BTreeMap<String, Message>,
    /// By name.
    pub enums: BTreeMap<String, Enum>,
}

/// A remote procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// The message it takes.
    pub request: String,
    /// The message it returns.
    pub response: String,
    /// Whether it takes a stream.
    pub client_streaming: bool,
    /// Whether it returns a stream.
    pub server_streaming: bool,
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// By number.
    pub fields: BTreeMap<i32, Field>,
    /// What fields may not use; `None` where that is not known.
    pub reserved: Option<Reserved>,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its name in JSON.
    pub json_name: String,
    /// What one value is.
    pub value: Value,
    /// How many there are.
    pub cardinality: Cardinality,
    /// The oneof that it is part of.
    pub oneof: Option<String>,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A type of the language, by its keyword.
    Scalar(&'static str),
    /// A message.
    Message(String),
    /// An enum.
    Enum(String),
    /// A message between two tags, as proto2 had it.
    Group(String),
}

/// How often a field occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cardinality {
    /// Once; not set and zero are the same.
    Implicit,
    /// Once, or not set.
    Optional,
    /// Exactly once.
    Required,
    /// A list.
    Repeated,
    /// By keys of this type.
    Map(Value),
}

/// An enum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enum {
    /// The names of each number: more than one only as aliases.
    pub values: BTreeMap<i32, BTreeSet<String>>,
    /// What values may not use; `None` where that is not known.
    pub reserved: Option<Reserved>,
}

/// Numbers and names that were given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Ranges of numbers.
    pub numbers: Vec<RangeInclusive<i32>>,
    /// Names.
    pub names: BTreeSet<String>,
}

impl Reserved {
    /// Whether a number is reserved.
    pub fn has(&self, number: i32) -> bool {
        self.numbers.iter().any(|range| range.contains(&number))
    }

    /// Whether all of a range is.
    pub fn has_all(&self, range: &RangeInclusive<i32>) -> bool {
        let mut open = *range.start();
        while open <= *range.end() {
            let Some(covering) = self.numbers.iter().find(|range| range.contains(&open)) else { return false };
            match covering.end().checked_add(1) {
                Some(next) => open = next,
                None => return true,
            }
        }
        true
    }
}

impl Field {
    /// The name that JSON uses if none is given: without underscores, what follows one in capitals.
    pub fn default_json_name(name: &str) -> String {
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |json, word| {
            let mut letters = word.chars();
            let head = letters.next().map(|letter| letter.to_ascii_uppercase());
            json + &head.into_iter().chain(letters).collect::<String>()
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(keyword) => f.write_str(keyword),
            Self::Message(name) | Self::Enum(name) => f.write_str(name),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cardinality, &self.value) {
            (Cardinality::Implicit, _) | (Cardinality::Optional, Value::Message(_)) => {
                write!(f, "{} {}", self.value, self.name)
            }
            (Cardinality::Map(key), _) => write!(f, "map<{key}, {}> {}", self.value, self.name),
            (other, _) => write!(f, "{other} {} {}", self.value, self.name),
        }
    }
}

impl fmt::Display for Cardinality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Implicit => f.write_str("single"),
            Self::Optional => f.write_str("optional"),
            Self::Required => f.write_str("required"),
            Self::Repeated => f.write_str("repeated"),
            Self::Map(key) => write!(f, "map by {key}"),
        }
    }
}
