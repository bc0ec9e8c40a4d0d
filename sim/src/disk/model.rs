//! The disk as a synchronous model: operations with their faults, process kills and power cuts.

use super::{
    file::{CutStyle, FileContents},
    tree::Tree,
};
use crate::{
    dice::Dice,
    trace::{Effect, Trace},
};
use bytes::Bytes;
use highwater_node::env::{DirEntry, OpenMode};
use std::{
    collections::BTreeSet,
    io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// An open file of one incarnation of the process.
#[derive(Clone, Debug)]
pub struct FileId {
    inode: u64,
    incarnation: u64,
    path: PathBuf,
}

impl FileId {
    /// The path under which the file was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// How long operations take, in milliseconds of simulated time.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// The delay of a sync on a healthy disk.
    pub sync: RangeInclusive<u64>,
    /// How often any operation is slow.
    pub slow_chance: f64,
    /// The delay of a slow operation.
    pub slow: RangeInclusive<u64>,
    /// Only operations on paths that contain this are slow.
    pub only: Option<String>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { sync: 1..=3, slow_chance: 0.0, slow: 0..=0, only: None }
    }
}

/// What is wrong with the disk at the moment. The default is a healthy disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskFaults {
    /// Bytes that fit; no limit when absent.
    pub capacity: Option<u64>,
    /// How often a read fails.
    pub read_error: f64,
    /// How often a write fails.
    pub write_error: f64,
    /// How often a sync fails.
    pub sync_error: f64,
    /// Only files whose path contains this fail.
    pub only: Option<String>,
    /// How long operations take.
    pub latency: Latency,
}

impl DiskFaults {
    /// What is wrong with the disk, for people.
    #[must_use]
    pub fn disturbance(&self) -> Option<String> {
        let percent = |chance: f64| (chance * 100.0).round();
        let mut words = Vec::new();
        if self.capacity.is_some() {
            words.push("the disk is nearly full".to_owned());
        }
        for (chance, what) in
            [(self.read_error, "reads"), (self.write_error, "writes"), (self.sync_error, "syncs")]
        {
            if chance > 0.0 {
                words.push(format!("{} % of {what} fail", percent(chance)));
            }
        }
        if self.latency.slow_chance > 0.0 {
            let (chance, most) = (percent(self.latency.slow_chance), self.latency.slow.end());
            words.push(format!("{chance} % of operations take up to {most} ms"));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// A file that no power cut takes away.
#[derive(Clone, Copy, Debug)]
pub struct KeptFile<'a> {
    /// Its name in its directory.
    pub name: &'a str,
    /// What the process sees of it.
    pub seen: &'a [u8],
    /// What the media holds of it.
    pub stored: &'a [u8],
}

/// One machine's disk.
#[derive(Debug)]
pub struct DiskModel {
    tree: Tree,
    /// What is wrong with the disk now.
    pub faults: DiskFaults,
    /// What the next power cuts do to unsynced contents and to unsynced entries; drawn when absent.
    pub cut_styles: (Option<CutStyle>, Option<CutStyle>),
    dice: Dice,
    trace: Trace,
    incarnation: u64,
    locks: BTreeSet<PathBuf>,
    failed_syncs: Vec<PathBuf>,
}

impl DiskModel {
    /// An empty healthy disk.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        Self {
            tree: Tree::default(),
            faults: DiskFaults::default(),
            cut_styles: (None, None),
            dice: Dice::new(seed, "disk"),
            trace,
            incarnation: 0,
            locks: BTreeSet::new(),
            failed_syncs: Vec::new(),
        }
    }

    /// The life of the process whose handles work now.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The process dies: its handles and locks are gone, the page cache stays.
    pub fn kill_process(&mut self) {
        self.incarnation += 1;
        self.locks.clear();
    }

    /// The machine loses its power: what was never synced is lost, torn or reordered. Returns one
    /// line for each thing that happened.
    pub fn cut_power(&mut self) -> Vec<String> {
        self.kill_process();
        self.tree.lose_power(&mut self.dice, self.cut_styles, &self.trace)
    }

    /// Draws from these dice from now on.
    pub fn draw_from(&mut self, dice: Dice) {
        self.dice = dice;
    }

    /// The machine gets a new and empty disk.
    pub fn replace(&mut self) {
        self.kill_process();
        self.tree = Tree::default();
        self.faults = DiskFaults::default();
        self.failed_syncs.clear();
    }

    /// The files whose sync failed since the last call.
    pub fn take_failed_syncs(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.failed_syncs)
    }

    /// Opens a file.
    pub fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<FileId> {
        let found = self.tree.lookup(path);
        let inode = match mode {
            OpenMode::Read | OpenMode::Write => found?,
            OpenMode::CreateNew if found.is_ok() => {
                let message = format!("{} is already there", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            OpenMode::CreateNew => self.create(path)?,
            OpenMode::Replace => match found {
                Ok(inode) => {
                    self.tree.file_mut(inode)?.resize(0);
                    inode
                }
                Err(_) => self.create(path)?,
            },
        };
        self.tree.file(inode)?;
        Ok(FileId { inode, incarnation: self.incarnation, path: path.to_owned() })
    }

    /// The entries of a directory, sorted by name.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let inode = self.tree.lookup(dir)?;
        let entry = |(name, inode): (&String, &u64)| DirEntry {
            name: name.clone(),
            is_dir: self.tree.dir(*inode).is_ok(),
        };
        Ok(self.tree.dir(inode)?.live.iter().map(entry).collect())
    }

    /// Creates a directory and its missing parents.
    pub fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.tree.create_dirs(dir)
    }

    /// Renames a file or a directory.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.tree.rename(from, to)
    }

    /// Removes a file.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.tree.remove(path)
    }

    /// Removes a directory and all that is in it.
    pub fn remove_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.tree.remove_dir(dir)
    }

    /// Makes a directory's entries durable.
    pub fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        if self.fails(self.faults.sync_error, dir) {
            self.trace.effect(Effect::SyncFailed, 1);
            self.failed_syncs.push(dir.to_owned());
            return Err(input_output_error());
        }
        self.tree.sync_dir(dir)
    }

    /// Takes the lock of a directory; `WouldBlock` when it is taken.
    pub fn lock(&mut self, dir: &Path) -> io::Result<()> {
        if self.locks.insert(dir.to_owned()) {
            return Ok(());
        }
        let message = format!("{} is locked by another process", dir.display());
        Err(io::Error::new(io::ErrorKind::WouldBlock, message))
    }

    /// Gives a lock of this incarnation back.
    pub fn unlock(&mut self, dir: &Path, incarnation: u64) {
        if incarnation == self.incarnation {
            self.locks.remove(dir);
        }
    }

    /// Bytes free and bytes altogether.
    #[must_use]
    pub fn space(&self) -> (u64, u64) {
        let total = self.faults.capacity.unwrap_or(1 << 40);
        (total.saturating_sub(self.used()), total)
    }

    /// Reads up to `length` bytes at `offset`.
    pub fn read_at(&mut self, file: &FileId, offset: u64, length: usize) -> io::Result<Bytes> {
        self.check(file)?;
        if self.fails(self.faults.read_error, &file.path) {
            self.trace.effect(Effect::ReadFailed, 1);
            return Err(input_output_error());
        }
        let (bytes, rotten) = self.tree.file(file.inode)?.read(offset, length);
        if rotten > 0 {
            self.trace.effect(Effect::RottenRead, 1);
        }
        Ok(bytes)
    }

    /// Writes bytes at `offset`. After an error some first part of them may be there.
    pub fn write_at(&mut self, file: &FileId, offset: u64, bytes: Bytes) -> io::Result<()> {
        self.check(file)?;
        let size = self.tree.file(file.inode)?.size();
        let growth = (offset + bytes.len() as u64).saturating_sub(size);
        if !self.fits(growth) {
            self.trace.effect(Effect::DiskFull, 1);
            self.write_some(file, offset, &bytes)?;
            return Err(disk_full());
        }
        if self.fails(self.faults.write_error, &file.path) {
            self.trace.effect(Effect::WriteFailed, 1);
            self.write_some(file, offset, &bytes)?;
            return Err(input_output_error());
        }
        self.tree.file_mut(file.inode)?.write(offset, bytes);
        Ok(())
    }

    /// Where a sync that begins now ends: pass it to [`DiskModel::end_sync`].
    pub fn begin_sync(&self, file: &FileId) -> io::Result<u64> {
        self.check(file)?;
        Ok(self.tree.file(file.inode)?.sync_point())
    }

    /// Makes what was written before the sync began durable, or fails and forgets it.
    pub fn end_sync(&mut self, file: &FileId, point: u64) -> io::Result<()> {
        self.check(file)?;
        if self.fails(self.faults.sync_error, &file.path) {
            self.tree.file_mut(file.inode)?.forget_pending(point);
            self.trace.effect(Effect::SyncFailed, 1);
            self.failed_syncs.push(file.path.clone());
            return Err(input_output_error());
        }
        self.tree.file_mut(file.inode)?.sync_through(point);
        Ok(())
    }

    /// Sets a file's size.
    pub fn truncate(&mut self, file: &FileId, size: u64) -> io::Result<()> {
        self.check(file)?;
        let old = self.tree.file(file.inode)?.size();
        if !self.fits(size.saturating_sub(old)) {
            self.trace.effect(Effect::DiskFull, 1);
            return Err(disk_full());
        }
        self.tree.file_mut(file.inode)?.resize(size);
        Ok(())
    }

    /// A file's size.
    pub fn size(&self, file: &FileId) -> io::Result<u64> {
        self.check(file)?;
        Ok(self.tree.file(file.inode)?.size())
    }

    /// Flips a bit of a stored file; `false` when the file has no such byte.
    pub fn flip_bit(&mut self, path: &Path, position: u64, bit: u8) -> bool {
        let Ok(inode) = self.tree.lookup(path) else { return false };
        let Ok(file) = self.tree.file_mut(inode) else { return false };
        if position >= file.size() {
            return false;
        }
        file.flip_bit(position, bit);
        self.trace.effect(Effect::BitFlipped, 1);
        true
    }

    /// Every file as the process would see it, by path. For oracles.
    #[must_use]
    pub fn live_files(&self) -> Vec<(PathBuf, &[u8])> {
        self.contents(FileContents::live)
    }

    /// Every file that the process sees, with what its media holds, by path. For oracles.
    #[must_use]
    pub fn media_files(&self) -> Vec<(PathBuf, &[u8])> {
        self.contents(FileContents::media)
    }

    /// The files of a directory that no power cut takes away, in the order of their names. For oracles.
    #[must_use]
    pub fn kept_files(&self, dir: &Path) -> Vec<KeptFile<'_>> {
        let files = self.tree.kept_in(dir).into_iter();
        files
            .map(|(name, file)| KeptFile { name, seen: file.live(), stored: file.media() })
            .collect()
    }

    /// What the media holds under this path, as a power cut leaves it when it leaves the least. For
    /// oracles.
    #[must_use]
    pub fn stored_file(&self, path: &Path) -> Option<&[u8]> {
        self.tree.stored_file(path).map(FileContents::media)
    }

    /// Tells the directory or file of this path from all others that have or had its name. For oracles.
    #[must_use]
    pub fn identity(&self, path: &Path) -> Option<u64> {
        self.tree.lookup(path).ok()
    }

    /// The files with a flipped bit that nobody has overwritten.
    #[must_use]
    pub fn rotten_files(&self) -> Vec<PathBuf> {
        if !self.tree.is_rotten() {
            return Vec::new();
        }
        let files = self.tree.files().into_iter();
        let rotten = |inode| self.tree.file(inode).is_ok_and(FileContents::is_rotten);
        files.filter(|(_, inode)| rotten(*inode)).map(|(path, _)| path).collect()
    }

    fn contents<'a>(
        &'a self,
        view: impl Fn(&'a FileContents) -> &'a [u8],
    ) -> Vec<(PathBuf, &'a [u8])> {
        let files = self.tree.files().into_iter();
        files.filter_map(|(path, inode)| Some((path, view(self.tree.file(inode).ok()?)))).collect()
    }

    /// Whether that many more bytes fit. Counts the bytes there are only when there is a limit,
    /// since every write asks.
    fn fits(&self, bytes: u64) -> bool {
        self.faults.capacity.is_none() || bytes <= self.space().0
    }

    fn create(&mut self, path: &Path) -> io::Result<u64> {
        if !self.fits(1) {
            self.trace.effect(Effect::DiskFull, 1);
            return Err(disk_full());
        }
        self.tree.create_file(path)
    }

    /// A failing write leaves some first part of itself behind, as far as it fits.
    fn write_some(&mut self, file: &FileId, offset: u64, bytes: &Bytes) -> io::Result<()> {
        let room = self.tree.file(file.inode)?.size().saturating_sub(offset) + self.space().0;
        let most = (bytes.len() as u64).min(room);
        let written = self.dice.between(0..=most) as usize;
        if written > 0 {
            self.tree.file_mut(file.inode)?.write(offset, bytes.slice(..written));
        }
        Ok(())
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.tree.live_bytes()
    }

    fn fails(&mut self, probability: f64, path: &Path) -> bool {
        let concerned = match &self.faults.only {
            Some(part) => path.to_string_lossy().contains(part),
            None => true,
        };
        concerned && self.dice.chance(probability)
    }

    fn check(&self, file: &FileId) -> io::Result<()> {
        if file.incarnation == self.incarnation {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{} was opened by a process that is dead",
            file.path.display()
        )))
    }
}

/// EIO, as the operating system reports it.
fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// ENOSPC, as the operating system reports it.
fn disk_full() -> io::Error {
    io::Error::from_raw_os_error(28)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with_file(bytes: &'static [u8]) -> (DiskModel, FileId) {
        let mut disk = DiskModel::new(1, Trace::default());
        disk.create_dir(Path::new("/d")).unwrap();
        let file = disk.open(Path::new("/d/f"), OpenMode::CreateNew).unwrap();
        disk.write_at(&file, 0, Bytes::from_static(bytes)).unwrap();
        (disk, file)
    }

    fn sync_all(disk: &mut DiskModel, file: &FileId) {
        let point = disk.begin_sync(file).unwrap();
        disk.end_sync(file, point).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
    }

    #[test]
    fn a_killed_process_loses_its_handles_and_locks_but_no_bytes() {
        let (mut disk, file) = disk_with_file(b"kept");
        disk.lock(Path::new("/d")).unwrap();
        disk.kill_process();
        assert!(disk.read_at(&file, 0, 4).is_err());
        disk.lock(Path::new("/d")).unwrap();
        let file = disk.open(Path::new("/d/f"), OpenMode::Read).unwrap();
        assert_eq!(disk.read_at(&file, 0, 9).unwrap(), "kept");
    }

    #[test]
    fn synced_files_survive_a_power_cut_and_others_vanish_at_times() {
        let (mut disk, file) = disk_with_file(b"durable");
        sync_all(&mut disk, &file);
        disk.cut_power();
        let file = disk.open(Path::new("/d/f"), OpenMode::Read).unwrap();
        assert_eq!(disk.read_at(&file, 0, 9).unwrap(), "durable");

        let lost = (0..32).filter(|seed| {
            let (mut disk, _) = disk_with_file(b"new");
            disk.dice = Dice::new(*seed, "disk");
            disk.cut_power();
            disk.open(Path::new("/d/f"), OpenMode::Read).is_err()
        });
        assert!((4..32).contains(&lost.count()));
    }

    #[test]
    fn a_second_sync_after_a_failed_one_succeeds_without_the_bytes() {
        let (mut disk, file) = disk_with_file(b"first");
        sync_all(&mut disk, &file);
        disk.write_at(&file, 0, Bytes::from_static(b"later")).unwrap();
        disk.faults.sync_error = 1.0;
        let point = disk.begin_sync(&file).unwrap();
        assert!(disk.end_sync(&file, point).is_err());
        disk.faults.sync_error = 0.0;
        sync_all(&mut disk, &file);
        assert_eq!(disk.media_files()[0].1, b"first");
        assert_eq!(disk.take_failed_syncs(), [PathBuf::from("/d/f")]);
    }

    #[test]
    fn a_full_disk_refuses_growth_and_takes_rewrites() {
        let (mut disk, file) = disk_with_file(b"12345678");
        disk.faults.capacity = Some(10);
        let error = disk.write_at(&file, 8, Bytes::from_static(b"12345678")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(disk.size(&file).unwrap() <= 10);
        disk.write_at(&file, 0, Bytes::from_static(b"abcdefgh")).unwrap();
    }

    #[test]
    fn errors_hit_only_the_chosen_files() {
        let (mut disk, file) = disk_with_file(b"x");
        disk.faults =
            DiskFaults { read_error: 1.0, only: Some("elsewhere".into()), ..Default::default() };
        assert!(disk.read_at(&file, 0, 1).is_ok());
        disk.faults.only = Some("/d/".into());
        assert!(disk.read_at(&file, 0, 1).is_err());
    }

    #[test]
    fn open_modes_follow_their_contract() {
        let (mut disk, _) = disk_with_file(b"old");
        let path = Path::new("/d/f");
        let kind = |result: io::Result<FileId>| result.unwrap_err().kind();
        assert_eq!(kind(disk.open(path, OpenMode::CreateNew)), io::ErrorKind::AlreadyExists);
        let missing = Path::new("/d/g");
        assert_eq!(kind(disk.open(missing, OpenMode::Write)), io::ErrorKind::NotFound);
        let file = disk.open(path, OpenMode::Replace).unwrap();
        assert_eq!(disk.size(&file).unwrap(), 0);
    }
}
