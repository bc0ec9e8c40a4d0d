//! Which commits and fetches of offsets a consumer group lets through.

use super::{ConsumerGroups, member::Member};
use crate::{
    group::{GroupError, Identity, MemberId},
    metadata::Image,
    mutant::Mutant,
    sometimes,
    types::{PartitionIndex, TopicId},
};

impl ConsumerGroups {
    /// Checks who commits offsets of these partitions, each named by its topic's name and id. The
    /// commit is good as a whole or not at all.
    ///
    /// The member's own epoch commits anything. An older one commits partitions that the member
    /// held in that epoch already and holds still (KIP-1251): nobody else can have consumed them
    /// since.
    pub fn check_commit<'a>(
        &self,
        image: &Image,
        group: &str,
        identity: &Identity,
        mut partitions: impl Iterator<Item = (&'a str, Option<TopicId>, PartitionIndex)>,
    ) -> Result<(), GroupError> {
        let group = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?;
        if identity.generation.is_none() && group.members.is_empty() {
            return Ok(());
        }
        let member = group.member(&identity.member).ok_or(GroupError::UnknownMemberId)?;
        let refused = Err(stale(member));
        let (Some(epoch), Some(current)) = (identity.generation, member.current.epoch) else {
            return refused;
        };
        let mut held = |epoch: u32| {
            Mutant::OldEpochCommitsAnything.is_planted()
                || partitions.all(|(name, id, partition)| {
                    let topic = id.or_else(|| Some(image.topic_named(name)?.id));
                    let since = topic.and_then(|topic| member.assigned_in(topic, partition));
                    since.is_some_and(|since| since <= epoch)
                })
        };
        let holds_still = epoch < current && held(epoch);
        let is_taken = epoch == current || holds_still;
        sometimes!(OlderEpochCommits, holds_still);
        sometimes!(StaleMemberCommits, !is_taken);
        if is_taken { Ok(()) } else { refused }
    }

    /// Checks who fetches offsets; anybody may who claims neither to be a member nor an epoch.
    pub fn check_fetch(
        &self,
        group: &str,
        member: Option<&(MemberId, Option<u32>)>,
    ) -> Result<(), GroupError> {
        let Some((id, epoch)) = member else { return Ok(()) };
        let group = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?;
        let member = group.member(id).ok_or(GroupError::UnknownMemberId)?;
        let is_current = epoch.is_some() && member.current.epoch == *epoch;
        if is_current { Ok(()) } else { Err(stale(member)) }
    }
}

/// How a request of another epoch is refused.
fn stale(member: &Member) -> GroupError {
    if member.is_classic() { GroupError::IllegalGeneration } else { GroupError::StaleMemberEpoch }
}
