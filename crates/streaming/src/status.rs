//! How a command ended, as the error stream says it: a `metav1.Status` from the fourth version on, text before.

use serde::{Deserialize, Serialize};

use crate::protocol::Version;
use crate::remote_command::Outcome;

const SUCCESS: &str = "Success";
const FAILURE: &str = "Failure";
const NON_ZERO: &str = "NonZeroExitCode";
const INTERNAL: &str = "InternalError";
const EXIT_CODE: &str = "ExitCode";

/// `metav1.Status`, as far as it matters here.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Status {
    #[serde(default)]
    metadata: Metadata,
    status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Metadata {}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// What goes over the error stream; before the fourth version nothing for a success.
pub fn write(version: Version, outcome: &Outcome) -> Vec<u8> {
    if !version.has_status() {
        return match outcome {
            Outcome::Exited(0) => Vec::new(),
            Outcome::Exited(code) => terminated(*code).into_bytes(),
            Outcome::Failed(why) => why.clone().into_bytes(),
        };
    }
    let status = match outcome {
        Outcome::Exited(0) => Status { status: SUCCESS.into(), ..Status::default() },
        Outcome::Exited(code) => Status {
            status: FAILURE.into(),
            message: terminated(*code),
            reason: NON_ZERO.into(),
            details: Some(Details { causes: vec![Cause { reason: EXIT_CODE.into(), message: code.to_string() }] }),
            ..Status::default()
        },
        Outcome::Failed(why) => Status {
            status: FAILURE.into(),
            message: format!("Internal error occurred: {why}"),
            reason: INTERNAL.into(),
            details: Some(Details { causes: vec![Cause { message: why.clone(), ..Cause::default() }] }),
            code: Some(500),
            ..Status::default()
        },
    };
    // It is made of strings and numbers only, which cannot fail.
    serde_json::to_vec(&status).unwrap_or_default()
}

/// What came over the error stream up to its end.
pub fn read(version: Version, bytes: &[u8]) -> Outcome {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    if !version.has_status() {
        return match bytes {
            [] => Outcome::Exited(0),
            _ => Outcome::Failed(text()),
        };
    }
    let Ok(status) = serde_json::from_slice::<Status>(bytes) else {
        return Outcome::Failed(format!("the error stream carries no status: {:?}", text()));
    };
    let code = || {
        let cause = status.details.as_ref()?.causes.iter().find(|cause| cause.reason == EXIT_CODE)?;
        cause.message.parse().ok()
    };
    match (status.status.as_str(), status.reason.as_str()) {
        (SUCCESS, _) => Outcome::Exited(0),
        (FAILURE, NON_ZERO) => code().map_or_else(|| Outcome::Failed("no exit code was told".into()), Outcome::Exited),
        _ => Outcome::Failed(status.message),
    }
}

/// In the words that clients of the first versions look for.
fn terminated(code: i32) -> String {
    format!("command terminated with non-zero exit code: exit status {code}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_exit_code_survives_the_way() {
        for code in [0, 1, 137, 255] {
            assert_eq!(read(Version::V4, &write(Version::V4, &Outcome::Exited(code))), Outcome::Exited(code));
        }
    }

    #[test]
    fn a_failure_is_told_in_its_words() {
        let Outcome::Failed(why) = read(Version::V5, &write(Version::V5, &Outcome::Failed("no tty".into()))) else {
            panic!("a failure is one")
        };
        assert!(why.contains("no tty"), "{why}");
    }

    #[test]
    fn success_before_the_fourth_version_is_silence() {
        assert!(write(Version::V3, &Outcome::Exited(0)).is_empty());
        assert_eq!(read(Version::V3, b""), Outcome::Exited(0));
        let text = String::from_utf8(write(Version::V1, &Outcome::Exited(3))).unwrap();
        assert!(text.ends_with("exit status 3"), "{text}");
    }

    #[test]
    fn what_kubernetes_sends_is_read() {
        let sent = br#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}}"#;
        assert_eq!(read(Version::V4, sent), Outcome::Exited(42));
        assert_eq!(read(Version::V4, br#"{"metadata":{},"status":"Success"}"#), Outcome::Exited(0));
    }

    #[test]
    fn nonsense_is_a_failure() {
        for bytes in [&b""[..], b"{}", b"{\"status\":3}", b"\xff"] {
            assert!(matches!(read(Version::V4, bytes), Outcome::Failed(_)));
        }
    }
}
