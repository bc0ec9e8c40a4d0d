//! The messages of every API behind plain functions, so that a test can loop over them.

use bytes::Bytes;
use highwater_node::{
    for_each_api,
    wire::{ApiKey, DecodeError, Message, Reader, Writer, generated},
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message as _};

/// One API's request or response in our codec and in the independent one.
pub struct Codec {
    pub key: ApiKey,
    /// Decodes a body and encodes it again; asserts that decoding that gives the same message.
    pub ours: fn(Reader, i16) -> Result<Bytes, DecodeError>,
    /// Decodes a body, and nothing else.
    pub ours_decode: fn(&mut Reader, i16) -> Result<(), DecodeError>,
    /// Decodes a body and encodes it again.
    pub theirs: fn(Bytes, i16) -> Result<Vec<u8>, String>,
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
            theirs_knows: |version| {
                let known = kafka_protocol::messages::$theirs::VERSIONS;
                known.min <= version && version <= known.max
            },
            their_header: kafka_protocol::messages::$theirs::header_version,
        }
    };
}

for_each_api!(codecs);

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
