//! What an expression is worth at a moment.

use super::{
    Change, Comparison, Expression, Node, OfBroker, OfPartition, OfReplica, PartitionName,
};
use std::collections::BTreeSet;

/// What the metadata says of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionView {
    /// Who leads it.
    pub leader: Option<i32>,
    /// The epoch of that leadership.
    pub leader_epoch: i64,
    /// Counts the changes of all this.
    pub partition_epoch: i64,
    /// The in-sync replicas.
    pub isr: Vec<i32>,
    /// The eligible leader replicas.
    pub elr: Vec<i32>,
    /// All replicas.
    pub replicas: Vec<i32>,
}

/// What a replica knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaView {
    /// The newest leader epoch it knows.
    pub leader_epoch: i64,
    /// The first offset, inclusive.
    pub log_start_offset: i64,
    /// The end of what may be read, exclusive.
    pub high_watermark: i64,
    /// The end of what survives a power cut, exclusive.
    pub flushed_offset: i64,
    /// The end of what was appended, exclusive.
    pub log_end_offset: i64,
}

/// The state of a cluster that expressions ask for. `None` is what nobody knows at the moment.
pub trait View {
    /// Every broker.
    fn brokers(&self) -> Vec<i32>;
    /// A partition, by the newest metadata.
    fn partition(&self, partition: &PartitionName) -> Option<PartitionView>;
    /// The replica of a partition on a broker that runs.
    fn replica(&self, partition: &PartitionName, broker: i32) -> Option<ReplicaView>;
    /// Behind the last record that was acknowledged with acks=all.
    fn acknowledged(&self, partition: &PartitionName) -> i64;
    /// Who leads the metadata quorum.
    fn controller(&self) -> Option<i32>;
    /// The newest term of the metadata quorum.
    fn term(&self) -> Option<i64>;
    /// Who coordinates a group.
    fn coordinator(&self, group: &str) -> Option<i32>;
    /// The newest generation of a group that a member was told.
    fn generation(&self, group: &str) -> Option<i64>;
    /// Whether a broker's process runs and is ready.
    fn is_alive(&self, broker: i32) -> bool;
    /// Whether a broker is fenced, by the newest metadata.
    fn is_fenced(&self, broker: i32) -> Option<bool>;
    /// The epoch of a broker's registration.
    fn broker_epoch(&self, broker: i32) -> Option<i64>;
    /// How many messages faults hold at the moment.
    fn held_messages(&self) -> i64;
    /// Milliseconds since the start of the run.
    fn now(&self) -> i64;
}

/// What an expression is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(i64),
    /// True or false.
    Truth(bool),
    /// Brokers.
    Brokers(BTreeSet<i32>),
}

impl Expression {
    /// Whether a condition holds. What nobody knows holds nothing.
    #[must_use]
    pub fn holds(&self, view: &dyn View) -> bool {
        self.node.value(view) == Some(Value::Truth(true))
    }

    /// The brokers that an expression names at the moment.
    #[must_use]
    pub fn brokers(&self, view: &dyn View) -> BTreeSet<i32> {
        match self.node.value(view) {
            Some(Value::Brokers(brokers)) => brokers,
            _ => BTreeSet::new(),
        }
    }
}

impl Change {
    /// What is watched for a change; `None` while nobody knows it.
    #[must_use]
    pub fn value(&self, view: &dyn View) -> Option<Value> {
        let value = self.of.value(view)?;
        // Between two leaders there is none: that is no change yet.
        (value != Value::Brokers(BTreeSet::new())).then_some(value)
    }
}

impl Node {
    fn value(&self, view: &dyn View) -> Option<Value> {
        Some(match self {
            Self::Number(number) => Value::Number(*number),
            Self::Truth(truth) => Value::Truth(*truth),
            Self::Broker(broker) => one(Some(*broker)),
            Self::All => Value::Brokers(view.brokers().into_iter().collect()),
            Self::Controller => one(view.controller()),
            Self::Term => Value::Number(view.term()?),
            Self::Now => Value::Number(view.now()),
            Self::Held => Value::Number(view.held_messages()),
            Self::Coordinator(group) => one(view.coordinator(group)),
            Self::Generation(group) => Value::Number(view.generation(group)?),
            Self::Partition(what, name) => of_partition(*what, name, view)?,
            Self::Replica(what, name, on) => of_replica(*what, name, on.as_deref(), view)?,
            Self::OfBroker(what, broker) => of_brokers(*what, &broker.brokers(view)?, view)?,
            Self::Count(brokers) => Value::Number(brokers.brokers(view)?.len() as i64),
            Self::Plus(left, right) => match (left.value(view)?, right.value(view)?) {
                (Value::Number(left), Value::Number(right)) => {
                    Value::Number(left.saturating_add(right))
                }
                (left, right) => Value::Brokers(
                    left.into_brokers()?.union(&right.into_brokers()?).copied().collect(),
                ),
            },
            Self::Minus(left, right) => match (left.value(view)?, right.value(view)?) {
                (Value::Number(left), Value::Number(right)) => {
                    Value::Number(left.saturating_sub(right))
                }
                (left, right) => {
                    let (left, right) = (left.into_brokers()?, right.into_brokers()?);
                    Value::Brokers(left.difference(&right).copied().collect())
                }
            },
            Self::Compare(how, left, right) => {
                Value::Truth(compare(*how, &left.value(view)?, &right.value(view)?))
            }
            Self::In(one, many) => {
                let (one, many) = (one.brokers(view)?, many.brokers(view)?);
                Value::Truth(!one.is_empty() && one.is_subset(&many))
            }
            // What is not known is not true, but does not spoil the other side.
            Self::And(left, right) => Value::Truth(left.is_true(view) && right.is_true(view)),
            Self::Or(left, right) => Value::Truth(left.is_true(view) || right.is_true(view)),
            Self::Not(of) => match of.value(view)? {
                Value::Truth(truth) => Value::Truth(!truth),
                _ => return None,
            },
        })
    }

    fn is_true(&self, view: &dyn View) -> bool {
        self.value(view) == Some(Value::Truth(true))
    }

    fn brokers(&self, view: &dyn View) -> Option<BTreeSet<i32>> {
        self.value(view)?.into_brokers()
    }
}

impl Value {
    fn into_brokers(self) -> Option<BTreeSet<i32>> {
        match self {
            Self::Brokers(brokers) => Some(brokers),
            _ => None,
        }
    }
}

fn one(broker: Option<i32>) -> Value {
    Value::Brokers(broker.into_iter().collect())
}

fn of_partition(what: OfPartition, name: &PartitionName, view: &dyn View) -> Option<Value> {
    if what == OfPartition::Acknowledged {
        return Some(Value::Number(view.acknowledged(name)));
    }
    let seen = view.partition(name)?;
    let set = |brokers: Vec<i32>| Value::Brokers(brokers.into_iter().collect());
    Some(match what {
        OfPartition::Leader => one(seen.leader),
        OfPartition::LeaderEpoch => Value::Number(seen.leader_epoch),
        OfPartition::PartitionEpoch => Value::Number(seen.partition_epoch),
        OfPartition::Isr => set(seen.isr),
        OfPartition::Elr => set(seen.elr),
        OfPartition::Replicas => set(seen.replicas),
        OfPartition::Followers => {
            let leader = seen.leader;
            set(seen.replicas.into_iter().filter(|replica| Some(*replica) != leader).collect())
        }
        OfPartition::Acknowledged => return None,
    })
}

fn of_replica(
    what: OfReplica,
    name: &PartitionName,
    on: Option<&Node>,
    view: &dyn View,
) -> Option<Value> {
    let broker = match on {
        Some(on) => {
            let brokers = on.brokers(view)?;
            // Of several nobody can say which is meant.
            brokers.first().copied().filter(|_| brokers.len() == 1)?
        }
        None => view.partition(name)?.leader?,
    };
    let replica = view.replica(name, broker)?;
    Some(Value::Number(match what {
        OfReplica::LeaderEpoch => replica.leader_epoch,
        OfReplica::LogStartOffset => replica.log_start_offset,
        OfReplica::HighWatermark => replica.high_watermark,
        OfReplica::FlushedOffset => replica.flushed_offset,
        OfReplica::LogEndOffset => replica.log_end_offset,
    }))
}

fn of_brokers(what: OfBroker, brokers: &BTreeSet<i32>, view: &dyn View) -> Option<Value> {
    let first = *brokers.first()?;
    Some(match what {
        OfBroker::Alive => Value::Truth(brokers.iter().all(|broker| view.is_alive(*broker))),
        OfBroker::Fenced => {
            let fenced: Option<Vec<bool>> =
                brokers.iter().map(|broker| view.is_fenced(*broker)).collect();
            Value::Truth(fenced?.into_iter().all(|fenced| fenced))
        }
        OfBroker::Epoch => Value::Number(view.broker_epoch(first)?),
    })
}

fn compare(how: Comparison, left: &Value, right: &Value) -> bool {
    if let (Value::Number(left), Value::Number(right)) = (left, right) {
        return match how {
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::GreaterOrEqual => left >= right,
            Comparison::Greater => left > right,
        };
    }
    let is_nobody = |value: &Value| *value == Value::Brokers(BTreeSet::new());
    if is_nobody(left) || is_nobody(right) {
        return false;
    }
    match how {
        Comparison::Equal => left == right,
        _ => left != right,
    }
}
