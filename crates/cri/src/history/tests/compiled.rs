//! The compiled descriptors against the table. Both are written down as one line per fact, so that nothing is compared
//! less strictly in one direction than in the other.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use super::{History, Snapshot};

const PACKAGE: &str = ".runtime.v1.";

fn compiled_file() -> FileDescriptorProto {
    let set = FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap();
    let mut files: Vec<_> = set.file.into_iter().filter(|file| file.package() == "runtime.v1").collect();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

fn recorded_facts(snapshot: &Snapshot<'_>) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for (name, rpc) in &snapshot.rpcs {
        facts.insert(rpc_fact(name, &rpc.request, &rpc.response, false, rpc.server_streaming));
    }
    for (name, fields) in &snapshot.messages {
        facts.insert(format!("message {name}"));
        facts.extend(
            fields.values().map(|field| format!("{name}: {} {} = {}", field.field_type, field.name, field.number)),
        );
    }
    for (name, values) in &snapshot.enums {
        facts.insert(format!("enum {name}"));
        facts.extend(values.values().map(|value| format!("{name}: {} = {}", value.name, value.number)));
    }
    facts
}

fn compiled_facts(file: &FileDescriptorProto) -> BTreeSet<String> {
    assert_eq!(file.syntax(), "proto3");
    assert!(file.extension.is_empty() && file.dependency.is_empty());
    let mut facts = BTreeSet::new();
    for service in &file.service {
        for method in &service.method {
            let name = format!("{}/{}", service.name(), method.name());
            let (request, response) = (local(method.input_type()), local(method.output_type()));
            facts.insert(rpc_fact(&name, request, response, method.client_streaming(), method.server_streaming()));
        }
    }
    for message in &file.message_type {
        message_facts("", message, &mut facts);
    }
    for an_enum in &file.enum_type {
        enum_facts("", an_enum, &mut facts);
    }
    facts
}

fn rpc_fact(name: &str, request: &str, response: &str, client_streaming: bool, server_streaming: bool) -> String {
    let stream = |streaming| if streaming { "stream " } else { "" };
    format!("rpc {name}({}{request}) returns ({}{response})", stream(client_streaming), stream(server_streaming))
}

fn message_facts(parent: &str, message: &DescriptorProto, facts: &mut BTreeSet<String>) {
    let name = format!("{parent}{}", message.name());
    assert!(message.oneof_decl.is_empty(), "{name} has a oneof, which the table cannot say");
    facts.insert(format!("message {name}"));
    for field in &message.field {
        facts.insert(format!("{name}: {} {} = {}", field_type(message, field), field.name(), field.number()));
    }
    for an_enum in &message.enum_type {
        enum_facts(&format!("{name}."), an_enum, facts);
    }
    for nested in message.nested_type.iter().filter(|nested| !is_map_entry(nested)) {
        message_facts(&format!("{name}."), nested, facts);
    }
}

fn enum_facts(parent: &str, an_enum: &EnumDescriptorProto, facts: &mut BTreeSet<String>) {
    let name = format!("{parent}{}", an_enum.name());
    facts.insert(format!("enum {name}"));
    facts.extend(an_enum.value.iter().map(|value| format!("{name}: {} = {}", value.name(), value.number())));
}

fn field_type(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let entry = message.nested_type.iter().find(|nested| {
        is_map_entry(nested) && field.type_name().ends_with(&format!(".{}.{}", message.name(), nested.name()))
    });
    match (entry, field.label()) {
        (Some(entry), Label::Repeated) => {
            format!("map<{}, {}>", value_type(&entry.field[0]), value_type(&entry.field[1]))
        }
        (None, Label::Repeated) => format!("repeated {}", value_type(field)),
        (None, Label::Optional) => value_type(field),
        (entry, label) => panic!("{} {label:?} with entry {entry:?}", field.name()),
    }
}

fn value_type(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Bool => "bool".into(),
        Type::Bytes => "bytes".into(),
        Type::Double => "double".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::String => "string".into(),
        Type::Uint32 => "uint32".into(),
        Type::Uint64 => "uint64".into(),
        Type::Message | Type::Enum => local(field.type_name()).to_owned(),
        other => panic!("{} is {other:?}", field.name()),
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

fn local(name: &str) -> &str {
    name.strip_prefix(PACKAGE).unwrap_or_else(|| panic!("{name} is not of {PACKAGE}"))
}

#[test]
fn the_compiled_interface_is_the_newest_release() {
    let v1 = &History::embedded().unwrap().v1;
    let recorded = recorded_facts(&v1.in_release(v1.newest().unwrap()).unwrap());
    let compiled = compiled_facts(&compiled_file());
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    assert_eq!(only(&recorded, &compiled), Vec::<String>::new(), "in the history but not compiled");
    assert_eq!(only(&compiled, &recorded), Vec::<String>::new(), "compiled but not in the history");
}

#[test]
fn the_compiled_interface_has_43_rpcs_175_messages_and_478_fields() {
    let file = compiled_file();
    let rpcs: usize = file.service.iter().map(|service| service.method.len()).sum();
    let fields: usize = file.message_type.iter().map(|message| message.field.len()).sum();
    assert_eq!((rpcs, file.message_type.len(), fields), (43, 175, 478));
}

#[test]
fn the_comparison_sees_every_kind_of_change() {
    let v1 = &History::embedded().unwrap().v1;
    let recorded = recorded_facts(&v1.in_release(v1.newest().unwrap()).unwrap());
    let changes: [fn(&mut FileDescriptorProto); 8] = [
        |file| file.message_type[0].field[0].number = Some(99),
        |file| file.message_type[0].field[0].name = Some("renamed".into()),
        |file| file.message_type[0].field[0].set_type(Type::Bytes),
        |file| file.message_type[0].field[0].set_label(Label::Repeated),
        |file| file.message_type[0].name = Some("Renamed".into()),
        |file| file.enum_type[0].value[0].number = Some(99),
        |file| file.service[0].method[0].server_streaming = Some(true),
        |file| file.service[0].method[0].client_streaming = Some(true),
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut file = compiled_file();
        change(&mut file);
        assert_ne!(compiled_facts(&file), recorded, "change {index}");
    }
}
