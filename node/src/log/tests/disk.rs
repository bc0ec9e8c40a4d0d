//! A disk in memory that can lose power at any call: what was not synced is kept, lost or torn as
//! a seed has it.

use crate::env::{BoxFuture, DirEntry, Disk, DiskFile, OpenMode};
use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// The unit that is written whole or not at all.
const SECTOR_BYTES: usize = 64;
const ROOT: usize = 0;

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    nodes: Vec<Node>,
    calls: u64,
    /// The call that the power fails at.
    dies_at: Option<u64>,
    /// What the next calls of a kind answer instead.
    failing_writes: Option<io::ErrorKind>,
    failing_sync: Option<io::ErrorKind>,
    /// Handles of an earlier life fail.
    life: u64,
}

enum Node {
    File { now: Vec<u8>, durable: Vec<u8>, pending: Vec<FileChange> },
    Dir { now: BTreeMap<String, usize>, durable: BTreeMap<String, usize>, pending: Vec<DirChange> },
}

#[derive(Clone)]
enum FileChange {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone)]
enum DirChange {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

fn new_dir() -> Node {
    Node::Dir { now: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() }
}

impl FileChange {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let (start, end) = (*offset as usize, *offset as usize + written.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(written);
            }
            Self::Truncate(size) => bytes.resize(*size as usize, 0),
        }
    }

    /// Some sectors of a write, as they stood when the power went.
    fn apply_torn(&self, bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        let Self::Write(offset, written) = self else { return self.apply(bytes) };
        for (number, sector) in written.chunks(SECTOR_BYTES).enumerate() {
            if rng.random_bool(0.5) {
                let at = offset + (number * SECTOR_BYTES) as u64;
                Self::Write(at, sector.to_vec()).apply(bytes);
            }
        }
    }
}

impl DirChange {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, node) => {
                entries.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                entries.remove(name);
            }
            Self::Rename(from, to, node) => {
                entries.remove(from);
                entries.insert(to.clone(), *node);
            }
        }
    }
}

impl World {
    fn call(&mut self, life: u64) -> io::Result<()> {
        if self.nodes.is_empty() {
            self.nodes.push(new_dir());
        }
        self.calls += 1;
        if self.life != life || self.dies_at.is_some_and(|at| self.calls > at) {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }

    fn entries(&mut self, dir: usize) -> io::Result<&mut BTreeMap<String, usize>> {
        match &mut self.nodes[dir] {
            Node::Dir { now, .. } => Ok(now),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&mut self, path: &Path) -> io::Result<usize> {
        let mut node = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let name = name.to_str().expect("test paths are UTF-8").to_owned();
                node = *self.entries(node)?.get(&name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(node)
    }

    fn place(&mut self, path: &Path) -> io::Result<(usize, String)> {
        let dir = self.find(path.parent().expect("not the root"))?;
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        Ok((dir, name.to_owned()))
    }

    fn change(&mut self, dir: usize, change: DirChange) {
        let Node::Dir { now, pending, .. } = &mut self.nodes[dir] else { panic!("a directory") };
        change.apply(now);
        pending.push(change);
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<usize> {
        let (dir, name) = self.place(path)?;
        let found = self.entries(dir)?.get(&name).copied();
        match (mode, found) {
            (OpenMode::Read | OpenMode::Write, Some(node)) => Ok(node),
            (OpenMode::Read | OpenMode::Write, None) => Err(io::ErrorKind::NotFound.into()),
            (OpenMode::CreateNew, Some(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::Replace, Some(node)) => {
                self.change_file(node, FileChange::Truncate(0));
                Ok(node)
            }
            (OpenMode::CreateNew | OpenMode::Replace, None) => {
                let node = self.nodes.len();
                self.nodes.push(Node::File {
                    now: Vec::new(),
                    durable: Vec::new(),
                    pending: Vec::new(),
                });
                self.change(dir, DirChange::Set(name, node));
                Ok(node)
            }
        }
    }

    fn change_file(&mut self, node: usize, change: FileChange) {
        let Node::File { now, pending, .. } = &mut self.nodes[node] else { panic!("a file") };
        change.apply(now);
        pending.push(change);
    }
}

impl MemoryDisk {
    /// How many calls were made.
    pub(crate) fn calls(&self) -> u64 {
        self.world.lock().expect("sound").calls
    }

    /// Lets the power fail at the call after `calls` more.
    pub(crate) fn die_after(&self, calls: u64) {
        let mut world = self.world.lock().expect("sound");
        world.dies_at = Some(world.calls + calls);
    }

    /// The process that died is started again, with what it had written and not synced.
    pub(crate) fn revive(&self) {
        let mut world = self.world.lock().expect("sound");
        world.life += 1;
        world.dies_at = None;
    }

    /// Fails writes, or lets them succeed again.
    pub(crate) fn fail_writes(&self, kind: Option<io::ErrorKind>) {
        self.world.lock().expect("sound").failing_writes = kind;
    }

    /// Fails the next sync of a file: what it was to cover is lost, and another handle's sync
    /// knows nothing of it.
    pub(crate) fn fail_sync(&self, kind: io::ErrorKind) {
        self.world.lock().expect("sound").failing_sync = Some(kind);
    }

    /// Flips a bit of a file, in the cache and on the device.
    pub(crate) fn flip_bit(&self, path: &Path, position: usize, bit: u8) {
        let mut world = self.world.lock().expect("sound");
        let node = world.find(path).expect("the file exists");
        let Node::File { now, durable, .. } = &mut world.nodes[node] else { panic!("a file") };
        now[position] ^= 1 << bit;
        durable[position] ^= 1 << bit;
    }

    /// The contents of a file.
    pub(crate) fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut world = self.world.lock().expect("sound");
        let node = world.find(path).ok()?;
        match &world.nodes[node] {
            Node::File { now, .. } => Some(now.clone()),
            Node::Dir { .. } => None,
        }
    }

    /// Removes a file for good.
    pub(crate) fn lose(&self, path: &Path) {
        let mut world = self.world.lock().expect("sound");
        let (dir, name) = world.place(path).expect("the file exists");
        let Node::Dir { now, durable, .. } = &mut world.nodes[dir] else { panic!("a directory") };
        now.remove(&name);
        durable.remove(&name);
    }

    /// The power comes back: what was not synced is there, lost or torn.
    pub(crate) fn power_cut(&self, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = self.world.lock().expect("sound");
        world.life += 1;
        world.dies_at = None;
        for node in &mut world.nodes {
            match node {
                Node::File { now, durable, pending } => {
                    for change in pending.drain(..) {
                        match rng.random_range(0..4) {
                            0 => {}
                            1 => change.apply_torn(durable, &mut rng),
                            _ => change.apply(durable),
                        }
                    }
                    now.clone_from(durable);
                }
                Node::Dir { now, durable, pending } => {
                    for change in pending.drain(..) {
                        if rng.random_bool(0.5) {
                            change.apply(durable);
                        }
                    }
                    now.clone_from(durable);
                }
            }
        }
    }

    fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut World) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let world = self.world.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut world = world.lock().expect("sound");
            let life = world.life;
            world.call(life)?;
            call(&mut world)
        })
    }
}

impl Disk for MemoryDisk {
    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> BoxFuture<'static, io::Result<Arc<dyn DiskFile>>> {
        let (path, disk) = (path.to_owned(), self.clone());
        self.run(move |world| {
            let node = world.open(&path, mode)?;
            let (life, sync_failed) = (world.life, Arc::default());
            Ok(Arc::new(MemoryFile { disk, node, life, sync_failed }) as Arc<dyn DiskFile>)
        })
    }

    fn list(&self, dir: &Path) -> BoxFuture<'static, io::Result<Vec<DirEntry>>> {
        let dir = dir.to_owned();
        self.run(move |world| {
            let dir = world.find(&dir)?;
            let entries = world.entries(dir)?.clone();
            let entry = |(name, node): (String, usize)| DirEntry {
                name,
                is_dir: matches!(world.nodes[node], Node::Dir { .. }),
            };
            Ok(entries.into_iter().map(entry).collect())
        })
    }

    fn create_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        let dir = dir.to_owned();
        self.run(move |world| {
            if world.find(&dir).is_err() {
                let (parent, name) = world.place(&dir)?;
                let node = world.nodes.len();
                world.nodes.push(new_dir());
                world.change(parent, DirChange::Set(name, node));
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> BoxFuture<'static, io::Result<()>> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.run(move |world| {
            let node = world.find(&from)?;
            let ((dir, from), (other, to)) = (world.place(&from)?, world.place(&to)?);
            assert_eq!(dir, other, "the log renames within a directory");
            world.change(dir, DirChange::Rename(from, to, node));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> BoxFuture<'static, io::Result<()>> {
        let path = path.to_owned();
        self.run(move |world| {
            world.find(&path)?;
            let (dir, name) = world.place(&path)?;
            world.change(dir, DirChange::Remove(name));
            Ok(())
        })
    }

    /// The entries go one by one, as on a real disk, where a power cut may keep some of them.
    fn remove_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        let path = dir.to_owned();
        self.run(move |world| {
            let dir = world.find(&path)?;
            for name in world.entries(dir)?.keys().cloned().collect::<Vec<_>>() {
                world.change(dir, DirChange::Remove(name));
            }
            let (parent, name) = world.place(&path)?;
            world.change(parent, DirChange::Remove(name));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> BoxFuture<'static, io::Result<()>> {
        let dir = dir.to_owned();
        self.run(move |world| {
            let dir = world.find(&dir)?;
            let Node::Dir { now, durable, pending } = &mut world.nodes[dir] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            durable.clone_from(now);
            pending.clear();
            Ok(())
        })
    }

    fn lock(&self, _dir: &Path) -> BoxFuture<'static, io::Result<Box<dyn Send + Sync>>> {
        self.run(|_| Ok(Box::new(()) as Box<dyn Send + Sync>))
    }

    fn space(&self, _path: &Path) -> BoxFuture<'static, io::Result<(u64, u64)>> {
        self.run(|_| Ok((1 << 40, 1 << 40)))
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    node: usize,
    life: u64,
    sync_failed: Arc<AtomicBool>,
}

impl MemoryFile {
    fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut World) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let (world, life) = (self.disk.world.clone(), self.life);
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut world = world.lock().expect("sound");
            world.call(life)?;
            call(&mut world)
        })
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>> {
        let node = self.node;
        self.run(move |world| {
            let Node::File { now, .. } = &world.nodes[node] else { panic!("a file") };
            let start = now.len().min(offset as usize);
            let end = now.len().min(start + length);
            Ok(Bytes::copy_from_slice(&now[start..end]))
        })
    }

    fn write_at(&self, offset: u64, chunks: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>> {
        let node = self.node;
        self.run(move |world| {
            let mut bytes = chunks.concat();
            let failure = world.failing_writes;
            if failure.is_some() {
                bytes.truncate(bytes.len() / 2);
            }
            world.change_file(node, FileChange::Write(offset, bytes));
            failure.map_or(Ok(()), |kind| Err(kind.into()))
        })
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let (world, node, life) = (self.disk.world.clone(), self.node, self.life);
        let sync_failed = self.sync_failed.clone();
        Box::pin(async move {
            // It covers what was written before it, and takes its time.
            let covered = match &world.lock().expect("sound").nodes[node] {
                Node::File { pending, .. } => pending.len(),
                Node::Dir { .. } => panic!("a file"),
            };
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            let mut world = world.lock().expect("sound");
            world.call(life)?;
            let failure = world.failing_sync.take();
            let Node::File { durable, pending, .. } = &mut world.nodes[node] else {
                panic!("a file")
            };
            if failure.is_some() || sync_failed.load(Ordering::Relaxed) {
                // The pages count as clean and never reach the device; only this handle is told.
                pending.clear();
                sync_failed.store(true, Ordering::Relaxed);
                return Err(failure.unwrap_or(io::ErrorKind::Other).into());
            }
            for change in pending.drain(..covered.min(pending.len())) {
                change.apply(durable);
            }
            Ok(())
        })
    }

    fn truncate(&self, size: u64) -> BoxFuture<'static, io::Result<()>> {
        let node = self.node;
        self.run(move |world| {
            world.change_file(node, FileChange::Truncate(size));
            Ok(())
        })
    }

    fn size(&self) -> BoxFuture<'static, io::Result<u64>> {
        let node = self.node;
        self.run(move |world| {
            let Node::File { now, .. } = &world.nodes[node] else { panic!("a file") };
            Ok(now.len() as u64)
        })
    }
}
