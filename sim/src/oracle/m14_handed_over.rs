//! M14: a broker that stops in good order hands over what it leads, in time, and comes back.

use super::{Check, Verdict, Violation, violated, index::Index};
use crate::history::{CleanStop, PartitionSeen};

pub const CHECK: Check = Check {
    name: "M14 handed over",
    claim: "who has handed over leads nothing that another living in-sync replica could lead, and \
            nobody gives up while there is a quorum",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for stop in &index.history.clean_stops {
        let machine = stop.machine;
        let could = !stop.is_disturbed || stop.handed_over.is_some() && stop.had_quorum;
        if stop.handed_over == Some(true) {
            left_behind(index, stop)?;
        } else if index.history.promise.is_brisk && could {
            // Where there is no quorum, it says that it could not.
            let what = if stop.handed_over.is_none() { "did not in time" } else { "handed nothing over" };
            let message = format!("broker {machine} was asked to stop, and {what}");
            return Err(Violation::new(message).on([machine]));
        }
        if index.history.promise.is_brisk && stop.in_sync_again == Some(false) {
            return violated(format!(
                "broker {machine} was stopped and started, and not everything is in sync again"
            ));
        }
    }
    Ok(())
}

fn left_behind(index: &Index<'_>, stop: &CleanStop) -> Verdict {
    let could_lead = |of: &PartitionSeen| {
        of.isr.iter().copied().find(|it| *it != stop.machine && stop.living.contains(it))
    };
    for (partition, of) in &stop.partitions {
        let is_left = of.leader.is_none_or(|leader| leader == stop.machine);
        let Some(other) = could_lead(of).filter(|_| is_left) else { continue };
        let leader = of.leader.map_or("nobody".into(), |leader| format!("broker {leader}"));
        let message = format!(
            "broker {} has stopped, {leader} leads, and broker {other} could: in sync are {:?}",
            stop.machine, of.isr
        );
        return Err(Violation::new(message)
            .on([stop.machine, other])
            .saw("leader", leader)
            .saw("in sync", format!("{:?}", of.isr))
            .of(index, *partition));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, in_sync};
    use super::CHECK;
    use crate::history::{CleanStop, PartitionSeen};

    fn stop(led_by: Option<i32>) -> CleanStop {
        let seen = PartitionSeen { leader: led_by, isr: vec![1, 2], ..in_sync(1, 3) };
        CleanStop {
            machine: 1,
            handed_over: Some(true),
            partitions: [(PARTITION, seen)].into(),
            living: vec![2, 3],
            ..CleanStop::default()
        }
    }

    fn holds(stop: CleanStop) -> bool {
        let mut example = Example::in_cluster();
        example.history.clean_stops.push(stop);
        example.holds(&CHECK)
    }

    #[test]
    fn what_was_not_handed_over_is_found() {
        assert!(holds(stop(Some(2))));
        assert!(!holds(stop(Some(1))));
        assert!(!holds(stop(None)));
        assert!(holds(CleanStop { living: vec![3], ..stop(Some(1)) }), "nobody else was in sync");
    }

    #[test]
    fn a_stop_that_takes_too_long_is_found_where_nobody_else_was_missing() {
        for late in [None, Some(false)] {
            let late = CleanStop { handed_over: late, ..stop(Some(2)) };
            assert!(!holds(late.clone()));
            assert!(holds(CleanStop { is_disturbed: true, ..late }));
        }
    }

    #[test]
    fn who_says_that_there_was_nobody_to_agree_may_leave_something_behind() {
        let alone = CleanStop { handed_over: Some(false), is_disturbed: true, ..stop(Some(1)) };
        assert!(holds(alone.clone()));
        assert!(!holds(CleanStop { had_quorum: true, ..alone }), "there was somebody");
    }

    #[test]
    fn a_broker_that_is_never_in_sync_again_is_found() {
        assert!(holds(CleanStop { in_sync_again: Some(true), ..stop(Some(2)) }));
        assert!(!holds(CleanStop { in_sync_again: Some(false), ..stop(Some(2)) }));
    }
}
