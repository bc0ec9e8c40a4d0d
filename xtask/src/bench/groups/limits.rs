//! How many files may be open: a connection is one on either side, and so is each open log.

use anyhow::{Context as _, Result, ensure};

/// Files beside connections and logs.
const OTHER_FILES: u64 = 200;

/// What a measurement opens.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    pub connections: usize,
    pub partitions: usize,
}

/// Refuses to begin where the broker or this program, which have the same limit, would run out of
/// files in the middle.
pub fn check(needs: Needs) -> Result<()> {
    let text =
        std::fs::read_to_string("/proc/self/limits").context("cannot read /proc/self/limits")?;
    let limit = open_files(&text).context("no limit of open files in /proc/self/limits")?;
    let needed = needs.connections as u64 + 2 * needs.partitions as u64 + OTHER_FILES;
    ensure!(
        limit >= needed,
        "{limit} files may be open, and {needed} are needed: `ulimit -n {needed}`, or fewer \
         --members or --partitions"
    );
    Ok(())
}

/// The soft limit; one that is unlimited is the largest number.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_counts() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             1                    2                    processes\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(open_files(limits), Some(1024));
        let unlimited = limits.replace("1024  ", "unlimited");
        assert_eq!(open_files(&unlimited), Some(u64::MAX));
        assert_eq!(open_files("Max processes 1 2 processes\n"), None);
    }

    #[test]
    fn more_connections_than_any_system_has_are_refused() {
        let error = check(Needs { connections: usize::MAX >> 1, partitions: 1 });
        assert!(error.is_err() || open_files_here() == Some(u64::MAX));
    }

    fn open_files_here() -> Option<u64> {
        open_files(&std::fs::read_to_string("/proc/self/limits").unwrap())
    }
}
