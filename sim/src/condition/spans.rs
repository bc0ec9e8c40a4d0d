//! What an expression can be worth at all, whatever happens in a run: a condition that cannot hold,
//! and one that no state decides, are mistakes, and so are brokers of which there never is one.
//!
//! All of it errs on one side: what is called impossible is, and what is not may be nevertheless.

use super::{Comparison, Expression, Node, OfBroker, OfPartition, OfReplica};

/// How many brokers an expression can name at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// The brokers, which have replicas.
    pub brokers: i64,
    /// These and the machines that only vote.
    pub machines: i64,
}

/// What a condition may turn out to be when everything in it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcomes {
    may_hold: bool,
    may_fail: bool,
}

const OPEN: Outcomes = Outcomes { may_hold: true, may_fail: true };

impl Expression {
    /// Whether it says nothing of the cluster, and so is the same all the time.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.node.is_constant()
    }

    /// Whether this condition can hold at some moment of some run.
    #[must_use]
    pub fn can_hold(&self, crowd: Crowd) -> bool {
        self.node.outcomes(crowd).may_hold
    }

    /// How many brokers it can name at once.
    #[must_use]
    pub fn most_brokers(&self, crowd: Crowd) -> i64 {
        self.node.most_brokers(crowd)
    }

    /// Whether both name one broker at most, and always the same.
    #[must_use]
    pub fn is_the_broker_of(&self, other: &Self) -> bool {
        let is_one = match &self.node {
            Node::Broker(_) | Node::Controller | Node::Coordinator(_) => true,
            Node::Partition(what, _) => *what == OfPartition::Leader,
            _ => false,
        };
        is_one && self.node == other.node
    }
}

impl Node {
    fn is_constant(&self) -> bool {
        match self {
            Self::Number(_) | Self::Truth(_) | Self::Broker(_) => true,
            Self::Count(of) | Self::Not(of) => of.is_constant(),
            Self::Plus(left, right)
            | Self::Minus(left, right)
            | Self::Compare(_, left, right)
            | Self::In(left, right)
            | Self::And(left, right)
            | Self::Or(left, right) => left.is_constant() && right.is_constant(),
            _ => false,
        }
    }

    fn most_brokers(&self, crowd: Crowd) -> i64 {
        match self {
            Self::Broker(_) | Self::Controller | Self::Coordinator(_) => 1,
            Self::All => crowd.machines,
            Self::Partition(OfPartition::Leader, _) => 1,
            Self::Partition(..) => crowd.brokers,
            Self::Plus(left, right) => {
                let both = left.most_brokers(crowd).saturating_add(right.most_brokers(crowd));
                both.min(crowd.machines)
            }
            Self::Minus(left, right) if left == right || **right == Self::All => 0,
            Self::Minus(left, _) => left.most_brokers(crowd),
            _ => 0,
        }
    }

    /// The least and the most that a number can be.
    fn span(&self, crowd: Crowd) -> (i64, i64) {
        match self {
            Self::Number(number) => (*number, *number),
            Self::Count(of) => (0, of.most_brokers(crowd)),
            Self::Now | Self::Held | Self::Term => (0, i64::MAX),
            Self::Partition(OfPartition::Acknowledged, _) => (0, i64::MAX),
            Self::Replica(OfReplica::LeaderEpoch, ..) => (i64::MIN, i64::MAX),
            Self::Replica(..) => (0, i64::MAX),
            Self::Plus(left, right) => {
                let (left, right) = (left.span(crowd), right.span(crowd));
                (left.0.saturating_add(right.0), left.1.saturating_add(right.1))
            }
            Self::Minus(left, right) => {
                let (left, right) = (left.span(crowd), right.span(crowd));
                (left.0.saturating_sub(right.1), left.1.saturating_sub(right.0))
            }
            _ => (i64::MIN, i64::MAX),
        }
    }

    fn outcomes(&self, crowd: Crowd) -> Outcomes {
        match self {
            Self::Truth(truth) => Outcomes { may_hold: *truth, may_fail: !truth },
            Self::OfBroker(OfBroker::Alive | OfBroker::Fenced, of) => {
                Outcomes { may_hold: of.most_brokers(crowd) > 0, may_fail: true }
            }
            Self::In(one, many) => {
                let may_hold = one.most_brokers(crowd) > 0 && many.most_brokers(crowd) > 0;
                Outcomes { may_hold, may_fail: true }
            }
            Self::Compare(how, left, right) => match left.is_number() {
                true => compared(*how, left.span(crowd), right.span(crowd)),
                false => OPEN,
            },
            // What nobody knows is not true here, so that both may fail whatever their parts are.
            Self::And(left, right) => {
                let (left, right) = (left.outcomes(crowd), right.outcomes(crowd));
                Outcomes { may_hold: left.may_hold && right.may_hold, may_fail: true }
            }
            Self::Or(left, right) => {
                let (left, right) = (left.outcomes(crowd), right.outcomes(crowd));
                Outcomes { may_hold: left.may_hold || right.may_hold, may_fail: true }
            }
            Self::Not(of) => {
                let Outcomes { may_hold, may_fail } = of.outcomes(crowd);
                Outcomes { may_hold: may_fail, may_fail: may_hold }
            }
            _ => OPEN,
        }
    }

    fn is_number(&self) -> bool {
        match self {
            Self::Number(_) | Self::Term | Self::Now | Self::Held | Self::Generation(_) => true,
            Self::Replica(..) | Self::Count(_) | Self::OfBroker(OfBroker::Epoch, _) => true,
            Self::Partition(what, _) => matches!(
                what,
                OfPartition::LeaderEpoch | OfPartition::PartitionEpoch | OfPartition::Acknowledged
            ),
            Self::Plus(left, _) | Self::Minus(left, _) => left.is_number(),
            _ => false,
        }
    }
}

/// What comes of comparing two numbers of which each is between two others.
fn compared(how: Comparison, left: (i64, i64), right: (i64, i64)) -> Outcomes {
    let less = Outcomes { may_hold: left.0 < right.1, may_fail: left.1 >= right.0 };
    let less_or_equal = Outcomes { may_hold: left.0 <= right.1, may_fail: left.1 > right.0 };
    let equal = Outcomes {
        may_hold: left.0 <= right.1 && right.0 <= left.1,
        may_fail: left.0 != left.1 || left != right,
    };
    let opposite = |of: Outcomes| Outcomes { may_hold: of.may_fail, may_fail: of.may_hold };
    match how {
        Comparison::Less => less,
        Comparison::LessOrEqual => less_or_equal,
        Comparison::Equal => equal,
        Comparison::NotEqual => opposite(equal),
        Comparison::GreaterOrEqual => opposite(less),
        Comparison::Greater => opposite(less_or_equal),
    }
}
