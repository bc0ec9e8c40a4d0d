//! Why a call failed.

use crate::wire::{ApiKey, DecodeError, EncodeError, VersionRange};
use core::time::Duration;
use std::io;
use thiserror::Error;

/// Why a call failed. An error code inside an answer is not one of these: it is part of the answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection came about. Nothing was sent.
    #[error("cannot connect to {address}: {source}; is a broker listening there?")]
    Connect {
        /// The address as it was given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke. A request under way may or may not have been carried out.
    #[error("lost the connection to {address}: {source}")]
    Lost {
        /// The broker's address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// No answer in time. The request may or may not have been carried out.
    #[error("{address} did not answer within {after:?}")]
    TimedOut {
        /// The broker's address.
        address: String,
        /// How long it had.
        after: Duration,
    },
    /// An earlier call failed or was dropped half way, so the stream's state is unknown. Connect
    /// again.
    #[error("the connection to {address} can no longer be used; connect again")]
    Unusable {
        /// The broker's address.
        address: String,
    },
    /// The broker sent something that is no answer to what was asked.
    #[error("{address} sent {what}")]
    Misbehaved {
        /// The broker's address.
        address: String,
        /// What it sent.
        what: String,
    },
    /// The broker's answer is not what its API and version say.
    #[error("cannot read {address}'s answer to {api} version {version}: {source}")]
    Malformed {
        /// The broker's address.
        address: String,
        /// The API asked for.
        api: ApiKey,
        /// The version asked in.
        version: i16,
        /// What was wrong.
        source: DecodeError,
    },
    /// The request cannot be written in that version.
    #[error("cannot ask for {api} in version {version}: {source}")]
    Unwritable {
        /// The API asked for.
        api: ApiKey,
        /// The version asked in.
        version: i16,
        /// What was wrong.
        source: EncodeError,
    },
    /// The metadata names no such broker.
    #[error("the cluster has no live broker {id}")]
    UnknownBroker {
        /// Its id; -1 where a leader or a controller is wanted and there is none.
        id: i32,
    },
    /// The broker and this client have no version of an API in common.
    #[error("{address} does not serve {api} in a version from {known}")]
    Unserved {
        /// The broker's address.
        address: String,
        /// The API asked for.
        api: ApiKey,
        /// What this client knows.
        known: VersionRange,
    },
}
