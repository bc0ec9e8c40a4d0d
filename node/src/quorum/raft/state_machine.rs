//! The consensus crate's state machine: the metadata image.
//!
//! The image is in memory only: a restarted node gets it from the last snapshot and the entries
//! behind it.

use super::{
    snapshots::{Builder, Snapshot, Snapshots, meta},
    types::{LogId, Proposal, StoredMembers, Types, offset_behind},
};
use crate::quorum::Watch;
use futures_core::Stream;
use highwater_core::{metadata::Image, mutant::Mutant, sometimes};
use openraft::{
    EntryPayload, OptionalSend, StoredMembership,
    storage::{EntryResponder, RaftStateMachine},
    type_config::alias::SnapshotMetaOf,
};
use std::{future::poll_fn, io, pin::Pin, sync::Arc};

pub(super) struct StateMachine {
    image: Arc<Watch<Image>>,
    /// Invariant: the image is the one behind this entry.
    applied: Option<LogId>,
    members: StoredMembers,
    snapshots: Arc<Snapshots>,
}

impl StateMachine {
    pub(super) fn new(image: Arc<Watch<Image>>, snapshots: Arc<Snapshots>) -> Self {
        Self { image, applied: None, members: StoredMembers::default(), snapshots }
    }

    fn builder(&self) -> Builder {
        let snapshot =
            Snapshot { meta: meta(self.applied, &self.members), snapshot: self.image.value() };
        Builder { snapshots: self.snapshots.clone(), snapshot }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Arc<Image>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembers), io::Error> {
        Ok((self.applied, self.members.clone()))
    }

    /// Applies entries and publishes the image behind the last one; then proposers are answered, so
    /// that they find their command in the image.
    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut image = (*self.image.value()).clone();
        let mut answers = Vec::new();
        while let Some(next) = poll_fn(|context| Pin::new(&mut entries).poll_next(context)).await {
            let (entry, responder) = next?;
            let at = offset_behind(entry.log_id.index);
            let outcome = match entry.payload {
                EntryPayload::Normal(Proposal(command)) => Some(image.apply(at, &command)),
                EntryPayload::Blank => {
                    image.advance(at);
                    None
                }
                EntryPayload::Membership(members) => {
                    image.advance(at);
                    self.members = StoredMembership::new(Some(entry.log_id), members);
                    None
                }
            };
            self.applied = Some(entry.log_id);
            answers.extend(responder.map(|responder| (responder, outcome)));
        }
        self.image.advance(image.applied().0, image);
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        image: Arc<Image>,
    ) -> Result<(), io::Error> {
        let snapshot = Snapshot { meta: meta.clone(), snapshot: image };
        if !Mutant::InstalledSnapshotNotKept.is_planted() || self.applied.is_none() {
            self.snapshots.store(&snapshot).await?;
        }
        if self.applied < meta.last_log_id {
            // At a start it is the node's own.
            let runs = self.applied.is_some();
            sometimes!(SnapshotInstalled, runs);
            self.applied = meta.last_log_id;
            self.members = meta.last_membership.clone();
            let mut image = (*snapshot.snapshot).clone();
            let at = image.applied();
            if Mutant::SnapshotNotApplied.is_planted() && runs {
                image = (*self.image.value()).clone();
                image.advance(at);
            }
            self.image.advance(at.0, image);
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshots.current())
    }
}
