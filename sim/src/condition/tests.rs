//! Expressions over a cluster of three that was written by hand.

use super::{evaluate::*, *};
use std::collections::BTreeMap;

/// `t0/0` is led by broker 1 in epoch 4, and broker 3 is out of its ISR.
#[derive(Clone)]
struct Three {
    leader: Option<i32>,
    offsets: BTreeMap<i32, ReplicaView>,
}

fn three() -> Three {
    let replica = |high_watermark, flushed_offset, log_end_offset, leader_epoch| ReplicaView {
        leader_epoch,
        log_start_offset: 2,
        high_watermark,
        flushed_offset,
        log_end_offset,
    };
    let offsets =
        [(1, replica(10, 11, 14, 4)), (2, replica(9, 10, 12, 4)), (3, replica(5, 6, 6, 3))];
    Three { leader: Some(1), offsets: offsets.into() }
}

impl View for Three {
    fn brokers(&self) -> Vec<i32> {
        vec![1, 2, 3]
    }
    fn partition(&self, name: &PartitionName) -> Option<PartitionView> {
        (name.topic == "t0").then(|| PartitionView {
            leader: self.leader,
            leader_epoch: 4,
            partition_epoch: 7,
            isr: vec![1, 2],
            elr: vec![],
            replicas: vec![1, 2, 3],
        })
    }
    fn replica(&self, _: &PartitionName, broker: i32) -> Option<ReplicaView> {
        self.offsets.get(&broker).copied()
    }
    fn acknowledged(&self, _: &PartitionName) -> i64 {
        10
    }
    fn controller(&self) -> Option<i32> {
        Some(2)
    }
    fn term(&self) -> Option<i64> {
        Some(3)
    }
    fn coordinator(&self, _: &str) -> Option<i32> {
        Some(3)
    }
    fn generation(&self, _: &str) -> Option<i64> {
        Some(6)
    }
    fn is_alive(&self, broker: i32) -> bool {
        broker != 3
    }
    fn is_fenced(&self, broker: i32) -> Option<bool> {
        Some(broker == 3)
    }
    fn broker_epoch(&self, broker: i32) -> Option<i64> {
        Some(i64::from(broker) * 100)
    }
    fn held_messages(&self) -> i64 {
        1
    }
    fn now(&self) -> i64 {
        1_500
    }
}

fn known() -> Known {
    Known {
        topics: vec![
            ("t0".into(), 2, "workload.partitions"),
            ("t1".into(), 2, "workload.partitions"),
        ],
        brokers: 3,
        brokers_at_most: 3,
        groups: vec!["g0".into()],
    }
}

#[test]
fn conditions_are_what_the_state_says() {
    for (text, holds) in [
        ("high_watermark(t0/0) < log_end_offset(leader(t0/0))", true),
        ("high_watermark(t0/0) == high_watermark(leader(t0/0))", true),
        ("high_watermark(t0/0, broker 2) == 9", true),
        ("log_end_offset(t0/0) - flushed_offset(t0/0) == 3", true),
        ("log_end_offset(t0/0) - 1 - 1 == 12", true),
        ("log_end_offset(t0/0) - (1 - 1) == 14", true),
        ("log_start_offset(t0/0) + 1 >= 3", true),
        ("log_end_offset(t0/0, follower(t0/0) - isr(t0/0)) == 6", true),
        ("log_end_offset(isr(t0/0)) > 0", false),
        ("leader_epoch(t0/0) > leader_epoch(t0/0, broker 3)", true),
        ("partition_epoch(t0/0) != 7", false),
        ("acknowledged(t0/0) <= high_watermark(t0/0)", true),
        ("leader(t0/0) == broker 1", true),
        ("leader(t0/0) != controller", true),
        ("controller in isr(t0/0)", true),
        ("broker 3 in isr(t0/0)", false),
        ("isr(t0/0) == broker 1 + broker 2", true),
        ("isr(t0/0) - leader == broker 2", true),
        ("follower(t0/0) == replicas(t0/0) - leader(t0/0)", true),
        ("count(isr(t0/0)) == 2 and count(elr(t0/0)) == 0", true),
        ("count(all) == 3", true),
        ("alive(isr(t0/0)) and not alive(all)", true),
        ("fenced(broker 3) or fenced(broker 1)", true),
        ("broker_epoch(broker 2) == 200", true),
        ("coordinator(group g0) == broker 3", true),
        ("generation(g0) > 5", true),
        ("term == 3 and now >= 1500 and held_messages == 1", true),
        ("true and false or true", true),
        ("false and (false or true)", false),
        ("not false and false", false),
    ] {
        let condition = parse_condition(text, &known()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        assert_eq!(condition.holds(&three()), holds, "{text}");
    }
}

#[test]
fn what_nobody_knows_holds_nothing() {
    let leaderless = Three { leader: None, ..three() };
    for text in [
        "high_watermark(t0/0) >= 0",
        "high_watermark(t0/0) < 0",
        "not high_watermark(t0/0) >= 0",
        "leader(t0/0) == broker 1",
        "leader(t0/0) != broker 1",
        "leader(t0/0) in all",
        "alive(leader(t0/0))",
        "leader_epoch(t1/0) == 4",
    ] {
        assert!(!parse_condition(text, &known()).unwrap().holds(&leaderless), "{text}");
    }
    // It does not spoil what is known.
    let known_part = "high_watermark(t0/0) > 0 or count(isr(t0/0)) == 2";
    assert!(parse_condition(known_part, &known()).unwrap().holds(&leaderless));
    assert!(parse_condition("count(leader(t0/0)) == 0", &known()).unwrap().holds(&leaderless));
}

#[test]
fn a_target_names_brokers() {
    for (text, brokers) in [
        ("leader(t0/0)", vec![1]),
        ("isr(t0/0) - leader", vec![2]),
        ("follower(t0/0)", vec![2, 3]),
        ("broker 3 + controller", vec![2, 3]),
        ("all - isr(t0/0)", vec![3]),
        ("coordinator(g0)", vec![3]),
    ] {
        let target = parse_brokers(text, &known()).unwrap();
        assert_eq!(target.brokers(&three()).into_iter().collect::<Vec<_>>(), brokers, "{text}");
        assert_eq!(target.to_string(), text);
    }
}

#[test]
fn a_change_is_counted_and_nobody_is_no_value() {
    let nth = |text: &str| parse_change(text, &known()).unwrap().nth;
    assert_eq!(nth("first leader_epoch change of t0/0"), Some(1));
    assert_eq!(nth("third isr change of t0/1"), Some(3));
    assert_eq!(nth("12th high_watermark change of t0/0"), Some(12));
    assert_eq!(nth("every controller change"), None);
    assert_eq!(nth("each coordinator change of group g0"), None);
    let leader = parse_change("first leader change of t0/0", &known()).unwrap();
    assert_eq!(leader.value(&three()), Some(Value::Brokers([1].into())));
    assert_eq!(leader.value(&Three { leader: None, ..three() }), None);
    let alive = parse_change("first alive change of broker 3", &known()).unwrap();
    assert_eq!(alive.value(&three()), Some(Value::Truth(false)));
}

#[test]
fn a_mistake_has_its_place_and_a_remedy() {
    for (text, at, part) in [
        ("", 0, "nothing in it"),
        ("high_watermrk(t0/0) > 1", 0, "did you mean `high_watermark`?"),
        ("high_watermark(t0/0) = 1", 21, "write `==`"),
        ("high_watermark(t0/0) > ", 23, "expected a name or a number, found the end"),
        ("high_watermark(t0/0", 19, "expected `,`"),
        ("high_watermark(t0) > 1", 15, "did you mean `t0/0`?"),
        ("t0 > 1", 0, "`t0` is a topic"),
        ("quasar(t0/0) > 1", 0, "scenarios/README.md lists the words"),
        ("leader(orders/0) == broker 1", 7, "there are t0, t1"),
        ("high_watermark(t7/0) > 1", 15, "there is no topic `t7`"),
        ("high_watermark(t0/5) > 1", 18, "name one of 0 to 1"),
        ("leader(t0/0) == broker 4", 23, "name one of 1 to 3"),
        ("leader(t0/0) < broker 2", 13, "no order"),
        ("leader(t0/0) == 2", 13, "cannot be compared"),
        ("leader(t0/0)", 0, "a condition must be true or false, and this is one broker"),
        ("leader(t0/0) + 1 == 2", 13, "do not add up"),
        (
            "coordinator(g9) == broker 1",
            12,
            "there is no group `g9` in every seed; did you mean `g0`?",
        ),
        ("coordinator(payments) == broker 1", 12, "there are g0"),
        ("leader == broker 1", 0, "the leader of which partition?"),
        ("log_end_offset(broker 2) > 1", 0, "of which partition?"),
        ("log_end_offset(t0/0, 2) > 1", 21, "the second of two must be one broker"),
        ("controller(t0/0) == broker 1", 0, "takes nothing"),
        ("isr == broker 1", 0, "takes a partition, as in `isr(t0/0)`"),
        ("t0/0 > 1", 0, "a partition alone is no value"),
        ("alive(broker 1) alive(broker 2)", 16, "join conditions with `and`"),
        ("alive(broker 1) & alive(broker 2)", 16, "write `and`"),
        ("!alive(broker 1)", 0, "write `not`"),
        ("alive(broker 1) and 3", 20, "what follows `and` must be true or false"),
        ("now > 99999999999999999999", 6, "too large a number; write 9223372036854775807 at most"),
    ] {
        let mistake = parse_condition(text, &known()).unwrap_err();
        assert!(mistake.message.contains(part), "{text}: {}", mistake.message);
        assert_eq!(mistake.at.start, at, "{text}: {}", mistake.message);
    }
    for (text, part) in [
        ("leader change of t0/0", "which change? begin with `every`"),
        ("first leadr change of t0/0", "did you mean `leader`?"),
        ("first leader changes", "expected `change`"),
        ("first leader change", "write `leader change of t0/0`"),
        ("first controller change of t0/0", "is of nothing"),
        ("first leader change of t0/0 twice", "is too much"),
    ] {
        let mistake = parse_change(text, &known()).unwrap_err();
        assert!(mistake.message.contains(part), "{text}: {}", mistake.message);
    }
    let mistake = parse_brokers("alive(broker 1)", &known()).unwrap_err();
    assert!(mistake.message.contains("a target must be one broker or a set of brokers"));
}

#[test]
fn what_is_too_deep_or_too_long_is_refused_before_it_fills_the_stack() {
    let brackets = |depth: usize| format!("{}now > 1{}", "(".repeat(depth), ")".repeat(depth));
    let nots = |depth: usize| format!("{}now > 1", "not ".repeat(depth));
    let counts = |depth: usize| format!("{}all{} == 1", "count(".repeat(depth), ")".repeat(depth));
    let chain = |length: usize| format!("{}term > 1", "now > 1 and ".repeat(length));
    for text in [brackets(64), nots(64), chain(200)] {
        assert!(parse_condition(&text, &known()).is_ok());
    }
    for (text, at, part) in [
        (brackets(65), 64, "64 deep at most; leave out"),
        (brackets(400), 64, "64 deep at most"),
        (brackets(200_000), 1_000, "1000 words and signs at most"),
        (nots(65), 256, "64 deep at most"),
        (nots(900), 256, "64 deep at most"),
        (counts(100), 384, "64 deep at most"),
        (chain(200_000), 3_000, "1000 words and signs at most; say less"),
        ("not ".repeat(200_000), 4_000, "1000 words and signs at most"),
    ] {
        let mistake = parse_condition(&text, &known()).unwrap_err();
        assert!(mistake.message.contains(part), "{}", mistake.message);
        assert_eq!(mistake.at.start, at, "{}", mistake.message);
    }
}

const CROWD: Crowd = Crowd { brokers: 3, machines: 5 };

#[test]
fn a_condition_that_cannot_hold_is_known() {
    for (text, can_hold) in [
        ("now < 0", false),
        ("now <= 0", true),
        ("0 > now", false),
        ("count(isr(t0/0)) == 3", true),
        ("count(isr(t0/0)) == 4", false),
        ("4 <= count(isr(t0/0))", false),
        ("count(all) == 5", true),
        ("count(all) > 5", false),
        ("count(leader(t0/0)) >= 2", false),
        ("count(leader(t0/0) + controller) >= 2", true),
        ("count(isr(t0/0) - isr(t0/0)) > 0", false),
        ("count(isr(t0/0)) != 4", true),
        ("not count(isr(t0/0)) != 4", false),
        ("not now >= 0", false),
        ("high_watermark(t0/0) + 1 <= 0", false),
        ("high_watermark(t0/0) - 1 < 0", true),
        ("leader_epoch(t0/0, broker 1) < 0", true),
        ("now < 0 or term > 1", true),
        ("now < 0 and term > 1", false),
        ("not (now < 0 or term > 1)", true),
        ("broker 1 in isr(t0/0) - all", false),
        ("alive(isr(t0/0) - isr(t0/0))", false),
        ("leader(t0/0) == controller", true),
        ("false or held_messages < 0", false),
    ] {
        let condition = parse_condition(text, &known()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        assert_eq!(condition.can_hold(CROWD), can_hold, "{text}");
    }
}

#[test]
fn what_says_nothing_of_the_cluster_is_known() {
    for text in ["1 < 2", "true", "not (1 == 1 or false)", "broker 1 in broker 1 + broker 2"] {
        assert!(parse_condition(text, &known()).unwrap().is_constant(), "{text}");
    }
    for text in ["now > 1", "1 < 2 and term > 1", "broker 1 == controller"] {
        assert!(!parse_condition(text, &known()).unwrap().is_constant(), "{text}");
    }
}

#[test]
fn brokers_that_nobody_is_are_known() {
    let most = |text: &str| parse_brokers(text, &known()).unwrap().most_brokers(CROWD);
    for (text, count) in [
        ("broker 1", 1),
        ("all", 5),
        ("isr(t0/0)", 3),
        ("isr(t0/0) + all", 5),
        ("isr(t0/0) - leader", 3),
        ("isr(t0/0) - isr(t0/0)", 0),
        ("broker 1 - broker 1 + (controller - all)", 0),
    ] {
        assert_eq!(most(text), count, "{text}");
    }
    let is_the_same = |one: &str, other: &str| {
        let parsed = |text: &str| parse_brokers(text, &known()).unwrap();
        parsed(one).is_the_broker_of(&parsed(other))
    };
    assert!(is_the_same("broker 1", "broker 1") && is_the_same("leader(t0/0)", "leader(t0/0)"));
    assert!(!is_the_same("broker 1", "broker 2") && !is_the_same("isr(t0/0)", "isr(t0/0)"));
}
