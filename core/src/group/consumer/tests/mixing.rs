//! Members of the classic protocol in consumer groups.

use super::{both::*, protocols::subscribe, *};
use crate::group::{
    CommitOffsets, Join, Joined, Leaver, MigrationPolicy, OffsetToCommit, Request, Response, Sync,
};
use bytes::Bytes;

#[test]
fn a_classic_member_joins_a_consumer_group() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.accepted(join("c", &["t"]));
    let (request, records) = groups.ask(Request::Join(classic_join("a", &[])));
    let hash = groups.shard.hard_state().consumer_groups["g"].value.metadata_hash;
    assert_eq!(
        records,
        [
            member_record("a", Some(about_classic(&[]))),
            group_record(2, hash),
            target_record("a", Some(partitions(&[(1, &[1])]))),
            target_record("c", Some(partitions(&[(1, &[0])]))),
            target_epoch_record(2),
            current_record("a", Some(unreleased(2, 0, assigned(&[])))),
        ]
    );
    let joined = Joined {
        generation: 2,
        protocol_type: "consumer".into(),
        protocol: "range".into(),
        leader: "".into(),
        member: "a".into(),
        skip_assignment: false,
        members: vec![],
    };
    assert_eq!(groups.answer(request), Response::Joined(Ok(joined)));
    assert_eq!(groups.synced("a", 2), Ok(empty()));
    assert_eq!(groups.alive("a", 2), Ok(()), "c holds what it is to get");
    let owned = Some(partitions(&[(1, &[0])]));
    groups.accepted(ConsumerHeartbeat { owned, ..stay("c", 1) });
    assert_eq!(groups.alive("a", 2), Err(GroupError::RebalanceInProgress), "now it is free");
    assert_eq!(groups.joined(classic_join("a", &[])).expect("joined").generation, 2);
    assert_eq!(groups.synced("a", 2), Ok(assigns(&[1])));
}

#[test]
fn a_classic_member_gives_up_by_joining_without() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.classic_join_alone();
    let told = groups.accepted(join("d", &["t"]));
    assert_eq!(told.assignment, Some(partitions(&[])));
    assert_eq!(groups.alive("a", 3), Err(GroupError::RebalanceInProgress));
    assert_eq!(groups.synced("a", 3), Err(GroupError::RebalanceInProgress));
    let still = groups.joined(classic_join("a", &[0, 1])).expect("joined");
    assert_eq!(still.generation, 3, "it has to give one up first");
    assert_eq!(groups.synced("a", 3), Ok(assigns(&[0])));
    assert_eq!(groups.alive("a", 3), Err(GroupError::RebalanceInProgress));
    assert_eq!(groups.joined(classic_join("a", &[0])).expect("joined").generation, 4);
    assert_eq!(groups.synced("a", 4), Ok(assigns(&[0])));
    assert_eq!(groups.accepted(stay("d", 4)).assignment, Some(partitions(&[(1, &[1])])));
}

#[test]
fn a_classic_member_without_an_id_joins_again_with_the_one_it_is_given() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.accepted(join("c", &["t"]));
    let request = Join {
        member: "".into(),
        fresh_member: "a".into(),
        must_know_its_id: true,
        ..classic_join("a", &[])
    };
    let (id, records) = groups.ask(Request::Join(request));
    assert_eq!(records, []);
    match groups.answer(id) {
        Response::Joined(Err(refused)) => {
            assert_eq!((refused.error, &*refused.member), (GroupError::MemberIdRequired, "a"));
        }
        other => panic!("{other:?}"),
    }
    groups.joined(classic_join("a", &[])).expect("joined");
}

#[test]
fn classic_joins_that_a_consumer_group_cannot_take_are_refused() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.world.config.consumer_max_size = 2;
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    let inconsistent = Err(GroupError::InconsistentGroupProtocol);
    let other_type = Join { protocol_type: "connect".into(), ..classic_join("a", &[]) };
    assert_eq!(groups.joined(other_type), inconsistent);
    let foreign = vec![("sticky".into(), subscribe(1, &["t"], &[], None).into())];
    assert_eq!(groups.joined(Join { protocols: foreign, ..classic_join("a", &[]) }), inconsistent);
    let unreadable = vec![("range".into(), Bytes::from_static(b"?"))];
    let unreadable = Join { protocols: unreadable, ..classic_join("a", &[]) };
    assert_eq!(groups.joined(unreadable), inconsistent);
    let hasty = Join { session_timeout: Duration::from_secs(1), ..classic_join("a", &[]) };
    assert_eq!(groups.joined(hasty), Err(GroupError::InvalidSessionTimeout));
}

#[test]
fn requests_of_others_than_classic_members_of_this_generation_are_refused() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    assert_eq!(groups.alive("a", 1), Err(GroupError::IllegalGeneration));
    assert_eq!(groups.synced("a", 1), Err(GroupError::IllegalGeneration));
    assert_eq!(groups.alive("x", 2), Err(GroupError::UnknownMemberId));
    assert_eq!(groups.alive("c", 1), Err(GroupError::UnknownMemberId), "it is no classic member");
    let (id, _) = groups
        .ask(Request::Sync(Sync { protocol: Some("sticky".into()), ..classic_sync("a", 2, &[]) }));
    let inconsistent = Err(GroupError::InconsistentGroupProtocol);
    assert_eq!(groups.answer(id), Response::Synced(inconsistent));
}

#[test]
fn classic_members_leave_a_consumer_group_each_with_an_outcome() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    let leaver = |member: &str| Leaver { member: member.into(), instance: None, reason: None };
    let members = ["a", "a", "c", "x"].map(leaver).to_vec();
    let (id, records) = groups.ask(Request::Leave { group: "g".into(), members });
    let unknown = Err(GroupError::UnknownMemberId);
    let outcomes = vec![Ok(()), unknown.clone(), unknown.clone(), unknown];
    assert_eq!(groups.answer(id), Response::Left(Ok(outcomes)));
    assert_eq!(
        records[..3],
        [current_record("a", None), target_record("a", None), member_record("a", None),]
    );
    assert_eq!(records.len(), 4);
}

#[test]
fn classic_members_that_do_not_join_or_sync_in_time_are_removed() {
    for is_joined in [false, true] {
        let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
        groups.classic_join_alone();
        groups.accepted(join("d", &["t"]));
        assert_eq!(groups.alive("a", 3), Err(GroupError::RebalanceInProgress));
        if is_joined {
            groups.joined(classic_join("a", &[0, 1])).expect("joined");
        }
        for _ in 0..6 {
            assert_eq!(groups.pass(Duration::from_secs(9)), []);
            let _ = groups.alive("a", 3);
            groups.accepted(ConsumerHeartbeat { client_host: "h".into(), ..stay("d", 4) });
        }
        assert_eq!(groups.pass(Duration::from_secs(6)).len(), 4);
        assert_eq!(groups.alive("a", 3), Err(GroupError::UnknownMemberId));
    }
}

#[test]
fn members_of_both_protocols_commit_with_their_epochs() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    let commit = |groups: &mut Groups, member: &str, generation: u32, partition: u32| {
        let offset = OffsetToCommit {
            topic: "t".into(),
            topic_id: None,
            partition: PartitionIndex(partition),
            offset: Offset(1),
            leader_epoch: None,
            metadata: "".into(),
        };
        let (id, _) = groups.ask(Request::CommitOffsets(CommitOffsets {
            group: "g".into(),
            identity: identity(member, generation),
            retention: None,
            offsets: vec![offset],
        }));
        match groups.answer(id) {
            Response::Committed(outcome) => outcome.map(|_| ()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(commit(&mut groups, "c", 1, 0), Ok(()));
    assert_eq!(commit(&mut groups, "c", 2, 0), Err(GroupError::StaleMemberEpoch));
    assert_eq!(commit(&mut groups, "a", 2, 1), Ok(()));
    assert_eq!(commit(&mut groups, "a", 1, 1), Err(GroupError::IllegalGeneration));
    let topics = vec![("t".into(), vec![PartitionIndex(0)])];
    let (id, _) = groups.ask(Request::DeleteOffsets { group: "g".into(), topics });
    let refused = vec![Err(GroupError::GroupSubscribedToTopic)];
    assert_eq!(groups.answer(id), Response::OffsetsDeleted(Ok(refused)));
    let (id, _) = groups.ask(Request::DeleteGroup { group: "g".into() });
    assert_eq!(groups.answer(id), Response::GroupDeleted(Err(GroupError::NonEmptyGroup)));
}
