//! G2 and G11: generations and member epochs only grow, and who goes by an older one is refused.

use super::{
    Check, Verdict, Violation,
    groups::{self, Asked},
    index::Index,
};
use crate::{
    group::{Ask, Heard},
    history::History,
};
use std::collections::BTreeSet;

pub const CHECK: Check = Check {
    name: "G2 generation",
    claim: "generations and member epochs grow, and an older one has no effect",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        let classic = groups::is_classic(&calls);
        let told: Vec<_> = calls.iter().filter_map(|asked| Some((asked, told(asked)?))).collect();
        // Of a consumer, an older epoch may still commit what it has had since; O4 judges that.
        let consumers: BTreeSet<&str> = calls
            .iter()
            .filter(|asked| matches!(asked.of.ask, Ask::ConsumerHeartbeat { .. }))
            .map(|asked| &*asked.of.member)
            .collect();
        let is_of_o4 = |asked: &&Asked<'_>| {
            matches!(asked.of.ask, Ask::Commit { .. }) && consumers.contains(&*asked.of.member)
        };
        let effective = calls.iter().filter(|asked| takes_effect(index.history, asked));
        for asked in effective.filter(|asked| !is_of_o4(asked)) {
            let Some(went_by) = asked.generation() else { continue };
            let newer = told.iter().find(|(before, generation)| {
                let concerns = classic || is_of_same_life(&calls, before, asked);
                concerns && *generation > went_by && before.is_before(asked)
            });
            if let Some((before, newer)) = newer {
                let member = &asked.of.member;
                let message = format!(
                    "{group}: {:?} of {member} was accepted after generation {newer} was told",
                    asked.of.ask
                );
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by([before.call, asked.call])
                    .saw("told before", newer)
                    .saw("went by", went_by));
            }
        }
        if !classic {
            continue;
        }
        for (asked, generation) in &told {
            let older = told.iter().find(|(before, of)| before.is_before(asked) && of > generation);
            if let Some((before, older)) = older {
                let message = format!("{group}: generation {generation} was told after {older}");
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by([before.call, asked.call])
                    .saw("told first", older)
                    .saw("told then", generation));
            }
        }
    }
    Ok(())
}

fn told(asked: &Asked<'_>) -> Option<i32> {
    match asked.heard()? {
        Heard::Joined { generation, .. } => Some(*generation),
        Heard::Told { epoch, .. } => Some(*epoch),
        _ => None,
    }
}

/// Whether somebody who coordinates took it; a broker that was replaced may not know what is new.
fn takes_effect(history: &History, asked: &Asked<'_>) -> bool {
    let taken = match asked.heard() {
        Some(Heard::Committed(codes)) => codes.values().any(|code| *code == 0),
        Some(Heard::Alive | Heard::Assigned(_) | Heard::Told { .. }) => true,
        _ => false,
    };
    taken && groups::is_by_coordinator(history, asked)
}

/// Whether both calls are of one member that did not join again between them.
fn is_of_same_life(calls: &[Asked<'_>], before: &Asked<'_>, after: &Asked<'_>) -> bool {
    let joins = |asked: &&Asked<'_>| {
        matches!(asked.of.ask, Ask::Join | Ask::ConsumerHeartbeat { epoch: ..=0, .. })
            && asked.of.member == after.of.member
            && before.call.invoked < asked.call.invoked
            && asked.call.invoked < after.call.invoked
    };
    before.of.member == after.of.member && !calls.iter().any(|asked| joins(&asked))
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::CHECK;

    #[test]
    fn an_old_generation_that_still_counts_is_found() {
        let mut example = Example::new();
        example.joined("a", 1);
        example.committed("a", 1, 0, 5);
        example.joined("b", 2);
        assert!(example.holds(&CHECK));
        let mut late = example.clone();
        late.committed("a", 1, 0, 6);
        assert!(!late.holds(&CHECK));
        example.joined("c", 1);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn members_of_a_consumer_group_have_epochs_of_their_own() {
        let mut example = Example::new();
        example.told("a", 0, &[], 3, Some(partitions(&[0])));
        example.told("b", 0, &[], 4, Some(partitions(&[1])));
        example.told("a", 3, &[0], 4, None);
        assert!(example.holds(&CHECK));
        example.told("a", 3, &[0], 4, None);
        assert!(!example.holds(&CHECK));
    }
}
