//! The marker of a clean shutdown: which registration ended with every log closed.

use crate::env::{Disk, OpenMode};
use bytes::Bytes;
use highwater_core::types::BrokerEpoch;
use std::{io, path::Path};

/// It holds the broker epoch, in decimal. Its absence means a crash.
const FILE: &str = "clean-shutdown";
/// More than any epoch has digits.
const BYTES_MAX: usize = 32;

/// The registration that the last shutdown ended cleanly, if it was clean; from now on it was not,
/// until the next clean one.
pub async fn take(disk: &dyn Disk, dir: &Path) -> io::Result<Option<BrokerEpoch>> {
    let path = dir.join(FILE);
    let file = match disk.open(&path, OpenMode::Read).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let bytes = file.read_at(0, BYTES_MAX).await?;
    disk.remove(&path).await?;
    disk.sync_dir(dir).await?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    Ok(text.trim().parse().ok().map(BrokerEpoch))
}

/// Notes that every log of this registration is closed.
pub async fn write(disk: &dyn Disk, dir: &Path, epoch: BrokerEpoch) -> io::Result<()> {
    let file = disk.open(&dir.join(FILE), OpenMode::Replace).await?;
    file.write_at(0, vec![Bytes::from(epoch.to_string())]).await?;
    file.sync().await?;
    disk.sync_dir(dir).await
}
