//! What a group keeps and writes is bounded.

use super::*;

fn with_metadata(join: Join, name: &str, bytes: usize) -> Join {
    Join { protocols: vec![(name.into(), vec![0; bytes].into())], ..join }
}

fn assert_invalid(fixture: &mut Fixture, join: Join) {
    let request = fixture.join(join);
    assert!(matches!(fixture.refused(request).0, GroupError::InvalidRequest(_)));
}

#[test]
fn a_member_joins_with_so_many_protocols_and_so_much_metadata_at_the_most() {
    let mut fixture = Fixture::new();
    let names = |count: usize| (0..count).map(|name| (format!("{name}"), Bytes::new())).collect();
    let speaking = |count| Join { protocols: names(count), ..first_join("a") };
    assert_invalid(&mut fixture, speaking(PROTOCOLS_MAX + 1));
    let too_large = MEMBER_METADATA_BYTES_MAX;
    assert_invalid(&mut fixture, with_metadata(first_join("a"), "range", too_large));
    let request = fixture.join(speaking(PROTOCOLS_MAX));
    assert!(fixture.is_parked(request));
}

#[test]
fn what_all_members_of_a_group_say_of_themselves_is_bounded() {
    let mut fixture = Fixture::new();
    let bytes = MEMBER_METADATA_BYTES_MAX - 100;
    let fits = GROUP_METADATA_BYTES_MAX / MEMBER_METADATA_BYTES_MAX;
    for name in 0..fits {
        let name = format!("{name}");
        let request = fixture.join(with_metadata(first_join(&name), "range", bytes));
        assert!(fixture.is_parked(request), "{name}");
    }
    let request = fixture.join(with_metadata(first_join("x"), "range", bytes));
    assert_eq!(fixture.refused(request).0, GroupError::GroupMaxSizeReached);
    let request = fixture.join(with_metadata(first_join("y"), "range", 10));
    assert!(fixture.is_parked(request), "a small one finds room");
}

/// A group in generation 1 that has no room for what `k`, its leader, says next; and its others.
fn nearly_full() -> (Fixture, Vec<String>, Join) {
    let mut fixture = Fixture::new();
    let large = |join: Join| with_metadata(join, "range", MEMBER_METADATA_BYTES_MAX - 100);
    let mut joins = vec![fixture.join(with_metadata(first_join("k"), "range", 10))];
    let fits = GROUP_METADATA_BYTES_MAX / MEMBER_METADATA_BYTES_MAX;
    let others: Vec<String> = (0..fits).map(|name| format!("m{name:02}")).collect();
    joins.extend(others.iter().map(|name| fixture.join(large(first_join(name)))));
    while fixture.is_parked(joins[0]) {
        fixture.pass(fixture.config.initial_rebalance_delay);
    }
    assert!(joins.into_iter().all(|join| &*fixture.joined(join).leader == "k"));
    (fixture, others, large(again("k")))
}

#[test]
fn a_member_that_says_too_much_in_a_stable_group_is_refused_and_stays_one() {
    let (mut fixture, others, more) = nearly_full();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    fixture.assign(1, &[&["k"], &others[..]].concat());
    let (request, records) = fixture.send(Request::Join(more));
    assert_eq!(fixture.refused(request), (GroupError::GroupMaxSizeReached, String::new()));
    assert_eq!((records, fixture.state()), (vec![], GroupState::Stable));
    assert_eq!(fixture.heartbeat("k", 1), Ok(()), "as the log says");
    let answer_lost = fixture.join(with_metadata(again(others[0]), "range", 10));
    assert!(fixture.is_parked(answer_lost), "who says less begins a rebalance");
    assert_eq!(fixture.heartbeat("k", 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_refused_member_that_goes_away_is_missed_by_a_rebalance() {
    let (mut fixture, others, more) = nearly_full();
    let syncs: Vec<RequestId> =
        others.iter().map(|name| fixture.send(sync(name, 1, &[])).0).collect();
    let refused = fixture.join(more);
    assert_eq!(fixture.refused(refused).0, GroupError::GroupMaxSizeReached);
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
    fixture.pass(SESSION);
    for sync in syncs {
        assert_eq!(fixture.synced(sync), Err(GroupError::RebalanceInProgress));
    }
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    assert_eq!(fixture.heartbeat("k", 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_leader_assigns_so_much_at_the_most() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a"]);
    let Request::Sync(sync) = sync("a", 1, &[]) else { panic!("a sync") };
    let half = Bytes::from(vec![0; GROUP_ASSIGNMENTS_BYTES_MAX / 2 + 1]);
    let assignments = vec![("a".into(), half.clone()), ("b".into(), half)];
    let (request, records) = fixture.send(Request::Sync(Sync { assignments, ..sync }));
    assert!(matches!(fixture.synced(request), Err(GroupError::InvalidRequest(_))));
    assert_eq!(records, []);
}

#[test]
fn an_instance_id_is_as_long_as_kafkas_at_the_most() {
    let mut fixture = Fixture::new();
    let longest = "i".repeat(INSTANCE_ID_BYTES_MAX);
    assert_invalid(&mut fixture, static_join("a", &(longest.clone() + "i")));
    let request = fixture.join(static_join("a", &longest));
    assert!(fixture.is_parked(request));
}
