//! What others are told of consumer groups.

use super::{ConsumerGroups, member::without_epochs};
use crate::group::{
    ConsumerDescribed, ConsumerDescribedMember, GroupError, GroupId, GroupType, Listed,
};
use alloc::string::ToString;

impl ConsumerGroups {
    /// A group and its members (ConsumerGroupDescribe).
    pub fn describe(&self, group: &str) -> Result<ConsumerDescribed, GroupError> {
        let group = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?;
        let members = group.members.iter().map(|(id, member)| ConsumerDescribedMember {
            member: id.clone(),
            instance: member.about.instance.clone(),
            rack: member.about.rack.clone(),
            epoch: member.current.epoch,
            client_id: member.about.client_id.clone(),
            client_host: member.about.client_host.clone(),
            topics: member.about.topics.clone(),
            regular_expression: member.about.regular_expression.clone(),
            assignment: without_epochs(&member.current.assigned),
            target: (*group.target_of(id)).clone(),
            is_classic: member.is_classic(),
        });
        Ok(ConsumerDescribed {
            state: group.state(),
            epoch: group.value.epoch,
            assignment_epoch: group.target_epoch,
            assignor: group.assignor().name().to_string(),
            members: members.collect(),
        })
    }

    /// Every group, by id (ListGroups).
    pub fn list(&self) -> impl Iterator<Item = Listed> + '_ {
        self.groups.iter().map(|(id, group): (&GroupId, _)| Listed {
            group: id.clone(),
            protocol_type: "consumer".to_string(),
            state: group.state(),
            kind: GroupType::Consumer,
        })
    }
}
