//! OffsetDelete and DeleteGroups.

use super::*;

fn delete(
    fixture: &mut Fixture,
    topics: &[&str],
) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    let topics = topics.iter().map(|topic| ((*topic).into(), vec![PartitionIndex(0)]));
    let body = Request::DeleteOffsets { group: GROUP.into(), topics: topics.collect() };
    match fixture.ask(body) {
        Response::OffsetsDeleted(outcome) => outcome,
        other => panic!("unexpected {other:?}"),
    }
}

fn delete_group(fixture: &mut Fixture) -> (Response, Vec<Record>) {
    let (request, records) = fixture.send(Request::DeleteGroup { group: GROUP.into() });
    (fixture.answers.remove(&request).expect("answered"), records)
}

#[test]
fn offsets_of_topics_that_nobody_subscribes_to_can_be_deleted() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.commit(identity("a", 1), 5).expect("a member");
    fixture.commit_for(identity("a", 1), OTHER_TOPIC, 6).expect("a member");
    let outcome = delete(&mut fixture, &[TOPIC, OTHER_TOPIC, "x"]);
    assert_eq!(outcome, Ok(vec![Err(GroupError::GroupSubscribedToTopic), Ok(()), Ok(())]));
    assert_eq!((fixture.committed(TOPIC), fixture.committed(OTHER_TOPIC)), (Some(5), None));
}

#[test]
fn whether_offsets_can_be_deleted_depends_on_what_is_known_of_the_members() {
    let garbage = Bytes::from_static(b"garbage");
    let of =
        |metadata: Bytes| Join { protocols: vec![("range".into(), metadata)], ..first_join("a") };
    let connect = Join { protocol_type: "connect".into(), ..of(garbage.clone()) };
    let subscribed = Ok(vec![Err(GroupError::GroupSubscribedToTopic)]);
    let table = [
        ("it subscribes", of(subscription(&[TOPIC])), subscribed.clone()),
        ("it does not", of(subscription(&[OTHER_TOPIC])), Ok(vec![Ok(())])),
        ("nobody knows", of(garbage), subscribed.clone()),
        ("nothing", of(Bytes::new()), subscribed),
        ("no consumer", connect, Err(GroupError::NonEmptyGroup)),
    ];
    for (what, join, expected) in table {
        let mut fixture = Fixture::new();
        fixture.commit(nobody(), 5).expect("a simple group");
        fixture.join(join);
        fixture.pass(seconds(3));
        assert_eq!(delete(&mut fixture, &[TOPIC]), expected, "{what}");
        fixture.leave(vec![leaver("a")]);
        assert_eq!(delete(&mut fixture, &[TOPIC]), Ok(vec![Ok(())]), "{what}, and it is gone");
        assert_eq!(fixture.committed(TOPIC), None, "{what}");
    }
}

#[test]
fn offsets_of_no_group_cannot_be_deleted() {
    let mut fixture = Fixture::new();
    assert_eq!(delete(&mut fixture, &[TOPIC]), Err(GroupError::GroupIdNotFound));
    let unnamed = Request::DeleteOffsets { group: "".into(), topics: vec![] };
    let expected = Response::OffsetsDeleted(Err(GroupError::InvalidGroupId));
    assert_eq!(fixture.ask(unnamed), expected);
}

#[test]
fn a_group_with_members_cannot_be_deleted() {
    let mut fixture = Fixture::new();
    let expected = |error| (Response::GroupDeleted(Err(error)), vec![]);
    assert_eq!(delete_group(&mut fixture), expected(GroupError::GroupIdNotFound));
    fixture.join(first_join("a"));
    assert_eq!(delete_group(&mut fixture), expected(GroupError::NonEmptyGroup), "preparing");
    fixture.pass(seconds(3));
    assert_eq!(delete_group(&mut fixture), expected(GroupError::NonEmptyGroup), "completing");
    fixture.assign(1, &["a"]);
    assert_eq!(delete_group(&mut fixture), expected(GroupError::NonEmptyGroup), "stable");
}

#[test]
fn with_a_group_its_offsets_are_deleted() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.commit(identity("a", 1), 5).expect("a member");
    fixture.leave(vec![leaver("a")]);
    let (answer, records) = delete_group(&mut fixture);
    assert_eq!(answer, Response::GroupDeleted(Ok(())));
    let (group, topic, partition) = (GROUP.into(), TOPIC.into(), PartitionIndex(0));
    let offset = Record::OffsetCommit { group, topic, partition, value: None };
    assert_eq!(records, [offset, Record::Group { group: GROUP.into(), value: None }]);
    assert_eq!((fixture.state(), fixture.committed(TOPIC)), (GroupState::Dead, None));
    assert_eq!(
        delete_group(&mut fixture).0,
        Response::GroupDeleted(Err(GroupError::GroupIdNotFound))
    );
}

#[test]
fn a_simple_group_is_deleted_with_its_offsets() {
    let mut fixture = Fixture::new();
    fixture.commit(nobody(), 5).expect("a simple group");
    let (answer, records) = delete_group(&mut fixture);
    assert_eq!((answer, records.len()), (Response::GroupDeleted(Ok(())), 1));
    assert_eq!(fixture.state(), GroupState::Dead);
}

#[test]
fn pending_ids_do_not_outlive_their_group() {
    let mut fixture = Fixture::new();
    fixture.join(Join { must_know_its_id: true, ..first_join("a") });
    assert_eq!(delete_group(&mut fixture), (Response::GroupDeleted(Ok(())), vec![]));
    let join = fixture.join(again("a"));
    assert_eq!(fixture.refused(join).0, GroupError::UnknownMemberId);
}

/// A group with this name commits an offset of each partition.
fn commit_all(fixture: &mut Fixture, group: &str, partitions: u32) {
    for first in (0..partitions).step_by(200) {
        let offsets = (first..partitions.min(first + 200)).map(|index| OffsetToCommit {
            partition: PartitionIndex(index),
            ..to_commit("large", 1)
        });
        let offsets = offsets.collect();
        let commit =
            CommitOffsets { group: group.into(), identity: nobody(), retention: None, offsets };
        fixture.send_commit(commit).expect("a simple group");
    }
}

fn written(records: &[Record]) -> usize {
    records.iter().map(|record| record.group().len()).sum()
}

#[test]
fn a_group_with_many_offsets_is_deleted_piece_by_piece() {
    let mut fixture = Fixture::new();
    create_topic_of(&mut fixture.image, "large", 3, 1200);
    let group = "g".repeat(32_000);
    commit_all(&mut fixture, &group, 1200);
    let (request, first) = fixture.send(Request::DeleteGroup { group: group.as_str().into() });
    let (also, second) = fixture.send(Request::DeleteGroup { group: group.as_str().into() });
    assert!(fixture.is_parked(request) && fixture.is_parked(also));
    let third = fixture.tick();
    for piece in [&first, &second, &third] {
        assert!(!piece.is_empty() && written(piece) <= DECISION_BYTES_MAX);
    }
    assert_eq!(first.len() + second.len() + third.len(), 1200);
    for request in [request, also] {
        assert_eq!(fixture.answers.remove(&request), Some(Response::GroupDeleted(Ok(()))));
    }
    assert!(fixture.shard.hard_state().offsets.is_empty());
}

#[test]
fn who_waits_for_a_group_to_be_deleted_is_refused_with_the_others() {
    let mut fixture = Fixture::new();
    create_topic_of(&mut fixture.image, "large", 3, 600);
    let group = "g".repeat(32_000);
    commit_all(&mut fixture, &group, 600);
    let (request, _) = fixture.send(Request::DeleteGroup { group: group.as_str().into() });
    assert_eq!(fixture.shard.waiting(), [request]);
    assert_eq!(fixture.tick(), [], "nobody wants it any more");
}

#[test]
fn an_offset_that_is_named_twice_is_deleted_once() {
    let mut fixture = Fixture::new();
    fixture.commit(nobody(), 5).expect("a simple group");
    let topics = vec![(TOPIC.into(), vec![PartitionIndex(0); 3]); 2];
    let (request, records) = fixture.send(Request::DeleteOffsets { group: GROUP.into(), topics });
    let outcomes = vec![Ok(()); 6];
    assert_eq!(fixture.answers.remove(&request), Some(Response::OffsetsDeleted(Ok(outcomes))));
    assert_eq!(records.len(), 1);
}

#[test]
fn more_offsets_than_one_decision_may_write_are_not_deleted_at_once() {
    let mut fixture = Fixture::new();
    create_topic_of(&mut fixture.image, "large", 3, 600);
    let group = "g".repeat(32_000);
    commit_all(&mut fixture, &group, 600);
    let topics = vec![("large".into(), (0..600).map(PartitionIndex).collect())];
    let (request, records) =
        fixture.send(Request::DeleteOffsets { group: group.as_str().into(), topics });
    assert!(matches!(
        fixture.answers.remove(&request),
        Some(Response::OffsetsDeleted(Err(GroupError::InvalidRequest(_))))
    ));
    assert_eq!(records, []);
}
