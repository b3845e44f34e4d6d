//! An interface as one release had it. The table says nothing of what was reserved.

use std::collections::BTreeMap;

use corten_cri::history::{self, FieldType, Snapshot, TypeName};

use super::schema::{Cardinality, Enum, Field, Interface, Message, Rpc, Value};

/// The interface of a release.
pub fn interface(package: &str, snapshot: &Snapshot<'_>) -> Interface {
    let rpcs = snapshot.rpcs.iter().map(|(name, rpc)| ((*name).to_owned(), self::rpc(rpc)));
    let messages = snapshot.messages.iter().map(|(name, fields)| {
        let fields = fields.iter().map(|(number, field)| (*number, self::field(snapshot, field))).collect();
        ((*name).to_owned(), Message { fields, reserved: None })
    });
    let enums = snapshot.enums.iter().map(|(name, values)| {
        let values: BTreeMap<_, _> =
            values.iter().map(|(number, value)| (*number, [value.name.clone()].into())).collect();
        ((*name).to_owned(), Enum { values, reserved: None })
    });
    Interface {
        package: package.to_owned(),
        rpcs: rpcs.collect(),
        messages: messages.collect(),
        enums: enums.collect(),
    }
}

fn rpc(rpc: &history::Rpc) -> Rpc {
    Rpc {
        request: rpc.request.clone(),
        response: rpc.response.clone(),
        client_streaming: false,
        server_streaming: rpc.server_streaming,
    }
}

fn field(snapshot: &Snapshot<'_>, field: &history::Field) -> Field {
    let value = |name: &TypeName| match name {
        TypeName::Scalar(scalar) => Value::Scalar(scalar.keyword()),
        TypeName::Named(name) if snapshot.enums.contains_key(name.as_str()) => Value::Enum(name.clone()),
        TypeName::Named(name) => Value::Message(name.clone()),
    };
    let (cardinality, value) = match &field.field_type {
        // Every single message can be not set, and so the table need not say it.
        FieldType::Single(name) => match value(name) {
            message @ Value::Message(_) => (Cardinality::Optional, message),
            other => (Cardinality::Implicit, other),
        },
        FieldType::Repeated(name) => (Cardinality::Repeated, value(name)),
        FieldType::Map(key, name) => (Cardinality::Map(Value::Scalar(key.keyword())), value(name)),
    };
    Field {
        name: field.name.clone(),
        json_name: Field::default_json_name(&field.name),
        value,
        cardinality,
        oneof: None,
    }
}
