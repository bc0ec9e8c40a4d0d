//! The doors: the only places where the node touches a clock, entropy or a file.
//!
//! Everything else in the node takes a [`Doors`] and cannot tell the real world from a simulated
//! one. The traits are used as `dyn`, so that no type parameter spreads.

mod disk;
#[cfg(not(madsim))]
mod io_threads;
#[cfg(not(madsim))]
mod os_clock;
#[cfg(not(madsim))]
mod os_disk;
#[cfg(not(madsim))]
mod os_file;
mod transport;
mod wall_timed;

pub use disk::{DirEntry, Disk, DiskFile, OpenMode};
#[cfg(not(madsim))]
pub use os_clock::{OsClock, OsEntropy};
#[cfg(not(madsim))]
pub use os_disk::{OsDisk, PathError};
pub use transport::{NoTransport, Transport, TransportError};
pub use wall_timed::timers;

use highwater_core::time::{Instant, Now};
use std::{future::Future, pin::Pin, sync::Arc};

/// A boxed future, as the doors return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The node's two clocks.
pub trait Clock: Send + Sync {
    /// Reads both clocks.
    fn now(&self) -> Now;
    /// Completes when the monotonic clock has reached `deadline`.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;
}

/// The node's only source of randomness (ids; never protocol decisions).
pub trait Entropy: Send + Sync {
    /// Sixty-four random bits.
    fn next_u64(&self) -> u64;
}

/// Everything a broker needs of its world.
#[derive(Clone)]
pub struct Doors {
    /// The two clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Other brokers.
    pub transport: Arc<dyn Transport>,
}
