//! Taking secrets out of messages.

use prost_reflect::{DynamicMessage, ReflectMessage, Value};

/// The message that has secrets, and the fields of it that have none.
const SECRET: (&str, [&str; 2]) = ("runtime.v1.AuthConfig", ["username", "server_address"]);

/// Blanks the credentials in a message, at any depth: every field of `AuthConfig` that is not known to be harmless, unknown ones
/// too. Whether there were any.
pub(super) fn credentials(message: &mut DynamicMessage) -> bool {
    let (name, harmless) = SECRET;
    let mut blanked = false;
    if message.descriptor().full_name() == name {
        let mut kept = DynamicMessage::new(message.descriptor());
        for field in harmless {
            if let (Some(value), true) = (message.get_field_by_name(field), message.has_field_by_name(field)) {
                kept.set_field_by_name(field, value.into_owned());
            }
        }
        *message = kept;
        return true;
    }
    for (_, value) in message.fields_mut() {
        blanked |= in_value(value);
    }
    blanked
}

fn in_value(value: &mut Value) -> bool {
    match value {
        Value::Message(message) => credentials(message),
        Value::List(list) => list.iter_mut().fold(false, |blanked, value| in_value(value) | blanked),
        Value::Map(map) => map.values_mut().fold(false, |blanked, value| in_value(value) | blanked),
        _ => false,
    }
}
