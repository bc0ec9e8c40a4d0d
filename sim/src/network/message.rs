//! The messages between brokers, as faults and traces name them.

use highwater_core::{
    metadata::Command,
    types::{PartitionIndex, TopicId},
};
use highwater_node::peer::messages::{PeerReply, PeerRequest};
use std::fmt;

/// What a message is, by the name that scenarios and traces use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Message {
    /// Of the metadata quorum itself.
    Raft,
    /// Asks for the metadata log.
    Join,
    /// Asks whether there is a metadata quorum already.
    QuorumProbe,
    /// A metadata command, or a change of the quorum itself.
    Propose,
    /// A sign of life.
    Heartbeat,
    /// A follower's fetch.
    Fetch,
    /// What a follower has flushed.
    Flushed,
}

impl Message {
    /// Every message, with its name.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("raft", Self::Raft),
        ("join", Self::Join),
        ("quorum probe", Self::QuorumProbe),
        ("propose", Self::Propose),
        ("heartbeat", Self::Heartbeat),
        ("fetch", Self::Fetch),
        ("flushed", Self::Flushed),
    ];

    /// The commands of the metadata that a proposal may carry, by the names that scenarios use.
    pub const COMMANDS: &[&str] = &[
        "alter-partition",
        "register-broker",
        "unfence-broker",
        "fence-broker",
        "controlled-shutdown",
        "create-topics",
        "delete-topic",
        "alter-reassignments",
        "elect-leaders",
        "fail-replicas",
        "other",
    ];

    /// What it is, in a few words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Raft => "a call of the metadata quorum itself",
            Self::Join => "a node wants to belong to the metadata quorum",
            Self::QuorumProbe => "a node asks whether there is a metadata quorum",
            Self::Propose => "a command for the metadata, to the controller",
            Self::Heartbeat => "a broker's sign of life, to the controller",
            Self::Fetch => "a follower asks for what it does not have, or gets it",
            Self::Flushed => "a follower tells what it has flushed",
        }
    }

    /// Whether one may be about partitions by itself, so that a fault can choose by them.
    #[must_use]
    pub const fn names_partitions(self) -> bool {
        matches!(self, Self::Fetch | Self::Flushed | Self::Propose)
    }

    /// What a request is.
    #[must_use]
    pub const fn of(request: &PeerRequest) -> Self {
        match request {
            PeerRequest::Raft(_) => Self::Raft,
            PeerRequest::Join { .. } => Self::Join,
            PeerRequest::QuorumProbe => Self::QuorumProbe,
            PeerRequest::Propose(_)
            | PeerRequest::ChangeVoters(_)
            | PeerRequest::DescribeQuorum => Self::Propose,
            PeerRequest::Heartbeat(_) => Self::Heartbeat,
            PeerRequest::Fetch(_) | PeerRequest::HurryFetch => Self::Fetch,
            PeerRequest::Flushed(_) => Self::Flushed,
        }
    }

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, message)| *message == self);
        found.map_or("?", |(name, _)| name)
    }
}

/// What a message says of itself, so that a fault can choose it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The command of the metadata in a proposal, or in the proposal that a reply is to.
    pub command: Option<&'static str>,
    /// The partitions that it is about.
    pub partitions: Vec<(TopicId, PartitionIndex)>,
}

impl Contents {
    /// What a request says.
    #[must_use]
    pub fn of(request: &PeerRequest) -> Self {
        match request {
            PeerRequest::Propose(command) => Self {
                command: Some(name_of(command)),
                partitions: match command {
                    Command::AlterPartition { changes, .. } => {
                        changes.iter().map(|change| (change.topic, change.index)).collect()
                    }
                    Command::FailReplicas { partitions, .. } => partitions.clone(),
                    _ => Vec::new(),
                },
            },
            PeerRequest::Fetch(fetch) => {
                let partitions = fetch.partitions.iter().map(|of| (of.topic, of.index)).collect();
                Self { command: None, partitions }
            }
            PeerRequest::Flushed(flushed) => {
                let partitions = flushed.partitions.iter().map(|of| (of.topic, of.index)).collect();
                Self { command: None, partitions }
            }
            _ => Self::default(),
        }
    }

    /// What a reply says: of a fetch the partitions with something to tell, otherwise what its
    /// request said.
    #[must_use]
    pub fn of_reply(&self, reply: Option<&PeerReply>) -> Self {
        match reply {
            Some(PeerReply::Fetched(fetched)) => {
                let told = fetched.partitions.iter().map(|of| (of.topic, of.index)).collect();
                Self { command: None, partitions: told }
            }
            _ => self.clone(),
        }
    }
}

fn name_of(command: &Command) -> &'static str {
    match command {
        Command::AlterPartition { .. } => "alter-partition",
        Command::RegisterBroker { .. } => "register-broker",
        Command::UnfenceBroker { .. } => "unfence-broker",
        Command::FenceBroker { .. } => "fence-broker",
        Command::BeginControlledShutdown { .. } => "controlled-shutdown",
        Command::CreateTopics { .. } => "create-topics",
        Command::DeleteTopic { .. } => "delete-topic",
        Command::AlterReassignments { .. } => "alter-reassignments",
        Command::ElectLeaders { .. } => "elect-leaders",
        Command::FailReplicas { .. } => "fail-replicas",
        _ => "other",
    }
}

/// A message in one of its directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageKind {
    /// Which.
    pub message: Message,
    /// The answer, not the request.
    pub is_reply: bool,
}

impl MessageKind {
    /// The kind of that name: `fetch`, `heartbeat reply`.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let (name, is_reply) = match text.strip_suffix(" reply") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let found = Message::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, message)| Self { message: *message, is_reply })
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.is_reply { " reply" } else { "" };
        write!(f, "{}{suffix}", self.message.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_as_it_is_written() {
        for text in ["raft", "fetch reply", "flushed"] {
            assert_eq!(MessageKind::named(text).unwrap().to_string(), text);
        }
        assert_eq!(MessageKind::named("replies"), None);
    }
}
