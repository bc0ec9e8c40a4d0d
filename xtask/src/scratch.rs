//! A directory for one test, gone when the test ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// An empty directory below the system's temporary one, removed on drop.
pub struct ScratchDirectory {
    path: PathBuf,
}

impl ScratchDirectory {
    pub fn new(purpose: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("highwater-xtask-{purpose}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, with the directories above it.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.path.join(name);
        std::fs::create_dir_all(file.parent().expect("a file lies in a directory")).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// An executable copy of a file. Another process makes it, because a file that this process
    /// has open for writing may be held open by a child that another test is just starting, and
    /// cannot be executed until then.
    pub fn executable(&self, name: &str) -> PathBuf {
        let copy = self.path.join(format!("{name}.executable"));
        let status =
            Command::new("install").arg("-m755").arg(self.path.join(name)).arg(&copy).status();
        assert!(status.expect("`install` is part of coreutils").success());
        copy
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
