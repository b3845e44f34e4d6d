//! What becomes of what a newer client says.

use serde::{Deserialize, Serialize};

/// The CRI's own compatibility.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InterfaceConfig {
    /// The messages of the CRI in which, and in whatever is in them, a field that this version does not know is refused,
    /// by name: `LinuxContainerSecurityContext`. Elsewhere it is ignored, counted and logged once.
    pub refuse_unknown_fields_in: Vec<String>,
}
