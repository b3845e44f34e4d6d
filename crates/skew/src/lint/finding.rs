//! What was found.

use std::fmt;

use serde::Serialize;

/// A difference between two interfaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is. The worst comes first.
    pub severity: Severity,
    /// By which rule.
    pub rule: Rule,
    /// Of what: `Service/Method`, `Message.field` or a name.
    pub element: String,
    /// What happened to it.
    pub what: String,
}

/// How bad a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Two sides of the two versions misunderstand each other, or lose something.
    Error,
    /// The wire is the same, but not JSON, source code or what is valid.
    Warning,
    /// The policy allows it.
    Note,
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The package is another, and with it the path of every RPC.
    PackageChanged,
    /// An RPC is gone.
    RpcRemoved,
    /// An RPC takes or returns something else.
    RpcChanged,
    /// An RPC streams where it did not, or no longer does.
    StreamingChanged,
    /// A number means another field.
    NumberReused,
    /// A field or value has another number.
    NumberChanged,
    /// A field has another type.
    TypeChanged,
    /// A field occurs otherwise often.
    CardinalityChanged,
    /// A field came into a oneof, or left it.
    OneofChanged,
    /// A field has another name in JSON alone.
    JsonNameChanged,
    /// Something has another name.
    Renamed,
    /// Something is gone.
    Removed,
    /// What was given up is used again.
    ReservedUsed,
    /// What was given up is no longer reserved.
    ReservationDropped,
    /// Something is new.
    Added,
}

impl Finding {
    /// An error.
    pub fn error(rule: Rule, element: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, rule, element: element.into(), what: what.into() }
    }

    /// A warning.
    pub fn warning(rule: Rule, element: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, rule, element: element.into(), what: what.into() }
    }

    /// Something new, which is allowed.
    pub fn added(element: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, rule: Rule::Added, element: element.into(), what: what.into() }
    }
}

/// One line per finding, but for the values of one enum that have one thing in common.
pub fn lines(findings: &[Finding]) -> Vec<String> {
    findings
        .chunk_by(|a, b| a.rule == b.rule && values_of(a).is_some() && values_of(a) == values_of(b))
        .map(line)
        .collect()
}

/// The enum whose value was renamed.
fn values_of(finding: &Finding) -> Option<&str> {
    let enum_of = finding.element.strip_prefix("enum ")?;
    enum_of.rsplit_once('.').map(|(name, _)| name).filter(|_| finding.rule == Rule::Renamed)
}

fn line(findings: &[Finding]) -> String {
    match findings {
        [] => String::new(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more of its values)", rest.len()),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {} [{}]", self.severity, self.element, self.what, self.rule)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PackageChanged => "package-changed",
            Self::RpcRemoved => "rpc-removed",
            Self::RpcChanged => "rpc-changed",
            Self::StreamingChanged => "streaming-changed",
            Self::NumberReused => "number-reused",
            Self::NumberChanged => "number-changed",
            Self::TypeChanged => "type-changed",
            Self::CardinalityChanged => "cardinality-changed",
            Self::OneofChanged => "oneof-changed",
            Self::JsonNameChanged => "json-name-changed",
            Self::Renamed => "renamed",
            Self::Removed => "removed",
            Self::ReservedUsed => "reserved-used",
            Self::ReservationDropped => "reservation-dropped",
            Self::Added => "added",
        })
    }
}
