//! Writes the modules of the records of `__consumer_offsets` and of the data inside opaque bytes.

use super::{
    rust::{GENERATED, Message, imports, messages},
    schema::{Data, Record, Versions},
    spelling::snake_case,
};
use std::fmt::Write;

/// The module with the enum of all records.
pub fn index(records: &[Record]) -> String {
    let mut out = format!("//! The records of the topic `__consumer_offsets`. {GENERATED}\n\n");
    for record in records {
        let _ = writeln!(out, "pub mod {};", snake_case(&record.name));
    }
    out.push_str("\nuse crate::wire::{EncodeError, RecordError, record};\nuse bytes::Bytes;\n");
    for record in records {
        let (module, key, value) = names(record);
        let _ = writeln!(out, "use {module}::{{{key}, {value}}};");
    }
    out.push_str(
        "\n/// A record of the topic `__consumer_offsets`; one without a value is a tombstone.\n\
         #[derive(Clone, Debug, PartialEq)]\npub enum GroupRecord {\n",
    );
    for record in records {
        let (_, key, value) = names(record);
        let types = range(record.types, " or ");
        let _ = writeln!(out, "/// Type {types}.\n{}({key}, Option<{value}>),", record.name);
    }
    out.push_str(
        "}\n\nimpl GroupRecord {
            /// Reads a record.
            ///
            /// # Errors
            /// The type of the record is unknown, or its key or its value is not of its type.
            pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Self, RecordError> {
                let (record_type, key) = record::start(key)?;
                match record_type {\n",
    );
    for record in records {
        let types = range(record.types, " | ");
        let name = &record.name;
        let _ = writeln!(
            out,
            "{types} => record::decode(key, value).map(|(key, value)| Self::{name}(key, value)),"
        );
    }
    out.push_str(
        "unknown => Err(RecordError::UnknownType(unknown)),
                }
            }

            /// The key and the value, in the versions that Kafka writes.
            ///
            /// # Errors
            /// A string is too long.
            pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
                match self {\n",
    );
    for record in records {
        let name = &record.name;
        let _ = writeln!(out, "Self::{name}(key, value) => record::encode(key, value.as_ref()),");
    }
    out.push_str("}\n}\n}\n\n");
    out.push_str("/// Calls a macro with `Name module Key Value;` for every type of record.\n");
    // rustfmt leaves the inside of such a macro alone.
    out.push_str("#[macro_export]\nmacro_rules! for_each_record {\n");
    out.push_str("    ($callback:ident) => {\n        $callback! {\n");
    for record in records {
        let (module, key, value) = names(record);
        let _ = writeln!(out, "            {} {module} {key} {value};", record.name);
    }
    out.push_str("        }\n    };\n}\n");
    out
}

/// The module of one type of record.
///
/// # Errors
/// Two different structures have one name.
pub fn module(record: &Record) -> anyhow::Result<String> {
    let (_, key, value) = names(record);
    let mut body = messages(&[
        Message { body: &record.key, versions: Versions::KEY, flexible_from: i16::MAX },
        Message {
            body: &record.value,
            versions: record.versions,
            flexible_from: record.flexible_from,
        },
    ])?;
    let _ = writeln!(
        body,
        "impl RecordKey for {key} {{
            const TYPE: i16 = {};
            const VALUE_VERSION: i16 = {};
            type Value = {value};
        }}",
        record.types.last, record.written
    );
    let wire =
        ["DecodeError", "EncodeError", "Message", "Reader", "RecordKey", "VersionRange", "Writer"];
    let mut out = format!(
        "//! `{}`: record type {}, versions {} to {} of the value.\n//!\n//! {GENERATED}\n\n",
        record.name,
        range(record.types, " or "),
        record.versions.first,
        record.versions.last,
    );
    out.push_str(&imports(&wire, &body));
    out.push('\n');
    out.push_str(&body);
    Ok(out)
}

/// The module with the data inside opaque bytes.
pub fn data_index(data: &[Data]) -> String {
    let mut out = format!("//! What stands in opaque bytes of other messages. {GENERATED}\n\n");
    for data in data {
        let _ = writeln!(out, "pub mod {};", snake_case(&data.body.name));
    }
    out
}

/// The module of one structure inside opaque bytes.
///
/// # Errors
/// Two different structures have one name.
pub fn data_module(data: &Data) -> anyhow::Result<String> {
    let Data { versions, body } = data;
    let name = &body.name;
    let code = messages(&[Message { body, versions: *versions, flexible_from: i16::MAX }])?;
    let mut out = format!(
        "//! `{name}`: versions {} to {}.\n//!\n//! {GENERATED}\n\n",
        versions.first, versions.last
    );
    let wire = ["DecodeError", "EncodeError", "Message", "Reader", "VersionRange", "Writer"];
    out.push_str(&imports(&wire, &code));
    out.push('\n');
    out.push_str(&code);
    Ok(out)
}

/// The names of the module, the key and the value.
fn names(record: &Record) -> (String, &str, &str) {
    (snake_case(&record.name), &record.key.name, &record.value.name)
}

fn range(types: Versions, between: &str) -> String {
    let types: Vec<_> = (types.first..=types.last).map(|number| number.to_string()).collect();
    types.join(between)
}
