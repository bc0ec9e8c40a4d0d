//! `highwater log dump`: what is in the files of a log, batch by batch, without changing them.
//!
//! It believes nothing: a length is checked against the file before it is used, a CRC before a
//! record is shown. It may run beside a broker; the tail of the newest segment is then in motion.

use super::{
    arguments::DumpLog,
    output::{Output, StdoutClosed, json_bytes},
};
use anyhow::Context;
use bytes::{Buf, Bytes};
use highwater_core::record::{BATCH_HEADER_BYTES, BatchHeader, Record, Records, verify_crc};
use highwater_node::{
    codec,
    env::{Disk, DiskFile, OpenMode, OsDisk},
};
use serde_json::json;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes read from a segment at a time, unless one batch is larger.
const WINDOW_BYTES: usize = 1 << 20;
/// Directories below the given one that are looked into: a data directory, its topics, their
/// partitions.
const MAX_DEPTH: usize = 4;
/// The file name of a segment: this many digits of its base offset, then `.log`.
const NAME_DIGITS: usize = 20;

pub async fn run(arguments: DumpLog, output: Output) -> anyhow::Result<()> {
    let disk = OsDisk::new().context("cannot start the I/O threads")?;
    let segments = segments(&disk, &arguments.path).await?;
    let path = arguments.path.display();
    anyhow::ensure!(!segments.is_empty(), "no segment file (20 digits, .log) is in {path}");
    let mut damaged = 0;
    for segment in &segments {
        let mut dump = Dump { output, records: arguments.records, out: Vec::new() };
        let whole = dump.segment(&disk, segment).await;
        dump.write_out()?;
        damaged += usize::from(!whole?);
    }
    anyhow::ensure!(damaged == 0, "{damaged} of {} segments end in damage", segments.len());
    Ok(())
}

/// The segment files at a path, in the order of their names: the file itself, or all files of a
/// directory and the directories in it.
async fn segments(disk: &OsDisk, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if disk.list(path).await.is_err() {
        // A file, or nothing: opening it says which.
        disk.open(path, OpenMode::Read).await?;
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut directories = vec![(path.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        for entry in disk.list(&directory).await? {
            let path = directory.join(&entry.name);
            if entry.is_dir && depth < MAX_DEPTH {
                directories.push((path, depth + 1));
            } else if is_segment(&entry.name) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_segment(name: &str) -> bool {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_suffix(".log").is_some_and(|name| {
        let (offset, generation) = name.split_once('.').unwrap_or((name, "0"));
        offset.len() == NAME_DIGITS
            && is_number(offset)
            && !generation.is_empty()
            && is_number(generation)
    })
}

/// A file read forwards, in windows.
struct Window {
    file: Arc<dyn DiskFile>,
    size: u64,
    position: u64,
    /// Bytes of the file from `position` on.
    bytes: Bytes,
}

impl Window {
    /// The next `length` bytes without passing them; `None` when the file ends before.
    async fn peek(&mut self, length: usize) -> io::Result<Option<&Bytes>> {
        if self.bytes.len() < length {
            if self.size - self.position < length as u64 {
                return Ok(None);
            }
            let wanted = length.max(WINDOW_BYTES);
            self.bytes = self.file.read_at(self.position, wanted).await?;
        }
        Ok((self.bytes.len() >= length).then_some(&self.bytes))
    }

    /// Passes bytes that [`Window::peek`] has shown.
    fn pass(&mut self, length: usize) {
        self.bytes.advance(length);
        self.position += length as u64;
    }
}

struct Dump {
    output: Output,
    records: bool,
    /// Lines that are not yet written to standard output.
    out: Vec<u8>,
}

impl Dump {
    /// Prints a segment and answers whether every byte of it belongs to a sound batch.
    async fn segment(&mut self, disk: &OsDisk, path: &Path) -> anyhow::Result<bool> {
        let file = disk.open(path, OpenMode::Read).await?;
        let size = file.size().await?;
        let shown = path.display().to_string();
        self.line(
            || json!({ "segment": shown, "bytes": size }),
            |out| writeln!(out, "{shown}  {size} bytes"),
        )?;
        let mut window = Window { file, size, position: 0, bytes: Bytes::new() };
        while window.position < size {
            match self.batch(&mut window).await? {
                Ok(length) => window.pass(length),
                Err(damage) => {
                    let position = window.position;
                    let left = size - position;
                    self.line(
                        || json!({ "damage": damage, "position": position, "bytes": left }),
                        |out| {
                            writeln!(out, "  {position:>10}  DAMAGE: {damage}; {left} bytes left")
                        },
                    )?;
                    return Ok(false);
                }
            }
            if self.out.len() > WINDOW_BYTES {
                self.write_out()?;
            }
        }
        Ok(true)
    }

    /// Prints the batch at the window's position: its length, or what is wrong there.
    async fn batch(&mut self, window: &mut Window) -> anyhow::Result<Result<usize, String>> {
        let Some(bytes) = window.peek(BATCH_HEADER_BYTES).await? else {
            return Ok(Err("the file ends inside a batch header".to_owned()));
        };
        if bytes[..BATCH_HEADER_BYTES].iter().all(|byte| *byte == 0) {
            return Ok(Err("zeros, where no batch was written".to_owned()));
        }
        let header = match BatchHeader::parse(bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Some(bytes) = window.peek(header.size_in_bytes).await? else {
            return Ok(Err(format!(
                "the file ends inside a batch of {} bytes",
                header.size_in_bytes
            )));
        };
        let batch = bytes.slice(..header.size_in_bytes);
        if !verify_crc(&batch) {
            return Ok(Err(format!(
                "the CRC of the batch at offset {} differs",
                header.base_offset
            )));
        }
        self.header(window.position, &header)?;
        if self.records
            && let Err(error) = self.body(&header, &batch[BATCH_HEADER_BYTES..])
        {
            return Ok(Err(format!("{error:#}")));
        }
        Ok(Ok(header.size_in_bytes))
    }

    fn header(&mut self, position: u64, header: &BatchHeader) -> anyhow::Result<()> {
        let producer = header.producer.as_ref();
        let document = || {
            json!({
                "position": position,
                "base_offset": header.base_offset.0,
                "last_offset": header.last_offset().0,
                "records": header.record_count,
                "bytes": header.size_in_bytes,
                "leader_epoch": header.leader_epoch.map(|epoch| epoch.0),
                "compression": header.compression.name(),
                "timestamp_type": format!("{:?}", header.timestamp_type),
                "base_timestamp": header.base_timestamp.0,
                "max_timestamp": header.max_timestamp.0,
                "delete_horizon": header.delete_horizon.map(|horizon| horizon.0),
                "producer_id": producer.map(|producer| producer.id.0),
                "producer_epoch": producer.map(|producer| producer.epoch.0),
                "base_sequence": producer.map(|producer| producer.base_sequence.0),
                "control": header.is_control,
                "transactional": header.is_transactional,
                "crc": format!("{:08x}", header.crc),
            })
        };
        self.line(document, |out| {
            let (first, last) = (header.base_offset, header.last_offset());
            write!(out, "  {position:>10}  offsets {first}..={last}")?;
            write!(out, "  records {}  bytes {}", header.record_count, header.size_in_bytes)?;
            write!(out, "  {}  time {}", header.compression.name(), header.max_timestamp.0)?;
            if let Some(epoch) = header.leader_epoch {
                write!(out, "  epoch {epoch}")?;
            }
            if let Some(producer) = producer {
                write!(out, "  producer {}/{}", producer.id, producer.epoch)?;
                write!(out, " sequence {}", producer.base_sequence)?;
            }
            writeln!(out, "  crc {:08x}", header.crc)
        })
    }

    fn body(&mut self, header: &BatchHeader, body: &[u8]) -> anyhow::Result<()> {
        let body = codec::decompress(header.compression, body)?;
        for record in Records::in_body(header, &body) {
            self.record(&record?)?;
        }
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> anyhow::Result<()> {
        let lossy = |bytes: Option<&[u8]>| {
            bytes.map_or("null".to_owned(), |bytes| bytes.escape_ascii().to_string())
        };
        let document = || {
            json!({
                "offset": record.offset.0,
                "timestamp": record.timestamp.0,
                "key": json_bytes(record.key),
                "value": json_bytes(record.value),
            })
        };
        self.line(document, |out| {
            let (key, value) = (lossy(record.key), lossy(record.value));
            let (offset, time) = (record.offset, record.timestamp.0);
            writeln!(out, "              {offset}  time {time}  key {key}  value {value}")
        })
    }

    fn line(
        &mut self,
        document: impl FnOnce() -> serde_json::Value,
        human: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        if self.output.is_json() {
            writeln!(self.out, "{}", document())?;
        } else {
            human(&mut self.out)?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.out).and_then(|()| stdout.flush());
        self.out.clear();
        written.map_err(|error| StdoutClosed(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segment_files_are_dumped() {
        assert!(is_segment("00000000000000000042.log"));
        for other in ["42.log", "00000000000000000042.index", "0000000000000000004x.log", "lock"] {
            assert!(!is_segment(other), "{other}");
        }
    }
}
