//! The disk door with a meter on its syncs: how long they take, how many bytes each makes durable,
//! how many fail.

use crate::{
    env::{BoxFuture, Clock, DirEntry, Disk, DiskFile, OpenMode},
    metrics::Metrics,
};
use bytes::Bytes;
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Passes everything on to another disk.
pub struct MeteredDisk {
    disk: Arc<dyn Disk>,
    meter: Meter,
}

#[derive(Clone)]
struct Meter {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

struct MeteredFile {
    file: Arc<dyn DiskFile>,
    meter: Meter,
    /// Bytes written since the last sync began.
    unsynced: AtomicU64,
}

impl MeteredDisk {
    /// Counts the syncs of `disk` in `metrics`.
    pub fn new(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { disk, meter: Meter { clock, metrics } }
    }
}

impl Disk for MeteredDisk {
    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> BoxFuture<'static, io::Result<Arc<dyn DiskFile>>> {
        let opening = self.disk.open(path, mode);
        let meter = self.meter.clone();
        Box::pin(async move {
            let file = opening.await?;
            Ok(Arc::new(MeteredFile { file, meter, unsynced: AtomicU64::new(0) }) as Arc<_>)
        })
    }

    fn list(&self, dir: &Path) -> BoxFuture<'static, io::Result<Vec<DirEntry>>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.disk.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, dir: &Path) -> BoxFuture<'static, io::Result<Box<dyn Send + Sync>>> {
        self.disk.lock(dir)
    }

    fn space(&self, path: &Path) -> BoxFuture<'static, io::Result<(u64, u64)>> {
        self.disk.space(path)
    }
}

impl DiskFile for MeteredFile {
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>> {
        self.file.read_at(offset, length)
    }

    fn write_at(&self, offset: u64, chunks: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>> {
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        self.unsynced.fetch_add(bytes, Ordering::Relaxed);
        self.file.write_at(offset, chunks)
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let bytes = self.unsynced.swap(0, Ordering::Relaxed);
        let started = self.meter.clock.now().monotonic;
        let syncing = self.file.sync();
        let meter = self.meter.clone();
        Box::pin(async move {
            let result = syncing.await;
            let fsync = &meter.metrics.fsync;
            fsync.latency.observe(meter.clock.now().monotonic.since(started));
            fsync.rounds.increment();
            match &result {
                Ok(()) => fsync.bytes.add(bytes),
                Err(_) => fsync.failures.increment(),
            }
            result
        })
    }

    fn truncate(&self, size: u64) -> BoxFuture<'static, io::Result<()>> {
        self.file.truncate(size)
    }

    fn size(&self) -> BoxFuture<'static, io::Result<u64>> {
        self.file.size()
    }
}
