//! How the names, types, defaults and conditions of the schema are spelled in Rust.

use super::schema::{Field, Type, Versions};

/// The condition under which a version of `outer` is within `versions`; none if always.
pub fn condition(versions: Versions, outer: Versions) -> Option<String> {
    let Versions { first, last } = versions;
    match (first > outer.first, last < outer.last) {
        (false, false) => None,
        (true, false) => Some(format!("version >= {first}")),
        (false, true) => Some(format!("version <= {last}")),
        (true, true) if first == last => Some(format!("version == {first}")),
        (true, true) => Some(format!("({first}..={last}).contains(&version)")),
    }
}

/// Whether an identifier occurs in source text.
pub fn has_word(source: &str, word: &str) -> bool {
    source
        .split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|w| w == word)
}

/// The opposite of a condition made by [`condition`].
pub fn negated(condition: &str) -> String {
    if let Some(first) = condition.strip_prefix("version >= ") {
        format!("version < {first}")
    } else if let Some(last) = condition.strip_prefix("version <= ") {
        format!("version > {last}")
    } else {
        format!("!({condition})")
    }
}

/// The field's name in Rust, without the mark of a raw identifier.
pub fn field_name(field: &Field) -> String {
    snake_case(&field.name)
}

/// The field's name in Rust.
pub fn rust_name(field: &Field) -> String {
    let name = field_name(field);
    match name.as_str() {
        "type" | "match" | "ref" | "move" | "use" => format!("r#{name}"),
        _ => name,
    }
}

/// The field's type in Rust.
pub fn rust_type(field: &Field) -> String {
    let kind = value_type(&field.kind);
    // Records are always an option, as a partition without data has none (their default is null).
    let optional = field.nullable.is_some() || field.kind == Type::Records;
    if optional { format!("Option<{kind}>") } else { kind }
}

fn value_type(kind: &Type) -> String {
    match kind {
        Type::Bool => "bool".to_string(),
        Type::Int8 => "i8".to_string(),
        Type::Int16 => "i16".to_string(),
        Type::Uint16 => "u16".to_string(),
        Type::Int32 => "i32".to_string(),
        Type::Int64 => "i64".to_string(),
        Type::String => "Str".to_string(),
        Type::Uuid => "TopicId".to_string(),
        Type::Bytes | Type::Records => "Bytes".to_string(),
        Type::Struct(nested) => nested.name.clone(),
        Type::Array(element) => format!("Vec<{}>", value_type(element)),
    }
}

/// The field's default as an expression.
pub fn default_value(field: &Field) -> String {
    let null = field.default.as_deref() == Some("null");
    let value = match &field.kind {
        Type::Records => return "None".to_string(),
        _ if null => return "None".to_string(),
        Type::Bool => field.default.clone().unwrap_or_else(|| "false".to_string()),
        Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64 => {
            match field.default.as_deref().unwrap_or("0") {
                "-2147483648" => "i32::MIN".to_string(),
                "2147483647" => "i32::MAX".to_string(),
                "9223372036854775807" => "i64::MAX".to_string(),
                other => other.to_string(),
            }
        }
        Type::Bytes => "Bytes::new()".to_string(),
        Type::Uuid => "TopicId::default()".to_string(),
        Type::String => "Str::default()".to_string(),
        Type::Struct(nested) => format!("{}::default()", nested.name),
        Type::Array(_) => "Vec::new()".to_string(),
    };
    if field.nullable.is_some() { format!("Some({value})") } else { value }
}

/// The condition that a field does not have its default.
pub fn differs_from_default(field: &Field) -> String {
    let place = format!("self.{}", rust_name(field));
    match default_value(field).as_str() {
        "None" => format!("{place}.is_some()"),
        "false" => place,
        "true" => format!("!{place}"),
        "Str::default()" | "Bytes::new()" | "Vec::new()" => format!("!{place}.is_empty()"),
        value if value.starts_with("Some(") => {
            let differs = match &field.kind {
                Type::Struct(nested) => format!("*value != {}::default()", nested.name),
                _ => "!value.is_empty()".to_string(),
            };
            format!("{place}.as_ref().is_none_or(|value| {differs})")
        }
        value => format!("{place} != {value}"),
    }
}

/// A number of bytes as a product of the units it was written with.
pub fn size(bytes: usize) -> String {
    match (bytes % (1024 * 1024), bytes % 1024) {
        (0, _) if bytes > 1024 * 1024 => format!("{} * 1024 * 1024", bytes / 1024 / 1024),
        (0, _) => "1024 * 1024".to_string(),
        (_, 0) => format!("{} * 1024", bytes / 1024),
        _ => bytes.to_string(),
    }
}

/// `FetchableTopicResponse` as `fetchable_topic_response`.
pub fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(character.to_lowercase());
    }
    out
}
