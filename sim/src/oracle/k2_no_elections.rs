//! K2: wall clocks elect nobody. The timers of the metadata quorum and of the controller are
//! monotonic, so that in a run in which nothing else goes wrong with brokers the quorum keeps its
//! leader, and every partition keeps its own.

use super::{Check, Verdict, Violation, index::Index, violated};
use crate::history::{History, MetadataSeen, Moment, Partition, PartitionSeen};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "K2 no elections",
    claim: "where nothing but wall clocks goes wrong, nobody is elected again",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let history = index.history;
    if !history.promise.is_undisturbed {
        return Ok(());
    }
    the_controller_stays(history)?;
    coordinators_stay(history)?;
    let mut led: BTreeMap<Partition, &PartitionSeen> = BTreeMap::new();
    for (partition, now) in under_faults(history).flat_map(|seen| &seen.partitions) {
        let Some(was) = led.insert(*partition, now) else { continue };
        // An administrator may ask for the preferred leader, and may move replicas.
        let is_preferred = now.leader == now.replicas.first().copied() && now.leader != was.leader;
        let is_moved = was.replicas != now.replicas;
        if was.leader_epoch != now.leader_epoch && !is_preferred && !is_moved {
            let name = index.name(*partition);
            let message = format!(
                "{name}: {:?} led in epoch {}, and {:?} leads in epoch {}",
                was.leader, was.leader_epoch, now.leader, now.leader_epoch
            );
            let brokers = was.leader.into_iter().chain(now.leader);
            return Err(Violation::new(message).in_partition(*partition).on(brokers));
        }
    }
    Ok(())
}

/// Whether it was before brokers were stopped for the end of the run.
fn is_before_the_end(history: &History, at: Moment) -> bool {
    history.healed.is_none_or(|healed| at < healed)
}

/// The metadata from when faults began to strike to when they were over, in its own order.
pub(super) fn under_faults(history: &History) -> impl Iterator<Item = &MetadataSeen> {
    let before = history.metadata.iter().filter(|seen| seen.at <= history.unleashed);
    let start = before.map(|seen| seen.offset).max().unwrap_or(0);
    let mut seen: Vec<&MetadataSeen> =
        history.metadata.iter().filter(|seen| seen.offset >= start).collect();
    seen.retain(|seen| is_before_the_end(history, seen.at));
    seen.sort_by_key(|seen| seen.offset);
    seen.into_iter()
}

fn the_controller_stays(history: &History) -> Verdict {
    let before = history.terms.iter().filter(|seen| seen.at <= history.unleashed);
    let Some(term) = before.map(|seen| seen.term).max() else { return Ok(()) };
    let mut terms = history.terms.iter().filter(|seen| is_before_the_end(history, seen.at));
    match terms.find(|seen| seen.term > term) {
        Some(seen) => violated(format!(
            "node {} leads the metadata quorum in term {}; it was term {term} before",
            seen.leader, seen.term
        )),
        None => Ok(()),
    }
}

fn coordinators_stay(history: &History) -> Verdict {
    let is_judged = |at| at > history.unleashed && is_before_the_end(history, at);
    let seen: Vec<_> = history.coordinators.iter().filter(|seen| is_judged(seen.at)).collect();
    for pair in seen.windows(2) {
        for (index, (was, now)) in pair[0].leaders.iter().zip(&pair[1].leaders).enumerate() {
            if was != now {
                let of = format!("partition {index} of __consumer_offsets");
                return violated(format!("{of} was led by {was:?} (in epoch), now by {now:?}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, in_sync};
    use super::CHECK;
    use crate::history::{CoordinatorsSeen, TermSeen};

    fn undisturbed() -> Example {
        let mut example = Example::undisturbed();
        example.history.unleashed = example.history.tick();
        example
    }

    #[test]
    fn another_leader_of_a_partition_is_found() {
        let mut example = undisturbed();
        example.saw(1, 2, "b", in_sync(1, 1));
        assert!(example.holds(&CHECK));
        example.saw(1, 3, "c", in_sync(2, 2));
        assert!(!example.holds(&CHECK));
        example.history.promise.is_undisturbed = false;
        assert!(example.holds(&CHECK), "something else may be to blame");
    }

    #[test]
    fn brokers_may_be_stopped_when_the_faults_are_over() {
        let mut example = undisturbed();
        example.history.healed = Some(example.history.tick());
        example.saw(1, 2, "b", in_sync(2, 2));
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn the_preferred_leader_may_be_asked_for() {
        let mut example = undisturbed();
        example.history.metadata[0].partitions.values_mut().for_each(|of| of.leader = Some(2));
        example.saw(1, 2, "b", in_sync(1, 2));
        assert!(example.holds(&CHECK));
    }

    #[test]
    fn another_leader_of_the_quorum_is_found() {
        let mut example = undisturbed();
        let start = example.history.unleashed;
        let seen = |at, machine, term| TermSeen { at, machine, term, leader: 1 };
        example.history.terms = vec![seen(start - 1, 1, 3), seen(start + 1, 2, 3)];
        assert!(example.holds(&CHECK));
        example.history.terms.push(seen(start + 2, 3, 4));
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn another_coordinator_is_found() {
        for (epoch, holds) in [(1, true), (2, false)] {
            let mut example = undisturbed();
            for epoch in [1, epoch] {
                let at = example.history.tick();
                let leaders = vec![(Some(1), epoch)];
                example.history.coordinators.push(CoordinatorsSeen { at, nanos: 0, leaders });
            }
            assert_eq!(example.holds(&CHECK), holds);
        }
    }
}
