//! The messages between brokers, as faults and traces name them.

use highwater_node::peer::messages::PeerRequest;
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
            PeerRequest::Fetch(_) => Self::Fetch,
            PeerRequest::Flushed(_) => Self::Flushed,
        }
    }

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, message)| *message == self);
        found.map_or("?", |(name, _)| name)
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
