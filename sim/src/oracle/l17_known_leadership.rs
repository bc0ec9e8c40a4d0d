//! L17: a reader that goes by another leadership than the broker's is refused (KIP-320): an older one
//! is fenced, a newer one is not known yet. What a broker accepts shows its epoch at that time, which
//! never goes back.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Call, Outcome, Partition, Request};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L17 known leadership",
    claim: "who reads by an older or newer leader epoch than the broker's is refused, and nobody else",
    judge,
};

const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

/// What a broker said to a reader who named an epoch.
struct Heard<'a> {
    call: &'a Call,
    knew: i32,
    /// The error code, or 0.
    code: i16,
}

fn judge(index: &Index<'_>) -> Verdict {
    let mut heard: BTreeMap<(Partition, i32), Vec<Heard<'_>>> = BTreeMap::new();
    for call in &index.history.calls {
        let (
            Request::Fetch { partition, .. }
            | Request::ListOffsets { partition, .. }
            | Request::EpochEnd { partition, .. },
            Some(knew),
        ) = (&call.request, call.knew)
        else {
            continue;
        };
        let code = match call.outcome {
            Outcome::Fetched { .. } | Outcome::Offset { .. } | Outcome::EpochEnd { .. } => 0,
            Outcome::Failed(code) => code,
            _ => continue,
        };
        heard.entry((*partition, call.broker)).or_default().push(Heard { call, knew, code });
    }
    let newest = newest_epochs(index);
    for ((partition, _), heard) in &heard {
        let newest = newest.get(partition).copied();
        one_broker(heard, newest).map_err(|found| found.of(index, *partition))?;
    }
    Ok(())
}

/// The newest epoch of each partition that the metadata ever had. Of one that was deleted the last
/// may not have been seen.
fn newest_epochs(index: &Index<'_>) -> BTreeMap<Partition, i32> {
    let mut newest: BTreeMap<Partition, i32> = BTreeMap::new();
    let stays = |partition: &Partition| !index.history.topics[partition.topic].deleted;
    let seen = index.history.metadata.iter().flat_map(|look| &look.partitions);
    for (partition, seen) in seen.filter(|(partition, _)| stays(partition)) {
        let known = newest.entry(*partition).or_default();
        *known = seen.leader_epoch.max(*known);
    }
    newest
}

fn one_broker(heard: &[Heard<'_>], newest: Option<i32>) -> Verdict {
    // What was accepted before a call began, by the end of the answer.
    let mut accepted: Vec<&Heard<'_>> = heard.iter().filter(|it| it.code == 0).collect();
    accepted.sort_by_key(|it| it.call.ended);
    let mut done = accepted.into_iter().peekable();
    let mut reached: Option<&Heard<'_>> = None;
    for it in heard {
        while let Some(other) =
            done.next_if(|other| other.call.ended.is_some_and(|ended| ended < it.call.invoked))
        {
            reached = reached.filter(|before| before.knew >= other.knew).or(Some(other));
        }
        let (knew, broker) = (it.knew, it.call.broker);
        let message = match (it.code, reached) {
            (0, Some(before)) if before.knew > knew => format!(
                "broker {broker} was in epoch {}, and answered who went by epoch {knew}",
                before.knew
            ),
            (UNKNOWN_LEADER_EPOCH, Some(before)) if before.knew >= knew => format!(
                "broker {broker} was in epoch {}, and does not know epoch {knew}",
                before.knew
            ),
            (FENCED_LEADER_EPOCH, _) if newest.is_some_and(|newest| newest <= knew) => {
                format!("broker {broker} fenced who went by epoch {knew}, and there is no newer one")
            }
            _ => continue,
        };
        let before = reached.map(|before| before.call);
        return Err(Violation::new(message)
            .on([broker])
            .shown_by([it.call].into_iter().chain(before))
            .saw("went by epoch", knew));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, WALL, in_sync};
    use super::{CHECK, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH};
    use crate::history::{Outcome, Request};

    /// A fetch by somebody who knows this epoch; the error code, or 0.
    fn fetched(example: &mut Example, knew: i32, code: i16) {
        let request = Request::Fetch { partition: PARTITION, offset: 0 };
        let call = example.history.invoke(1, WALL, request);
        example.history.calls[call].knew = Some(knew);
        let outcome = match code {
            0 => Outcome::Fetched { high_watermark: 0, log_start: 0, batches: vec![], bad: None },
            code => Outcome::Failed(code),
        };
        example.history.end(call, outcome);
    }

    /// The metadata has epoch 3, in which broker 1 answered; then it hears of another one.
    fn then(knew: i32, code: i16) -> bool {
        let mut example = Example::in_cluster();
        example.saw(1, 7, "a", in_sync(1, 3));
        fetched(&mut example, 3, 0);
        fetched(&mut example, knew, code);
        example.holds(&CHECK)
    }

    #[test]
    fn a_reader_of_an_older_leadership_that_is_served_is_found() {
        assert!(then(3, 0));
        assert!(then(4, 0), "it may have been elected again");
        assert!(!then(2, 0));
    }

    #[test]
    fn a_refusal_without_a_reason_is_found() {
        assert!(then(2, FENCED_LEADER_EPOCH));
        assert!(!then(3, FENCED_LEADER_EPOCH));
        assert!(then(4, UNKNOWN_LEADER_EPOCH));
        assert!(!then(3, UNKNOWN_LEADER_EPOCH));
    }

    #[test]
    fn a_reader_of_a_leadership_to_come_that_is_served_is_found() {
        let mut example = Example::in_cluster();
        fetched(&mut example, 4, 0);
        fetched(&mut example, 3, 0);
        assert!(!example.holds(&CHECK));
    }
}
