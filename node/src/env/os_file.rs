//! A file of the operating system: vectored writes, large ones past the page cache, and a sync
//! whose error is final.
//!
//! A large append does not go through the page cache: filling never used pages costs several times
//! the CPU of the write itself, and `fdatasync` then has to find and clean them again. The aligned
//! middle of a large write is copied into an aligned buffer of the I/O thread and written with
//! `O_DIRECT`; its unaligned ends, and every small write, go through the page cache. The two never
//! touch the same page in one write, and the kernel keeps them coherent between writes. Where
//! `O_DIRECT` does not exist, everything goes through the page cache. See
//! `docs/adr/2026-11-23-segment-files.md` for the measurements.

use super::{
    BoxFuture, DiskFile, OpenMode,
    os_disk::{PathError, Threads},
};
use bytes::{Buf, Bytes};
use rustix::{
    fs::{Advice, OFlags, fadvise, fdatasync},
    io::{Errno, ReadWriteFlags, preadv2, pwritev},
};
use std::{
    cell::RefCell,
    collections::VecDeque,
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// The most chunks of one vectored write (Linux's `IOV_MAX`).
const CHUNKS_PER_WRITE: usize = 1024;
/// Reads up to this many bytes are tried on the spot, from the page cache only.
const INLINE_READ_BYTES: usize = 64 * 1024;
/// Writes from this many bytes on go past the page cache.
const DIRECT_WRITE_BYTES: usize = 256 * 1024;
/// Alignment of offset, length and memory for direct writes: what every file system takes.
const DIRECT_ALIGNMENT: usize = 4096;
/// The aligned buffer of an I/O thread, in bytes.
const DIRECT_BUFFER_BYTES: usize = 1024 * 1024;

/// An open file, its operations sent to the I/O threads.
pub(super) struct OsFile {
    inner: Arc<Inner>,
    threads: Threads,
}

struct Inner {
    file: File,
    path: PathBuf,
    /// A second descriptor that bypasses the page cache, opened at the first large write. `None`
    /// when the file system has no such thing.
    direct: OnceLock<Option<File>>,
    /// The first error of a sync. Invariant: once set, no sync succeeds.
    sync_failed: OnceLock<(io::ErrorKind, String)>,
}

impl OsFile {
    /// Opens a file. Pages of an existing file that is opened for writing are dropped from the
    /// cache when they are clean: after a failed sync the kernel calls pages clean that never
    /// reached the device, and recovery must see what the device holds.
    pub(super) fn open(path: &Path, mode: OpenMode, threads: Threads) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
            OpenMode::Replace => {
                options.write(true).create(true).truncate(true);
            }
        }
        let file = options.open(path)?;
        if mode == OpenMode::Write {
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        let inner = Inner {
            file,
            path: path.to_owned(),
            direct: OnceLock::new(),
            sync_failed: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner), threads })
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>> {
        let (inner, threads) = (self.inner.clone(), self.threads.reads.clone());
        Box::pin(async move {
            if length <= INLINE_READ_BYTES
                && let Some(bytes) = inner.read_cached(offset, length)
            {
                return Ok(bytes);
            }
            threads.run(move || inner.named("read", inner.read(offset, length))).await
        })
    }

    fn write_at(&self, offset: u64, chunks: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>> {
        let (inner, threads) = (self.inner.clone(), self.threads.writes.clone());
        Box::pin(async move {
            threads.run(move || inner.named("write", inner.write(offset, chunks.into()))).await
        })
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let (inner, threads) = (self.inner.clone(), self.threads.syncs.clone());
        Box::pin(async move { threads.run(move || inner.named("sync", inner.sync())).await })
    }

    fn truncate(&self, size: u64) -> BoxFuture<'static, io::Result<()>> {
        let (inner, threads) = (self.inner.clone(), self.threads.writes.clone());
        Box::pin(async move {
            threads.run(move || inner.named("truncate", inner.file.set_len(size))).await
        })
    }

    fn size(&self) -> BoxFuture<'static, io::Result<u64>> {
        let (inner, threads) = (self.inner.clone(), self.threads.reads.clone());
        Box::pin(async move {
            threads
                .run(move || {
                    inner.named("read the size of", inner.file.metadata().map(|data| data.len()))
                })
                .await
        })
    }
}

impl Inner {
    fn named<T>(&self, what: &'static str, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| PathError::wrap(what, &self.path, error))
    }

    /// What the page cache holds of the range, when it holds all of it and nothing has to wait.
    fn read_cached(&self, offset: u64, length: usize) -> Option<Bytes> {
        let mut buffer = vec![0; length];
        let slices = &mut [IoSliceMut::new(&mut buffer)];
        match preadv2(&self.file, slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == length => Some(buffer.into()),
            _ => None,
        }
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            let position = offset.saturating_add(buffer.len() as u64);
            match rustix::io::pread(
                &self.file,
                rustix::buffer::spare_capacity(&mut buffer),
                position,
            ) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The allocation may be larger than what was asked for.
        buffer.truncate(length);
        Ok(buffer.into())
    }

    fn write(&self, offset: u64, mut chunks: VecDeque<Bytes>) -> io::Result<()> {
        let total: usize = chunks.iter().map(Bytes::len).sum();
        let Some((start, end)) = direct_range(offset, total) else {
            return self.write_buffered(offset, chunks);
        };
        let Some(direct) = self.direct.get_or_init(|| self.open_direct()) else {
            return self.write_buffered(offset, chunks);
        };
        let head = take_front(&mut chunks, usize_of(start - offset));
        let mut middle = take_front(&mut chunks, usize_of(end - start));
        if !head.is_empty() {
            self.write_buffered(offset, head)?;
        }
        let reached = write_direct(direct, start, end, &mut middle)?;
        // What the file system would not take directly goes the ordinary way.
        middle.append(&mut chunks);
        self.write_buffered(reached, middle)
    }

    fn write_buffered(&self, mut offset: u64, mut chunks: VecDeque<Bytes>) -> io::Result<()> {
        loop {
            while chunks.front().is_some_and(Bytes::is_empty) {
                chunks.pop_front();
            }
            if chunks.is_empty() {
                return Ok(());
            }
            let slices: Vec<IoSlice<'_>> =
                chunks.iter().take(CHUNKS_PER_WRITE).map(|chunk| IoSlice::new(chunk)).collect();
            match pwritev(&self.file, &slices, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    advance(&mut chunks, written);
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The descriptor for direct writes: of the same file, even if the path has moved on since.
    fn open_direct(&self) -> Option<File> {
        let mut options = File::options();
        options.write(true).custom_flags(OFlags::DIRECT.bits().cast_signed());
        let direct = options.open(&self.path).ok()?;
        let (mine, other) = (self.file.metadata().ok()?, direct.metadata().ok()?);
        (mine.dev() == other.dev() && mine.ino() == other.ino()).then_some(direct)
    }

    fn sync(&self) -> io::Result<()> {
        if let Some((kind, message)) = self.sync_failed.get() {
            return Err(io::Error::new(*kind, message.clone()));
        }
        loop {
            match fdatasync(&self.file) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(error) => {
                    let error = io::Error::from(error);
                    let earlier = format!("an earlier sync of the file failed: {error}");
                    let _ = self.sync_failed.set((error.kind(), earlier));
                    return Err(error);
                }
            }
        }
        // Another sync of this file may have taken the error that was meant for this one too.
        match self.sync_failed.get() {
            Some((kind, message)) => Err(io::Error::new(*kind, message.clone())),
            None => Ok(()),
        }
    }
}

thread_local! {
    /// Memory for direct writes, with room to start on an aligned address.
    static DIRECT_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes the aligned range `start..end` directly, taking its bytes from `chunks`, and returns how
/// far it came: `end`, unless the file system does not take direct writes.
fn write_direct(
    direct: &File,
    start: u64,
    end: u64,
    chunks: &mut VecDeque<Bytes>,
) -> io::Result<u64> {
    DIRECT_BUFFER.with_borrow_mut(|memory| {
        memory.resize(DIRECT_BUFFER_BYTES + DIRECT_ALIGNMENT, 0);
        let shift = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
        let buffer = &mut memory[shift..shift + DIRECT_BUFFER_BYTES];
        let mut offset = start;
        while offset < end {
            let length = usize_of(end - offset).min(buffer.len());
            copy_front(chunks, &mut buffer[..length]);
            let written = match direct.write_at(&buffer[..length], offset) {
                Ok(written) => written - written % DIRECT_ALIGNMENT,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => 0,
                Err(error) => return Err(error),
            };
            if written == 0 {
                return Ok(offset);
            }
            advance(chunks, written);
            offset += written as u64;
        }
        Ok(end)
    })
}

/// The aligned middle of a write that is large enough for the direct way.
fn direct_range(offset: u64, total: usize) -> Option<(u64, u64)> {
    if total < DIRECT_WRITE_BYTES {
        return None;
    }
    let alignment = DIRECT_ALIGNMENT as u64;
    let end = offset + total as u64;
    Some((offset.next_multiple_of(alignment), end - end % alignment))
}

/// Splits the first `length` bytes off, without copying them.
fn take_front(chunks: &mut VecDeque<Bytes>, mut length: usize) -> VecDeque<Bytes> {
    let mut front = VecDeque::new();
    while length > 0 {
        let first = chunks.front_mut().expect("a front is within the chunks");
        if first.len() <= length {
            length -= first.len();
            front.extend(chunks.pop_front());
        } else {
            front.push_back(first.split_to(length));
            length = 0;
        }
    }
    front
}

/// Copies the first bytes into `buffer`, filling it.
fn copy_front(chunks: &VecDeque<Bytes>, buffer: &mut [u8]) {
    let mut filled = 0;
    for chunk in chunks {
        let length = chunk.len().min(buffer.len() - filled);
        buffer[filled..filled + length].copy_from_slice(&chunk[..length]);
        filled += length;
        if filled == buffer.len() {
            return;
        }
    }
    assert_eq!(filled, buffer.len(), "the chunks fill the buffer");
}

/// Drops the first `length` bytes.
fn advance(chunks: &mut VecDeque<Bytes>, mut length: usize) {
    while length > 0 {
        let first = chunks.front_mut().expect("no more is written than was given");
        if first.len() <= length {
            length -= first.len();
            chunks.pop_front();
        } else {
            first.advance(length);
            length = 0;
        }
    }
}

fn usize_of(length: u64) -> usize {
    usize::try_from(length).expect("a write fits into memory")
}
