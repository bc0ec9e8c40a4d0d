//! Subscriptions by regular expression.

use super::*;
use crate::group::consumer::expressions::compile;
use alloc::{format, string::ToString};

fn resolved(topics: &[&str], world: &World) -> Option<RegularExpressionValue> {
    let version = world.image.applied().0;
    Some(RegularExpressionValue { topics: names(topics), version, at: world.now.wall })
}

fn about_matching(expression: &str) -> ConsumerMemberValue {
    ConsumerMemberValue { regular_expression: Some(expression.into()), ..about(&[]) }
}

#[test]
fn a_new_expression_is_resolved_at_once() {
    let mut world = World::with_topics(&[("t1", 1), ("t2", 1), ("u", 1)]);
    let (records, told) = world.accepted(&join_matching("a", "t.*"));
    let hash = world.group().value.metadata_hash;
    let target = partitions(&[(1, &[0]), (2, &[0])]);
    assert_eq!(
        records,
        [
            member_record("a", Some(about_matching("t.*"))),
            expression_record("t.*", resolved(&["t1", "t2"], &world)),
            group_record(1, hash),
            target_record("a", Some(target.clone())),
            target_epoch_record(1),
            current_record("a", Some(stable(1, 0, assigned(&[(1, &[(0, 1)]), (2, &[(0, 1)])])))),
        ]
    );
    assert_eq!(told, answer("a", 1, Some(target)));
}

#[test]
fn an_expression_matches_whole_names() {
    let mut world = World::with_topics(&[("t", 1), ("tt", 1), ("at", 1)]);
    let (_, told) = world.accepted(&join_matching("a", "t"));
    assert_eq!(told.assignment, Some(partitions(&[(1, &[0])])));
    let (_, told) = world.accepted(&join_matching("a", "t|tt"));
    assert_eq!(told.assignment, Some(partitions(&[(1, &[0]), (2, &[0])])));
}

#[test]
fn internal_topics_match_no_expression() {
    let mut world = World::with_topics(&[("t", 1), ("__consumer_offsets", 5)]);
    let (_, told) = world.accepted(&join_matching("a", ".*"));
    assert_eq!(told.assignment, Some(partitions(&[(1, &[0])])));
}

#[test]
fn a_second_member_with_the_expression_finds_it_resolved() {
    let mut world = World::with_topics(&[("t1", 1), ("t2", 1)]);
    world.accepted(&join_matching("a", "t.*"));
    let (records, _) = world.accepted(&join_matching("b", "t.*"));
    assert!(!records.iter().any(|record| matches!(record, Record::RegularExpression { .. })));
    assert_eq!(world.group().value.epoch, 2);
}

#[test]
fn an_expression_and_names_are_united() {
    let mut world = World::with_topics(&[("t", 1), ("u", 1), ("v", 1)]);
    let both =
        ConsumerHeartbeat { regular_expression: Some("[tu]".into()), ..join("a", &["u", "v"]) };
    let (_, told) = world.accepted(&both);
    assert_eq!(told.assignment, Some(partitions(&[(1, &[0]), (2, &[0]), (3, &[0])])));
}

#[test]
fn topics_that_come_are_found_ten_seconds_after_the_last_look() {
    let mut world = World::with_topics(&[("t1", 1)]);
    let mut a = Client { id: "a".into(), epoch: 0, owned: TopicPartitions::new() };
    let (_, told) = world.accepted(&join_matching("a", "t.*"));
    a.obey(&told);
    world.create_topic(2, "t2", 1);
    world.pass(Duration::from_secs(9));
    assert_eq!(world.beat(&mut a), answer("a", 1, None));
    world.pass(Duration::from_secs(1));
    let (records, told) = world.accepted(&a.heartbeat());
    let hash = world.group().value.metadata_hash;
    assert_eq!(
        records[..2],
        [expression_record("t.*", resolved(&["t1", "t2"], &world)), group_record(2, hash),]
    );
    assert_eq!(told, answer("a", 2, Some(partitions(&[(1, &[0]), (2, &[0])]))));
}

#[test]
fn topics_that_go_are_forgotten() {
    let mut world = World::with_topics(&[("t1", 1), ("t2", 1)]);
    let mut a = Client { id: "a".into(), epoch: 0, owned: TopicPartitions::new() };
    let (_, told) = world.accepted(&join_matching("a", "t.*"));
    a.obey(&told);
    world.delete_topic(2);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.beat(&mut a), answer("a", 1, Some(partitions(&[(1, &[0])]))));
    assert_eq!(world.beat(&mut a), answer("a", 2, None));
    assert_eq!(world.group().expressions["t.*"].topics, names(&["t1"]));
}

#[test]
fn topics_that_match_nothing_change_nothing() {
    let mut world = World::with_topics(&[("t1", 1)]);
    world.accepted(&join_matching("a", "t.*"));
    world.create_topic(2, "u", 1);
    world.pass(Duration::from_secs(10));
    let (records, _) = world.accepted(&stay("a", 1));
    assert_eq!(records, []);
}

#[test]
fn a_new_coordinator_looks_at_once() {
    let mut world = World::with_topics(&[("t1", 1)]);
    world.accepted(&join_matching("a", "t.*"));
    world.create_topic(2, "t2", 1);
    world.fail_over();
    let (_, told) = world.accepted(&stay("a", 1));
    assert_eq!(told.assignment, Some(partitions(&[(1, &[0]), (2, &[0])])));
}

#[test]
fn another_expression_takes_the_place_of_the_one_before() {
    let mut world = World::with_topics(&[("t", 1), ("u", 1)]);
    world.accepted(&join_matching("a", "t.*"));
    let heartbeat = ConsumerHeartbeat { regular_expression: Some("u.*".into()), ..stay("a", 1) };
    let (records, told) = world.accepted(&heartbeat);
    let hash = world.group().value.metadata_hash;
    assert_eq!(
        records[..4],
        [
            member_record("a", Some(about_matching("u.*"))),
            expression_record("t.*", None),
            expression_record("u.*", resolved(&["u"], &world)),
            group_record(2, hash),
        ]
    );
    assert_eq!(told, answer("a", 1, Some(partitions(&[]))), "what t.* matched is given up first");
}

#[test]
fn an_expression_stays_while_another_member_subscribes_with_it() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join_matching("a", "t.*"));
    world.accepted(&join_matching("b", "t.*"));
    world.accepted(&leave("a"));
    assert!(world.group().expressions.contains_key("t.*"));
    let (records, _) = world.accepted(&leave("b"));
    assert_eq!(
        records,
        [
            current_record("b", None),
            target_record("b", None),
            member_record("b", None),
            expression_record("t.*", None),
            group_record(4, 0),
        ]
    );
}

#[test]
fn an_empty_expression_is_none() {
    let mut world = World::with_topics(&[("t", 1)]);
    let (records, told) = world.accepted(&join_matching("a", ""));
    assert_eq!(records[0], member_record("a", Some(about(&[]))));
    assert_eq!(told.assignment, Some(partitions(&[])));
    world.accepted(&join_matching("b", "t"));
    let heartbeat = ConsumerHeartbeat { regular_expression: Some("".into()), ..stay("b", 2) };
    world.accepted(&heartbeat);
    assert!(world.group().expressions.is_empty());
}

#[test]
fn a_static_member_that_comes_back_by_name_leaves_its_expression_behind() {
    let mut world = World::with_topics(&[("t", 1)]);
    let request = ConsumerHeartbeat { instance: Some("i".into()), ..join_matching("a", "t.*") };
    world.accepted(&request);
    world.accepted(&leave_static("a", "i", MemberEpoch::LeaveForNow));
    let request =
        ConsumerHeartbeat { regular_expression: Some("".into()), ..join_static("b", "i", &["t"]) };
    let (_, told) = world.accepted(&request);
    assert!(world.group().expressions.is_empty());
    assert_eq!(told.assignment, Some(partitions(&[(1, &[0])])));
}

#[test]
fn an_expression_that_is_none_is_refused() {
    let mut world = World::with_topics(&[("t", 1)]);
    for expression in ["(", "a)|(b", "[z-a]", "(?x)t # t", "(?=t)", r"(a)\1", "a{2,1}"] {
        let refusal = world.refused(&join_matching("a", expression));
        assert!(
            matches!(&refusal, GroupError::InvalidRegularExpression(_)),
            "{expression}: {refusal:?}"
        );
    }
    assert!(!world.groups.contains("g"));
}

#[test]
fn expressions_are_bounded_in_length_and_when_compiled() {
    let longest = "t".repeat(MAX_EXPRESSION_BYTES);
    assert!(compile(&longest).is_ok());
    assert!(compile(&(longest + "t")).is_err());
    assert!(compile(r"(\w{1000}){1000}").is_err());
}

#[test]
fn expressions_are_those_of_re2_as_far_as_topic_names_go() {
    let table = [
        (r"^t$", "t", true),
        (r"(?i)T", "t", true),
        (r"t\d+", "t12", true),
        (r"t\d+", "tx", false),
        (r"[[:alpha:]]+", "abc", true),
        (r"[[:alpha:]]+", "abc1", false),
        (r"\pL+", "abc", true),
        (r"(?P<name>a|ab)", "ab", true),
        (r"a.*?", "abc", true),
        (r"team-(a|b)\..+", "team-a.x", true),
        (r"team-(a|b)\..+", "team-axx", false),
    ];
    for (expression, name, expected) in table {
        let compiled = compile(expression).expect("valid");
        assert_eq!(compiled.is_match(name), expected, "{expression} {name}");
    }
}

#[test]
fn a_group_has_so_many_expressions_at_the_most() {
    let mut world = World::with_topics(&[("t", 1)]);
    for number in 0..EXPRESSIONS_PER_GROUP_MAX {
        world.accepted(&join_matching(&number.to_string(), &format!("t|{number}")));
    }
    let refusal = world.refused(&join_matching("x", "t"));
    assert!(matches!(refusal, GroupError::InvalidRegularExpression(_)), "{refusal:?}");
    world.accepted(&join_matching("x", "t|0"));
}

#[test]
fn a_member_may_change_its_expression_in_a_group_that_has_no_room_for_one_more() {
    let mut world = World::with_topics(&[("t", 1)]);
    let matching = |member: &str, number: usize, of: &World| ConsumerHeartbeat {
        regular_expression: Some(format!("t|{number}").as_str().into()),
        ..stay(member, of.member(member).current.epoch.expect("it is here"))
    };
    for number in 0..EXPRESSIONS_PER_GROUP_MAX {
        world.accepted(&join_matching(&number.to_string(), &format!("t|{number}")));
    }
    let first = matching("0", 1_000, &world);
    world.accepted(&first);
    assert_eq!(world.group().census.expressions.len(), EXPRESSIONS_PER_GROUP_MAX);
    world.accepted(&join_matching("x", "t|1"));
    let shared = world.refused(&matching("1", 1_001, &world));
    let is_too_many = matches!(shared, GroupError::InvalidRegularExpression(_));
    assert!(is_too_many, "x has its old one still: {shared:?}");
}

#[test]
fn what_is_quoted_in_an_expression_stands_for_itself() {
    let table: [(&str, &str, bool); 12] = [
        (r"\Qa.b\E", "a.b", true),
        (r"\Qa.b\E", "axb", false),
        (r"\Qa.b\E.c", "a.bxc", true),
        (r"\Qa.b", "a.b", true),
        (r"\Q\E\Qa.\Ec?", "a.", true),
        (r"x\Q-\E*", "x---", true),
        (r"[\\a]\Q.\E", "a.", true),
        (r"[]a]\Q.\E", "a.", true),
        (r"[^]a]\Q.\E", "b.", true),
        (r"[[:alpha:]]\Q.\E", "b.", true),
        (r"(\Q(\E|b)", "b", true),
        (r"\Q\d\E", r"1", false),
    ];
    for (expression, name, expected) in table {
        let compiled = compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(compiled.is_match(name), expected, "{expression} {name}");
    }
    for expression in [r"a\E", r"[\Qa\E]", r"\\Qa\E"] {
        assert!(compile(expression).is_err(), "{expression}");
    }
    // An escaped backslash quotes nothing.
    assert!(compile(r"a\\Q.").expect("valid").is_match(r"a\Qx"));
}
