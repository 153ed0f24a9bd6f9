//! The contract as it is shipped: what an older or newer peer relies on, read from the descriptor
//! set that the build embeds.
//!
//! `the_contract_is_the_reviewed_one` compares it with `snapshots/`. A change there is a change of
//! the wire: numbers and types of fields that were released never change, new fields are added.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, ServiceDescriptorProto,
};

const PACKAGE: &str = "rowcall.v1";

#[test]
fn the_contract_is_the_reviewed_one() {
    insta::assert_snapshot!("rowcall.v1", as_text(&our_files()));
}

#[test]
fn every_enums_zero_is_unspecified() {
    let files = our_files();
    let enums: Vec<_> = files.iter().flat_map(|file| &file.enum_type).collect();
    assert!(!enums.is_empty());
    for declared in enums {
        let zero = declared.value.iter().find(|value| value.number() == 0);
        let name = zero.map(prost_types::EnumValueDescriptorProto::name).unwrap_or_default();
        assert!(name.ends_with("_UNSPECIFIED"), "{} has zero {name:?}", declared.name());
    }
}

#[test]
fn an_aggregator_can_only_welcome_acknowledge_and_drain() {
    let files = our_files();
    let services: Vec<_> = files.iter().flat_map(|file| &file.service).collect();
    let stream = services.iter().find(|service| service.name() == "TelemetryService").unwrap();
    let answers: Vec<_> =
        stream.method.iter().map(|rpc| (rpc.name(), short(rpc.output_type()))).collect();
    assert_eq!(answers, [("Stream", "StreamResponse")], "an agent uses one RPC");

    let messages = messages(&files);
    let frames: Vec<_> = messages["StreamResponse"]
        .field
        .iter()
        .map(|field| (field.name(), short(field.type_name())))
        .collect();
    assert_eq!(frames, [("welcome", "Welcome"), ("ack", "Ack"), ("drain", "Drain")]);
}

#[test]
fn nothing_an_agent_receives_on_the_stream_has_room_for_a_command() {
    let files = our_files();
    let messages = messages(&files);
    let received = reachable("StreamResponse", &messages);
    assert_eq!(
        received,
        BTreeSet::from(["StreamResponse", "Welcome", "Mark", "Ack", "Drain"].map(String::from))
    );
    let free_form: Vec<_> = received
        .iter()
        .flat_map(|name| messages[name.as_str()].field.iter().map(move |field| (name, field)))
        .filter(|(_, field)| matches!(field.r#type(), Type::String | Type::Bytes))
        .map(|(name, field)| format!("{name}.{}", field.name()))
        .collect();
    // A text that is logged, and a hash that is compared.
    assert_eq!(free_form, ["Welcome.aggregator_version", "Welcome.server_authorities_sha256"]);
}

#[test]
fn a_measured_field_can_be_absent() {
    let files = our_files();
    let messages = messages(&files);
    for name in ["Sample", "Vitals", "HostInfo"] {
        for field in &messages[name].field {
            // A message in a message has presence as it is.
            let has_presence = field.proto3_optional() || field.r#type() == Type::Message;
            assert!(has_presence, "{name}.{} is not optional", field.name());
        }
    }
}

#[test]
fn the_descriptor_set_holds_all_that_reflection_needs() {
    let files = all_files();
    let present: BTreeSet<_> = files.iter().map(FileDescriptorProto::name).collect();
    for file in &files {
        for import in &file.dependency {
            assert!(present.contains(import.as_str()), "{} imports {import}", file.name());
        }
    }
}

fn all_files() -> Vec<FileDescriptorProto> {
    FileDescriptorSet::decode(rowcall_proto::FILE_DESCRIPTOR_SET)
        .expect("the build script encoded it")
        .file
}

fn our_files() -> Vec<FileDescriptorProto> {
    let mut files = all_files();
    files.retain(|file| file.package() == PACKAGE);
    files.sort_by(|a, b| a.name().cmp(b.name()));
    files
}

fn messages(files: &[FileDescriptorProto]) -> BTreeMap<&str, &DescriptorProto> {
    files.iter().flat_map(|file| &file.message_type).map(|m| (m.name(), m)).collect()
}

/// The messages that `root` can carry, itself included.
fn reachable(root: &str, messages: &BTreeMap<&str, &DescriptorProto>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(name) = left.pop() {
        if seen.insert(name.clone()) {
            let fields = messages[name.as_str()].field.iter();
            left.extend(
                fields
                    .filter(|field| field.r#type() == Type::Message)
                    .map(|field| short(field.type_name()).to_owned()),
            );
        }
    }
    seen
}

/// The contract, a line for each field, value and RPC. In an order that declarations can't change,
/// so that a difference is always one of the wire.
fn as_text(files: &[FileDescriptorProto]) -> String {
    let mut text = Vec::new();
    for file in files {
        text.push(format!("file {}", file.name()));
        for service in sorted(&file.service, ServiceDescriptorProto::name) {
            write_service(&mut text, service);
        }
        for message in sorted(&file.message_type, DescriptorProto::name) {
            write_message(&mut text, message, "");
        }
        for declared in sorted(&file.enum_type, EnumDescriptorProto::name) {
            write_enum(&mut text, declared, "");
        }
        text.push(String::new());
    }
    text.join("\n")
}

fn sorted<T>(items: &[T], name: fn(&T) -> &str) -> Vec<&T> {
    let mut items: Vec<_> = items.iter().collect();
    items.sort_by(|a, b| name(a).cmp(name(b)));
    items
}

fn write_service(text: &mut Vec<String>, service: &ServiceDescriptorProto) {
    text.push(format!("service {}", service.name()));
    for rpc in &service.method {
        let stream = |streams: bool| if streams { "stream " } else { "" };
        text.push(format!(
            "  rpc {}({}{}) returns ({}{})",
            rpc.name(),
            stream(rpc.client_streaming()),
            short(rpc.input_type()),
            stream(rpc.server_streaming()),
            short(rpc.output_type())
        ));
    }
}

fn write_message(text: &mut Vec<String>, message: &DescriptorProto, indent: &str) {
    text.push(format!("{indent}message {}", message.name()));
    let mut fields: Vec<_> = message.field.iter().collect();
    fields.sort_by_key(|field| field.number());
    for field in fields {
        let oneof = match field.oneof_index.and_then(|index| usize::try_from(index).ok()) {
            Some(index) if !field.proto3_optional() => {
                format!(" in oneof {}", message.oneof_decl[index].name())
            }
            _ => String::new(),
        };
        text.push(format!(
            "{indent}  {} {}: {}{oneof}",
            field.number(),
            field.name(),
            type_of(field, message)
        ));
    }
    for range in &message.reserved_range {
        text.push(format!("{indent}  reserved {} to {}", range.start(), range.end() - 1));
    }
    for name in &message.reserved_name {
        text.push(format!("{indent}  reserved {name}"));
    }
    let inner = format!("{indent}  ");
    for nested in message.nested_type.iter().filter(|nested| !is_map_entry(nested)) {
        write_message(text, nested, &inner);
    }
    for declared in &message.enum_type {
        write_enum(text, declared, &inner);
    }
}

fn write_enum(text: &mut Vec<String>, declared: &EnumDescriptorProto, indent: &str) {
    text.push(format!("{indent}enum {}", declared.name()));
    for value in &declared.value {
        text.push(format!("{indent}  {} {}", value.number(), value.name()));
    }
    for range in &declared.reserved_range {
        text.push(format!("{indent}  reserved {} to {}", range.start(), range.end()));
    }
}

fn type_of(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    if let Some(entry) = message
        .nested_type
        .iter()
        .find(|nested| is_map_entry(nested) && field.type_name().ends_with(nested.name()))
    {
        let [key, value] = [0, 1].map(|index| type_of(&entry.field[index], entry));
        return format!("map<{key}, {value}>");
    }
    let name = match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()).to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
    };
    match field.label() {
        Label::Repeated => format!("repeated {name}"),
        _ if field.proto3_optional() => format!("optional {name}"),
        _ => name,
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
}

/// A type's name without our package; others stay whole.
fn short(type_name: &str) -> &str {
    let name = type_name.trim_start_matches('.');
    name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
}
