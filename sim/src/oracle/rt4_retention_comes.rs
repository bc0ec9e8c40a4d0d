//! R-T4, R-T2: where clocks tell the time, nothing stays that retention should have come for, and no
//! follower keeps what its leader has removed.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::Aged;

pub const CHECK: Check = Check {
    name: "R-T4 retention comes",
    claim: "in the end nothing is left that is too old or too much, on no replica",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for aged in &index.history.aged {
        let broker = aged.broker;
        if let Some(overdue) = aged.overdue(&index.history.topics) {
            let message = format!("broker {broker} keeps what it should not: {overdue}");
            let violation = Violation::new(message).on([broker]).at(aged.partition, aged.log_start);
            return Err(violation.of(index, aged.partition));
        }
        let of_leader = |it: &&Aged| it.partition == aged.partition && it.leads;
        if let Some(leader) = index.history.aged.iter().find(of_leader)
            && aged.log_start < leader.log_start
        {
            let message = format!(
                "the log of broker {broker} starts at {}, and that of its leader, broker {}, at {}",
                aged.log_start, leader.broker, leader.log_start
            );
            let violation = Violation::new(message).on([broker, leader.broker]);
            return Err(violation.of(index, aged.partition));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION};
    use super::CHECK;
    use crate::history::Aged;

    fn aged(broker: i32, log_start: i64, segments: &[u64]) -> Aged {
        let segments = segments.to_vec();
        Aged { partition: PARTITION, broker, leads: broker == 1, log_start, end: 9, segments }
    }

    fn holds(millis: Option<i64>, bytes: Option<i64>, aged: Vec<Aged>) -> bool {
        let mut example = Example::in_cluster();
        example.history.topics[0].retention_millis = millis;
        example.history.topics[0].retention_bytes = bytes;
        example.history.aged = aged;
        example.holds(&CHECK)
    }

    #[test]
    fn what_stays_too_long_is_found() {
        assert!(holds(Some(500), None, vec![aged(1, 9, &[40]), aged(2, 9, &[40])]));
        assert!(!holds(Some(500), None, vec![aged(1, 9, &[40]), aged(2, 8, &[40])]));
        assert!(holds(Some(500_000), None, vec![aged(1, 4, &[40])]), "it is not waited for");
    }

    #[test]
    fn a_log_that_is_too_large_is_found() {
        assert!(holds(None, Some(100), vec![aged(1, 4, &[40, 60, 30])]));
        assert!(!holds(None, Some(100), vec![aged(1, 4, &[40, 60, 40])]));
        assert!(holds(None, Some(100), vec![aged(1, 4, &[400])]), "the active segment stays");
    }

    #[test]
    fn a_follower_that_keeps_what_its_leader_removed_is_found() {
        let with = |start| vec![aged(1, 4, &[60]), aged(2, start, &[60])];
        assert!(holds(None, Some(100), with(4)));
        assert!(holds(None, Some(100), with(5)));
        assert!(!holds(None, Some(100), with(3)));
    }
}
