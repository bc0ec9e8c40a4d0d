//! The disk door of production: files of the operating system, used from I/O threads.

use super::{
    BoxFuture, DirEntry, Disk, DiskFile, OpenMode, io_threads::IoThreads, os_file::OsFile,
};
use rustix::fs::{FlockOperation, flock, statvfs};
use std::{
    error, fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Threads for reads that the page cache cannot answer at once.
const READ_THREADS: usize = 4;
/// Threads for writes and for everything that changes a directory.
const WRITE_THREADS: usize = 4;
/// Threads that wait for the device in `fdatasync`: each is one file, and the device takes many
/// flushes at once.
const SYNC_THREADS: usize = 8;
/// The lock file of a data directory.
const LOCK_FILE: &str = "lock";

/// The files of this machine.
#[derive(Clone)]
pub struct OsDisk {
    threads: Threads,
}

/// The three kinds of I/O threads.
#[derive(Clone)]
pub(super) struct Threads {
    pub(super) reads: IoThreads,
    pub(super) writes: IoThreads,
    pub(super) syncs: IoThreads,
}

impl OsDisk {
    /// Starts the I/O threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            threads: Threads {
                reads: IoThreads::start("disk-read", READ_THREADS)?,
                writes: IoThreads::start("disk-write", WRITE_THREADS)?,
                syncs: IoThreads::start("disk-sync", SYNC_THREADS)?,
            },
        })
    }

    /// Runs an operation on a path on the threads for writes, and names the path in its error.
    fn on_path<T: Send + 'static>(
        &self,
        what: &'static str,
        path: &Path,
        operation: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let (threads, path) = (self.threads.writes.clone(), path.to_owned());
        Box::pin(async move {
            threads
                .run(move || operation(&path).map_err(|error| PathError::wrap(what, &path, error)))
                .await
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the disk door")]
impl Disk for OsDisk {
    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> BoxFuture<'static, io::Result<Arc<dyn DiskFile>>> {
        let threads = self.threads.clone();
        self.on_path("open", path, move |path| {
            Ok(Arc::new(OsFile::open(path, mode, threads)?) as Arc<dyn DiskFile>)
        })
    }

    fn list(&self, dir: &Path) -> BoxFuture<'static, io::Result<Vec<DirEntry>>> {
        self.on_path("list", dir, |dir| {
            let mut entries = Vec::new();
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                // A name that is not UTF-8 is none of ours.
                if let Ok(name) = entry.file_name().into_string() {
                    entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
                }
            }
            entries.sort();
            Ok(entries)
        })
    }

    fn create_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.on_path("create directory", dir, |dir| fs::create_dir_all(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> BoxFuture<'static, io::Result<()>> {
        let to = to.to_owned();
        self.on_path("rename", from, move |from| fs::rename(from, to))
    }

    fn remove(&self, path: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.on_path("remove", path, |path| fs::remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.on_path("remove directory", dir, |dir| fs::remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        let (threads, dir) = (self.threads.syncs.clone(), dir.to_owned());
        Box::pin(async move {
            threads
                .run(move || {
                    File::open(&dir)
                        .and_then(|handle| handle.sync_all())
                        .map_err(|error| PathError::wrap("sync directory", &dir, error))
                })
                .await
        })
    }

    fn lock(&self, dir: &Path) -> BoxFuture<'static, io::Result<Box<dyn Send + Sync>>> {
        self.on_path("lock", &dir.join(LOCK_FILE), |path| {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // The lock lives as long as this descriptor.
            Ok(Box::new(file) as Box<dyn Send + Sync>)
        })
    }

    fn space(&self, path: &Path) -> BoxFuture<'static, io::Result<(u64, u64)>> {
        self.on_path("read the space", path, |path| {
            let space = statvfs(path)?;
            Ok((
                space.f_bavail.saturating_mul(space.f_frsize),
                space.f_blocks.saturating_mul(space.f_frsize),
            ))
        })
    }
}

/// What failed, on which path. It keeps the kind of the error it wraps; the operating system's own
/// number is in [`PathError::raw_os_error`].
#[derive(Debug)]
pub struct PathError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl PathError {
    /// The same error with its context, of the same kind.
    pub(super) fn wrap(what: &'static str, path: &Path, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Self { what, path: path.to_owned(), source })
    }

    /// The operating system's error number, when it came from there.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {} {}: {}", self.what, self.path.display(), self.source)
    }
}

impl error::Error for PathError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tempfile::TempDir;

    fn disk() -> (OsDisk, TempDir) {
        (OsDisk::new().expect("threads"), tempfile::tempdir().expect("a directory"))
    }

    /// Bytes that differ from place to place.
    fn pattern(start: usize, length: usize) -> Bytes {
        (start..start + length).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    #[tokio::test]
    async fn writes_of_any_size_and_place_read_back() {
        let (disk, dir) = disk();
        let path = dir.path().join("file");
        let file = disk.open(&path, OpenMode::CreateNew).await.expect("created");
        let mut end = 0;
        // Small and large, so that buffered and direct writes meet in the same pages.
        for length in [1, 61, 300_000, 5, 4096, 262_144, 70_000, 1_500_000, 8192, 2_345_678] {
            let bytes = pattern(end, length);
            let chunks = bytes.chunks(1000).map(Bytes::copy_from_slice).collect();
            file.write_at(end as u64, chunks).await.expect("written");
            let read = file.read_at(end as u64, length).await.expect("read");
            assert!(read == bytes, "{length} bytes at {end}");
            end += length;
        }
        file.sync().await.expect("synced");
        assert_eq!(file.size().await.expect("a size"), end as u64);
        let again = disk.open(&path, OpenMode::Write).await.expect("opened");
        assert!(again.read_at(0, end + 10).await.expect("read") == pattern(0, end));
        assert_eq!(again.read_at(end as u64 - 3, 10).await.expect("read").len(), 3);
        again.truncate(500).await.expect("cut");
        assert_eq!(file.size().await.expect("a size"), 500);
    }

    #[tokio::test]
    async fn a_write_has_more_chunks_than_one_system_call_takes() {
        let (disk, dir) = disk();
        let file = disk.open(&dir.path().join("f"), OpenMode::Replace).await.expect("created");
        let chunks: Vec<Bytes> = (0..5000).map(|at| pattern(at * 3, 3)).collect();
        file.write_at(0, chunks).await.expect("written");
        assert_eq!(file.read_at(0, 15_000).await.expect("read"), pattern(0, 15_000));
    }

    #[tokio::test]
    async fn open_modes_and_directories_do_what_they_say() {
        let (disk, dir) = disk();
        let (dir, file) = (dir.path().join("a/b"), dir.path().join("a/b/file"));
        disk.create_dir(&dir).await.expect("created");
        disk.create_dir(&dir).await.expect("there already");
        let error = disk.open(&file, OpenMode::Read).await.err().expect("it is missing");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("a/b/file"), "{error}");
        disk.open(&file, OpenMode::CreateNew).await.expect("created");
        let error = disk.open(&file, OpenMode::CreateNew).await.err().expect("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        disk.rename(&file, &dir.join("z")).await.expect("renamed");
        disk.create_dir(&dir.join("c")).await.expect("created");
        disk.sync_dir(&dir).await.expect("synced");
        let names = disk.list(&dir).await.expect("listed");
        let entry = |name: &str, is_dir| DirEntry { name: name.to_owned(), is_dir };
        assert_eq!(names, [entry("c", true), entry("z", false)]);
        disk.remove(&dir.join("z")).await.expect("removed");
        disk.remove_dir(&dir).await.expect("removed");
        assert!(disk.list(&dir).await.is_err());
    }

    #[tokio::test]
    async fn a_data_directory_has_one_owner() {
        let (disk, dir) = disk();
        let lock = disk.lock(dir.path()).await.expect("locked");
        let error = disk.lock(dir.path()).await.err().expect("another owner is refused");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        disk.lock(dir.path()).await.expect("free again");
        let (usable, total) = disk.space(dir.path()).await.expect("read");
        assert!(usable <= total && total > 0);
    }
}
