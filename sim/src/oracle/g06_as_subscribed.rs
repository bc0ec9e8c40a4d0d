//! G6: a member of a consumer group gets partitions of the topics that it subscribes to, by name or by a
//! regular expression (KIP-848), and of no others. That it gets them in the end is LV4.

use super::{Check, Verdict, Violation, groups, index::Index};
use crate::{
    group::{Ask, Heard, Subscription},
    history::Partition,
};

pub const CHECK: Check = Check {
    name: "G6 as subscribed",
    claim: "a member is told partitions of topics that it subscribes to, and of no others",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let topics = &index.history.topics;
    for (group, calls) in groups::by_group(index.history) {
        for (member, calls) in groups::by_member(&calls) {
            // The last subscription that was heard, and those whose calls had no good answer.
            let mut may_be: Vec<&Subscription> = Vec::new();
            for asked in calls {
                let told = asked.heard();
                if let Some(subscription) = &asked.of.subscription {
                    if matches!(told, Some(Heard::Told { .. })) {
                        may_be.clear();
                    }
                    may_be.push(subscription);
                }
                let (Ask::ConsumerHeartbeat { .. }, Some(Heard::Told { assigned, .. })) =
                    (&asked.of.ask, told)
                else {
                    continue;
                };
                let is_foreign = |of: &&Partition| {
                    let name = &topics[of.topic].name;
                    !may_be.iter().any(|subscription| subscription.includes(name))
                };
                let foreign = assigned.iter().flatten().find(is_foreign);
                if let Some(of) = foreign.filter(|_| !may_be.is_empty()) {
                    let name = index.name(*of);
                    let message =
                        format!("{group}: {member} was told {name} and subscribes to {may_be:?}");
                    return Err(Violation::new(message)
                        .in_group(group)
                        .shown_by([asked.call])
                        .saw("partition", name)
                        .saw("subscribes to", format!("{may_be:?}")));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, partitions};
    use super::{CHECK, Subscription};
    use crate::{
        group::{EXPRESSIONS, Expression},
        history::Request,
    };

    fn told(subscription: Subscription) -> bool {
        let mut example = Example::new();
        example.told("a", 0, &[], 1, Some(partitions(&[0])));
        let Request::Group(of) = &mut example.history.calls[0].request else { unreachable!() };
        of.subscription = Some(subscription);
        example.holds(&CHECK)
    }

    #[test]
    fn a_partition_of_a_topic_that_nobody_asked_for_is_found() {
        let named = |name: &str| Subscription { topics: vec![name.into()], expression: None };
        assert!(told(named("t")));
        assert!(!told(named("u")));
    }

    #[test]
    fn what_an_expression_does_not_match_is_found() {
        static NONE: Expression = Expression { text: "u.*", matches: |name| name.starts_with('u') };
        let by = |expression| Subscription { topics: Vec::new(), expression: Some(expression) };
        assert!(told(by(&EXPRESSIONS[0])));
        assert!(!told(by(&NONE)));
    }
}
