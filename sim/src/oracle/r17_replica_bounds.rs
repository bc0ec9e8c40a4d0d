//! R17, R10, R18: what a broker knows of its replica goes forward only: within a life of the broker
//! and of the log neither the leader epoch nor the high watermark goes back, and the high watermark is
//! never above the log's end, nor above what the leader has in the same epoch. In one epoch one life of
//! one broker leads. Looked at every 20 ms.
//!
//! A follower may know a high watermark that its new leader has yet to hear of. All that was committed
//! lay in the leader's log when its leadership began: above that a follower's high watermark is its
//! leader's or lower. Where records were given up, the high watermark is not judged.

use super::{Check, Verdict, Violation, given_up, index::Index};
use crate::history::{Partition, ReplicaAt, ReplicaSeen};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "R17 replica bounds",
    claim: "epochs and high watermarks of a replica go forward, within its log and its leader's; an epoch has one leader",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let (mut known, mut losses) = (Known::default(), None);
    for look in index.history.replicas.chunk_by(|one, next| one.at == next.at) {
        let mut found: Vec<Found> = look.iter().filter_map(|seen| known.take(seen).err()).collect();
        found.extend(look.iter().filter_map(|seen| known.follow(seen).err()));
        for found in found {
            let losses = losses.get_or_insert_with(|| given_up(index.history));
            if !found.concerns_high_watermark || !losses.contains_key(&found.partition) {
                return Err(found.violation.of(index, found.partition));
            }
        }
    }
    Ok(())
}

struct Found {
    partition: Partition,
    concerns_high_watermark: bool,
    violation: Violation,
}

/// A leadership as its broker knew it.
struct Leadership {
    machine: i32,
    life: u64,
    /// Where its log ended when it was seen first.
    log_end: i64,
}

/// What is known of the replicas when somebody has looked.
#[derive(Default)]
struct Known {
    replicas: BTreeMap<(Partition, i32), (u64, ReplicaAt)>,
    /// By epoch.
    leaders: BTreeMap<(Partition, i32), Leadership>,
}

impl Known {
    fn take(&mut self, seen: &ReplicaSeen) -> Result<(), Found> {
        let key = (seen.partition, seen.machine);
        let Some(now) = seen.replica else {
            self.replicas.remove(&key);
            return Ok(());
        };
        let before = self.replicas.insert(key, (seen.life, now));
        let was = before.filter(|(life, was)| *life == seen.life && was.log == now.log);
        self.lead(seen, &now)?;
        let fails = |concerns_high_watermark, what: &str, pair: (i64, i64)| {
            let (machine, (from, to)) = (seen.machine, pair);
            let message = format!("on broker {machine} {what} is {to}, and was {from}");
            let violation = Violation::new(message).on([machine]);
            Err(Found { partition: seen.partition, concerns_high_watermark, violation })
        };
        if let Some((_, was)) = was {
            if now.leader_epoch < was.leader_epoch {
                let epochs = (i64::from(was.leader_epoch), i64::from(now.leader_epoch));
                return fails(false, "the leader epoch", epochs);
            }
            // A log that begins further below has begun anew.
            if now.high_watermark < was.high_watermark && now.log_start >= was.log_start {
                return fails(true, "the high watermark", (was.high_watermark, now.high_watermark));
            }
        }
        if now.high_watermark > now.log_end {
            let (machine, high_watermark, end) = (seen.machine, now.high_watermark, now.log_end);
            let message = format!(
                "on broker {machine} the high watermark is {high_watermark}, and the log ends at {end}"
            );
            let violation = Violation::new(message).on([machine]);
            return Err(Found { partition: seen.partition, concerns_high_watermark: true, violation });
        }
        Ok(())
    }

    fn lead(&mut self, seen: &ReplicaSeen, now: &ReplicaAt) -> Result<(), Found> {
        if !now.leads {
            return Ok(());
        }
        let (machine, life, log_end) = (seen.machine, seen.life, now.log_end);
        let key = (seen.partition, now.leader_epoch);
        let first =
            self.leaders.entry(key).or_insert(Leadership { machine, life, log_end });
        if (first.machine, first.life) == (machine, life) {
            return Ok(());
        }
        let message = format!(
            "life {life} of broker {machine} leads in epoch {}, and so did life {} of broker {}",
            now.leader_epoch, first.life, first.machine
        );
        let violation = Violation::new(message).on([machine, first.machine]);
        Err(Found { partition: seen.partition, concerns_high_watermark: false, violation })
    }

    /// Whether a replica that was news has no higher high watermark than its leader.
    fn follow(&self, seen: &ReplicaSeen) -> Result<(), Found> {
        let partition = seen.partition;
        let Some(now) = seen.replica.filter(|now| !now.leads) else { return Ok(()) };
        let led = self.leaders.get(&(partition, now.leader_epoch));
        let leader = led.and_then(|led| {
            let (life, leader) = self.replicas.get(&(partition, led.machine))?;
            let leads = leader.leads && leader.leader_epoch == now.leader_epoch;
            (leads && *life == led.life).then_some((led, leader))
        });
        let Some((led, leader)) = leader else { return Ok(()) };
        if now.high_watermark <= leader.high_watermark.max(led.log_end) {
            return Ok(());
        }
        let message = format!(
            "on broker {} the high watermark is {}, and on broker {}, who leads it, {}; the log of that \
             one ended at {} or before when it began to lead",
            seen.machine, now.high_watermark, led.machine, leader.high_watermark, led.log_end
        );
        let violation = Violation::new(message).on([seen.machine, led.machine]);
        Err(Found { partition, concerns_high_watermark: true, violation })
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, in_sync};
    use super::CHECK;
    use crate::history::{ReplicaAt, ReplicaSeen};

    /// One look at some replicas: the machine, its life and what it knows.
    fn look(example: &mut Example, seen: &[(i32, u64, Option<ReplicaAt>)]) {
        let at = example.history.tick();
        let replicas = seen.iter().map(|(machine, life, replica)| ReplicaSeen {
            at,
            machine: *machine,
            life: *life,
            partition: PARTITION,
            replica: *replica,
        });
        example.history.replicas.extend(replicas);
    }

    fn follower(leader_epoch: i32, high_watermark: i64, log_end: i64) -> Option<ReplicaAt> {
        let (log, leads, log_start) = (1, false, 0);
        Some(ReplicaAt { log, leads, leader_epoch, log_start, high_watermark, log_end })
    }

    fn leader(leader_epoch: i32, high_watermark: i64, log_end: i64) -> Option<ReplicaAt> {
        follower(leader_epoch, high_watermark, log_end).map(|it| ReplicaAt { leads: true, ..it })
    }

    fn holds(looks: &[&[(i32, u64, Option<ReplicaAt>)]]) -> bool {
        let mut example = Example::in_cluster();
        looks.iter().for_each(|seen| look(&mut example, seen));
        example.holds(&CHECK)
    }

    #[test]
    fn what_goes_back_in_one_life_is_found() {
        let first = (1, 0, follower(2, 5, 9));
        assert!(holds(&[&[first], &[(1, 0, follower(3, 5, 5))]]));
        assert!(!holds(&[&[first], &[(1, 0, follower(1, 5, 9))]]));
        assert!(!holds(&[&[first], &[(1, 0, follower(2, 4, 9))]]));
    }

    #[test]
    fn another_life_and_another_log_begin_anew() {
        let first = (1, 0, follower(2, 5, 9));
        assert!(holds(&[&[first], &[(1, 1, follower(2, 4, 9))]]));
        let other = follower(2, 0, 0).map(|it| ReplicaAt { log: 2, ..it });
        assert!(holds(&[&[first], &[(1, 0, other)]]));
        assert!(holds(&[&[first], &[(1, 0, None)], &[(1, 0, follower(2, 4, 9))]]));
        let above = follower(2, 7, 9).map(|it| ReplicaAt { log_start: 7, ..it });
        assert!(holds(&[&[(1, 0, above)], &[first]]));
    }

    #[test]
    fn a_high_watermark_above_the_end_is_found() {
        assert!(!holds(&[&[(1, 0, follower(2, 10, 9))]]));
    }

    #[test]
    fn a_follower_ahead_of_its_leader_is_found() {
        // It was told by the leader before.
        assert!(holds(&[&[(1, 0, leader(2, 4, 6)), (2, 0, follower(2, 6, 6))]]));
        assert!(!holds(&[&[(1, 0, leader(2, 4, 6)), (2, 0, follower(2, 7, 8))]]));
        let [one, next] = [leader(2, 4, 6), leader(2, 7, 9)];
        assert!(holds(&[&[(1, 0, one)], &[(1, 0, next), (2, 0, follower(2, 7, 9))]]));
        // Who leads another epoch is not its leader.
        assert!(holds(&[&[(1, 0, leader(3, 4, 6)), (2, 0, follower(2, 8, 8))]]));
    }

    #[test]
    fn two_leaders_of_an_epoch_are_found() {
        assert!(!holds(&[&[(1, 0, leader(2, 4, 6))], &[(2, 0, leader(2, 4, 6))]]));
        assert!(!holds(&[&[(1, 0, leader(2, 4, 6))], &[(1, 1, leader(2, 4, 6))]]));
        assert!(holds(&[&[(1, 0, leader(2, 4, 6))], &[(2, 0, leader(3, 4, 6))]]));
    }

    #[test]
    fn a_high_watermark_may_go_back_where_records_were_given_up() {
        let mut example = Example::in_cluster();
        look(&mut example, &[(1, 0, follower(2, 5, 9))]);
        look(&mut example, &[(1, 0, follower(3, 4, 4))]);
        assert!(!example.holds(&CHECK));
        example.history.topics[0].unclean = true;
        let mut alone = in_sync(1, 1);
        alone.isr = vec![1];
        example.saw(1, 1, "a", alone);
        example.saw(1, 2, "b", in_sync(2, 2));
        assert!(example.holds(&CHECK));
    }
}
