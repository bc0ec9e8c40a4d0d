//! The network between brokers, at the level of messages: each directed link delays, loses,
//! duplicates and reorders them, and may be cut. Nothing is ever repeated by the network itself.
//!
//! Messages under way belong to the network and not to a machine: they outlive their sender, and
//! may find another life of their receiver than the one they were meant for.

mod clients;
mod message;
mod trap;
mod weather;

#[cfg(madsim)]
mod door;

pub use clients::{ClientLinks, Way};
#[cfg(madsim)]
pub use door::{Network, SimTransport};
pub use message::{Contents, Message, MessageKind};
pub use trap::{Catch, Gate, Passing, Trap, Trapped, Wanted};
pub use weather::{Direction, Fate, LATE_MILLIS, Links, Weather};
