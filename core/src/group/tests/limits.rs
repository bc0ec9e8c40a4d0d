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
