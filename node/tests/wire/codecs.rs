//! The messages of every API behind plain functions, so that a test can loop over them.

use bytes::Bytes;
use highwater_node::{
    for_each_api, for_each_record,
    wire::{
        ApiKey, DecodeError, Message, Reader, RecordKey, Writer,
        consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription},
        generated,
    },
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message as _};
use std::fmt::Debug;

/// One API's request or response in our codec and in the independent one.
pub struct Codec {
    pub key: ApiKey,
    /// Decodes a body and encodes it again; asserts that decoding that gives the same message.
    pub ours: fn(Reader, i16) -> Result<Bytes, DecodeError>,
    /// Decodes a body, and nothing else.
    pub ours_decode: fn(&mut Reader, i16) -> Result<(), DecodeError>,
    /// Decodes a body and encodes it again.
    pub theirs: fn(Bytes, i16) -> Result<Vec<u8>, String>,
    /// The fields of a body with their numbers, by our codec and by the independent one.
    pub fields: fn(Bytes, i16) -> [Vec<String>; 2],
    /// Whether the independent codec knows a version.
    pub theirs_knows: fn(i16) -> bool,
    /// The version of the header before the body, by the independent codec.
    pub their_header: fn(i16) -> i16,
}

macro_rules! codecs {
    ($($name:ident $module:ident $request:ident $response:ident;)+) => {
        /// The requests, in the order of the keys.
        pub const REQUESTS: &[Codec] =
            &[$(codec!(ApiKey::$name, generated::$module::$request, $request),)+];
        /// The responses, in the order of the keys.
        pub const RESPONSES: &[Codec] =
            &[$(codec!(ApiKey::$name, generated::$module::$response, $response),)+];
    };
}

macro_rules! codec {
    ($key:expr, $ours:ty, $theirs:ident) => {
        Codec {
            key: $key,
            ours: ours::<$ours>,
            ours_decode: |reader, version| <$ours>::decode(reader, version).map(drop),
            theirs: theirs::<kafka_protocol::messages::$theirs>,
            fields: fields::<$ours, kafka_protocol::messages::$theirs>,
            theirs_knows: |version| {
                let known = kafka_protocol::messages::$theirs::VERSIONS;
                known.min <= version && version <= known.max
            },
            their_header: kafka_protocol::messages::$theirs::header_version,
        }
    };
}

for_each_api!(codecs);

/// The key and the value of one type of record.
pub struct RecordCodec {
    pub name: &'static str,
    pub record_type: i16,
    pub written: i16,
    /// Decodes a key without its type and encodes it again, as [`Codec::ours`].
    pub key: fn(Reader, i16) -> Result<Bytes, DecodeError>,
    /// Decodes a value without its version and encodes it again, as [`Codec::ours`].
    pub value: fn(Reader, i16) -> Result<Bytes, DecodeError>,
}

macro_rules! record_codecs {
    ($($name:ident $module:ident $key:ident $value:ident;)+) => {
        /// The records of `__consumer_offsets`, in the order of the types.
        pub const RECORDS: &[RecordCodec] = &[$(RecordCodec {
            name: stringify!($name),
            record_type: <generated::records::$module::$key as RecordKey>::TYPE,
            written: <generated::records::$module::$key as RecordKey>::VALUE_VERSION,
            key: ours::<generated::records::$module::$key>,
            value: ours::<generated::records::$module::$value>,
        },)+];
    };
}

for_each_record!(record_codecs);

/// What consumers put into opaque bytes, in the order of the names: our codec and the other.
pub const DATA: [DataCodec; 2] = [
    DataCodec {
        ours: ours::<ConsumerProtocolAssignment>,
        theirs: theirs::<kafka_protocol::messages::ConsumerProtocolAssignment>,
    },
    DataCodec {
        ours: ours::<ConsumerProtocolSubscription>,
        theirs: theirs::<kafka_protocol::messages::ConsumerProtocolSubscription>,
    },
];

/// One structure in opaque bytes.
pub struct DataCodec {
    /// Decodes the structure without its version and encodes it again, as [`Codec::ours`].
    pub ours: fn(Reader, i16) -> Result<Bytes, DecodeError>,
    /// Decodes the structure without its version and encodes it again.
    pub theirs: fn(Bytes, i16) -> Result<Vec<u8>, String>,
}

fn ours<M: Message>(mut reader: Reader, version: i16) -> Result<Bytes, DecodeError> {
    let message = M::decode(&mut reader, version)?;
    let allocated = reader.allocated();
    reader.finish()?;

    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("what was decoded can be encoded");
    let encoded = writer.finish_contiguous();
    let mut again = Reader::new(encoded.clone(), allocated);
    assert_eq!(M::decode(&mut again, version).expect("what was encoded can be decoded"), message);
    again.finish().expect("nothing is left over");
    Ok(encoded)
}

fn theirs<M: Decodable + Encodable>(mut bytes: Bytes, version: i16) -> Result<Vec<u8>, String> {
    let message = M::decode(&mut bytes, version).map_err(|error| error.to_string())?;
    if !bytes.is_empty() {
        return Err(format!("{} bytes are left over", bytes.len()));
    }
    let mut encoded = Vec::new();
    message.encode(&mut encoded, version).map_err(|error| error.to_string())?;
    Ok(encoded)
}

fn fields<M: Message, T: Decodable + Debug>(bytes: Bytes, version: i16) -> [Vec<String>; 2] {
    let ours = M::decode(&mut Reader::new(bytes.clone(), bytes.len() * 100), version).unwrap();
    let theirs = T::decode(&mut bytes.clone(), version).unwrap();
    [fields_of(&format!("{ours:?}")), fields_of(&format!("{theirs:?}"))]
}

/// The names, numbers, booleans and nulls of a debug representation. Strings, UUIDs and the names
/// of types are left out, because the two codecs show them differently.
fn fields_of(debug: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut word = String::new();
    let mut characters = debug.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if character.is_alphanumeric() || "_-".contains(character) => {
                word.push(character);
                continue;
            }
            ':' if word != "unknown_tagged_fields" => fields.push(format!("{word}:")),
            '(' if word == "TopicId" => while characters.next() != Some(')') {},
            '"' => skip_string(&mut characters),
            _ if word.parse::<i64>().is_ok() || ["true", "false", "None"].contains(&&*word) => {
                fields.push(word.clone());
            }
            _ => {}
        }
        word.clear();
    }
    fields
}

fn skip_string(characters: &mut std::str::Chars<'_>) {
    loop {
        match characters.next() {
            Some('\\') => drop(characters.next()),
            Some('"') | None => return,
            Some(_) => {}
        }
    }
}
