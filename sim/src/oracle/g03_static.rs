//! G3: of two processes with one `group.instance.id`, the older one is fenced (KIP-345).

use super::{Check, Verdict, Violation, groups, index::Index};
use crate::group::{Ask, Heard};

pub const CHECK: Check = Check {
    name: "G3 static membership",
    claim: "when a static member has joined, an older one with its instance id has no effect",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for (group, calls) in groups::by_group(index.history) {
        let joins: Vec<_> = calls
            .iter()
            .filter_map(|asked| match (asked.heard()?, &asked.of.ask) {
                (Heard::Joined { member, .. }, _) => {
                    Some((asked, asked.of.instance.as_ref()?, member))
                }
                (Heard::Told { .. }, Ask::ConsumerHeartbeat { epoch: 0, .. }) => {
                    Some((asked, asked.of.instance.as_ref()?, &asked.of.member))
                }
                _ => None,
            })
            .collect();
        for asked in calls.iter().filter(|asked| groups::is_by_coordinator(index.history, asked)) {
            let taken = match asked.heard() {
                Some(Heard::Alive | Heard::Assigned(_)) => true,
                Some(Heard::Told { .. }) => asked.generation().is_some(),
                Some(Heard::Committed(codes)) => codes.values().any(|code| *code == 0),
                _ => false,
            };
            let replaced = joins.iter().find(|(join, instance, member)| {
                asked.of.instance.as_ref() == Some(*instance)
                    && **member != asked.of.member
                    && join.is_before(asked)
                    && !joins.iter().any(|(own, _, id)| {
                        // Of two joins at once either may have come last.
                        let ended_before = own.call.ended.is_some_and(|at| at < join.call.invoked);
                        **id == asked.of.member && !ended_before
                    })
            });
            if let Some((join, instance, newer)) = replaced.filter(|_| taken) {
                let message = format!(
                    "{group}: {} goes on as {instance}, which {newer} has become",
                    asked.of.member
                );
                return Err(Violation::new(message)
                    .in_group(group)
                    .shown_by([join.call, asked.call])
                    .saw("instance", instance)
                    .saw("member now", newer)
                    .saw("goes on as it", &asked.of.member));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, WALL};
    use super::CHECK;
    use crate::{
        group::{Ask, GroupCall, Heard},
        history::{Outcome, Request},
    };

    #[test]
    fn a_static_member_that_was_replaced_and_goes_on_is_found() {
        let mut example = Example::new();
        example.joined_as("a", 1, "i");
        example.alive("a", 1, Some("i"));
        example.joined_as("b", 1, "i");
        example.alive("b", 1, Some("i"));
        assert!(example.holds(&CHECK));
        example.alive("a", 1, Some("i"));
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn of_two_that_join_at_once_either_may_have_replaced_the_other() {
        let mut example = Example::new();
        let joining = |member: &str| GroupCall {
            group: "g".into(),
            member: member.into(),
            instance: Some("i".into()),
            ask: Ask::Join,
            subscription: None,
        };
        let calls = ["a", "b"].map(|member| {
            (member, example.history.invoke(1, WALL, Request::Group(joining(member))))
        });
        for (member, call) in calls {
            let (generation, leader) = (1, member.to_owned());
            let heard = Heard::Joined { generation, member: member.into(), leader };
            example.history.end(call, Outcome::Heard(heard));
        }
        example.alive("a", 1, Some("i"));
        assert!(example.holds(&CHECK));
    }
}
