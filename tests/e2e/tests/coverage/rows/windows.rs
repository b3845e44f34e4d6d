//! What is for Windows only.

use crate::table::{ALL, Message, Why, message, refused, without_meaning};

const REFUSED: &[&str] = &["refused::whatever_is_for_windows_is_refused"];
const ANSWER: &str = "is part of an answer of Windows nodes";

pub const ROWS: &[Message] = &[
    message("WindowsPodSandboxConfig", &[refused(ALL, Why::Windows, REFUSED)]),
    message("WindowsSandboxSecurityContext", &[refused(ALL, Why::Windows, REFUSED)]),
    message("WindowsNamespaceOption", &[refused(ALL, Why::Windows, REFUSED)]),
    message("WindowsContainerConfig", &[refused(ALL, Why::Windows, REFUSED)]),
    message("WindowsContainerSecurityContext", &[refused(ALL, Why::Windows, REFUSED)]),
    message("WindowsContainerResources", &[refused(ALL, Why::Windows, REFUSED)]),
    message("WindowsCpuGroupAffinity", &[refused(ALL, Why::Windows, REFUSED)]),
    message("WindowsPodSandboxStats", &[without_meaning(ALL, ANSWER)]),
    message("WindowsContainerStats", &[without_meaning(ALL, ANSWER)]),
    message("WindowsCpuUsage", &[without_meaning(ALL, ANSWER)]),
    message("WindowsMemoryUsage", &[without_meaning(ALL, ANSWER)]),
    message("WindowsFilesystemUsage", &[without_meaning(ALL, ANSWER)]),
    message("WindowsNetworkUsage", &[without_meaning(ALL, ANSWER)]),
    message("WindowsNetworkInterfaceUsage", &[without_meaning(ALL, ANSWER)]),
    message("WindowsProcessUsage", &[without_meaning(ALL, ANSWER)]),
];
