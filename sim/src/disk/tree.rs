//! The directory tree: the names the process sees, the names the media holds, and the entry changes
//! between them until a directory is synced.

use super::file::{CutStyle, FileContents};
use crate::{
    dice::Dice,
    trace::{Effect, Trace},
};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
};

/// A file or a directory, whatever it is called.
#[derive(Clone, Debug)]
pub(super) enum Inode {
    File(FileContents),
    Dir(Dir),
}

/// The entries of one directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    pub live: BTreeMap<String, u64>,
    media: BTreeMap<String, u64>,
}

/// A change of directory entries that the media has not seen yet.
#[derive(Clone, Debug)]
struct EntryChange {
    inode: u64,
    kind: EntryChangeKind,
}

#[derive(Clone, Debug)]
enum EntryChangeKind {
    Link { dir: u64, name: String },
    Unlink { dir: u64, name: String },
    Rename { from: (u64, String), to: (u64, String) },
}

/// All files and directories.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub inodes: BTreeMap<u64, Inode>,
    next: u64,
    pending: Vec<EntryChange>,
}

const ROOT: u64 = 0;

impl Default for Tree {
    fn default() -> Self {
        let inodes = BTreeMap::from([(ROOT, Inode::Dir(Dir::default()))]);
        Self { inodes, next: 1, pending: Vec::new() }
    }
}

impl Tree {
    pub fn lookup(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for name in path.components().filter_map(normal) {
            at = *self.dir(at)?.live.get(&*name).ok_or_else(|| not_found(path))?;
        }
        Ok(at)
    }

    pub fn dir(&self, inode: u64) -> io::Result<&Dir> {
        match &self.inodes[&inode] {
            Inode::Dir(dir) => Ok(dir),
            Inode::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub fn file(&self, inode: u64) -> io::Result<&FileContents> {
        match &self.inodes[&inode] {
            Inode::File(file) => Ok(file),
            Inode::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub fn file_mut(&mut self, inode: u64) -> io::Result<&mut FileContents> {
        match self.inodes.get_mut(&inode) {
            Some(Inode::File(file)) => Ok(file),
            Some(Inode::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A new empty file under this path, in the place of whatever file is there.
    pub fn create_file(&mut self, path: &Path) -> io::Result<u64> {
        self.create(path, Inode::File(FileContents::default()))
    }

    pub fn create_dirs(&mut self, path: &Path) -> io::Result<()> {
        let mut prefix = PathBuf::new();
        for name in names(path) {
            prefix.push(name);
            match self.lookup(&prefix) {
                Ok(inode) => {
                    self.dir(inode)?;
                }
                Err(_) => {
                    self.create(&prefix, Inode::Dir(Dir::default()))?;
                }
            }
        }
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.lookup(from)?;
        let (from, to) = (self.parent_of(from)?, self.parent_of(to)?);
        self.dir_mut(from.0).live.remove(&from.1);
        self.dir_mut(to.0).live.insert(to.1.clone(), inode);
        self.pending.push(EntryChange { inode, kind: EntryChangeKind::Rename { from, to } });
        Ok(())
    }

    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.lookup(path)?;
        self.file(inode)?;
        self.unlink(path, inode)
    }

    pub fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.lookup(path)?;
        let entries: Vec<_> =
            self.dir(inode)?.live.iter().map(|(name, inode)| (name.clone(), *inode)).collect();
        for (name, child) in entries {
            let child_path = path.join(name);
            match self.inodes[&child] {
                Inode::Dir(_) => self.remove_dir(&child_path)?,
                Inode::File(_) => self.unlink(&child_path, child)?,
            }
        }
        self.unlink(path, inode)
    }

    /// The entries of a directory reach the media, with whatever happened to them before.
    pub fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.lookup(path)?;
        self.dir(dir)?;
        let moved: Vec<u64> =
            self.pending.iter().filter(|change| change.touches(dir)).map(|c| c.inode).collect();
        let (done, pending) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change| change.touches(dir) || moved.contains(&change.inode));
        self.pending = pending;
        let done: Vec<EntryChange> = done;
        done.iter().for_each(|change| self.commit(change));
        Ok(())
    }

    /// Every file's path, as the process sees it, in order.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        self.collect(ROOT, &PathBuf::from("/"), &mut files);
        files
    }

    /// The files of a directory that no power cut takes away, by name: the process sees them, and the
    /// media holds them in the same place.
    pub fn kept_in(&self, dir: &Path) -> Vec<(&str, &FileContents)> {
        let mut at = ROOT;
        for name in dir.components().filter_map(normal) {
            let Some(next) = self.kept_entry(at, &name) else { return Vec::new() };
            at = next;
        }
        let Ok(entries) = self.dir(at) else { return Vec::new() };
        let kept = entries
            .live
            .keys()
            .filter_map(|name| Some((name.as_str(), self.file(self.kept_entry(at, name)?).ok()?)));
        kept.collect()
    }

    /// The file that the media holds under this path.
    pub fn stored_file(&self, path: &Path) -> Option<&FileContents> {
        let mut at = ROOT;
        for name in path.components().filter_map(normal) {
            at = *self.dir(at).ok()?.media.get(&*name)?;
        }
        self.file(at).ok()
    }

    fn kept_entry(&self, dir: u64, name: &str) -> Option<u64> {
        let entries = self.dir(dir).ok()?;
        let inode = entries.live.get(name)?;
        (entries.media.get(name) == Some(inode)).then_some(*inode)
    }

    /// The bytes of all files that the process sees.
    pub fn live_bytes(&self) -> u64 {
        self.bytes_below(ROOT)
    }

    /// Whether any file, in a directory or not, has a flipped bit.
    pub fn is_rotten(&self) -> bool {
        self.inodes.values().any(|inode| matches!(inode, Inode::File(file) if file.is_rotten()))
    }

    /// What is left after a power cut; one line for the trace for each thing lost.
    pub fn lose_power(
        &mut self,
        dice: &mut Dice,
        (contents, entries): (Option<CutStyle>, Option<CutStyle>),
        trace: &Trace,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let names: BTreeMap<u64, PathBuf> =
            self.files().into_iter().map(|(path, inode)| (inode, path)).collect();
        let style = entries.unwrap_or(CutStyle::draw(dice));
        for change in std::mem::take(&mut self.pending) {
            let survives = match style {
                CutStyle::LoseAll => false,
                CutStyle::KeepAll => true,
                CutStyle::Prefix | CutStyle::Scatter => dice.chance(0.5),
            };
            if survives {
                self.commit(&change);
                continue;
            }
            let effect = match change.kind {
                EntryChangeKind::Rename { .. } => Effect::RenameUndone,
                EntryChangeKind::Link { .. } | EntryChangeKind::Unlink { .. } => Effect::EntryLost,
            };
            trace.effect(effect, 1);
            lines.push(format!("{} {:?}", effect.name(), change.kind));
        }
        let style = contents.unwrap_or(CutStyle::draw(dice));
        for (inode, content) in &mut self.inodes {
            match content {
                Inode::Dir(dir) => dir.live.clone_from(&dir.media),
                Inode::File(file) => {
                    if let Some(line) = file.lose_power(dice, style, trace) {
                        let name = names.get(inode).cloned().unwrap_or_default();
                        lines.push(format!("{} {line}", name.display()));
                    }
                }
            }
        }
        lines
    }

    fn create(&mut self, path: &Path, content: Inode) -> io::Result<u64> {
        let (dir, name) = self.parent_of(path)?;
        let inode = self.next;
        self.next += 1;
        self.inodes.insert(inode, content);
        self.dir_mut(dir).live.insert(name.clone(), inode);
        self.pending.push(EntryChange { inode, kind: EntryChangeKind::Link { dir, name } });
        Ok(inode)
    }

    fn unlink(&mut self, path: &Path, inode: u64) -> io::Result<()> {
        let (dir, name) = self.parent_of(path)?;
        self.dir_mut(dir).live.remove(&name);
        self.pending.push(EntryChange { inode, kind: EntryChangeKind::Unlink { dir, name } });
        Ok(())
    }

    fn parent_of(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut names = names(path);
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.lookup(&names.into_iter().collect::<PathBuf>())?;
        self.dir(parent)?;
        Ok((parent, name))
    }

    fn dir_mut(&mut self, inode: u64) -> &mut Dir {
        match self.inodes.get_mut(&inode) {
            Some(Inode::Dir(dir)) => dir,
            _ => unreachable!("callers looked this directory up"),
        }
    }

    fn commit(&mut self, change: &EntryChange) {
        match &change.kind {
            EntryChangeKind::Link { dir, name } => {
                self.dir_mut(*dir).media.insert(name.clone(), change.inode);
            }
            EntryChangeKind::Unlink { dir, name } => {
                let entries = &mut self.dir_mut(*dir).media;
                if entries.get(name) == Some(&change.inode) {
                    entries.remove(name);
                }
            }
            EntryChangeKind::Rename { from, to } => {
                let entries = &mut self.dir_mut(from.0).media;
                if entries.get(&from.1) == Some(&change.inode) {
                    entries.remove(&from.1);
                }
                self.dir_mut(to.0).media.insert(to.1.clone(), change.inode);
            }
        }
    }

    fn bytes_below(&self, dir: u64) -> u64 {
        let Inode::Dir(entries) = &self.inodes[&dir] else { return 0 };
        let bytes_of = |inode: &u64| match &self.inodes[inode] {
            Inode::File(file) => file.size(),
            Inode::Dir(_) => self.bytes_below(*inode),
        };
        entries.live.values().map(bytes_of).sum()
    }

    fn collect(&self, dir: u64, path: &Path, files: &mut Vec<(PathBuf, u64)>) {
        let Inode::Dir(entries) = &self.inodes[&dir] else { return };
        for (name, inode) in &entries.live {
            match self.inodes[inode] {
                Inode::File(_) => files.push((path.join(name), *inode)),
                Inode::Dir(_) => self.collect(*inode, &path.join(name), files),
            }
        }
    }
}

impl EntryChange {
    fn touches(&self, of: u64) -> bool {
        match &self.kind {
            EntryChangeKind::Link { dir, .. } | EntryChangeKind::Unlink { dir, .. } => *dir == of,
            EntryChangeKind::Rename { from, to } => from.0 == of || to.0 == of,
        }
    }
}

fn names(path: &Path) -> Vec<String> {
    path.components().filter_map(normal).map(Cow::into_owned).collect()
}

fn normal(component: Component<'_>) -> Option<Cow<'_, str>> {
    match component {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Power cuts with many seeds; the distinct sets of surviving names in `/d`.
    fn survivors(tree: &Tree) -> Vec<Vec<String>> {
        let after = |seed| {
            let mut tree = tree.clone();
            tree.lose_power(&mut Dice::new(seed, "cut"), (None, None), &Trace::default());
            let dir = tree.lookup(Path::new("/d")).expect("the directory was synced");
            tree.dir(dir).unwrap().live.keys().cloned().collect::<Vec<_>>()
        };
        let mut outcomes: Vec<_> = (0..64).map(after).collect();
        outcomes.sort();
        outcomes.dedup();
        outcomes
    }

    fn tree_with(files: &[&str]) -> Tree {
        let mut tree = Tree::default();
        tree.create_dirs(Path::new("/d")).unwrap();
        for file in files {
            tree.create_file(&Path::new("/d").join(file)).unwrap();
        }
        tree.sync_dir(Path::new("/")).unwrap();
        tree.sync_dir(Path::new("/d")).unwrap();
        tree
    }

    #[test]
    fn a_new_entry_is_durable_after_its_directory_was_synced() {
        let mut tree = tree_with(&[]);
        tree.create_file(Path::new("/d/new")).unwrap();
        assert_eq!(survivors(&tree), [vec![], vec!["new".to_owned()]]);
        tree.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(survivors(&tree), [vec!["new".to_owned()]]);
    }

    #[test]
    fn an_entry_is_kept_while_process_and_media_agree_on_it() {
        let mut tree = tree_with(&["old"]);
        let kept = |tree: &Tree| {
            let files = tree.kept_in(Path::new("/d")).into_iter();
            files.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        tree.create_file(Path::new("/d/new")).unwrap();
        assert_eq!(kept(&tree), ["old"]);
        assert!(tree.stored_file(Path::new("/d/new")).is_none());
        tree.remove(Path::new("/d/old")).unwrap();
        assert!(kept(&tree).is_empty());
        assert!(tree.stored_file(Path::new("/d/old")).is_some());
        tree.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(kept(&tree), ["new"]);
    }

    #[test]
    fn a_rename_is_atomic() {
        let mut tree = tree_with(&["old"]);
        tree.rename(Path::new("/d/old"), Path::new("/d/new")).unwrap();
        assert_eq!(survivors(&tree), [vec!["new".to_owned()], vec!["old".to_owned()]]);
    }

    #[test]
    fn a_removed_entry_may_come_back() {
        let mut tree = tree_with(&["a", "b"]);
        tree.remove(Path::new("/d/a")).unwrap();
        assert_eq!(survivors(&tree), [vec!["a".to_owned(), "b".into()], vec!["b".to_owned()]]);
    }

    #[test]
    fn a_removed_directory_takes_its_files_along() {
        let mut tree = tree_with(&[]);
        tree.create_dirs(Path::new("/d/e/f")).unwrap();
        tree.create_file(Path::new("/d/e/f/g")).unwrap();
        tree.remove_dir(Path::new("/d/e")).unwrap();
        assert!(tree.files().is_empty());
        assert_eq!(tree.lookup(Path::new("/d/e")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
