//! Kafka's compression codecs: the body of a batch without its compression, and with it.
//!
//! Batches travel as their producer compressed them. Who needs their records decompresses them:
//! compaction, the check of keys in compacted topics, and the command line.

use highwater_core::record::Compression;
use std::{
    borrow::Cow,
    io::{self, Read, Write},
};

/// The most that one batch may grow to: a small batch of zeros can claim to be any size.
pub const MAX_BODY_BYTES: u64 = 256 << 20;
/// What opens the framing of snappy-java: eight bytes of magic, then version and compatible
/// version, four bytes each.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_HEADER_BYTES: usize = 16;
/// Plain bytes in a block of that framing, as snappy-java writes it.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// A body that is not what its codec makes, or that is too large without compression.
#[derive(Debug, thiserror::Error)]
#[error("the batch's {codec} body is damaged: {reason}")]
pub struct CodecError {
    codec: &'static str,
    reason: io::Error,
}

/// The body of a batch without its compression.
///
/// # Errors
/// When it is not of that codec, or more than [`MAX_BODY_BYTES`].
pub fn decompress(
    compression: Compression,
    compressed: &[u8],
) -> Result<Cow<'_, [u8]>, CodecError> {
    let plain = match compression {
        Compression::None => return Ok(Cow::Borrowed(compressed)),
        Compression::Gzip => bounded(flate2::read::MultiGzDecoder::new(compressed)),
        Compression::Snappy => snappy(compressed),
        Compression::Lz4 => lz4::Decoder::new(compressed).and_then(bounded),
        Compression::Zstd => zstd::Decoder::with_buffer(compressed).and_then(bounded),
    };
    plain.map(Cow::Owned).map_err(|reason| CodecError { codec: compression.name(), reason })
}

/// A body as Kafka's clients compress it, at each codec's default level.
///
/// # Errors
/// When the codec's library fails, which it does only for want of memory.
pub fn compress(compression: Compression, plain: &[u8]) -> Result<Cow<'_, [u8]>, CodecError> {
    let compressed = match compression {
        Compression::None => return Ok(Cow::Borrowed(plain)),
        Compression::Gzip => gzip(plain),
        Compression::Snappy => xerial(plain),
        Compression::Lz4 => lz4_frame(plain),
        Compression::Zstd => zstd::encode_all(plain, zstd::DEFAULT_COMPRESSION_LEVEL),
    };
    compressed.map(Cow::Owned).map_err(|reason| CodecError { codec: compression.name(), reason })
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// Kafka's readers want independent blocks of 64 KiB, and check no checksum of the content.
fn lz4_frame(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = lz4::EncoderBuilder::new()
        .block_mode(lz4::BlockMode::Independent)
        .block_size(lz4::BlockSize::Max64KB)
        .checksum(lz4::ContentChecksum::NoChecksum)
        .build(Vec::new())?;
    encoder.write_all(plain)?;
    let (compressed, result) = encoder.finish();
    result.map(|()| compressed)
}

fn xerial(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = [XERIAL_MAGIC, &XERIAL_VERSIONS].concat();
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let block = encoder.compress_vec(block).map_err(io::Error::other)?;
        let length = u32::try_from(block.len()).map_err(io::Error::other)?;
        compressed.extend_from_slice(&length.to_be_bytes());
        compressed.extend_from_slice(&block);
    }
    Ok(compressed)
}

fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    reader.take(MAX_BODY_BYTES + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > MAX_BODY_BYTES { Err(too_large()) } else { Ok(plain) }
}

fn too_large() -> io::Error {
    io::Error::other(format!("it is over {MAX_BODY_BYTES} bytes without compression"))
}

/// Either one raw block or snappy-java's framing of many.
fn snappy(compressed: &[u8]) -> io::Result<Vec<u8>> {
    if !compressed.starts_with(XERIAL_MAGIC) {
        return snappy_block(compressed, MAX_BODY_BYTES);
    }
    let cut_off = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut plain = Vec::new();
    let mut rest = compressed.get(XERIAL_HEADER_BYTES..).ok_or_else(cut_off)?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut_off)?;
        plain.extend(snappy_block(block, MAX_BODY_BYTES - plain.len() as u64)?);
        rest = after;
    }
    Ok(plain)
}

fn snappy_block(block: &[u8], left: u64) -> io::Result<Vec<u8>> {
    if snap::raw::decompress_len(block).map_err(io::Error::other)? as u64 > left {
        return Err(too_large());
    }
    snap::raw::Decoder::new().decompress_vec(block).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"the same again, the same again, the same again";

    fn plain(compression: Compression, compressed: &[u8]) -> Vec<u8> {
        decompress(compression, compressed).expect("it is whole").into_owned()
    }

    #[test]
    fn every_codec_of_kafka_is_read() {
        assert_eq!(plain(Compression::None, TEXT), TEXT);

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(TEXT).expect("to memory");
        assert_eq!(plain(Compression::Gzip, &gzip.finish().expect("to memory")), TEXT);

        let block = snap::raw::Encoder::new().compress_vec(TEXT).expect("it is small");
        assert_eq!(plain(Compression::Snappy, &block), TEXT);
        let length = (block.len() as u32).to_be_bytes();
        let header = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        let framed = [&header[..], &length, &block, &length, &block].concat();
        assert_eq!(plain(Compression::Snappy, &framed), [TEXT, TEXT].concat());

        let mut lz4 = lz4::EncoderBuilder::new().build(Vec::new()).expect("to memory");
        lz4.write_all(TEXT).expect("to memory");
        assert_eq!(plain(Compression::Lz4, &lz4.finish().0), TEXT);

        let zstd = zstd::encode_all(TEXT, 1).expect("to memory");
        assert_eq!(plain(Compression::Zstd, &zstd), TEXT);
    }

    #[test]
    fn what_is_compressed_reads_back() {
        let long: Vec<u8> = (0..200_000_u32).map(|at| (at / 7) as u8).collect();
        for compression in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            for text in [&b""[..], TEXT, &long] {
                let compressed = compress(compression, text).expect("there is memory");
                assert_eq!(plain(compression, &compressed), text, "{compression:?}");
            }
        }
    }

    #[test]
    fn lz4_frames_have_independent_blocks_and_no_checksum_of_the_content() {
        let frame = compress(Compression::Lz4, TEXT).expect("there is memory");
        let flags = frame[4];
        assert_eq!(flags & 0b0010_0000, 0b0010_0000, "blocks are independent");
        assert_eq!(flags & 0b0000_0100, 0, "no checksum of the content");
    }

    #[test]
    fn damage_is_an_error_and_not_a_panic() {
        for compression in
            [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let error =
                decompress(compression, b"\x82SNAPPY\0 nothing of the kind").expect_err("damaged");
            assert!(error.to_string().contains(compression.name()), "{error}");
        }
        let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(decompress(Compression::Snappy, &huge).is_err(), "four gigabytes are claimed");
    }
}
