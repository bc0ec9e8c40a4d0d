//! What the controller is told, what it wants done, and what it answers.

use crate::{
    metadata::Command,
    types::{BrokerEpoch, BrokerId, MetadataOffset, RequestId},
};
use alloc::vec::Vec;
use core::fmt;

/// Something that happened to the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// This node leads the quorum from now on, and the image that is passed along holds every
    /// command of the leaders before it.
    Led,
    /// This node does not lead the quorum any more.
    Resigned,
    /// A broker gave a sign of life. Answered at once with [`Effect::Respond`].
    Heartbeat {
        /// The request.
        request: RequestId,
        /// The broker.
        broker: BrokerId,
        /// Its registration.
        epoch: BrokerEpoch,
        /// How much of the metadata log it has taken into account.
        applied: MetadataOffset,
        /// It wants to stop, once it leads nothing.
        wants_shutdown: bool,
    },
    /// Nobody listens where a broker's process was, so that it is not running any more.
    Gone {
        /// The broker.
        broker: BrokerId,
        /// Its registration.
        epoch: BrokerEpoch,
    },
    /// Time has passed, or the image has changed.
    Tick,
}

/// Something that the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Propose this to the quorum. It may get lost, and it may be applied more than once: the
    /// controller looks at the image and proposes again.
    Propose(Command),
    /// Answer a heartbeat.
    Respond {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: Result<HeartbeatAnswer, HeartbeatError>,
    },
}

/// What a step wants done, in this order.
pub type Effects = Vec<Effect>;

/// What a broker is told in answer to its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// It may not lead or be in an ISR yet, or any more.
    pub fenced: bool,
    /// It knows its own registration.
    pub caught_up: bool,
    /// It asked to stop and leads nothing, and the live brokers know that: it may.
    pub may_shut_down: bool,
}

/// Why a heartbeat was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatError {
    /// Another process has registered under the broker's id.
    StaleBrokerEpoch,
    /// No process has.
    NotRegistered,
    /// This node does not lead the quorum.
    NotController,
}

impl fmt::Display for HeartbeatError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::StaleBrokerEpoch => "another process has registered under the broker's id",
            Self::NotRegistered => "the broker is not registered",
            Self::NotController => "this node does not lead the metadata quorum",
        })
    }
}

impl core::error::Error for HeartbeatError {}
