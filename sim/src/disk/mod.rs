//! The simulated disk: page cache, device cache and media at the level of the calls the node makes.
//!
//! [`DiskModel`] is synchronous and pure: files, directories, what is durable, what a power cut
//! leaves. `SimDisk` is the node's asynchronous disk door over it, with delays and failures.

#[cfg(madsim)]
mod door;
mod file;
mod model;
mod tree;

#[cfg(madsim)]
pub use door::{SimDisk, TrapOn};
pub use file::{CutStyle, SECTOR_BYTES};
pub use model::{DiskFaults, DiskModel, FileId, KeptFile, Latency};
