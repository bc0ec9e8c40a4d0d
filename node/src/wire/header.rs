//! What comes before the body of a request and of a response.

use super::{ApiKey, DecodeError, EncodeError, Reader, Str, Writer};

/// The header of a request, of a version that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: ApiKey,
    /// The version of the request.
    pub api_version: i16,
    /// Chosen by the client; its response carries it too.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Str>,
}

/// The header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The correlation id of the request.
    pub correlation_id: i32,
}

/// A request that cannot be served, known from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The bytes are no header.
    #[error("the request header is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// No such API is served.
    #[error("API key {api_key} (version {api_version}) is not served")]
    UnknownApiKey {
        /// The API on the wire.
        api_key: i16,
        /// The version on the wire.
        api_version: i16,
        /// The request's correlation id.
        correlation_id: i32,
    },
    /// The API is served, but not in this version. For ApiVersions the answer is a response of
    /// version 0 with UNSUPPORTED_VERSION and the table of APIs (KIP-511); the others end the
    /// connection.
    #[error("version {api_version} of {api_key} is not served")]
    UnknownVersion {
        /// The API.
        api_key: ApiKey,
        /// The version on the wire.
        api_version: i16,
        /// The request's correlation id.
        correlation_id: i32,
    },
}

impl RequestHeader {
    /// Reads the header at the start of a request's frame; the body of
    /// [`api_version`](Self::api_version) follows.
    ///
    /// # Errors
    /// The header is malformed, or the API or its version is not served.
    pub fn decode(reader: &mut Reader) -> Result<Self, HeaderError> {
        let api_key = reader.i16()?;
        let api_version = reader.i16()?;
        let correlation_id = reader.i32()?;
        let Some(api_key) = ApiKey::from_i16(api_key) else {
            return Err(HeaderError::UnknownApiKey { api_key, api_version, correlation_id });
        };
        // What follows depends on the version, so it is not read for an unknown one.
        if !api_key.valid_versions().contains(api_version) {
            return Err(HeaderError::UnknownVersion { api_key, api_version, correlation_id });
        }
        // Even the flexible header has the old form of a string here (KIP-482).
        let client_id = reader.nullable_string(false)?;
        if api_key.request_header_version(api_version) >= 2 {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }

    /// Writes the header.
    ///
    /// # Errors
    /// The client id is longer than 32767 bytes.
    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.i16(self.api_key as i16);
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        writer.nullable_string(self.client_id.as_ref(), false)?;
        if self.api_key.request_header_version(self.api_version) >= 2 {
            writer.unsigned_varint(0);
        }
        Ok(())
    }
}

impl ResponseHeader {
    /// Reads the header of the response to a request of that API and version.
    ///
    /// # Errors
    /// The header is malformed.
    pub fn decode(
        reader: &mut Reader,
        api_key: ApiKey,
        api_version: i16,
    ) -> Result<Self, DecodeError> {
        let correlation_id = reader.i32()?;
        if api_key.response_header_version(api_version) >= 1 {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { correlation_id })
    }

    /// Writes the header of the response to a request of that API and version.
    pub fn encode(self, writer: &mut Writer, api_key: ApiKey, api_version: i16) {
        writer.i32(self.correlation_id);
        if api_key.response_header_version(api_version) >= 1 {
            writer.unsigned_varint(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn decode(bytes: &'static [u8]) -> Result<RequestHeader, HeaderError> {
        RequestHeader::decode(&mut Reader::new(Bytes::from_static(bytes), 0))
    }

    #[test]
    fn a_flexible_header_keeps_the_old_client_id() {
        // Metadata 9, correlation id 7, client id "ab", one unknown tag 5 with one byte.
        let header = decode(b"\0\x03\0\x09\0\0\0\x07\0\x02ab\x01\x05\x01z").unwrap();
        assert_eq!(header.api_key, ApiKey::Metadata);
        assert_eq!(header.api_version, 9);
        assert_eq!(header.correlation_id, 7);
        assert_eq!(header.client_id.as_deref(), Some("ab"));

        let mut writer = Writer::new();
        header.encode(&mut writer).unwrap();
        assert_eq!(writer.finish_contiguous(), b"\0\x03\0\x09\0\0\0\x07\0\x02ab\0"[..]);
    }

    #[test]
    fn an_old_header_ends_with_the_client_id() {
        let header = decode(b"\0\x03\0\x08\0\0\0\x07\xff\xff").unwrap();
        assert_eq!(header.client_id, None);
    }

    #[test]
    fn an_unknown_version_is_told_apart_before_the_rest_is_read() {
        assert_eq!(
            decode(b"\0\x12\0\x63\0\0\0\x07"),
            Err(HeaderError::UnknownVersion {
                api_key: ApiKey::ApiVersions,
                api_version: 99,
                correlation_id: 7
            })
        );
        assert_eq!(
            decode(b"\0\x04\0\x01\0\0\0\x07"),
            Err(HeaderError::UnknownApiKey { api_key: 4, api_version: 1, correlation_id: 7 })
        );
    }

    #[test]
    fn response_headers_have_tags_from_the_flexible_version_on_except_for_api_versions() {
        for (api_key, version, bytes) in [
            (ApiKey::Metadata, 9, &[0, 0, 0, 1, 0][..]),
            (ApiKey::Metadata, 8, &[0, 0, 0, 1]),
            (ApiKey::ApiVersions, 4, &[0, 0, 0, 1]),
        ] {
            let mut writer = Writer::new();
            ResponseHeader { correlation_id: 1 }.encode(&mut writer, api_key, version);
            assert_eq!(writer.finish_contiguous(), bytes);
        }
    }
}
