//! An interface as a proto file has it.
//!
//! The file is all that is read: what it imports beside `google/protobuf` is left out, with the options that come from
//! there (the CRI's own files import gogo's, of which nothing else is used).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::Path,
};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, UninterpretedOption,
    field_descriptor_proto::{Label, Type},
};
use protox::{
    Compiler,
    file::{self, FileResolver, GoogleFileResolver},
};

use super::{
    Error,
    schema::{Cardinality, Enum, Field, Interface, Message, Reserved, Rpc, Value},
};

/// No interface is written by people at this length.
const LIMIT: u64 = 4 << 20;

/// The name of the one file; imports are never looked for by it.
const NAME: &str = "api.proto";

/// Reads a file.
///
/// # Errors
/// [`Error::File`] when it cannot be read, [`Error::Proto`] when it is no proto file.
pub fn read(path: &Path) -> Result<Interface, Error> {
    let refuse = |source| Error::File { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).map_err(refuse)?.take(LIMIT + 1).read_to_string(&mut text).map_err(refuse)?;
    if text.len() as u64 > LIMIT {
        return Err(Error::Proto { path: path.to_owned(), why: format!("it is longer than {LIMIT} bytes") });
    }
    parse(&text).map_err(|why| Error::Proto { path: path.to_owned(), why })
}

/// Reads the text of a file.
///
/// # Errors
/// What is wrong with it, and where.
pub fn parse(text: &str) -> Result<Interface, String> {
    let explain = |error: protox::Error| format!("{error:?}");
    let parsed = file::File::from_source(NAME, text).map_err(explain)?;
    let mut compiler = Compiler::with_file_resolver(Alone(without_strangers(parsed.into())));
    compiler.open_file(NAME).map_err(explain)?;
    let set = compiler.file_descriptor_set();
    let file = set.file.iter().find(|file| file.name() == NAME).ok_or("it is empty")?;
    Ok(interface(file))
}

/// Finds the one file, and those that come with the language.
struct Alone(FileDescriptorProto);

impl FileResolver for Alone {
    fn open_file(&self, name: &str) -> Result<file::File, protox::Error> {
        match name {
            NAME => Ok(self.0.clone().into()),
            other => GoogleFileResolver::new().open_file(other),
        }
    }
}

/// The file without imports of others, and without the options that these define.
fn without_strangers(mut file: FileDescriptorProto) -> FileDescriptorProto {
    file.dependency.retain(|name| name.starts_with("google/protobuf/"));
    file.public_dependency.clear();
    file.weak_dependency.clear();
    file.options.iter_mut().for_each(|options| own(&mut options.uninterpreted_option));
    file.message_type.iter_mut().for_each(message_without_strangers);
    file.enum_type.iter_mut().for_each(enum_without_strangers);
    for service in &mut file.service {
        service.options.iter_mut().for_each(|options| own(&mut options.uninterpreted_option));
        let methods = service.method.iter_mut().filter_map(|method| method.options.as_mut());
        methods.for_each(|options| own(&mut options.uninterpreted_option));
    }
    file
}

fn message_without_strangers(message: &mut DescriptorProto) {
    message.options.iter_mut().for_each(|options| own(&mut options.uninterpreted_option));
    let fields = message.field.iter_mut().filter_map(|field| field.options.as_mut());
    fields.for_each(|options| own(&mut options.uninterpreted_option));
    let oneofs = message.oneof_decl.iter_mut().filter_map(|oneof| oneof.options.as_mut());
    oneofs.for_each(|options| own(&mut options.uninterpreted_option));
    message.enum_type.iter_mut().for_each(enum_without_strangers);
    message.nested_type.iter_mut().for_each(message_without_strangers);
}

fn enum_without_strangers(an_enum: &mut EnumDescriptorProto) {
    an_enum.options.iter_mut().for_each(|options| own(&mut options.uninterpreted_option));
    let values = an_enum.value.iter_mut().filter_map(|value| value.options.as_mut());
    values.for_each(|options| own(&mut options.uninterpreted_option));
}

/// Leaves the options of the language itself.
fn own(options: &mut Vec<UninterpretedOption>) {
    options.retain(|option| !option.name.iter().any(|part| part.is_extension));
}

fn interface(file: &FileDescriptorProto) -> Interface {
    let package = file.package().to_owned();
    let mut found = Interface { package, ..Interface::default() };
    let local = |name: &str| local(file.package(), name);
    for service in &file.service {
        for method in &service.method {
            let rpc = Rpc {
                request: local(method.input_type()),
                response: local(method.output_type()),
                client_streaming: method.client_streaming(),
                server_streaming: method.server_streaming(),
            };
            found.rpcs.insert(format!("{}/{}", service.name(), method.name()), rpc);
        }
    }
    for message in &file.message_type {
        add_message(&mut found, "", message);
    }
    for an_enum in &file.enum_type {
        found.enums.insert(an_enum.name().to_owned(), self::an_enum(an_enum));
    }
    found
}

fn add_message(found: &mut Interface, outer: &str, message: &DescriptorProto) {
    let name = format!("{outer}{}", message.name());
    let fields: BTreeMap<_, _> =
        message.field.iter().map(|field| (field.number(), self::field(&found.package, message, field))).collect();
    // The end of a message's range is not part of it.
    let numbers = message.reserved_range.iter().map(|range| range.start()..=range.end().saturating_sub(1));
    let reserved = Reserved { numbers: numbers.collect(), names: message.reserved_name.iter().cloned().collect() };
    found.messages.insert(name.clone(), Message { fields, reserved: Some(reserved) });
    for an_enum in &message.enum_type {
        found.enums.insert(format!("{name}.{}", an_enum.name()), self::an_enum(an_enum));
    }
    for nested in message.nested_type.iter().filter(|nested| !is_entry(nested)) {
        add_message(found, &format!("{name}."), nested);
    }
}

fn an_enum(an_enum: &EnumDescriptorProto) -> Enum {
    let mut values: BTreeMap<i32, _> = BTreeMap::new();
    for value in &an_enum.value {
        values.entry(value.number()).or_insert_with(BTreeSet::new).insert(value.name().to_owned());
    }
    let numbers = an_enum.reserved_range.iter().map(|range| range.start()..=range.end()).collect();
    let reserved = Reserved { numbers, names: an_enum.reserved_name.iter().cloned().collect() };
    Enum { values, reserved: Some(reserved) }
}

fn field(package: &str, message: &DescriptorProto, field: &FieldDescriptorProto) -> Field {
    let nested = || message.nested_type.iter().filter(|nested| is_entry(nested));
    let entry = nested().find(|nested| field.type_name().ends_with(&format!(".{}.{}", message.name(), nested.name())));
    let of_entry = |number| entry.and_then(|entry| entry.field.iter().find(|field| field.number() == number));
    let (cardinality, value) = match (of_entry(1), of_entry(2)) {
        (Some(key), Some(value)) => (Cardinality::Map(self::value(package, key)), self::value(package, value)),
        _ => (cardinality(field), value(package, field)),
    };
    // What `optional` is made of is no oneof to anybody.
    let index = field.oneof_index.filter(|_| !field.proto3_optional()).and_then(|index| usize::try_from(index).ok());
    let oneof = index.and_then(|index| message.oneof_decl.get(index)).map(|oneof| oneof.name().to_owned());
    let json_name = field.json_name.clone().unwrap_or_else(|| Field::default_json_name(field.name()));
    Field { name: field.name().to_owned(), json_name, value, cardinality, oneof }
}

fn cardinality(field: &FieldDescriptorProto) -> Cardinality {
    match field.label() {
        Label::Repeated => Cardinality::Repeated,
        Label::Required => Cardinality::Required,
        Label::Optional if field.proto3_optional() || field.r#type() == Type::Message => Cardinality::Optional,
        Label::Optional => Cardinality::Implicit,
    }
}

fn value(package: &str, field: &FieldDescriptorProto) -> Value {
    let named = || local(package, field.type_name());
    match field.r#type() {
        Type::Message => Value::Message(named()),
        Type::Enum => Value::Enum(named()),
        Type::Group => Value::Group(named()),
        Type::Double => Value::Scalar("double"),
        Type::Float => Value::Scalar("float"),
        Type::Int64 => Value::Scalar("int64"),
        Type::Uint64 => Value::Scalar("uint64"),
        Type::Int32 => Value::Scalar("int32"),
        Type::Fixed64 => Value::Scalar("fixed64"),
        Type::Fixed32 => Value::Scalar("fixed32"),
        Type::Bool => Value::Scalar("bool"),
        Type::String => Value::Scalar("string"),
        Type::Bytes => Value::Scalar("bytes"),
        Type::Uint32 => Value::Scalar("uint32"),
        Type::Sfixed32 => Value::Scalar("sfixed32"),
        Type::Sfixed64 => Value::Scalar("sfixed64"),
        Type::Sint32 => Value::Scalar("sint32"),
        Type::Sint64 => Value::Scalar("sint64"),
    }
}

fn is_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

/// A name without the package that it is in.
fn local(package: &str, name: &str) -> String {
    let name = name.strip_prefix('.').unwrap_or(name);
    let inside = name.strip_prefix(package).and_then(|rest| rest.strip_prefix('.'));
    inside.unwrap_or(name).to_owned()
}
