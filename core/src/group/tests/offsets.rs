//! OffsetCommit and OffsetFetch.

use super::*;

#[test]
fn who_is_no_member_commits_while_there_are_none() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.commit(nobody(), 5), Ok(()), "of a group that nobody knows");
    assert_eq!(fixture.commit(nobody(), 6), Ok(()));
    assert_eq!(fixture.committed(TOPIC), Some(6));
    fixture.stable(&["a"]);
    assert_eq!(fixture.commit(nobody(), 7), Err(GroupError::UnknownMemberId));
    fixture.leave(vec![leaver("a")]);
    assert_eq!(fixture.commit(nobody(), 8), Ok(()));
    assert_eq!(fixture.committed(TOPIC), Some(8));
}

#[test]
fn commits_are_accepted_from_members_of_the_generation_alone() {
    let simple_member = Identity { generation: None, ..identity("a", 1) };
    let table = [
        (identity("a", 1), Ok(())),
        (of_instance("s", "i", 1), Ok(())),
        (identity("a", 0), Err(GroupError::IllegalGeneration)),
        (identity("a", 2), Err(GroupError::IllegalGeneration)),
        (simple_member, Err(GroupError::IllegalGeneration)),
        (identity("x", 1), Err(GroupError::UnknownMemberId)),
        (of_instance("x", "i", 1), Err(GroupError::FencedInstanceId)),
        (of_instance("s", "x", 1), Err(GroupError::UnknownMemberId)),
        (nobody(), Err(GroupError::UnknownMemberId)),
    ];
    for (identity, expected) in table {
        let mut fixture = Fixture::new();
        fixture.join(first_join("a"));
        fixture.join(static_join("s", "i"));
        fixture.pass(seconds(6));
        fixture.assign(1, &["a", "s"]);
        assert_eq!(fixture.commit(identity.clone(), 5), expected, "{identity:?}");
        assert_eq!(fixture.committed(TOPIC), expected.ok().map(|()| 5), "{identity:?}");
    }
}

#[test]
fn members_commit_before_a_rebalance_is_over_but_not_before_they_are_assigned() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a", "b"]);
    let a = fixture.join(again("a"));
    assert_eq!(fixture.commit(identity("b", 1), 5), Ok(()), "it gives its partitions up");
    fixture.join(again("b"));
    fixture.joined(a);
    assert_eq!(fixture.commit(identity("b", 1), 6), Err(GroupError::IllegalGeneration));
    assert_eq!(fixture.commit(identity("b", 2), 7), Err(GroupError::RebalanceInProgress));
    assert_eq!(fixture.committed(TOPIC), Some(5));
}

#[test]
fn members_of_groups_that_do_not_exist_commit_nothing() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.commit(identity("a", 1), 5), Err(GroupError::GroupIdNotFound));
    fixture.commit(nobody(), 1).expect("a simple group");
    assert_eq!(fixture.commit(identity("a", 1), 5), Err(GroupError::UnknownMemberId));
}

#[test]
fn the_empty_group_id_is_good_for_offsets() {
    let mut fixture = Fixture::new();
    let offsets = vec![to_commit(TOPIC, 5)];
    let commit = CommitOffsets { group: "".into(), identity: nobody(), retention: None, offsets };
    assert_eq!(fixture.send_commit(commit.clone()), Ok(()));
    let too_long = CommitOffsets { group: "x".repeat(32768).as_str().into(), ..commit };
    assert_eq!(fixture.send_commit(too_long), Err(GroupError::InvalidGroupId));
}

#[test]
fn a_commit_is_a_record_of_what_was_said() {
    let mut fixture = Fixture::new();
    let wanted = OffsetToCommit {
        leader_epoch: Some(crate::types::LeaderEpoch(7)),
        metadata: "words".into(),
        partition: PartitionIndex(2),
        ..to_commit(TOPIC, 5)
    };
    let (_, records) = fixture.send(Request::CommitOffsets(CommitOffsets {
        group: GROUP.into(),
        identity: nobody(),
        retention: Some(seconds(60)),
        offsets: vec![wanted],
    }));
    let value = CommittedOffset {
        offset: Offset(5),
        leader_epoch: Some(crate::types::LeaderEpoch(7)),
        metadata: "words".into(),
        committed_at: Timestamp(WALL),
        expires_at: Some(Timestamp(WALL + 60_000)),
        topic_id: Some(TopicId([1; 16])),
    };
    let record = Record::OffsetCommit {
        group: GROUP.into(),
        topic: TOPIC.into(),
        partition: PartitionIndex(2),
        value: Some(value),
    };
    assert_eq!(records, [record]);
}

#[test]
fn each_offset_of_a_commit_has_an_outcome_of_its_own() {
    let config = GroupConfig { offset_metadata_max_bytes: 3, ..GroupConfig::default() };
    let mut fixture = Fixture::with(config);
    let long = OffsetToCommit { metadata: "four".into(), ..to_commit(TOPIC, 1) };
    let fits = OffsetToCommit { metadata: "abc".into(), ..to_commit(TOPIC, 2) };
    let no_partition = OffsetToCommit { partition: PartitionIndex(3), ..to_commit(TOPIC, 3) };
    let other_id = OffsetToCommit { topic_id: Some(TopicId([9; 16])), ..to_commit(TOPIC, 4) };
    let right_id = OffsetToCommit { topic_id: Some(TopicId([2; 16])), ..to_commit(OTHER_TOPIC, 5) };
    let no_topic = to_commit("x", 6);
    let offsets = vec![long, fits, no_partition, other_id, right_id, no_topic];
    let commit =
        CommitOffsets { group: GROUP.into(), identity: nobody(), retention: None, offsets };
    let unknown = || Err(GroupError::UnknownTopicOrPartition);
    let expected = vec![
        Err(GroupError::OffsetMetadataTooLarge),
        Ok(()),
        unknown(),
        unknown(),
        Ok(()),
        unknown(),
    ];
    assert_eq!(fixture.ask(Request::CommitOffsets(commit)), Response::Committed(Ok(expected)));
    assert_eq!((fixture.committed(TOPIC), fixture.committed(OTHER_TOPIC)), (Some(2), Some(5)));
}

#[test]
fn the_metadata_of_an_offset_is_measured_in_units_of_utf_16_and_fits_into_a_record() {
    let table: [(usize, String, bool); 7] = [
        (3, "é".repeat(3), true),
        (3, "é".repeat(4), false),
        (3, "\u{1f600}a".into(), true),
        (3, "\u{1f600}\u{1f600}".into(), false),
        (4096, "é".repeat(2_100), true),
        (32_767, "€".repeat(10_922), true),
        (32_767, "€".repeat(10_923), false),
    ];
    for (max, metadata, fits) in table {
        let config = GroupConfig { offset_metadata_max_bytes: max, ..GroupConfig::default() };
        let mut fixture = Fixture::with(config);
        let bytes = metadata.len();
        let offsets = vec![OffsetToCommit { metadata: metadata.into(), ..to_commit(TOPIC, 1) }];
        let identity = nobody();
        let commit = CommitOffsets { group: GROUP.into(), identity, retention: None, offsets };
        let expected = if fits { Ok(()) } else { Err(GroupError::OffsetMetadataTooLarge) };
        assert_eq!(fixture.send_commit(commit), expected, "{bytes} bytes, {max}");
    }
}

#[test]
fn what_was_never_committed_is_told_so() {
    let mut fixture = Fixture::new();
    let topics = || Some(vec![(TOPIC.into(), vec![PartitionIndex(0), PartitionIndex(1)])]);
    let nothing = (PartitionIndex(0), Ok(None));
    assert_eq!(fixture.fetch(topics())[0].partitions[0], nothing, "not even the group exists");
    assert_eq!(fixture.fetch(None), []);
    fixture.commit(nobody(), 5).expect("a simple group");
    let offsets = fixture.fetch(topics());
    assert!(matches!(offsets[0].partitions[0], (PartitionIndex(0), Ok(Some(_)))));
    assert_eq!(offsets[0].partitions[1], (PartitionIndex(1), Ok(None)));
}

#[test]
fn everything_that_a_group_committed_can_be_fetched() {
    let mut fixture = Fixture::new();
    fixture.commit_for(nobody(), OTHER_TOPIC, 6).expect("a simple group");
    fixture.commit_for(nobody(), TOPIC, 5).expect("a simple group");
    let all = fixture.fetch(None);
    let offsets = all.iter().map(|topic| {
        let (index, committed) = &topic.partitions[0];
        let committed = committed.as_ref().expect("stable").as_ref().expect("committed");
        (&*topic.topic, index.0, committed.offset.0)
    });
    assert_eq!(offsets.collect::<Vec<_>>(), [(TOPIC, 0, 5), (OTHER_TOPIC, 0, 6)]);
}

#[test]
fn a_topic_that_was_created_again_inherits_no_offsets() {
    let mut fixture = Fixture::new();
    fixture.commit(nobody(), 5).expect("a simple group");
    fixture.apply(&Command::DeleteTopic { topic: TopicId([1; 16]) });
    assert_eq!(fixture.committed(TOPIC), Some(5), "it may come back to mind");
    create_topic(&mut fixture.image, TOPIC, 9);
    assert_eq!(fixture.committed(TOPIC), None);
    assert_eq!(fixture.fetch(None), []);
    let records = fixture.tick();
    assert_eq!(records, [offset_tombstone(TOPIC)]);
}

#[test]
fn offsets_of_a_topic_that_was_deleted_are_dropped() {
    let mut fixture = Fixture::new();
    fixture.commit(nobody(), 5).expect("a simple group");
    fixture.commit_for(nobody(), OTHER_TOPIC, 6).expect("a simple group");
    assert_eq!(fixture.tick(), []);
    fixture.apply(&Command::DeleteTopic { topic: TopicId([1; 16]) });
    assert_eq!(fixture.tick(), [offset_tombstone(TOPIC)]);
    assert_eq!(fixture.tick(), []);
    assert_eq!(fixture.committed(OTHER_TOPIC), Some(6));
}

#[test]
fn a_coordinator_that_never_saw_a_topic_does_not_take_it_for_deleted_at_once() {
    let mut fixture = Fixture::new();
    let behind = fixture.image.clone();
    create_topic(&mut fixture.image, "new", 3);
    fixture.commit_for(nobody(), "new", 5).expect("a simple group");
    let newest = core::mem::replace(&mut fixture.image, behind.clone());
    fixture.reload();
    assert_eq!(fixture.pass(seconds(300)), [], "its metadata is behind");
    fixture.image = newest;
    assert_eq!(fixture.pass(Duration::from_hours(1)), []);
    assert_eq!(fixture.committed("new"), Some(5));

    fixture.image = behind;
    fixture.reload();
    let check = fixture.config.offsets_retention_check_interval;
    assert_eq!(fixture.pass(check - Duration::from_nanos(1)), []);
    assert_eq!(fixture.pass(Duration::from_nanos(1)), [offset_tombstone("new")]);
}

fn offset_tombstone(topic: &str) -> Record {
    let (group, partition) = (GROUP.into(), PartitionIndex(0));
    Record::OffsetCommit { group, topic: topic.into(), partition, value: None }
}

#[test]
fn a_partition_that_is_named_twice_is_committed_once_and_the_last_wins() {
    let mut fixture = Fixture::new();
    let too_long = "x".repeat(fixture.config.offset_metadata_max_bytes + 1);
    let offsets = vec![
        to_commit(TOPIC, 1),
        to_commit(OTHER_TOPIC, 2),
        to_commit(TOPIC, 3),
        OffsetToCommit { metadata: too_long.as_str().into(), ..to_commit(TOPIC, 4) },
    ];
    let commit =
        CommitOffsets { group: GROUP.into(), identity: nobody(), retention: None, offsets };
    let (request, records) = fixture.send(Request::CommitOffsets(commit));
    let outcomes = vec![Ok(()), Ok(()), Ok(()), Err(GroupError::OffsetMetadataTooLarge)];
    assert_eq!(fixture.answers.remove(&request), Some(Response::Committed(Ok(outcomes))));
    assert_eq!(records.len(), 2);
    assert_eq!((fixture.committed(TOPIC), fixture.committed(OTHER_TOPIC)), (Some(3), Some(2)));
}

#[test]
fn a_commit_that_would_write_more_than_one_decision_may_is_refused_as_a_whole() {
    let mut fixture = Fixture::new();
    create_topic_of(&mut fixture.image, "large", 3, 600);
    let group = "g".repeat(32_000);
    let mut send = |partitions: u32| {
        let offsets = (0..partitions).map(|index| OffsetToCommit {
            partition: PartitionIndex(index),
            ..to_commit("large", 1)
        });
        let offsets = offsets.collect();
        let group = group.as_str().into();
        let commit = CommitOffsets { group, identity: nobody(), retention: None, offsets };
        let (request, records) = fixture.send(Request::CommitOffsets(commit));
        (fixture.answers.remove(&request).expect("answered"), records.len())
    };
    let refused = Response::Committed(Err(GroupError::InvalidCommitOffsetSize));
    assert_eq!(send(600), (refused, 0));
    assert_eq!(send(500), (Response::Committed(Ok(vec![Ok(()); 500])), 500));
}
