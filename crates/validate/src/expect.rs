//! Comparing what was seen with what is documented.

use std::fmt::{Debug, Display};

use serde::Serialize;
use serde_json::Value;
use tonic::Code;

use crate::verdict::{Checked, Refusal, Stop};

/// The longest a value is shown, in characters.
const SHOWN: usize = 400;

/// That two values are equal.
///
/// # Errors
/// [`Stop::Failed`] with both.
pub fn equal<T: PartialEq<U> + Debug, U: Debug>(what: impl Display, seen: T, expected: U) -> Checked {
    if seen == expected {
        return Ok(());
    }
    Err(Stop::failed(what, shown(&format!("{expected:?}")), shown(&format!("{seen:?}"))))
}

/// That something holds of a value.
///
/// # Errors
/// [`Stop::Failed`] with the value.
pub fn holds(what: impl Display, condition: bool, expected: impl Display, seen: impl Debug) -> Checked {
    if condition {
        return Ok(());
    }
    Err(Stop::failed(what, expected, shown(&format!("{seen:?}"))))
}

/// That there is something.
///
/// # Errors
/// [`Stop::Failed`] if there is nothing.
pub fn present<T>(what: impl Display, value: Option<T>) -> Checked<T> {
    value.ok_or_else(|| Stop::failed(what, "a value", "none"))
}

/// That a call was refused with one of these codes.
///
/// # Errors
/// [`Stop::Failed`] if it was not, [`Stop::NotSupported`] if the runtime lacks the call and may.
pub fn refused<T: Debug>(what: impl Display, answer: Result<T, Refusal>, codes: &[Code]) -> Checked {
    let expected = codes.iter().map(|code| format!("{code:?}")).collect::<Vec<_>>().join(" or ");
    match answer {
        Err(refusal) if codes.contains(&refusal.code()) => Ok(()),
        Err(refusal) if refusal.lacking => Err(refusal.into()),
        Err(refusal) => Err(Stop::failed(what, expected, refusal)),
        Ok(answer) => Err(Stop::failed(what, expected, shown(&format!("success: {answer:?}")))),
    }
}

/// That a call failed, whatever the code: where the CRI says that it does and runtimes differ in how. That it is not
/// implemented does not count.
///
/// # Errors
/// As [`refused`].
pub fn fails<T: Debug>(what: impl Display, answer: Result<T, Refusal>) -> Checked {
    match answer {
        Err(refusal) if refusal.lacking || refusal.code() == Code::Unimplemented => Err(refusal.into()),
        Err(_) => Ok(()),
        Ok(answer) => Err(Stop::failed(what, "an error", shown(&format!("success: {answer:?}")))),
    }
}

/// That two messages say the same, field by field.
///
/// # Errors
/// [`Stop::Failed`] with the fields that differ.
pub fn same<T: Serialize>(what: impl Display, seen: &T, expected: &T) -> Checked {
    let json = |value: &T| serde_json::to_value(value).map_err(|error| Stop::node("show a message", error));
    let mut different = Vec::new();
    differences("", &json(expected)?, &json(seen)?, &mut different);
    if different.is_empty() {
        return Ok(());
    }
    let side = |pick: fn(&Difference) -> &String| {
        different.iter().map(|one| format!("{} {}", one.path.trim_start_matches('.'), pick(one))).collect::<Vec<_>>()
    };
    Err(Stop::failed(what, side(|one| &one.expected).join(", "), side(|one| &one.seen).join(", ")))
}

struct Difference {
    path: String,
    expected: String,
    seen: String,
}

fn differences(path: &str, expected: &Value, seen: &Value, found: &mut Vec<Difference>) {
    match (expected, seen) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differences(&format!("{path}.{key}"), &of(left), &of(right), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differences(&format!("{path}[{index}]"), left, right, found);
            }
        }
        _ if expected == seen => {}
        _ => found.push(Difference {
            path: path.to_owned(),
            expected: shown(&expected.to_string()),
            seen: shown(&seen.to_string()),
        }),
    }
}

/// That a feature is there if the runtime says so, and only then.
///
/// # Errors
/// [`Stop::Failed`] if the two differ, [`Stop::NotSupported`] if it is not there.
pub fn as_said(feature: &str, said: bool, seen: bool) -> Checked {
    if !said && !seen {
        return Err(Stop::NotSupported(format!("{feature} is false")));
    }
    holds(feature, said == seen, format!("{seen}, as what was tried has shown"), said)
}

/// A value cut to what a report can show.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use corten_cri::v1::{ContainerMetadata, ContainerStatus};

    use super::*;

    fn failure(checked: Checked) -> String {
        match checked {
            Err(Stop::Failed(failure)) => failure.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        let expected = ContainerStatus {
            id: "a".into(),
            metadata: Some(ContainerMetadata { name: "n".into(), attempt: 1 }),
            labels: [("k".into(), "v".into())].into(),
            ..Default::default()
        };
        let mut seen = expected.clone();
        assert!(same("ContainerStatus", &seen, &expected).is_ok());
        seen.labels.insert("more".into(), "x".into());
        seen.metadata.as_mut().unwrap().attempt = 2;
        assert_eq!(
            failure(same("ContainerStatus", &seen, &expected)),
            r#"ContainerStatus: expected labels.more null, metadata.attempt 1, saw labels.more "x", metadata.attempt 2"#
        );
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(shown(&"ä".repeat(500)).chars().count(), SHOWN + 3);
    }

    #[test]
    fn equality_shows_both_sides() {
        assert_eq!(failure(equal("the state", 1, 2)), "the state: expected 2, saw 1");
        assert!(equal("the state", 1, 1).is_ok());
    }
}
