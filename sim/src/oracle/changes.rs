//! What became of the changes that administrators asked for. A change whose answer says nothing may
//! have happened, and may yet happen; what a topic's name meant by then nobody knows.

use crate::history::{Call, Change, History, Moment, Named, Outcome, Request};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const NOT_CONTROLLER: i16 = 41;
const INVALID_REQUEST: i16 = 42;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;

/// Whether a change certainly did not happen and will not. The second copy of a message is refused for
/// what the first one did, and its answer may be the one that is heard.
fn is_refused(history: &History, change: &Change, outcome: &Outcome) -> bool {
    let Outcome::Failed(code) = outcome else { return false };
    match *code {
        TOPIC_ALREADY_EXISTS | INVALID_PARTITIONS | NO_REASSIGNMENT_IN_PROGRESS => {
            !history.promise.repeats_messages || *code != refusal_of_a_second(change)
        }
        // The second copy may have come to a controller that led no more, or behind a deletion.
        NOT_CONTROLLER | UNKNOWN_TOPIC_OR_PARTITION => !history.promise.repeats_messages,
        INVALID_REPLICA_ASSIGNMENT | INVALID_CONFIG | INVALID_REQUEST => true,
        _ => false,
    }
}

/// How a change is refused that was made just now; 0 where it is made again.
fn refusal_of_a_second(change: &Change) -> i16 {
    match change {
        Change::CreateTopic { .. } => TOPIC_ALREADY_EXISTS,
        Change::Grow { .. } => INVALID_PARTITIONS,
        Change::Reassign { replicas: None, .. } => NO_REASSIGNMENT_IN_PROGRESS,
        Change::DeleteTopic(_)
        | Change::Reassign { .. }
        | Change::Configure { .. }
        | Change::ElectLeaders => 0,
    }
}

/// The changes that happened, or may have, with their calls.
pub fn changes(history: &History) -> impl Iterator<Item = (&Call, &Change)> {
    history.calls.iter().filter_map(|call| match &call.request {
        Request::Admin(change) if !is_refused(history, change, &call.outcome) => {
            Some((call, change))
        }
        _ => None,
    })
}

/// Whether somebody was told that it happened.
pub fn is_done(call: &Call) -> bool {
    call.outcome == Outcome::Done
}

/// Whether a change may have been one of the topic with this index. Done it was one of the topic that
/// was meant; before that nobody knows of which later one of the same name it is.
pub fn may_concern(history: &History, call: &Call, named: &Named, topic: usize) -> bool {
    let is_later = named.topic < topic && history.topics[topic].name == named.name;
    named.topic == topic || (is_later && !is_done(call))
}

/// Something that is written as a whole was written, or may have been.
#[derive(Clone, Debug)]
pub struct Write<T> {
    /// What was written.
    pub value: T,
    /// It did not happen before.
    pub from: Moment,
    /// It does not happen any more later; `None` while it may.
    pub until: Option<Moment>,
    /// Whether it certainly happened.
    pub is_sure: bool,
}

impl<T: PartialEq> Write<T> {
    /// A change that happened or may have.
    pub fn of(history: &History, call: &Call, value: T) -> Self {
        let is_sure = is_done(call);
        // A message that arrives twice makes the same change again.
        let until = call.ended.filter(|_| is_sure && !history.promise.repeats_messages);
        Self { value, from: call.invoked, until, is_sure }
    }

    /// Whether a value may be there in the end: somebody may have written it, and nobody certainly
    /// wrote another one when that was over.
    pub fn may_be_last(all: &[Self], value: &T) -> bool {
        let replaces = |write: &Self, later: &Self| {
            later.is_sure
                && later.value != *value
                && write.until.is_some_and(|until| later.from > until)
        };
        let mut written = all.iter().filter(|write| write.value == *value);
        written.any(|write| !all.iter().any(|later| replaces(write, later)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u32, from: Moment, until: Option<Moment>) -> Write<u32> {
        Write { value, from, until, is_sure: until.is_some() }
    }

    #[test]
    fn what_was_written_last_is_there_in_the_end() {
        for (writes, last) in [
            (vec![write(1, 1, Some(2)), write(2, 3, Some(4))], vec![2]),
            // At the same time.
            (vec![write(1, 1, Some(4)), write(2, 3, Some(5))], vec![1, 2]),
            // Nobody knows whether, and when.
            (vec![write(1, 1, None), write(2, 3, Some(4))], vec![1, 2]),
            (vec![write(1, 1, Some(2)), write(2, 3, None)], vec![1, 2]),
            // The same again.
            (vec![write(1, 1, Some(2)), write(2, 3, Some(4)), write(1, 5, Some(6))], vec![1]),
        ] {
            let found: Vec<u32> =
                (0..4).filter(|value| Write::may_be_last(&writes, value)).collect();
            assert_eq!(found, last, "{writes:?}");
        }
    }
}
