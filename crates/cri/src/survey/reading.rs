//! What the answers to questions mean.

use tonic::{Code, Status};

use super::{
    FieldKey, Finding,
    question::{Kind, Question},
};

/// Whether a runtime has an RPC, from its answer to an undecodable request.
pub(super) fn rpc(status: &Status) -> Finding {
    match status.code() {
        Code::Unimplemented => Finding::Lacks,
        _ if stumble(status.message()).is_some() => Finding::Has,
        _ => unclear(status),
    }
}

/// Whether the runtime, rather than the way to it, gave no answer.
pub(super) fn is_no_answer(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::FailedPrecondition)
}

/// What a question's answer says of the fields that it asks for.
pub(super) fn fields(question: &Question, status: &Status) -> Vec<(FieldKey, Finding)> {
    let finding = match status.code() {
        Code::Unimplemented => Finding::Lacks,
        _ => stumble(status.message()).and_then(|over| known(question, over)).unwrap_or_else(|| unclear(status)),
    };
    let key = |field: &&'static crate::history::Field| FieldKey {
        message: question.message,
        number: field.number,
        name: &field.name,
        field_type: field.field_type.to_string(),
    };
    let one = |field: &&'static crate::history::Field| {
        let finding = match (question.kind, &finding) {
            // The bytes are what was there if it was not the text.
            (Kind::TextOrBytes, Finding::Has) if !is_text(field) => Finding::Lacks,
            (Kind::TextOrBytes, Finding::Lacks) if !is_text(field) => Finding::Has,
            (_, finding) => finding.clone(),
        };
        (key(field), finding)
    };
    question.fields.iter().map(one).collect()
}

fn is_text(field: &crate::history::Field) -> bool {
    field.field_type.to_string().ends_with("string")
}

fn unclear(status: &Status) -> Finding {
    Finding::Unclear { said: format!("{:?}: {}", status.code(), status.message()) }
}

/// What a decoder stumbled over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// A known field of another wire type: gogo/protobuf, prost.
    WireType,
    /// A tag that cannot be: gogo/protobuf, prost.
    Tag {
        /// Whether the decoder lets a text be anything.
        lax: bool,
    },
    /// A text that is none: google.golang.org/protobuf, prost.
    Text,
    /// The message's form, whatever is wrong with it: google.golang.org/protobuf.
    Form,
    /// The runtime's own check for fields that it does not know: cortend, where it is configured so.
    Refused,
}

fn stumble(said: &str) -> Option<Over> {
    let kinds = [
        ("wrong wireType", Over::WireType),
        ("invalid wire type: ", Over::WireType),
        ("illegal tag", Over::Tag { lax: true }),
        ("invalid tag value", Over::Tag { lax: false }),
        ("UTF-8", Over::Text),
        ("cannot parse invalid wire-format data", Over::Form),
        ("is not known to this version", Over::Refused),
    ];
    kinds.into_iter().find_map(|(words, over)| said.contains(words).then_some(over))
}

/// Whether the field that was asked for is known; nothing if that remains open.
fn known(question: &Question, over: Over) -> Option<Finding> {
    let has = |has| Some(if has { Finding::Has } else { Finding::Lacks });
    match (over, question.kind) {
        (Over::Refused, _) => has(false),
        // gogo/protobuf takes anything for a text.
        (Over::Tag { lax: true }, Kind::TextOrBytes) => None,
        (Over::WireType, _) => has(true),
        (Over::Tag { .. }, _) => has(false),
        (Over::Text, Kind::Text | Kind::Map | Kind::TextOrBytes) => has(true),
        (Over::Text, Kind::Message | Kind::Packed | Kind::Plain) => has(false),
        (Over::Form, Kind::Text | Kind::Map | Kind::TextOrBytes) => has(false),
        (Over::Form, Kind::Message | Kind::Packed) if question.text.is_some() => has(true),
        (Over::Form, Kind::Message | Kind::Packed | Kind::Plain) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_decoders() {
        for (said, over) in [
            ("grpc: error unmarshalling request: proto: wrong wireType = 5 for field Version", Over::WireType),
            (
                "grpc: error unmarshalling request: proto: KeyValue: illegal tag 0 (wire type 0)",
                Over::Tag { lax: true },
            ),
            (
                "failed to decode Protobuf message: VersionRequest.version: invalid wire type: ThirtyTwoBit (expected \
                 LengthDelimited)",
                Over::WireType,
            ),
            ("failed to decode Protobuf message: invalid tag value: 0", Over::Tag { lax: false }),
            ("failed to decode Protobuf message: X.y: invalid string value: data is not UTF-8 encoded", Over::Text),
            ("grpc: error unmarshalling request: proto: string field contains invalid UTF-8", Over::Text),
            ("grpc: error unmarshalling request: proto: cannot parse invalid wire-format data", Over::Form),
        ] {
            assert_eq!(stumble(said), Some(over), "{said}");
        }
        assert_eq!(stumble("no such container"), None);
    }

    #[test]
    fn an_answer_that_is_no_decoders_says_nothing_of_an_rpc() {
        assert_eq!(rpc(&Status::unimplemented("unknown method X")), Finding::Lacks);
        assert_eq!(rpc(&Status::internal("cannot parse invalid wire-format data")), Finding::Has);
        let said = "Unknown: server is not initialized yet".to_owned();
        assert_eq!(rpc(&Status::unknown("server is not initialized yet")), Finding::Unclear { said });
    }
}
