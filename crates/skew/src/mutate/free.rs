//! What is no mutation of a correct answer because the answer stays correct: values that are the runtime's own choice.

use super::change::Change;

/// A part of a mutation's name, and why it is left out.
const FREE: [(&str, &str); 26] = [
    ("VersionResponse.runtime_name changed", "a name"),
    ("VersionResponse.runtime_version changed", "a version"),
    (".info ", "what verbose tells is the runtime's own"),
    (".reason changed", "for people"),
    (".message changed", "for people"),
    (".message lost", "optional"),
    (".reason lost", "optional"),
    (".nanoseconds changed", "measured"),
    (".timestamp changed", "measured: the clock's resolution is not documented"),
    (".value changed", "measured"),
    (".size changed", "how it is counted is not documented"),
    (".size_ changed", "how it is counted is not documented"),
    (".usage_nano_cores lost", "not there before the second measurement"),
    (".used_bytes.value lost", "may be 0"),
    (".inodes_used.value lost", "may be 0"),
    ("_faults", "may be 0"),
    (".rx_", "may be 0"),
    (".tx_", "may be 0"),
    (".psi ", "depends on the kernel"),
    (".some ", "depends on the kernel"),
    (".full ", "depends on the kernel"),
    (".io lost", "depends on the kernel"),
    (".swap ", "depends on the kernel"),
    (".runtime_handlers[].name changed", "a name"),
    (".help", "for people"),
    (".process_count.value lost", "may be 0"),
];

/// Why a change of a field leaves an answer correct, if it does.
pub fn reason(message: &str, path: &str, change: Change) -> Option<&'static str> {
    let name = format!("{message}{path} {change}");
    FREE.iter().find(|(part, _)| name.contains(part)).map(|(_, why)| *why)
}
