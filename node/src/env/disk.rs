//! The disk door: files by path, with the durability rules of a POSIX file system made explicit.
//!
//! What a caller may rely on: bytes are durable after [`DiskFile::sync`] returned `Ok`; a created,
//! renamed or removed directory entry is durable after [`Disk::sync_dir`] of its directory returned
//! `Ok`. Nothing else survives a power cut. After an `Err` from `sync` nothing written to that file
//! since the last successful `sync` may be trusted, and no later `Ok` changes that.

use super::BoxFuture;
use bytes::Bytes;
use std::{io, path::Path, sync::Arc};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file for reading; `NotFound` when it is missing.
    Read,
    /// An existing file for reading and writing; `NotFound` when it is missing.
    Write,
    /// A new file for reading and writing; `AlreadyExists` when it is there.
    CreateNew,
    /// A new empty file for reading and writing, replacing what is there.
    Replace,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The entry's name, without its directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Files and directories. Paths are absolute or relative to the process, as the configuration has
/// them. Every method may be called from many tasks at once. Dropping a returned future does not
/// cancel an operation already under way.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> BoxFuture<'static, io::Result<Arc<dyn DiskFile>>>;
    /// The entries of a directory, sorted by name.
    fn list(&self, dir: &Path) -> BoxFuture<'static, io::Result<Vec<DirEntry>>>;
    /// Creates a directory and its missing parents; `Ok` when it is there already.
    fn create_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>>;
    /// Renames a file or a directory within one file system, replacing a file that is there.
    fn rename(&self, from: &Path, to: &Path) -> BoxFuture<'static, io::Result<()>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> BoxFuture<'static, io::Result<()>>;
    /// Removes a directory and all that is in it.
    fn remove_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>>;
    /// Takes the advisory lock of a data directory (a file `lock` in it) for this process, held
    /// until the returned guard is dropped or the process dies. `WouldBlock` when another holds it.
    fn lock(&self, dir: &Path) -> BoxFuture<'static, io::Result<Box<dyn Send + Sync>>>;
    /// Bytes free on the file system of a path, and its size, for DescribeLogDirs: (usable, total).
    fn space(&self, path: &Path) -> BoxFuture<'static, io::Result<(u64, u64)>>;
}

/// An open file. Operations may overlap; a read that overlaps a write of the same bytes sees
/// either. One task at a time writes or truncates a file.
pub trait DiskFile: Send + Sync {
    /// Reads up to `length` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>>;
    /// Writes all chunks, one behind the other, at `offset`, extending the file when needed.
    /// On `Err` any part of it may have been written.
    fn write_at(&self, offset: u64, chunks: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>>;
    /// Makes every byte whose write completed before this call durable, with the file's size.
    /// After an `Err` every later `sync` of this file fails too (the error is latched).
    fn sync(&self) -> BoxFuture<'static, io::Result<()>>;
    /// Sets the file's size, cutting or extending with zeros. Durable after `sync`.
    fn truncate(&self, size: u64) -> BoxFuture<'static, io::Result<()>>;
    /// The file's size.
    fn size(&self) -> BoxFuture<'static, io::Result<u64>>;
}
