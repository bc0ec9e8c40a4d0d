//! The schema of the wire messages, as it is written in `node/src/wire/schema/*.schema`.
//!
//! The format is described in the README beside those files. This file uses nothing but the
//! standard library, because the codec's tests read the schema with it too.

/// One API: what is served of it and its two messages.
#[derive(Clone, Debug)]
pub struct Api {
    /// The name in the protocol, as `Fetch`.
    pub name: String,
    /// The number of the API on the wire.
    pub key: i16,
    /// The versions that are served.
    pub versions: Versions,
    /// The versions that are shown to clients.
    pub advertised: Versions,
    /// The first version with tagged fields; `i16::MAX` if there is none.
    pub flexible_from: i16,
    /// The longest request frame in bytes.
    pub request_limit: usize,
    /// The request's body.
    pub request: Struct,
    /// The response's body.
    pub response: Struct,
}

/// One type of record in the topic `__consumer_offsets`.
#[derive(Clone, Debug)]
pub struct Record {
    /// The name in Kafka, as `OffsetCommit`.
    pub name: String,
    /// The record types that keys begin with; the last is written.
    pub types: Versions,
    /// The versions of the value that can be read.
    pub versions: Versions,
    /// The first version of the value with tagged fields; `i16::MAX` if there is none.
    pub flexible_from: i16,
    /// The version of the value that is written.
    pub written: i16,
    /// The key, which has one version and no tagged fields.
    pub key: Struct,
    /// The value.
    pub value: Struct,
}

/// A structure inside opaque bytes, behind its version and without tagged fields.
#[derive(Clone, Debug)]
pub struct Data {
    /// The versions it has.
    pub versions: Versions,
    /// The structure.
    pub body: Struct,
}

/// A range of versions, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest version.
    pub first: i16,
    /// The newest version.
    pub last: i16,
}

/// A named list of fields in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struct {
    /// The name in the protocol.
    pub name: String,
    /// The fields in the order of the wire.
    pub fields: Vec<Field>,
}

/// A field of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name in the protocol.
    pub name: String,
    /// What it holds.
    pub kind: Type,
    /// The served versions that have the field.
    pub versions: Versions,
    /// The versions in which it may be null.
    pub nullable: Option<Versions>,
    /// The tag, if it is a tagged field.
    pub tag: Option<u32>,
    /// The default as it is written, if it is not the type's own.
    pub default: Option<String>,
    /// Whether a value may be dropped silently in a version without the field.
    pub ignorable: bool,
}

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A boolean.
    Bool,
    /// A signed byte.
    Int8,
    /// A 16-bit integer.
    Int16,
    /// An unsigned 16-bit integer.
    Uint16,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// UTF-8 text.
    String,
    /// A UUID.
    Uuid,
    /// Opaque bytes.
    Bytes,
    /// Opaque record batches.
    Records,
    /// A nested structure.
    Struct(Struct),
    /// A list of one type.
    Array(Box<Type>),
}

impl Versions {
    /// The one version that keys of records have.
    pub const KEY: Self = Self { first: 0, last: 0 };

    /// Reads `3`, `3-7` or `3+`, the last up to the newest version that is served.
    fn parse(text: &str, newest: i16) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no version"));
        let (first, last) = if let Some(first) = text.strip_suffix('+') {
            (number(first)?, newest)
        } else if let Some((first, last)) = text.split_once('-') {
            (number(first)?, number(last)?)
        } else {
            (number(text)?, number(text)?)
        };
        if first > last {
            return Err(format!("`{text}` is no range of served versions"));
        }
        Ok(Self { first, last })
    }
}

impl Api {
    /// Reads one schema file.
    ///
    /// # Errors
    /// A sentence with the line that is not in the format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Lines::new(text);
        let name = lines.setting("api")?.ok_or("the first line is not `api NAME`")?;
        let key = lines.setting("key")?.ok_or("`key` is missing")?;
        let key = key.parse().map_err(|_| format!("`{key}` is no API key"))?;
        let versions = lines.range("versions")?;
        let advertised = match lines.setting("advertised")? {
            Some(range) => Versions::parse(&range, versions.last)?,
            None => versions,
        };
        let flexible_from = lines.flexible_from()?;
        let limit = lines.setting("request-limit")?.ok_or("`request-limit` is missing")?;
        let request_limit = parse_bytes(&limit)?;
        let request = lines.message("request", versions)?;
        let response = lines.message("response", versions)?;
        lines.end()?;
        Ok(Self {
            name,
            key,
            versions,
            advertised,
            flexible_from,
            request_limit,
            request,
            response,
        })
    }
}

impl Record {
    /// Reads one schema file.
    ///
    /// # Errors
    /// A sentence with the line that is not in the format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Lines::new(text);
        let name = lines.setting("record")?.ok_or("the first line is not `record NAME`")?;
        let types = lines.range("types")?;
        let versions = lines.range("versions")?;
        let flexible_from = lines.flexible_from()?;
        let written = match lines.setting("written")? {
            Some(version) => Versions::parse(&version, versions.last)?.last,
            None => versions.last,
        };
        let key = lines.message("key", Versions::KEY)?;
        let value = lines.message("value", versions)?;
        lines.end()?;
        Ok(Self { name, types, versions, flexible_from, written, key, value })
    }
}

impl Data {
    /// Reads one schema file.
    ///
    /// # Errors
    /// A sentence with the line that is not in the format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Lines::new(text);
        let versions = lines.range("versions")?;
        let body = lines.message("data", versions)?;
        lines.end()?;
        Ok(Self { versions, body })
    }
}

/// A line with its indentation taken off.
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

/// The lines not read yet.
struct Lines<'a> {
    rest: std::collections::VecDeque<Line<'a>>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let lines = text.lines().enumerate().map(|(index, line)| Line {
            number: index + 1,
            indent: line.len() - line.trim_start().len(),
            text: line.trim(),
        });
        Self { rest: lines.filter(|l| !l.text.is_empty() && !l.text.starts_with('#')).collect() }
    }

    /// Takes `NAME VALUE` if it comes next.
    fn setting(&mut self, name: &str) -> Result<Option<String>, String> {
        let Some(line) = self.rest.front() else { return Ok(None) };
        let Some((key, value)) = line.text.split_once(' ') else {
            return Err(format!("line {}: a name without a value", line.number));
        };
        if key != name {
            return Ok(None);
        }
        let value = value.trim().to_string();
        self.rest.pop_front();
        Ok(Some(value))
    }

    /// Takes `NAME RANGE`.
    fn range(&mut self, name: &str) -> Result<Versions, String> {
        let range = self.setting(name)?.ok_or_else(|| format!("`{name}` is missing"))?;
        Versions::parse(&range, i16::MAX)
    }

    /// Takes `flexible RANGE` if it comes next.
    fn flexible_from(&mut self) -> Result<i16, String> {
        match self.setting("flexible")? {
            Some(range) => Ok(Versions::parse(&range, i16::MAX)?.first),
            None => Ok(i16::MAX),
        }
    }

    /// Sees to it that nothing is left.
    fn end(&self) -> Result<(), String> {
        match self.rest.front() {
            Some(line) => Err(format!("line {}: `{}` is unexpected", line.number, line.text)),
            None => Ok(()),
        }
    }

    fn message(&mut self, role: &str, versions: Versions) -> Result<Struct, String> {
        let name = self.setting(role)?.ok_or_else(|| format!("`{role} NAME` is missing"))?;
        Ok(Struct { name, fields: self.fields(2, versions)? })
    }

    /// Takes the fields at an indentation, with everything nested in them.
    fn fields(&mut self, indent: usize, outer: Versions) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        while let Some(line) = self.rest.pop_front_if(|line| line.indent == indent) {
            let number = line.number;
            let field = self.field(&line, outer);
            fields.push(field.map_err(|problem| format!("line {number}: {problem}"))?);
        }
        match self.rest.front() {
            Some(line) if line.indent > indent => {
                Err(format!("line {}: the indentation has no field above it", line.number))
            }
            _ => Ok(fields),
        }
    }

    fn field(&mut self, line: &Line<'a>, outer: Versions) -> Result<Field, String> {
        let mut words = line.text.split_whitespace();
        let (Some(name), Some(kind)) = (words.next(), words.next()) else {
            return Err("a field needs a name and a type".to_string());
        };
        let mut field = Field {
            name: name.to_string(),
            kind: Type::Bool,
            versions: outer,
            nullable: None,
            tag: None,
            default: None,
            ignorable: false,
        };
        for word in words {
            let (attribute, value) = word.split_once('=').unwrap_or((word, ""));
            match attribute {
                "versions" => field.versions = Versions::parse(value, outer.last)?,
                "nullable" if value.is_empty() => field.nullable = Some(field.versions),
                "nullable" => field.nullable = Some(Versions::parse(value, field.versions.last)?),
                "tag" => {
                    let tag = value.parse().map_err(|_| format!("`{value}` is no tag"))?;
                    field.tag = Some(tag);
                }
                "default" => field.default = Some(value.to_string()),
                "ignorable" => field.ignorable = true,
                _ => return Err(format!("`{word}` is no attribute of a field")),
            }
        }
        field.kind = self.kind(kind, line.indent, field.versions)?;
        Ok(field)
    }

    fn kind(&mut self, text: &str, indent: usize, versions: Versions) -> Result<Type, String> {
        Ok(match text {
            "bool" => Type::Bool,
            "int8" => Type::Int8,
            "int16" => Type::Int16,
            "uint16" => Type::Uint16,
            "int32" => Type::Int32,
            "int64" => Type::Int64,
            "string" => Type::String,
            "uuid" => Type::Uuid,
            "bytes" => Type::Bytes,
            "records" => Type::Records,
            _ => match text.strip_prefix("[]") {
                Some(element) => Type::Array(Box::new(self.kind(element, indent, versions)?)),
                None => {
                    let fields = self.fields(indent + 2, versions)?;
                    if fields.is_empty() {
                        return Err(format!("`{text}` is no type and no fields follow"));
                    }
                    Type::Struct(Struct { name: text.to_string(), fields })
                }
            },
        })
    }
}

/// Reads `16 MiB`, `64 KiB` or a plain number of bytes.
fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, "B"));
    let number: usize = number.parse().map_err(|_| format!("`{text}` is no size"))?;
    let unit = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return Err(format!("`{unit}` is no unit of size")),
    };
    Ok(number * unit)
}
