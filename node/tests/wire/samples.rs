//! Random bodies, written straight from the schema: a third opinion beside the two codecs.

use crate::schema::{Api, Data, Field, Record, Struct, Type, Versions};
use bytes::BufMut;
use rand::{Rng, RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Reads the schema; in the order of the keys.
pub fn apis() -> Vec<Api> {
    let mut apis: Vec<Api> = parsed("", Api::parse);
    apis.sort_by_key(|api| api.key);
    apis
}

/// Reads the schema of the records of `__consumer_offsets`; in the order of the types.
pub fn records() -> Vec<Record> {
    let mut records: Vec<Record> = parsed("/records", Record::parse);
    records.sort_by_key(|record| record.types.first);
    records
}

/// Reads the schema of what stands in opaque bytes; in the order of the names.
pub fn data() -> Vec<Data> {
    let mut data: Vec<Data> = parsed("/data", Data::parse);
    data.sort_by(|one, other| one.body.name.cmp(&other.body.name));
    data
}

#[allow(clippy::disallowed_methods, reason = "a test reads the schema's files")]
fn parsed<T>(folder: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    let folder = format!("{}/src/wire/schema{folder}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "schema"))
        .map(|path| parse(&std::fs::read_to_string(path).unwrap()).unwrap())
        .collect()
}

/// Writes random bodies of one API and version.
pub struct Sampler<'a> {
    pub random: &'a mut ChaCha8Rng,
    pub version: i16,
    pub flexible: bool,
    /// Whether structures also carry tags that nobody knows.
    pub unknown_tags: bool,
}

impl Sampler<'_> {
    /// A random body in its canonical form (but for unknown tags).
    pub fn structure(&mut self, structure: &Struct, out: &mut Vec<u8>) {
        let version = self.version;
        let present = || structure.fields.iter().filter(|field| holds(field.versions, version));
        for field in present().filter(|field| field.tag.is_none()) {
            self.field(field, out);
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in present().filter(|field| field.tag.is_some()) {
            if self.random.random_bool(0.5) {
                let mut content = Vec::new();
                self.field(field, &mut content);
                // A tagged field with its default is left out.
                if content != self.default_content(field) {
                    tagged.push((field.tag.unwrap(), content));
                }
            }
        }
        if self.unknown_tags && self.random.random_bool(0.2) {
            let mut content = vec![0; self.random.random_range(0..5)];
            self.random.fill_bytes(&mut content);
            tagged.push((self.random.random_range(100..1000), content));
        }
        tagged.sort();
        put_varint(out, tagged.len() as u32);
        for (tag, content) in tagged {
            put_varint(out, tag);
            put_varint(out, content.len() as u32);
            out.extend(content);
        }
    }

    fn field(&mut self, field: &Field, out: &mut Vec<u8>) {
        let nullable = field.nullable.is_some_and(|versions| holds(versions, self.version));
        if nullable && self.random.random_bool(0.25) {
            return match (&field.kind, field.tag) {
                // A tagged structure has another marker than one among the fields.
                (Type::Struct(_), Some(_)) => out.put_u8(0),
                (kind, _) => self.null(kind, out),
            };
        }
        if nullable && matches!(field.kind, Type::Struct(_)) {
            out.put_i8(1);
        }
        self.value(&field.kind, out);
    }

    fn value(&mut self, kind: &Type, out: &mut Vec<u8>) {
        match kind {
            Type::Bool => out.put_u8(self.random.random_range(0..2)),
            Type::Int8 => out.put_i8(self.integer() as i8),
            Type::Int16 => out.put_i16(self.integer() as i16),
            Type::Uint16 => out.put_u16(self.integer() as u16),
            Type::Int32 => out.put_i32(self.integer() as i32),
            Type::Int64 => out.put_i64(self.integer()),
            Type::Uuid => out.put_u128(self.integer() as u128),
            Type::String => {
                let length = self.length(200);
                let letters = ['a', '-', '\u{e9}', '\u{20ac}', '\u{1f600}'];
                let text: String =
                    (0..length).map(|_| *letters.choose(&mut self.random).unwrap()).collect();
                self.put_length(text.len(), true, out);
                out.put_slice(text.as_bytes());
            }
            Type::Bytes | Type::Records => {
                let mut records = vec![0; self.length(3000)];
                self.random.fill_bytes(&mut records);
                self.put_length(records.len(), false, out);
                out.put_slice(&records);
            }
            Type::Array(element) => {
                let count = self.length(10);
                self.put_length(count, false, out);
                (0..count).for_each(|_| self.value(element, out));
            }
            Type::Struct(structure) => self.structure(structure, out),
        }
    }

    fn null(&self, kind: &Type, out: &mut Vec<u8>) {
        match kind {
            Type::Struct(_) => out.put_i8(-1),
            _ if self.flexible => out.put_u8(0),
            Type::String => out.put_i16(-1),
            _ => out.put_i32(-1),
        }
    }

    /// The bytes of a tagged field's default.
    fn default_content(&self, field: &Field) -> Vec<u8> {
        let mut out = Vec::new();
        if field.nullable.is_some() && matches!(field.kind, Type::Struct(_)) {
            out.put_u8(1);
        }
        self.default_value(&field.kind, field.default.as_deref(), &mut out);
        out
    }

    fn default_value(&self, kind: &Type, default: Option<&str>, out: &mut Vec<u8>) {
        let integer = || default.map_or(0, |default| default.parse::<i64>().unwrap());
        match kind {
            _ if default == Some("null") => self.null(kind, out),
            Type::Bool => out.put_u8(u8::from(default == Some("true"))),
            Type::Int8 => out.put_i8(integer() as i8),
            Type::Int16 => out.put_i16(integer() as i16),
            Type::Uint16 => out.put_u16(integer() as u16),
            Type::Int32 => out.put_i32(integer() as i32),
            Type::Int64 => out.put_i64(integer()),
            Type::Uuid => out.put_u128(0),
            Type::String | Type::Bytes | Type::Records | Type::Array(_) => out.put_u8(1),
            Type::Struct(structure) => {
                for field in &structure.fields {
                    self.default_value(&field.kind, field.default.as_deref(), out);
                }
                out.put_u8(0);
            }
        }
    }

    /// Mostly numbers near the edges that code cares about.
    fn integer(&mut self) -> i64 {
        match self.random.random_range(0..6) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => self.random.random_range(0..100),
            _ => self.random.random(),
        }
    }

    /// Mostly short, now and then up to `longest`.
    fn length(&mut self, longest: usize) -> usize {
        let limit = if self.random.random_bool(0.05) { longest } else { longest.min(4) };
        self.random.random_range(0..=limit)
    }

    fn put_length(&self, length: usize, short: bool, out: &mut Vec<u8>) {
        match (self.flexible, short) {
            (true, _) => put_varint(out, length as u32 + 1),
            (false, true) => out.put_i16(length as i16),
            (false, false) => out.put_i32(length as i32),
        }
    }
}

fn holds(versions: Versions, version: i16) -> bool {
    (versions.first..=versions.last).contains(&version)
}

/// An unsigned variable-length integer.
pub fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
