//! The schema, as the build of `corten-cri` compiled it.

use std::collections::BTreeMap;

use corten_cri::DESCRIPTORS;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

/// The names of the fields of each message that a request or response of the services can have in it, and of the RPCs of
/// each service, in the schema's order.
pub fn reachable() -> BTreeMap<String, Vec<String>> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let file = set.file.iter().find(|file| file.package() == "runtime.v1").unwrap();
    let messages = by_name(file);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut open = Vec::new();
    for service in &file.service {
        let names = service.method.iter().map(|method| method.name().to_owned()).collect();
        found.insert(service.name().to_owned(), names);
        open.extend(service.method.iter().flat_map(|method| [method.input_type(), method.output_type()]));
    }
    while let Some(name) = open.pop() {
        let message = messages[name];
        let short = name.strip_prefix(".runtime.v1.").unwrap().to_owned();
        // What a map is made of is no message of its own to anybody.
        if message.options.as_ref().is_some_and(|options| options.map_entry()) || found.contains_key(&short) {
            continue;
        }
        let fields = message.field.iter().map(|field| field.name().to_owned()).collect();
        found.insert(short, fields);
        open.extend(
            message.field.iter().filter(|field| field.r#type() == Type::Message).map(|field| field.type_name()),
        );
    }
    found.retain(|_, fields| !fields.is_empty());
    found
}

fn by_name(file: &FileDescriptorProto) -> BTreeMap<String, &DescriptorProto> {
    let mut found = BTreeMap::new();
    for message in &file.message_type {
        let name = format!(".runtime.v1.{}", message.name());
        let nested = message.nested_type.iter().map(|inner| (format!("{name}.{}", inner.name()), inner));
        found.extend(nested);
        found.insert(name, message);
    }
    found
}
