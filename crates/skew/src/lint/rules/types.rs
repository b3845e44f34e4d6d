//! Which types are the same on the wire.

use super::super::schema::{Cardinality, Interface, Message, Value};

/// What one type is to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// The same.
    Same,
    /// The same on the wire, for this reason not elsewhere.
    OnTheWire(&'static str),
    /// Something else.
    Different,
}

/// Scalars of one encoding, and what differs beside it.
const ALIKE: [(&[&str], &str); 5] = [
    (&["string", "bytes"], "JSON has it in base64 or not, code has another type, and bytes need not be UTF-8"),
    (&["bool", "int32", "int64", "uint32", "uint64"], "what does not fit is cut, code has another type"),
    (&["sint32", "sint64"], "what does not fit is cut, code has another type"),
    (&["fixed32", "sfixed32"], "the sign is read otherwise, code has another type"),
    (&["fixed64", "sfixed64"], "the sign is read otherwise, code has another type"),
];

/// What the types of two values are to each other.
pub fn likeness(before: &Value, now: &Value, (old, new): (&Interface, &Interface)) -> Likeness {
    match (before, now) {
        _ if before == now => Likeness::Same,
        (Value::Scalar(was), Value::Scalar(is)) => {
            let alike = ALIKE.into_iter().find(|(words, _)| words.contains(was) && words.contains(is));
            alike.map_or(Likeness::Different, |(_, why)| Likeness::OnTheWire(why))
        }
        // An enum is a number, and its values are compared by themselves.
        (Value::Enum(_), Value::Enum(_)) => Likeness::OnTheWire("it is another enum"),
        (Value::Enum(_), Value::Scalar(word)) | (Value::Scalar(word), Value::Enum(_)) => {
            match ALIKE.into_iter().any(|(words, _)| words.contains(&"int32") && words.contains(word)) {
                true => Likeness::OnTheWire("JSON has a name or a number, code has another type"),
                false => Likeness::Different,
            }
        }
        (Value::Message(was), Value::Message(is)) if same_shape(old.messages.get(was), new.messages.get(is)) => {
            Likeness::OnTheWire("the message has another name, and the same fields")
        }
        _ => Likeness::Different,
    }
}

/// Whether two messages are read alike: fields of the same numbers have the same types.
pub fn same_shape(before: Option<&Message>, now: Option<&Message>) -> bool {
    let shape = |message: &Message| -> Vec<(i32, Value, Cardinality)> {
        let fields = message.fields.iter();
        fields.map(|(number, field)| (*number, field.value.clone(), field.cardinality.clone())).collect()
    };
    before.zip(now).is_some_and(|(before, now)| shape(before) == shape(now))
}
