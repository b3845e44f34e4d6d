//! The types of fields.

use std::fmt;

use serde::Deserialize;

use super::Error;

/// The type of a field, as proto3 writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum FieldType {
    /// One value.
    Single(TypeName),
    /// `repeated`.
    Repeated(TypeName),
    /// `map<key, value>`.
    Map(Scalar, TypeName),
}

/// What one value is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TypeName {
    /// A type of the language.
    Scalar(Scalar),
    /// A message or enum, by name.
    Named(String),
}

/// The scalar types the CRI has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `bool`
    Bool,
    /// `bytes`
    Bytes,
    /// `double`
    Double,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `string`
    String,
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
}

impl Scalar {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Bool, Self::Bytes, Self::Double, Self::Int32, Self::Int64, Self::String, Self::Uint32, Self::Uint64];

    /// The word in a proto file.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Bytes => "bytes",
            Self::Double => "double",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::String => "string",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
        }
    }

    fn from_keyword(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.keyword() == word)
    }
}

impl TypeName {
    fn parse(text: &str) -> Option<Self> {
        if let Some(scalar) = Scalar::from_keyword(text) {
            return Some(Self::Scalar(scalar));
        }
        // The CRI's own types begin with a capital; anything else is a scalar nobody decided about.
        let named = text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        named.then(|| Self::Named(text.to_owned()))
    }
}

impl TryFrom<String> for FieldType {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let parsed = if let Some(inner) = text.strip_prefix("map<").and_then(|rest| rest.strip_suffix('>')) {
            inner
                .split_once(", ")
                .and_then(|(key, value)| Some(Self::Map(Scalar::from_keyword(key)?, TypeName::parse(value)?)))
        } else if let Some(inner) = text.strip_prefix("repeated ") {
            TypeName::parse(inner).map(Self::Repeated)
        } else {
            TypeName::parse(&text).map(Self::Single)
        };
        parsed.ok_or(Error::FieldType { text })
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(name) => write!(f, "{name}"),
            Self::Repeated(name) => write!(f, "repeated {name}"),
            Self::Map(key, value) => write!(f, "map<{}, {value}>", key.keyword()),
        }
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => f.write_str(scalar.keyword()),
            Self::Named(name) => f.write_str(name),
        }
    }
}
