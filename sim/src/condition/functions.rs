//! The names that expressions know, in the order of the reference.

use super::{Kind, OfBroker, OfPartition, OfReplica};

/// A name that expressions know.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// As it is written.
    pub name: &'static str,
    /// What it takes in brackets, as the reference shows it; empty when there are none.
    pub takes: &'static str,
    /// What it gives, in words.
    pub text: &'static str,
    pub(super) meaning: Meaning,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    Partition(OfPartition),
    Replica(OfReplica),
    Broker(OfBroker),
    /// `broker 2`, which the parser reads itself.
    OneBroker,
    Controller,
    Term,
    Now,
    Held,
    All,
    Coordinator,
    Generation,
    Count,
    True,
    False,
}

impl Function {
    /// What it gives.
    pub(crate) const fn gives(&self) -> Kind {
        match self.meaning {
            Meaning::Partition(OfPartition::Leader)
            | Meaning::OneBroker
            | Meaning::Controller
            | Meaning::Coordinator => Kind::Broker,
            Meaning::Partition(
                OfPartition::Isr
                | OfPartition::Elr
                | OfPartition::Replicas
                | OfPartition::Followers,
            )
            | Meaning::All => Kind::Brokers,
            Meaning::Broker(OfBroker::Alive | OfBroker::Fenced)
            | Meaning::True
            | Meaning::False => Kind::Truth,
            _ => Kind::Number,
        }
    }

    /// What it gives, as the reference says it.
    #[must_use]
    pub const fn gives_name(&self) -> &'static str {
        self.gives().name()
    }
}

const OF_REPLICA: &str = "partition, or one broker of a partition, or partition and one broker";

macro_rules! functions {
    ($($name:literal ($takes:expr) = $meaning:expr, $text:literal;)+) => {
        /// Every name that expressions know.
        pub const FUNCTIONS: &[Function] =
            &[$(Function { name: $name, takes: $takes, text: $text, meaning: $meaning },)+];
    };
}

functions! {
    "leader" ("partition") = Meaning::Partition(OfPartition::Leader),
        "who leads it, by the newest metadata; without brackets, the leader of the one partition that the expression names";
    "follower" ("partition") = Meaning::Partition(OfPartition::Followers),
        "its replicas without its leader";
    "replicas" ("partition") = Meaning::Partition(OfPartition::Replicas), "its replicas";
    "isr" ("partition") = Meaning::Partition(OfPartition::Isr), "its in-sync replicas";
    "elr" ("partition") = Meaning::Partition(OfPartition::Elr),
        "its eligible leader replicas (KIP-966)";
    "controller" ("") = Meaning::Controller, "who leads the metadata quorum";
    "coordinator" ("group") = Meaning::Coordinator,
        "who leads the partition of `__consumer_offsets` that keeps the group";
    "broker" ("number") = Meaning::OneBroker, "that broker; written `broker 2`";
    "all" ("") = Meaning::All, "every broker";
    "leader_epoch" (OF_REPLICA) = Meaning::Replica(OfReplica::LeaderEpoch),
        "of a partition: that of the newest metadata; on a broker: the newest that its replica knows";
    "partition_epoch" ("partition") = Meaning::Partition(OfPartition::PartitionEpoch),
        "counts the changes of its leader, ISR and replicas";
    "high_watermark" (OF_REPLICA) = Meaning::Replica(OfReplica::HighWatermark),
        "as the leader, or the replica on that broker, knows it";
    "log_end_offset" (OF_REPLICA) = Meaning::Replica(OfReplica::LogEndOffset),
        "the offset behind the last record there, flushed or not";
    "flushed_offset" (OF_REPLICA) = Meaning::Replica(OfReplica::FlushedOffset),
        "the end of what survives a power cut there";
    "log_start_offset" (OF_REPLICA) = Meaning::Replica(OfReplica::LogStartOffset),
        "the first offset there";
    "acknowledged" ("partition") = Meaning::Partition(OfPartition::Acknowledged),
        "the offset behind the last record that was acknowledged with acks=all";
    "generation" ("group") = Meaning::Generation,
        "the newest generation or member epoch that a member was told";
    "alive" ("brokers") = Meaning::Broker(OfBroker::Alive),
        "whether the processes of all of them run and are ready";
    "fenced" ("brokers") = Meaning::Broker(OfBroker::Fenced),
        "whether all of them are fenced, by the newest metadata";
    "broker_epoch" ("broker") = Meaning::Broker(OfBroker::Epoch), "the epoch of its registration";
    "count" ("brokers") = Meaning::Count, "how many they are";
    "term" ("") = Meaning::Term, "the newest term of the metadata quorum that anybody knows";
    "now" ("") = Meaning::Now, "milliseconds since the start of the run";
    "held_messages" ("") = Meaning::Held, "how many messages faults hold at the moment";
    "true" ("") = Meaning::True, "always true";
    "false" ("") = Meaning::False, "never true";
}
