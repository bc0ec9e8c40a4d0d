//! R18: in one leader epoch one broker appends: two different batches never share partition, offset
//! and epoch, on whatever disk they lie.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{BatchImage, LogImage, Partition};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "R18 single writer",
    claim: "two different batches never share partition, offset and leader epoch",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    if !index.history.promise.is_cluster() {
        // A single broker's failed writes are judged where it recovers.
        return Ok(());
    }
    let mut seen: BTreeMap<(Partition, i32, i64), (i32, BatchImage)> = BTreeMap::new();
    for (machine, partition, log) in images(index).filter(|(.., log)| !log.rotten) {
        for batch in &log.batches {
            let first = (partition, batch.leader_epoch, batch.base_offset);
            if seen.get(&first).is_some_and(|(_, was)| was == batch) {
                // It was seen before, and then all its offsets were.
                continue;
            }
            for offset in batch.base_offset..=batch.last_offset {
                let key = (partition, batch.leader_epoch, offset);
                let (other, was) = *seen.entry(key).or_insert((machine, *batch));
                if was != *batch {
                    let (name, epoch) = (index.name(partition), batch.leader_epoch);
                    let message = format!(
                        "{name}: offset {offset} of epoch {epoch} holds record {:?} on broker \
                         {machine} and record {:?} on broker {other}",
                        batch.first_number, was.first_number
                    );
                    return Err(Violation::new(message)
                        .at(partition, offset)
                        .on([machine, other])
                        .saw("leader epoch", epoch)
                        .saw(&format!("on broker {machine}"), format!("{:?}", batch.first_number))
                        .saw(&format!("on broker {other}"), format!("{:?}", was.first_number)));
                }
            }
        }
    }
    Ok(())
}

/// Every log that was ever looked at.
fn images<'a>(index: &Index<'a>) -> impl Iterator<Item = (i32, Partition, &'a LogImage)> {
    let history = index.history;
    let stopped = history.boundaries.iter().flat_map(|boundary| {
        let logs = boundary.before.iter().chain(boundary.recovered.iter().flatten());
        logs.map(|(partition, log)| (boundary.machine, *partition, log))
    });
    let last = history.final_replicas.iter().flat_map(|replicas| {
        let partition = replicas.partition;
        replicas.logs.iter().filter_map(move |(machine, log)| Some((*machine, partition?, log)))
    });
    stopped.chain(last)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch, image};
    use super::CHECK;

    #[test]
    fn two_writers_in_one_epoch_are_found() {
        let (one, mut other) = (image(&[batch(0, 0..2)]), batch(0, 4..6));
        let with = |other| {
            let mut example = Example::in_cluster();
            example.boundary(one.clone(), one.clone(), one.clone());
            example.replicated([one.clone(), one.clone(), image(&[other])]);
            example.holds(&CHECK)
        };
        assert!(!with(other.clone()));
        other.leader_epoch = 2;
        assert!(with(other));
    }
}
