//! A group and its members, whichever protocol they speak.

use super::{TRIES, coordinator, is_passing, pause};
use crate::cli::check;
use anyhow::Context;
use highwater_node::{
    client::Cluster,
    wire::{
        ApiKey, ErrorCode, Str, consumer_protocol,
        generated::{
            consumer_group_describe::{self, ConsumerGroupDescribeRequest},
            describe_groups::{self, DescribeGroupsRequest},
        },
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// Partitions by topic.
type Partitions = BTreeMap<String, Vec<i32>>;

/// A group as it is shown.
pub struct View {
    /// Its name.
    pub name: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    kind: &'static str,
    state: String,
    /// How its partitions are assigned; empty while that is open.
    assignor: String,
    /// Its epoch, for a consumer group.
    epoch: Option<i32>,
    members: Vec<Member>,
}

struct Member {
    id: String,
    instance: Option<String>,
    client_id: String,
    host: String,
    owns: Partitions,
}

impl View {
    /// Describes a group.
    pub async fn of(cluster: &mut Cluster, name: &str) -> anyhow::Result<Self> {
        let found = Self::find(cluster, name).await?;
        found.with_context(|| {
            format!("cannot describe group `{name}`: there is none (GROUP_ID_NOT_FOUND)")
        })
    }

    /// Describes a group; `None` only if its coordinator says that there is none.
    pub async fn find(cluster: &mut Cluster, name: &str) -> anyhow::Result<Option<Self>> {
        for tries in 1.. {
            let broker = coordinator(cluster, name).await?;
            match describe(cluster, broker, name).await? {
                Ok(view) => return Ok(Some(view)),
                Err((code, message)) => match Absence::of(code) {
                    Absence::Certain => return Ok(None),
                    Absence::Passing if tries < TRIES => pause().await,
                    Absence::Passing | Absence::Unknown => {
                        check(&format!("describe group `{name}`"), code, message.as_ref())?;
                    }
                },
            }
        }
        unreachable!("the tries are bounded")
    }

    /// Whether it has members.
    pub fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// The member that owns a partition.
    pub fn owner(&self, topic: &str, partition: i32) -> Option<&str> {
        let owns = |member: &&Member| {
            member.owns.get(topic).is_some_and(|partitions| partitions.contains(&partition))
        };
        self.members.iter().find(owns).map(|member| member.id.as_str())
    }

    /// Partitions that members own.
    pub fn owned(&self) -> impl Iterator<Item = (&str, i32)> {
        self.members.iter().flat_map(|member| {
            member.owns.iter().flat_map(|(topic, partitions)| {
                partitions.iter().map(|partition| (topic.as_str(), *partition))
            })
        })
    }

    /// As a document.
    pub fn json(&self) -> Value {
        let member = |member: &Member| {
            json!({
                "member": member.id,
                "instance": member.instance,
                "client_id": member.client_id,
                "host": member.host,
                "partitions": member.owns,
            })
        };
        json!({
            "group": self.name,
            "type": self.kind,
            "state": self.state,
            "assignor": self.assignor,
            "epoch": self.epoch,
            "coordinator": self.coordinator,
            "members": self.members.iter().map(member).collect::<Vec<_>>(),
        })
    }

    /// For people: what there is to say of the group itself.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { name, kind, state, coordinator, .. } = self;
        write!(out, "{name}: {kind}, {state}, coordinator {coordinator}")?;
        if !self.assignor.is_empty() {
            write!(out, ", assignor {}", self.assignor)?;
        }
        writeln!(out, ", members {}", self.members.len())
    }

    /// For people: the members.
    pub fn write_members(&self, out: &mut dyn Write) -> io::Result<()> {
        for member in &self.members {
            write!(out, "  {} ({} from {})", member.id, member.client_id, member.host)?;
            if let Some(instance) = &member.instance {
                write!(out, ", instance {instance}")?;
            }
            for (topic, partitions) in &member.owns {
                let partitions: Vec<_> = partitions.iter().map(i32::to_string).collect();
                write!(out, "  {topic}: {}", partitions.join(","))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// What a refusal to describe a group says about whether there is one.
#[derive(Debug, PartialEq, Eq)]
enum Absence {
    /// There is none.
    Certain,
    /// Nothing yet: its coordinator moves or reads its log.
    Passing,
    /// Nothing.
    Unknown,
}

impl Absence {
    fn of(code: i16) -> Self {
        // A classic group that does not exist is Dead, in older versions without an error.
        if code == ErrorCode::None.code() || code == ErrorCode::GroupIdNotFound.code() {
            Self::Certain
        } else if is_passing(code) {
            Self::Passing
        } else {
            Self::Unknown
        }
    }
}

type Outcome = Result<View, (i16, Option<Str>)>;

/// A consumer group is described by one API and a classic one by another; which it is, is not known
/// before.
async fn describe(cluster: &mut Cluster, broker: i32, name: &str) -> anyhow::Result<Outcome> {
    let connection = cluster.broker(broker).await?;
    if connection.version(ApiKey::ConsumerGroupDescribe).is_ok() {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![name.into()],
            include_authorized_operations: false,
        };
        let answer = connection.call(&request).await?;
        let group = answer.groups.into_iter().next();
        let group = group.context("there is no answer about the group")?;
        if group.error_code == 0 {
            return Ok(Ok(of_consumer_group(group, broker)));
        }
        let other = [ErrorCode::GroupIdNotFound, ErrorCode::UnsupportedVersion];
        if !other.iter().any(|other| other.code() == group.error_code) {
            return Ok(Err((group.error_code, group.error_message)));
        }
    }
    let request =
        DescribeGroupsRequest { groups: vec![name.into()], include_authorized_operations: false };
    let answer = connection.call(&request).await?;
    let group = answer.groups.into_iter().next().context("there is no answer about the group")?;
    if group.error_code != 0 || &*group.group_state == "Dead" {
        return Ok(Err((group.error_code, group.error_message)));
    }
    Ok(Ok(of_classic_group(group, broker)))
}

fn of_consumer_group(group: consumer_group_describe::DescribedGroup, broker: i32) -> View {
    let members = group.members.into_iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance: member.instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        owns: member
            .assignment
            .topic_partitions
            .into_iter()
            .map(|topic| (topic.topic_name.to_string(), topic.partitions))
            .collect(),
    });
    View {
        name: group.group_id.to_string(),
        coordinator: broker,
        kind: "consumer",
        state: group.group_state.to_string(),
        assignor: group.assignor_name.to_string(),
        epoch: Some(group.group_epoch),
        members: members.collect(),
    }
}

fn of_classic_group(group: describe_groups::DescribedGroup, broker: i32) -> View {
    let members = group.members.into_iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        // Of another kind of group than consumers the bytes are something else.
        owns: consumer_protocol::decode_assignment(member.member_assignment)
            .map(|assignment| {
                let topics = assignment.assigned_partitions.into_iter();
                topics.map(|topic| (topic.topic.to_string(), topic.partitions)).collect()
            })
            .unwrap_or_default(),
    });
    View {
        name: group.group_id.to_string(),
        coordinator: broker,
        kind: "classic",
        state: group.group_state.to_string(),
        assignor: group.protocol_data.to_string(),
        epoch: None,
        members: members.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_coordinator_that_has_loaded_can_say_that_there_is_no_group() {
        let table = [
            (ErrorCode::None, Absence::Certain),
            (ErrorCode::GroupIdNotFound, Absence::Certain),
            (ErrorCode::CoordinatorLoadInProgress, Absence::Passing),
            (ErrorCode::CoordinatorNotAvailable, Absence::Passing),
            (ErrorCode::NotCoordinator, Absence::Passing),
            (ErrorCode::InvalidGroupId, Absence::Unknown),
            (ErrorCode::GroupAuthorizationFailed, Absence::Unknown),
            (ErrorCode::UnknownServerError, Absence::Unknown),
        ];
        for (code, expected) in table {
            assert_eq!(Absence::of(code.code()), expected, "{code:?}");
        }
    }
}
