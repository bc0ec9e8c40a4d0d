//! Frames: four bytes of length, then a header and a body.
//!
//! A request's frame is read in two steps. The length and the API key come first, so that the limit
//! of that API is enforced, and memory can be asked for, before anything is buffered. The buffer
//! then grows with what has arrived, so a peer that only claims a long frame costs little.

use super::{
    ApiKey, DecodeError, EncodeError, Message, Reader, Request, RequestHeader, ResponseHeader,
    Writer,
};
use bytes::{BufMut, Bytes, BytesMut};
use std::io::{self, IoSlice};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The shortest request: API key, version and correlation id.
const REQUEST_MIN_BYTES: usize = 8;

/// The limit of a request whose API is not served: enough to tell the key from its header.
const UNKNOWN_API_LIMIT_BYTES: usize = 64 * 1024;

/// The most that is reserved for a frame before any of it has arrived: most frames fit, so that
/// they are never moved.
pub(crate) const FIRST_RESERVATION_BYTES: usize = 1024 * 1024;

/// The most chunks that one system call takes.
const SLICES_PER_WRITE: usize = 64;

/// Why a frame could not be read. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed, or ended inside a frame.
    #[error("the connection ended inside a frame: {0}")]
    Io(#[from] io::Error),
    /// A length below that of the shortest frame, or a negative one.
    #[error("a frame claims a length of {0} bytes, which no frame has")]
    TooShort(i32),
    /// A length above the limit.
    #[error(
        "a frame of API key {api_key:?} claims {claimed} bytes, more than its limit of {limit}"
    )]
    TooLong {
        /// The API on the wire; `None` for a response.
        api_key: Option<i16>,
        /// The length on the wire, without the four bytes of length.
        claimed: usize,
        /// The most bytes that a frame of that API may have.
        limit: usize,
    },
}

/// The start of a request whose length is within the limit of its API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameStart {
    /// The API on the wire; it need not be one that is served.
    pub api_key: i16,
    /// Length of the frame in bytes, without its four bytes of length.
    pub length: usize,
}

/// The longest frame of that API in bytes, by the table of APIs.
#[must_use]
pub fn request_limit(api_key: i16) -> usize {
    ApiKey::from_i16(api_key).map_or(UNKNOWN_API_LIMIT_BYTES, ApiKey::request_limit)
}

/// Reads the length and the API key of the next request, or `None` if the connection ends before
/// it. `limit` gives the longest frame per API, as [`request_limit`] does. Not cancel safe.
///
/// # Errors
/// The connection fails, or the length is out of bounds.
pub async fn read_frame_start<R: AsyncRead + Unpin>(
    reader: &mut R,
    limit: impl FnOnce(i16) -> usize,
) -> Result<Option<FrameStart>, FrameError> {
    let Some(length) = read_length(reader, REQUEST_MIN_BYTES).await? else { return Ok(None) };
    let api_key = reader.read_i16().await?;
    let limit = limit(api_key);
    if length > limit {
        return Err(FrameError::TooLong { api_key: Some(api_key), claimed: length, limit });
    }
    Ok(Some(FrameStart { api_key, length }))
}

impl FrameStart {
    /// Reads the rest of the request and gives the frame from its API key on. Not cancel safe.
    ///
    /// # Errors
    /// The connection fails or ends.
    pub async fn read<R: AsyncRead + Unpin>(self, reader: &mut R) -> Result<Bytes, FrameError> {
        let mut frame = BytesMut::with_capacity(self.length.min(FIRST_RESERVATION_BYTES));
        frame.put_i16(self.api_key);
        fill(reader, frame, self.length).await
    }
}

/// Reads one frame whatever it holds, as a client reads responses, or `None` if the connection
/// ends before it. Not cancel safe.
///
/// # Errors
/// The connection fails, or the length is out of bounds.
pub async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    limit: usize,
) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = read_length(reader, 4).await? else { return Ok(None) };
    if length > limit {
        return Err(FrameError::TooLong { api_key: None, claimed: length, limit });
    }
    let frame = BytesMut::with_capacity(length.min(FIRST_RESERVATION_BYTES));
    fill(reader, frame, length).await.map(Some)
}

/// Writes the chunks of a frame, without joining them and without flushing.
///
/// # Errors
/// The connection fails.
pub async fn write_frame<W: AsyncWrite + Unpin>(
    writer: &mut W,
    chunks: &[Bytes],
) -> io::Result<()> {
    let mut first = 0;
    let mut written_of_first = 0;
    while first < chunks.len() {
        if written_of_first >= chunks[first].len() {
            written_of_first -= chunks[first].len();
            first += 1;
            continue;
        }
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        let some = &chunks[first..chunks.len().min(first + SLICES_PER_WRITE)];
        for (slice, chunk) in slices.iter_mut().zip(some) {
            *slice = IoSlice::new(chunk);
        }
        slices[0] = IoSlice::new(&some[0][written_of_first..]);
        match writer.write_vectored(&slices[..some.len()]).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => written_of_first += written,
        }
    }
    Ok(())
}

/// A request as the chunks of its frame.
///
/// # Errors
/// The version cannot carry the request.
pub fn encode_request<R: Request>(
    header: &RequestHeader,
    request: &R,
) -> Result<Vec<Bytes>, EncodeError> {
    assert!(header.api_key == R::KEY, "the header names the API of its body");
    encode_frame(|writer| {
        header.encode(writer)?;
        request.encode(writer, header.api_version)
    })
}

/// The response to a request of that API and version, as the chunks of its frame.
///
/// # Errors
/// The version cannot carry the response.
pub fn encode_response<M: Message>(
    api_key: ApiKey,
    api_version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Vec<Bytes>, EncodeError> {
    encode_frame(|writer| {
        ResponseHeader { correlation_id }.encode(writer, api_key, api_version);
        response.encode(writer, api_version)
    })
}

/// Decodes the frame of a response to a request of type `R`, allocating at most `budget` bytes.
///
/// # Errors
/// The bytes are not exactly one such response.
pub fn decode_response<R: Request>(
    frame: Bytes,
    api_version: i16,
    budget: usize,
) -> Result<(ResponseHeader, R::Response), DecodeError> {
    let mut reader = Reader::new(frame, budget);
    let header = ResponseHeader::decode(&mut reader, R::KEY, api_version)?;
    let response = R::Response::decode(&mut reader, api_version)?;
    reader.finish()?;
    Ok((header, response))
}

/// Puts the length before what `content` writes.
fn encode_frame(
    content: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut writer = Writer::new();
    writer.i32(0);
    content(&mut writer)?;
    let length = writer.written() - 4;
    let length = i32::try_from(length).map_err(|_| EncodeError::LengthTooLong(length))?;
    writer.patch_i32(0, length);
    Ok(writer.finish())
}

/// The length of the next frame, at least `minimum`; `None` if the connection ends before it.
async fn read_length<R: AsyncRead + Unpin>(
    reader: &mut R,
    minimum: usize,
) -> Result<Option<usize>, FrameError> {
    let mut bytes = [0; 4];
    let arrived = reader.read(&mut bytes).await?;
    if arrived == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut bytes[arrived..]).await?;
    let claimed = i32::from_be_bytes(bytes);
    match usize::try_from(claimed) {
        Ok(length) if length >= minimum => Ok(Some(length)),
        _ => Err(FrameError::TooShort(claimed)),
    }
}

/// Reads until `frame` has `length` bytes. Once its reservation is used up, no more is reserved
/// than has arrived, and never more than `length`.
pub(crate) async fn fill<R: AsyncRead + Unpin>(
    reader: &mut R,
    mut frame: BytesMut,
    length: usize,
) -> Result<Bytes, FrameError> {
    while frame.len() < length {
        if frame.len() == frame.capacity() {
            // `reserve` would round up and keep the surplus as long as the frame lives.
            let mut larger = BytesMut::with_capacity(length.min(2 * frame.len()));
            larger.put_slice(&frame);
            frame = larger;
        }
        let room = length.min(frame.capacity()) - frame.len();
        if reader.read_buf(&mut (&mut frame).limit(room)).await? == 0 {
            return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::generated::api_versions::{ApiVersionsRequest, ApiVersionsResponse};

    fn claim(length: i32, api_key: i16) -> Vec<u8> {
        [&length.to_be_bytes()[..], &api_key.to_be_bytes()].concat()
    }

    async fn start(mut bytes: &[u8]) -> Result<Option<FrameStart>, FrameError> {
        read_frame_start(&mut bytes, request_limit).await
    }

    #[tokio::test]
    async fn a_connection_may_end_between_frames_but_not_inside_one() {
        assert!(matches!(start(&[]).await, Ok(None)));
        assert!(matches!(start(&[0, 0]).await, Err(FrameError::Io(_))));
        let bytes = claim(10, 18);
        let mut rest = &bytes[..];
        let start = read_frame_start(&mut rest, request_limit).await.unwrap().unwrap();
        assert_eq!(start, FrameStart { api_key: 18, length: 10 });
        assert!(matches!(start.read(&mut rest).await, Err(FrameError::Io(_))));
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_of_its_api_is_refused_at_its_first_six_bytes() {
        let limit = ApiKey::ApiVersions.request_limit();
        let long = i32::try_from(limit).unwrap() + 1;
        assert!(matches!(start(&claim(long - 1, 18)).await, Ok(Some(_))));
        assert!(matches!(start(&claim(long, 18)).await, Err(FrameError::TooLong { .. })));
        assert!(matches!(start(&claim(long, 0)).await, Ok(Some(_))));
        assert!(matches!(start(&claim(i32::MAX, 999)).await, Err(FrameError::TooLong { .. })));
        assert!(matches!(start(&claim(7, 18)).await, Err(FrameError::TooShort(7))));
        assert!(matches!(start(&claim(-1, 18)).await, Err(FrameError::TooShort(-1))));
    }

    #[tokio::test]
    async fn a_long_frame_arrives_whole_and_leaves_the_next_one() {
        let length = 3_000_000;
        let mut bytes = claim(length, 0);
        bytes.extend((2..length).map(|index| index as u8));
        bytes.extend(claim(8, 18));
        let mut rest = &bytes[..];
        let start = read_frame_start(&mut rest, request_limit).await.unwrap().unwrap();
        let frame = start.read(&mut rest).await.unwrap();
        assert_eq!(frame, bytes[4..4 + length as usize]);
        assert_eq!(rest.len(), 6);
    }

    #[tokio::test]
    async fn a_frame_goes_out_whole_however_little_a_write_takes() {
        let chunks: Vec<Bytes> =
            (0..200_usize).map(|n| Bytes::from(vec![n as u8; n % 7 + 1])).collect();
        let (mut near, mut far) = tokio::io::duplex(5);
        let write = async {
            write_frame(&mut near, &chunks).await.unwrap();
            drop(near);
        };
        let mut received = Vec::new();
        let ((), read) = tokio::join!(write, far.read_to_end(&mut received));
        read.unwrap();
        assert_eq!(received, chunks.concat());
    }

    #[tokio::test]
    async fn a_request_and_its_response_survive_the_frame() {
        let request = ApiVersionsRequest {
            client_software_name: "name".into(),
            client_software_version: "1".into(),
        };
        let header = RequestHeader {
            api_key: ApiKey::ApiVersions,
            api_version: 3,
            correlation_id: 5,
            client_id: Some("me".into()),
        };
        let bytes = encode_request(&header, &request).unwrap().concat();
        let mut rest = &bytes[..];
        let start = read_frame_start(&mut rest, request_limit).await.unwrap().unwrap();
        let frame = start.read(&mut rest).await.unwrap();
        let mut reader = Reader::new(frame, 1024);
        assert_eq!(RequestHeader::decode(&mut reader).unwrap(), header);
        assert_eq!(ApiVersionsRequest::decode(&mut reader, 3).unwrap(), request);
        reader.finish().unwrap();

        let response = ApiVersionsResponse { error_code: 35, ..Default::default() };
        let bytes = encode_response(ApiKey::ApiVersions, 0, 5, &response).unwrap().concat();
        assert_eq!(bytes, [0, 0, 0, 10, 0, 0, 0, 5, 0, 35, 0, 0, 0, 0]);
        let frame = read_frame(&mut &bytes[..], 1024).await.unwrap().unwrap();
        let decoded = decode_response::<ApiVersionsRequest>(frame, 0, 1024).unwrap();
        assert_eq!(decoded, (ResponseHeader { correlation_id: 5 }, response));
    }
}
