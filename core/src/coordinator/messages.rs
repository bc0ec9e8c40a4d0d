//! What a coordinator is told, what it wants done, and what a shard has to be.

use crate::{
    metadata::Image,
    time::{Instant, Now},
    types::{LeaderEpoch, Offset, RequestId, WriteId},
};
use alloc::vec::Vec;
use core::fmt;

/// The state that one partition of an internal topic holds, and how requests change it.
///
/// Hard state is what records say; [`Shard::replay`] alone writes it, live and at load. Everything
/// else (sessions, timers, parked requests) is soft: it is gone when the leader moves.
pub trait Shard: Clone + fmt::Debug {
    /// What every shard is made with.
    type Config: Clone + fmt::Debug;
    /// What it is asked.
    type Request: Clone + fmt::Debug;
    /// What it answers.
    type Response: Clone + fmt::Debug;
    /// What its log holds.
    type Record: Clone + fmt::Debug;

    /// A shard that has replayed nothing.
    fn new(config: &Self::Config) -> Self;

    /// Decides about a request. It may be answered now, or later from any other call; it is
    /// answered once. Only soft state may change here.
    fn handle(
        &mut self,
        now: Now,
        image: &Image,
        request: RequestId,
        body: Self::Request,
        decision: &mut Decision<Self::Record, Self::Response>,
    );

    /// Does what is due by time, or by a change of the image.
    fn tick(
        &mut self,
        now: Now,
        image: &Image,
        decision: &mut Decision<Self::Record, Self::Response>,
    );

    /// Everything in the log has been replayed: sessions begin. What has to be decided about it is
    /// decided by the next [`Shard::tick`].
    fn loaded(&mut self, now: Now, image: &Image);

    /// Applies a record. Total: a record that makes no sense here is passed over.
    fn replay(&mut self, offset: Offset, record: &Self::Record);

    /// The records of a decision have been replayed. For soft state that follows from them.
    fn replayed(&mut self, _now: Now, _image: &Image) {}

    /// When [`Shard::tick`] is due, at the latest.
    fn next_deadline(&self) -> Option<Instant>;

    /// Takes every request that was not answered.
    fn waiting(&mut self) -> Vec<RequestId>;
}

/// What a shard decides: records, and answers that hold once the records are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<R, A> {
    /// To be appended, in order, all or none.
    pub records: Vec<R>,
    /// To be given when the records, and all before them, are below the high watermark.
    pub answers: Vec<(RequestId, A)>,
    /// Nothing follows from it but its records: if they are not appended, only its answers are
    /// refused, and the shard stays.
    pub stands_alone: bool,
}

impl<R, A> Default for Decision<R, A> {
    fn default() -> Self {
        Self { records: Vec::new(), answers: Vec::new(), stands_alone: false }
    }
}

impl<R, A> Decision<R, A> {
    /// Answers a request.
    pub fn answer(&mut self, request: RequestId, answer: A) {
        self.answers.push((request, answer));
    }

    /// Appends a record.
    pub fn record(&mut self, record: R) {
        self.records.push(record);
    }
}

/// Something that happened to a coordinator.
#[derive(Clone, Debug)]
pub enum Input<S: Shard> {
    /// This broker leads the partition.
    Elected {
        /// In this epoch.
        epoch: LeaderEpoch,
    },
    /// This broker does not lead the partition any more.
    Resigned {
        /// The epoch in which that is so.
        epoch: LeaderEpoch,
    },
    /// Another broker may lead the partition by now: this one has not heard of the controller for too
    /// long, nor of every follower. Told before anything that comes in that state.
    Doubted {
        /// The epoch of the leadership in doubt.
        epoch: LeaderEpoch,
    },
    /// This broker leads the partition after all.
    Confirmed {
        /// In this epoch still.
        epoch: LeaderEpoch,
    },
    /// A piece of the log that [`Effect::Load`] asked for, in order. Records of types that are not
    /// known are left out by the driver, which says so in its log.
    Loaded {
        /// Of the effect.
        attempt: WriteId,
        /// Records and their offsets.
        records: Vec<(Offset, S::Record)>,
        /// End of this piece, exclusive.
        end: Offset,
    },
    /// The whole log has been loaded.
    LoadEnded {
        /// Of the effect.
        attempt: WriteId,
        /// End of the log, exclusive.
        end: Offset,
        /// Its high watermark.
        high_watermark: Offset,
    },
    /// The log cannot be read, or a record of a known type in it cannot be decoded.
    LoadFailed {
        /// Of the effect.
        attempt: WriteId,
    },
    /// Somebody asks. Answered once, by [`Effect::Respond`] or [`Effect::Refuse`].
    Request {
        /// The request.
        request: RequestId,
        /// What is asked.
        body: S::Request,
    },
    /// [`Effect::Append`] was carried out. The next input after the effect, at the latest before
    /// any request.
    Appended {
        /// Of the effect.
        write: WriteId,
        /// Offset of its first record.
        base_offset: Offset,
        /// Behind its last record.
        end: Offset,
    },
    /// [`Effect::Append`] was refused: nothing of it is in the log.
    AppendFailed {
        /// Of the effect.
        write: WriteId,
    },
    /// More of the log is durable.
    HighWatermarkAdvanced {
        /// The leader epoch in which that is so.
        epoch: LeaderEpoch,
        /// Everything below it is.
        to: Offset,
    },
    /// A deadline has passed, or the image has changed.
    Tick,
}

/// What a coordinator wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<S: Shard> {
    /// Read the partition's whole log, from its start to its end as it is now, which must be in
    /// this leader epoch. Answered with [`Input::Loaded`] pieces and [`Input::LoadEnded`], or
    /// [`Input::LoadFailed`].
    Load {
        /// The leader epoch.
        epoch: LeaderEpoch,
        /// Names this load.
        attempt: WriteId,
    },
    /// Append these records as one batch, if the partition is led in this epoch. Answered with
    /// [`Input::Appended`] or [`Input::AppendFailed`] before anything else.
    Append {
        /// The leader epoch.
        epoch: LeaderEpoch,
        /// Names this append.
        write: WriteId,
        /// The records.
        records: Vec<S::Record>,
    },
    /// Answer a request.
    Respond {
        /// The request.
        request: RequestId,
        /// The answer.
        response: S::Response,
    },
    /// Refuse a request.
    Refuse {
        /// The request.
        request: RequestId,
        /// Why.
        error: CoordinatorError,
    },
}

/// Effects in the order in which they are to be performed.
pub type Effects<S> = Vec<Effect<S>>;

/// Why a coordinator does not answer. Each may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorError {
    /// It reads its log: COORDINATOR_LOAD_IN_PROGRESS.
    Loading,
    /// Another broker is the coordinator, or may be, or this one cannot load its log:
    /// NOT_COORDINATOR.
    NotCoordinator,
    /// Its log could not be written: COORDINATOR_NOT_AVAILABLE.
    NotAvailable,
}
