//! What a row of the table says.

/// A message of the CRI, or a service, with a row for each of its fields or RPCs.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Its name in the package `runtime.v1`.
    pub name: &'static str,
    /// What is said of its fields.
    pub rows: &'static [Row],
}

/// What is said of some fields of a message.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The fields by their names in the schema; [`ALL`] alone for all there are.
    pub fields: &'static [&'static str],
    /// What is done about them.
    pub state: State,
}

/// In the place of fields' names: all fields of the message.
pub const ALL: &[&str] = &["*"];

/// What is done about a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does what the CRI says.
    Implemented {
        /// The tests that show it: `file::function` below `tests/e2e/tests`, or a file of `crates` in full.
        proofs: &'static [&'static str],
        /// What there is to say about it, if anything.
        note: &'static str,
    },
    /// A request that sets it fails.
    Refused {
        /// Why.
        why: Why,
        /// The test that sends it.
        proofs: &'static [&'static str],
    },
    /// It means nothing here, and the CRI or its callers do not expect that it does.
    NotApplicable {
        /// Why.
        reason: &'static str,
    },
}

/// For what a field may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is for Windows.
    Windows,
    /// It waits for its own work: the Container Device Interface.
    DeviceInterface,
    /// It waits for its own work: checkpoints.
    Checkpoints,
}

impl Why {
    /// The reason in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Windows => "for Windows nodes; one that is not empty fails with `InvalidArgument`",
            Self::DeviceInterface => "devices of the Container Device Interface come later; `Unimplemented` until then",
            Self::Checkpoints => "checkpoints come later; `Unimplemented` until then",
        }
    }
}

/// A message's rows.
pub const fn message(name: &'static str, rows: &'static [Row]) -> Message {
    Message { name, rows }
}

/// Fields that do what the CRI says, as these tests show.
pub const fn done(fields: &'static [&'static str], proofs: &'static [&'static str]) -> Row {
    Row { fields, state: State::Implemented { proofs, note: "" } }
}

/// The same, with a word about them.
pub const fn noted(fields: &'static [&'static str], note: &'static str, proofs: &'static [&'static str]) -> Row {
    Row { fields, state: State::Implemented { proofs, note } }
}

/// Fields that a request must not set.
pub const fn refused(fields: &'static [&'static str], why: Why, proofs: &'static [&'static str]) -> Row {
    Row { fields, state: State::Refused { why, proofs } }
}

/// Fields that mean nothing here.
pub const fn without_meaning(fields: &'static [&'static str], reason: &'static str) -> Row {
    Row { fields, state: State::NotApplicable { reason } }
}
