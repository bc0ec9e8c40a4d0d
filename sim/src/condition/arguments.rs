//! The functions of expressions with their arguments, which must fit.

use super::{
    Kind, Mistake, Node, OfPartition, OfReplica,
    functions::{Function, Meaning},
    parser::{Argument, Parsed, Parser},
};
use std::ops::Range;

impl Parser<'_> {
    /// A function with its arguments, which must fit it.
    pub(super) fn apply(
        &self,
        function: &Function,
        at: Range<usize>,
        mut arguments: Vec<Argument>,
    ) -> Result<Parsed, Mistake> {
        let kind = function.gives();
        let wrong = || {
            let Function { name, takes, .. } = function;
            let message = match takes.is_empty() {
                true => format!("`{name}` takes nothing; write it without brackets"),
                false => format!("`{name}` takes a {takes}, as in `{}`", example(function)),
            };
            Mistake { at: at.clone(), message }
        };
        let count = arguments.len();
        let second = (count == 2).then(|| arguments.pop()).flatten();
        let first = arguments.pop();
        if count > 2 || second.is_some() && !matches!(function.meaning, Meaning::Replica(_)) {
            return Err(wrong());
        }
        let plain = |node| Ok(Parsed { node, kind, at: at.clone(), of: None });
        match (function.meaning, first) {
            (Meaning::Controller, None) => plain(Node::Controller),
            (Meaning::Term, None) => plain(Node::Term),
            (Meaning::Now, None) => plain(Node::Now),
            (Meaning::Held, None) => plain(Node::Held),
            (Meaning::All, None) => plain(Node::All),
            (Meaning::True, None) => plain(Node::Truth(true)),
            (Meaning::False, None) => plain(Node::Truth(false)),
            (Meaning::Coordinator, Some(Argument::Group(group))) => plain(Node::Coordinator(group)),
            (Meaning::Generation, Some(Argument::Group(group))) => plain(Node::Generation(group)),
            (Meaning::Count, Some(Argument::Value(of))) => {
                of.must_give(&[Kind::Broker, Kind::Brokers], "what is counted")?;
                plain(Node::Count(Box::new(of.node)))
            }
            (Meaning::Broker(what), Some(Argument::Value(of))) => {
                of.must_give(&[Kind::Broker, Kind::Brokers], "this")?;
                plain(Node::OfBroker(what, Box::new(of.node)))
            }
            (Meaning::Partition(OfPartition::Leader), None) => {
                let [name] = &self.named[..] else {
                    let message = "the leader of which partition? write `leader(t0/0)`".into();
                    return Err(Mistake { at, message });
                };
                let node = Node::Partition(OfPartition::Leader, name.clone());
                Ok(Parsed { node, kind, at, of: Some(name.clone()) })
            }
            (Meaning::Partition(what), Some(Argument::Partition(name))) => {
                let of = Some(name.clone());
                Ok(Parsed { node: Node::Partition(what, name), kind, at, of })
            }
            (Meaning::Replica(what), Some(first)) => self
                .replica(what, first, second, &at)
                .unwrap_or_else(|| Err(wrong()))
                .map(|node| Parsed { node, kind, at: at.clone(), of: None }),
            _ => Err(wrong()),
        }
    }

    /// A quantity of a partition, or of a broker's replica of one. `None` when that makes no sense.
    fn replica(
        &self,
        what: OfReplica,
        first: Argument,
        second: Option<Argument>,
        at: &Range<usize>,
    ) -> Option<Result<Node, Mistake>> {
        match (first, second) {
            (Argument::Partition(name), None) if what == OfReplica::LeaderEpoch => {
                Some(Ok(Node::Partition(OfPartition::LeaderEpoch, name)))
            }
            (Argument::Partition(name), None) => Some(Ok(Node::Replica(what, name, None))),
            (Argument::Partition(name), Some(Argument::Value(on))) => {
                let checked = on.must_give(&[Kind::Broker, Kind::Brokers], "the second of two");
                Some(checked.map(|()| Node::Replica(what, name, Some(Box::new(on.node)))))
            }
            (Argument::Value(on), None) => {
                if let Err(mistake) = on.must_give(&[Kind::Broker, Kind::Brokers], "this") {
                    return Some(Err(mistake));
                }
                let Some(name) = on.of.clone() else {
                    let message = "of which partition? write `log_end_offset(t0/0, broker 2)`";
                    return Some(Err(Mistake { at: at.clone(), message: message.into() }));
                };
                Some(Ok(Node::Replica(what, name, Some(Box::new(on.node)))))
            }
            _ => None,
        }
    }
}

fn example(function: &Function) -> String {
    let argument = match function.meaning {
        Meaning::Coordinator | Meaning::Generation => "g0",
        Meaning::Broker(_) | Meaning::Count => "broker 1",
        _ => "t0/0",
    };
    format!("{}({argument})", function.name)
}
