//! G12: a static member that leaves for now and comes back in time has what it had (KIP-345, KIP-848),
//! if nothing else has changed: then its epoch is the same.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked},
    index::Index,
};
use crate::{
    group::{Ask, Heard, Partitions},
    history::{Call, History},
};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "G12 static members keep",
    claim: "a static member that comes back in the same epoch has all that it had",
    judge,
};

const LEAVES_FOR_NOW: i32 = -2;

/// What a static member had been told last.
#[derive(Clone)]
struct Had<'a> {
    member: &'a str,
    epoch: i32,
    partitions: Partitions,
    /// How it left, if it did.
    left: Option<&'a Call>,
}

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        let mut had: BTreeMap<&str, Had<'_>> = BTreeMap::new();
        for asked in &calls {
            let Some(instance) = asked.of.instance.as_deref() else { continue };
            let Ask::ConsumerHeartbeat { epoch: went_by, .. } = asked.of.ask else { continue };
            let before = had.remove(instance).filter(|had| !has_begun_anew(&calls, had, asked));
            let lost = before.as_ref().and_then(|had| lost(index.history, had, asked));
            if let (Some(lost), Some(before)) = (lost, before.as_ref()) {
                let member = &asked.of.member;
                let message = format!(
                    "{group}: {instance} had {:?} in epoch {}, and comes back without {lost:?}",
                    before.partitions, before.epoch
                );
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by(before.left.into_iter().chain([asked.call]))
                    .saw("instance", instance)
                    .saw("member", member)
                    .saw("lost", format!("{lost:?}")));
            }
            had.extend(after(before, asked, went_by).map(|had| (instance, had)));
        }
    }
    Ok(())
}

/// Whether the group that a member comes back to is another one of the same name: somebody led a classic
/// generation below the epoch that the member had been told. In one life of a group both only grow.
fn has_begun_anew(calls: &[Asked<'_>], had: &Had<'_>, back: &Asked<'_>) -> bool {
    let Some(left) = had.left else { return false };
    let is_between = |call: &Call| (left.invoked..back.call.invoked).contains(&call.invoked);
    calls.iter().filter(|asked| asked.heard().is_some() && is_between(asked.call)).any(|asked| {
        matches!(&asked.of.ask, Ask::Sync { generation, given }
            if !given.is_empty() && *generation < had.epoch)
    })
}

/// What who comes back in the same epoch has not any more.
fn lost(history: &History, had: &Had<'_>, asked: &Asked<'_>) -> Option<Partitions> {
    let Ask::ConsumerHeartbeat { epoch: 0, .. } = asked.of.ask else { return None };
    let Some(Heard::Told { epoch, assigned: Some(assigned) }) = asked.heard() else { return None };
    let left = had.left?.ended?;
    let is_back = *epoch == had.epoch && left < asked.call.invoked;
    let lost: Partitions = had.partitions.difference(assigned).copied().collect();
    (is_back && !lost.is_empty() && groups::is_by_coordinator(history, asked)).then_some(lost)
}

/// What is known after a heartbeat.
fn after<'a>(before: Option<Had<'a>>, asked: &Asked<'a>, went_by: i32) -> Option<Had<'a>> {
    let member = &*asked.of.member;
    let before = before.filter(|had| had.member == member && had.left.is_none());
    match asked.heard()? {
        Heard::Told { epoch, assigned } => {
            let known = before.map(|had| had.partitions);
            let partitions = assigned.clone().or(known)?;
            Some(Had { member, epoch: *epoch, partitions, left: None })
        }
        Heard::Left if went_by == LEAVES_FOR_NOW => {
            Some(Had { left: Some(asked.call), ..before? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{Ask, CHECK, Heard};
    use crate::history::Outcome;

    #[test]
    fn a_static_member_that_comes_back_to_less_in_the_same_epoch_is_found() {
        let back = |epoch: i32, indexes: &[i32]| {
            let mut example = Example::new();
            let mut ask = |member: &str, epoch: i32, heard: Heard| {
                let ask = Ask::ConsumerHeartbeat { epoch, owned: partitions(&[]) };
                example.asked(member, Some("i"), ask, Outcome::Heard(heard));
            };
            ask("a", 0, Heard::Told { epoch: 1, assigned: Some(partitions(&[0, 1])) });
            ask("a", -2, Heard::Left);
            ask("b", 0, Heard::Told { epoch, assigned: Some(partitions(indexes)) });
            example.holds(&CHECK)
        };
        assert!(back(1, &[0, 1]));
        assert!(back(1, &[0, 1, 2]));
        assert!(back(2, &[0]));
        assert!(!back(1, &[0]));
    }

    #[test]
    fn a_group_that_has_begun_anew_owes_nothing() {
        let led = |generation: i32| {
            let mut example = Example::new();
            let mut ask = |member: &str, ask: Ask, heard: Heard| {
                let instance = (member != "c").then_some("i");
                example.asked(member, instance, ask, Outcome::Heard(heard));
            };
            let beat = |epoch| Ask::ConsumerHeartbeat { epoch, owned: partitions(&[]) };
            let told = |indexes| Heard::Told { epoch: 4, assigned: Some(partitions(indexes)) };
            ask("a", beat(0), told(&[0, 1]));
            ask("a", beat(-2), Heard::Left);
            let given = [("c".into(), partitions(&[0]))].into();
            ask("c", Ask::Sync { generation, given }, Heard::Assigned(partitions(&[0])));
            ask("b", beat(0), told(&[]));
            example.holds(&CHECK)
        };
        assert!(led(1));
        assert!(!led(4));
    }
}
