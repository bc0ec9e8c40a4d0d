//! What messages between brokers say of partitions.

use super::event::{About, Role, Slot};
use crate::batch::decode_all;
use highwater_core::{
    metadata::{Command, Reply},
    types::{BrokerId, PartitionIndex, TopicId},
};
use highwater_node::peer::messages::{
    FetchedPartition, HeartbeatReply, JoinAs, PeerReply, PeerRequest,
};

/// A message in words, with the partitions that it is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// In words.
    pub text: String,
    /// About what.
    pub about: Vec<About>,
    /// The broker that the message speaks of, if it speaks of one.
    pub broker: Option<i32>,
}

/// A partition as the wire names it.
#[must_use]
pub fn slot(topic: TopicId, index: PartitionIndex) -> Slot {
    Slot { topic: topic.0, index: index.0 as i32 }
}

/// An offset as the history has it.
#[must_use]
pub fn offset(offset: highwater_core::types::Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

/// The batches in bytes of a log.
pub fn records(slot: Slot, bytes: &[u8]) -> Vec<About> {
    let (batches, ..) = decode_all(bytes);
    let about = batches.iter().map(|batch| About {
        number: batch.records.first().and_then(|record| record.number),
        ..About::new(slot, Role::Records, batch.base_offset, batch.last_offset + 1)
    });
    about.collect()
}

/// What a request says.
#[must_use]
pub fn of_request(request: &PeerRequest) -> Said {
    let plain = |text: &str| Said { text: text.to_owned(), ..Said::default() };
    match request {
        PeerRequest::Raft(_) => plain("raft"),
        PeerRequest::Join { node, join_as, .. } => {
            let how = match join_as {
                JoinAs::Follower => "",
                JoinAs::LostLog => " without a log",
                JoinAs::Voter => " as a voter",
            };
            Said { broker: Some(node.0), ..plain(&format!("join{how}")) }
        }
        PeerRequest::QuorumProbe => plain("quorum probe"),
        PeerRequest::HurryFetch => plain("hurry with the fetch"),
        PeerRequest::ChangeVoters(_) => plain("change of the voters"),
        PeerRequest::DescribeQuorum => plain("question about the quorum"),
        PeerRequest::Propose(command) => of_command(command),
        PeerRequest::Heartbeat(heartbeat) => {
            let text =
                if heartbeat.wants_shutdown { "heartbeat, wants to stop" } else { "heartbeat" };
            Said { broker: Some(heartbeat.broker.0), ..plain(text) }
        }
        PeerRequest::Fetch(fetch) => {
            let about = fetch.partitions.iter().flat_map(|of| {
                let (slot, position) = (slot(of.topic, of.index), of.position);
                let (from, flushed) =
                    (offset(position.fetch_offset), offset(position.flushed_offset));
                let asks = About::new(slot, Role::Asks, from, from);
                [asks, About::new(slot, Role::Flushed, 0, flushed)]
            });
            Said { about: about.collect(), ..plain("fetch") }
        }
        PeerRequest::Flushed(flushed) => {
            let about = flushed.partitions.iter().map(|of| {
                let to = offset(of.flushed_offset);
                About::new(slot(of.topic, of.index), Role::Flushed, 0, to)
            });
            Said { about: about.collect(), ..plain("flushed") }
        }
    }
}

/// What an answer says.
#[must_use]
pub fn of_reply(reply: &PeerReply) -> Said {
    let plain = |text: String| Said { text, ..Said::default() };
    match reply {
        PeerReply::Raft(_) => plain("raft reply".into()),
        PeerReply::Joined => plain("joined".into()),
        PeerReply::LetIn(_) => plain("let in without a log".into()),
        PeerReply::QuorumProbed { founded, .. } => plain(format!("quorum founded: {founded}")),
        PeerReply::Proposed(at, answer) => {
            let about = match answer {
                Reply::PartitionsAltered(_) => "ISR changes answered",
                _ => "applied",
            };
            plain(format!("{about} at {} of the metadata log", at.0))
        }
        PeerReply::Refused(error) => plain(format!("refused: {error:?}")),
        PeerReply::Unknown(reason) => plain(format!("fate unknown: {reason}")),
        PeerReply::Heartbeat(HeartbeatReply::Known { fenced, may_shut_down, decided }) => {
            let fenced = if *fenced { ", fenced" } else { "" };
            let stop = if *may_shut_down { ", may stop" } else { "" };
            plain(format!("heartbeat reply{fenced}{stop}, knows up to {}", decided.0))
        }
        PeerReply::Heartbeat(HeartbeatReply::Stale) => plain("heartbeat reply: stale".into()),
        PeerReply::Fetched(fetched) => {
            let about = fetched.partitions.iter().flat_map(of_fetched).collect();
            Said { about, ..plain("fetched".into()) }
        }
        PeerReply::SessionLost => plain("session lost".into()),
        PeerReply::FetchHurried => plain("fetch hurried".into()),
        PeerReply::Flushed => plain("flushed reply".into()),
        PeerReply::VotersChanged => plain("voters changed".into()),
        PeerReply::QuorumTold(_) => plain("quorum told".into()),
        PeerReply::NotLeader { leader } => {
            let leader = leader.map_or("nobody".into(), |leader| format!("broker {leader}"));
            plain(format!("not the leader of the quorum, {leader} is"))
        }
        PeerReply::Unavailable(reason) => plain(format!("unavailable: {reason}")),
    }
}

fn of_fetched(of: &FetchedPartition) -> Vec<About> {
    let slot = slot(of.topic, of.index);
    let Ok(found) = &of.outcome else { return vec![About::new(slot, Role::Leadership, 0, 0)] };
    let high_watermark = offset(found.high_watermark);
    let mut about = vec![About::new(slot, Role::HighWatermark, 0, high_watermark)];
    if let Some(parts) = &found.diverging {
        about.push(About::new(slot, Role::Parts, 0, offset(parts.end_offset)));
    }
    about.extend(records(slot, &found.records));
    about
}

fn of_command(command: &Command) -> Said {
    let mut said = Said::default();
    said.text = match command {
        Command::AlterPartition { broker, changes, .. } => {
            said.broker = Some(broker.0);
            let mut wanted = Vec::new();
            for change in changes {
                let slot = slot(change.topic, change.index);
                said.about.push(About::new(slot, Role::Leadership, 0, 0));
                wanted.push(numbers(change.isr.iter().map(|(member, _)| *member)));
            }
            format!("propose ISR {}", wanted.join(", "))
        }
        Command::FenceBroker { broker, .. } => {
            said.broker = Some(broker.0);
            format!("propose to fence broker {broker}")
        }
        Command::UnfenceBroker { broker, .. } => {
            said.broker = Some(broker.0);
            format!("propose to unfence broker {broker}")
        }
        Command::RegisterBroker { broker, .. } => {
            said.broker = Some(broker.0);
            format!("register broker {broker}")
        }
        other => {
            let debug = format!("{other:?}");
            let name = debug.split([' ', '{', '(']).next().unwrap_or_default();
            format!("propose {name}")
        }
    };
    said
}

/// `[1, 2, 3]`
pub fn numbers(brokers: impl IntoIterator<Item = BrokerId>) -> String {
    let all: Vec<String> = brokers.into_iter().map(|broker| broker.to_string()).collect();
    format!("[{}]", all.join(", "))
}
