//! Decompresses the records of a batch, for printing them. The broker never does.

use anyhow::{Context, bail};
use highwater_core::record::Compression;
use std::{borrow::Cow, io::Read};

/// The most that one batch may grow to: a small batch of zeros can claim to be any size.
const MAX_BODY_BYTES: u64 = 256 << 20;
/// What opens the framing of snappy-java: eight bytes of magic, then version and compatible
/// version, four bytes each.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// The body of a batch without its compression.
pub fn body(compression: Compression, compressed: &[u8]) -> anyhow::Result<Cow<'_, [u8]>> {
    let name = compression.name();
    let plain = match compression {
        Compression::None => return Ok(Cow::Borrowed(compressed)),
        Compression::Gzip => bounded(flate2::read::MultiGzDecoder::new(compressed)),
        Compression::Snappy => snappy(compressed),
        Compression::Lz4 => lz4::Decoder::new(compressed).context("no LZ4 frame").and_then(bounded),
        Compression::Zstd => {
            zstd::Decoder::with_buffer(compressed).context("no Zstandard frame").and_then(bounded)
        }
    };
    plain.map(Cow::Owned).with_context(|| format!("the batch's {name} body is damaged"))
}

fn bounded(reader: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut plain = Vec::new();
    reader.take(MAX_BODY_BYTES + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > MAX_BODY_BYTES {
        bail!("it is over {MAX_BODY_BYTES} bytes without compression");
    }
    Ok(plain)
}

/// Either one raw block or snappy-java's framing of many.
fn snappy(compressed: &[u8]) -> anyhow::Result<Vec<u8>> {
    if !compressed.starts_with(XERIAL_MAGIC) {
        return snappy_block(compressed, MAX_BODY_BYTES);
    }
    let mut plain = Vec::new();
    let mut rest = compressed.get(XERIAL_HEADER_BYTES..).context("its header is cut off")?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).context("a block is cut off")?;
        plain.extend(snappy_block(block, MAX_BODY_BYTES - plain.len() as u64)?);
        rest = after;
    }
    Ok(plain)
}

fn snappy_block(block: &[u8], left: u64) -> anyhow::Result<Vec<u8>> {
    if snap::raw::decompress_len(block)? as u64 > left {
        bail!("it is over {MAX_BODY_BYTES} bytes without compression");
    }
    Ok(snap::raw::Decoder::new().decompress_vec(block)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TEXT: &[u8] = b"the same again, the same again, the same again";

    fn plain(compression: Compression, compressed: &[u8]) -> Vec<u8> {
        body(compression, compressed).expect("it is whole").into_owned()
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
    fn damage_is_an_error_and_not_a_panic() {
        for compression in
            [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let error =
                body(compression, b"\x82SNAPPY\0 nothing of the kind").expect_err("damaged");
            assert!(error.to_string().contains(compression.name()), "{error:#}");
        }
        let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(body(Compression::Snappy, &huge).is_err(), "four gigabytes are claimed");
    }
}
