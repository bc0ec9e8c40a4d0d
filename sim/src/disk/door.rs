//! The node's disk door over the model: every operation is a task of the machine, so that it goes
//! on when its caller stops waiting and dies with the machine; it takes simulated time, and leaves
//! a line in the trace.

use super::model::{DiskModel, FileId};
use crate::{
    dice::Dice,
    explain::{Lane, disk as explained},
    trace::{Effect, Trace},
};
use bytes::{Bytes, BytesMut};
use highwater_node::env::{BoxFuture, DirEntry, Disk, DiskFile, OpenMode};
use madsim::{task, time};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// A write longer than this is sometimes done in two steps, so that a kill can fall between them.
const SPLIT_BYTES: usize = 64;

/// Whether an operation takes time on a healthy disk.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    Quick,
    Sync,
}

/// One machine's disk as its processes see it. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

struct Shared {
    /// Whose disk it is, before each line of the trace; empty for the only one.
    owner: String,
    /// Whose disk it is, for pictures.
    lane: Lane,
    model: Mutex<DiskModel>,
    dice: Mutex<Dice>,
    trace: Trace,
    on_failed_sync: OnceLock<PathHook>,
    on_cut: OnceLock<PathHook>,
    trap: Mutex<Option<Trap>>,
    /// No operation begins any more.
    halted: AtomicBool,
    /// The operation after which that is so; `u64::MAX` for never.
    halts_after: AtomicU64,
}

type PathHook = Box<dyn Fn(&Path) + Send + Sync>;

/// What a trap waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapOn {
    /// Any operation.
    Any,
    /// A rename.
    Rename,
    /// A sync of a file or a directory.
    Sync,
}

/// Springs when the operation it waits for has happened often enough.
struct Trap {
    on: TrapOn,
    remaining: u64,
    sprung: oneshot::Sender<()>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64, trace: &Trace) -> Self {
        Self::of(1, String::new(), seed, trace)
    }

    /// An empty disk of a machine, whose lines in the trace begin with its owner.
    #[must_use]
    pub fn of(machine: i32, owner: String, seed: u64, trace: &Trace) -> Self {
        Self(Arc::new(Shared {
            owner,
            lane: Lane::Broker(machine),
            model: Mutex::new(DiskModel::new(seed, trace.clone())),
            dice: Mutex::new(Dice::new(seed, "disk latency")),
            trace: trace.clone(),
            on_failed_sync: OnceLock::new(),
            on_cut: OnceLock::new(),
            trap: Mutex::new(None),
            halted: AtomicBool::new(false),
            halts_after: AtomicU64::new(u64::MAX),
        }))
    }

    /// Lets `count` more operations happen and no other: what a crash at that very point leaves.
    /// Returns when it is so.
    pub fn halt_after(&self, count: u64) -> oneshot::Receiver<()> {
        self.0.halts_after.store(count, Ordering::Relaxed);
        self.0.halted.store(count == 0, Ordering::Relaxed);
        self.trap(TrapOn::Any, count.max(1))
    }

    /// How many operations may still happen before the disk halts.
    #[must_use]
    pub fn operations_left(&self) -> u64 {
        self.0.halts_after.load(Ordering::Relaxed)
    }

    /// Lets operations happen again.
    pub fn resume(&self) {
        self.0.halts_after.store(u64::MAX, Ordering::Relaxed);
        self.0.halted.store(false, Ordering::Relaxed);
        *self.lock_trap() = None;
    }

    /// Calls this with the path of every file whose sync fails, when it fails. Set once.
    pub fn on_failed_sync(&self, hook: impl Fn(&Path) + Send + Sync + 'static) {
        let set = self.0.on_failed_sync.set(Box::new(hook));
        assert!(set.is_ok(), "the hook is set once, when the machine is built");
    }

    /// Calls this with the path of every file that is removed or set to another size, when it was. Set
    /// once.
    pub fn on_cut(&self, hook: impl Fn(&Path) + Send + Sync + 'static) {
        let set = self.0.on_cut.set(Box::new(hook));
        assert!(set.is_ok(), "the hook is set once, when the cluster is built");
    }

    /// Tells when the operation has happened `count` times more: a fault can then strike at that
    /// very point. Replaces the trap before it.
    pub fn trap(&self, on: TrapOn, count: u64) -> oneshot::Receiver<()> {
        let (sprung, wait) = oneshot::channel();
        *self.lock_trap() = Some(Trap { on, remaining: count, sprung });
        wait
    }

    /// The model, for faults and oracles. Never held across an await.
    pub fn model(&self) -> MutexGuard<'_, DiskModel> {
        self.0.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws from other dice from now on.
    pub fn draw_from(&self, name: &str, seed: u64) {
        self.model().draw_from(Dice::new(seed, name));
        let latency = Dice::new(seed, &format!("latency of {name}"));
        *self.0.dice.lock().unwrap_or_else(PoisonError::into_inner) = latency;
    }

    /// Runs an operation as a task of the current machine.
    fn run<T, F>(&self, operation: F) -> BoxFuture<'static, io::Result<T>>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let running = task::spawn(operation);
        Box::pin(async move {
            running.await.unwrap_or_else(|_| Err(io::Error::other("the machine is dead")))
        })
    }

    /// An operation without healthy latency on the model.
    fn quick<T, F>(
        &self,
        name: &'static str,
        path: &Path,
        body: F,
    ) -> BoxFuture<'static, io::Result<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut DiskModel, &Path) -> io::Result<T> + Send + 'static,
    {
        let (disk, path) = (self.clone(), path.to_owned());
        self.run(async move {
            disk.delay(Pace::Quick, &path).await;
            let result = body(&mut disk.model(), &path);
            disk.log(name, &path, &"", &result);
            if matches!(name, "rename" | "remove") {
                let shared = &disk.0;
                shared.trace.events.add(|| explained::other(shared.lane, nanos(), &path, name));
            }
            if name == "remove" {
                disk.report_cut(&path);
            }
            result
        })
    }

    /// Waits as long as the disk takes now.
    async fn delay(&self, pace: Pace, path: &Path) {
        if self.0.halted.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let latency = self.model().faults.latency.clone();
        let only = latency.only.as_deref();
        let concerned = only.is_none_or(|part| path.to_string_lossy().contains(part));
        let millis = {
            let mut dice = self.0.dice.lock().unwrap_or_else(PoisonError::into_inner);
            if concerned && dice.chance(latency.slow_chance) {
                self.0.trace.effect(Effect::OperationDelayed, 1);
                Some(dice.between(latency.slow))
            } else {
                (pace == Pace::Sync).then(|| dice.between(latency.sync))
            }
        };
        if let Some(millis) = millis.filter(|millis| *millis > 0) {
            time::sleep(Duration::from_millis(millis)).await;
        }
    }

    fn lock_trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.0.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_down(&self) {
        let left = self.0.halts_after.load(Ordering::Relaxed);
        if left != u64::MAX && left > 0 {
            self.0.halts_after.store(left - 1, Ordering::Relaxed);
            self.0.halted.store(left == 1, Ordering::Relaxed);
        }
    }

    fn step_on_trap(&self, name: &str) {
        let mut trap = self.lock_trap();
        let Some(set) = trap.as_mut() else { return };
        let hit = match set.on {
            TrapOn::Any => true,
            TrapOn::Rename => name == "rename",
            TrapOn::Sync => name.starts_with("sync"),
        };
        set.remaining -= u64::from(hit);
        if set.remaining == 0
            && let Some(set) = trap.take()
        {
            // Whoever set it may have stopped waiting.
            let _ = set.sprung.send(());
        }
    }

    fn report_failed_syncs(&self) {
        let failed = self.model().take_failed_syncs();
        if let Some(hook) = self.0.on_failed_sync.get() {
            failed.iter().for_each(|path| hook(path));
        }
    }

    fn report_cut(&self, path: &Path) {
        if let Some(hook) = self.0.on_cut.get() {
            hook(path);
        }
    }

    fn log<T>(&self, name: &str, path: &Path, detail: &dyn fmt::Display, result: &io::Result<T>) {
        let (now, owner) = (nanos(), &self.0.owner);
        self.count_down();
        self.step_on_trap(name);
        match result {
            Ok(_) => self
                .0
                .trace
                .event(now, format_args!("{owner}disk {name} {}{detail}", path.display())),
            Err(error) => self
                .0
                .trace
                .event(now, format_args!("{owner}disk {name} {}{detail}: {error}", path.display())),
        }
    }
}

impl Disk for SimDisk {
    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> BoxFuture<'static, io::Result<Arc<dyn DiskFile>>> {
        let disk = self.clone();
        self.quick("open", path, move |model, path| {
            let file = model.open(path, mode)?;
            Ok(Arc::new(SimFile { disk, file }) as Arc<dyn DiskFile>)
        })
    }

    fn list(&self, dir: &Path) -> BoxFuture<'static, io::Result<Vec<DirEntry>>> {
        self.quick("list", dir, |model, dir| model.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.quick("create_dir", dir, |model, dir| model.create_dir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> BoxFuture<'static, io::Result<()>> {
        let to = to.to_owned();
        self.quick("rename", from, move |model, from| model.rename(from, &to))
    }

    fn remove(&self, path: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.quick("remove", path, |model, path| model.remove(path))
    }

    fn remove_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        self.quick("remove_dir", dir, |model, dir| model.remove_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        let (disk, dir) = (self.clone(), dir.to_owned());
        self.run(async move {
            disk.delay(Pace::Sync, &dir).await;
            let result = disk.model().sync_dir(&dir);
            disk.report_failed_syncs();
            disk.log("sync_dir", &dir, &"", &result);
            result
        })
    }

    fn lock(&self, dir: &Path) -> BoxFuture<'static, io::Result<Box<dyn Send + Sync>>> {
        let disk = self.clone();
        self.quick("lock", dir, move |model, dir| {
            model.lock(dir)?;
            let incarnation = model.incarnation();
            Ok(Box::new(LockGuard { disk, dir: dir.to_owned(), incarnation }) as _)
        })
    }

    fn space(&self, path: &Path) -> BoxFuture<'static, io::Result<(u64, u64)>> {
        self.quick("space", path, |model, _| Ok(model.space()))
    }
}

struct LockGuard {
    disk: SimDisk,
    dir: PathBuf,
    incarnation: u64,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.disk.model().unlock(&self.dir, self.incarnation);
    }
}

struct SimFile {
    disk: SimDisk,
    file: FileId,
}

impl SimFile {
    fn parts(&self) -> (SimDisk, FileId) {
        (self.disk.clone(), self.file.clone())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>> {
        let (disk, file) = self.parts();
        self.disk.run(async move {
            disk.delay(Pace::Quick, file.path()).await;
            let result = disk.model().read_at(&file, offset, length);
            disk.log("read", file.path(), &format_args!(" {length} bytes at {offset}"), &result);
            result
        })
    }

    fn write_at(&self, offset: u64, chunks: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>> {
        let (disk, file) = self.parts();
        self.disk.run(async move {
            let bytes = joined(chunks);
            let since = nanos();
            disk.delay(Pace::Quick, file.path()).await;
            let result = write(&disk, &file, offset, bytes.clone()).await;
            let detail = format_args!(" {} bytes at {offset}", bytes.len()).to_string();
            disk.log("write", file.path(), &detail, &result);
            let (shared, failed) = (&disk.0, result.is_err());
            shared.trace.events.add(|| {
                explained::write(shared.lane, (since, nanos()), file.path(), &bytes, failed)
            });
            result
        })
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let (disk, file) = self.parts();
        // What counts as written before the sync is settled when it is asked for.
        let point = self.disk.model().begin_sync(&self.file);
        let (since, lane) = (nanos(), self.disk.0.lane);
        let begun = self.disk.0.trace.events.begin(lane, || {
            explained::sync(lane, (since, since), self.file.path(), Some("never finished"))
        });
        self.disk.run(async move {
            let point = point?;
            disk.delay(Pace::Sync, file.path()).await;
            let result = disk.model().end_sync(&file, point);
            disk.report_failed_syncs();
            disk.log("sync", file.path(), &"", &result);
            let events = &disk.0.trace.events;
            events.done(begun);
            events.add(|| {
                let failed = result.as_ref().err().map(ToString::to_string);
                explained::sync(lane, (since, nanos()), file.path(), failed.as_deref())
            });
            result
        })
    }

    fn truncate(&self, size: u64) -> BoxFuture<'static, io::Result<()>> {
        let (disk, file) = self.parts();
        self.disk.run(async move {
            disk.delay(Pace::Quick, file.path()).await;
            let result = disk.model().truncate(&file, size);
            disk.log("truncate", file.path(), &format_args!(" to {size}"), &result);
            let shared = &disk.0;
            shared.trace.events.add(|| {
                let what = format!("cuts the file to {size} bytes");
                explained::other(shared.lane, nanos(), file.path(), &what)
            });
            disk.report_cut(file.path());
            result
        })
    }

    fn size(&self) -> BoxFuture<'static, io::Result<u64>> {
        let result = self.disk.model().size(&self.file);
        Box::pin(async move { result })
    }
}

/// Writes at once, or in two steps between which anything may happen.
async fn write(disk: &SimDisk, file: &FileId, offset: u64, bytes: Bytes) -> io::Result<()> {
    let split = {
        let mut dice = disk.0.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let splits = bytes.len() > SPLIT_BYTES && dice.chance(0.05);
        splits.then(|| dice.index(bytes.len()))
    };
    let Some(split) = split else { return disk.model().write_at(file, offset, bytes) };
    disk.model().write_at(file, offset, bytes.slice(..split))?;
    time::sleep(Duration::from_millis(1)).await;
    disk.model().write_at(file, offset + split as u64, bytes.slice(split..))
}

fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() == 1 {
        return chunks.remove(0);
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
    all.freeze()
}

/// Simulated time since the start of the run, in nanoseconds.
fn nanos() -> u64 {
    u64::try_from(time::TimeHandle::current().elapsed().as_nanos()).unwrap_or(u64::MAX)
}
