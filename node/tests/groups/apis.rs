//! The APIs of classic groups: what they answer, and what they refuse without a trace.

use super::support::*;
use highwater_core::types::PartitionIndex;
use highwater_node::{
    client::PartitionRef,
    env::{Clock, OsClock},
    wire::{
        ErrorCode,
        generated::{
            delete_groups::DeleteGroupsRequest,
            describe_groups::DescribeGroupsRequest,
            find_coordinator::FindCoordinatorRequest,
            leave_group::{LeaveGroupRequest, MemberIdentity},
            list_groups::ListGroupsRequest,
            sync_group::SyncGroupRequest,
        },
    },
};
use std::time::Duration;

#[tokio::test]
async fn the_first_search_for_a_coordinator_creates_the_internal_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut connection = connect(&broker).await;
    let asked = connection.metadata(Some(&["__consumer_offsets"]), true).await.unwrap();
    assert_eq!(asked.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(find(&mut connection, "g").await, 1);
    let asked = connection.metadata(Some(&["__consumer_offsets"]), true).await.unwrap();
    assert!(asked.topics[0].is_internal);
    assert_eq!(asked.topics[0].partitions.len(), 4);

    // It is read like any topic, and written by nobody else.
    let partition = PartitionRef {
        topic: "__consumer_offsets".into(),
        topic_id: asked.topics[0].topic_id,
        index: PartitionIndex(0),
    };
    let mut batch = highwater_core::record::BatchBuilder::new();
    batch.push(highwater_core::record::NewRecord::default());
    let refused = connection.produce(&partition, -1, PATIENCE, batch.build()).await.unwrap();
    assert_eq!(refused.error_code, ErrorCode::InvalidTopicException.code());
    assert_eq!(connection.list_offset(&partition, -1).await.unwrap().offset, 0);
}

#[tokio::test]
async fn a_search_names_one_coordinator_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start_with_topic(dir.path()).await;
    let port = i32::from(broker.listen_address().unwrap().port());
    let one = FindCoordinatorRequest { key: "g".into(), ..Default::default() };
    let answer = connection.send(&one, 0).await.unwrap();
    assert_eq!((answer.error_code, answer.node_id, answer.port), (0, 1, port));
    let of_type = |key_type| FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec!["a".into(), "b".into()],
        ..Default::default()
    };
    for (key_type, code) in [
        (0, ErrorCode::None),
        (1, ErrorCode::CoordinatorNotAvailable),
        (7, ErrorCode::InvalidRequest),
    ] {
        let answer = connection.call(&of_type(key_type)).await.unwrap();
        let codes: Vec<_> =
            answer.coordinators.iter().map(|one| (&*one.key, one.error_code)).collect();
        assert_eq!(codes, [("a", code.code()), ("b", code.code())]);
    }
}

#[tokio::test]
async fn a_member_joins_syncs_beats_and_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let joined = stable(&mut connection, "g").await;
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    let (member, generation) = (joined.member_id.clone(), joined.generation_id);
    assert_eq!(heartbeat(&mut connection, "g", &member, generation).await, 0);

    let describe = DescribeGroupsRequest {
        groups: vec!["g".into(), "none".into()],
        include_authorized_operations: false,
    };
    let described = connection.call(&describe).await.unwrap().groups;
    assert_eq!((described[0].error_code, &*described[0].group_state), (0, "Stable"));
    assert_eq!(&*described[0].protocol_data, "range");
    assert_eq!(described[0].members[0].member_id, member);
    assert_eq!(&*described[0].members[0].client_id, "tester");
    assert_eq!(&*described[0].members[0].client_host, "/127.0.0.1");
    assert_eq!(&described[0].members[0].member_assignment[..], b"mine");
    assert_eq!(described[1].error_code, ErrorCode::GroupIdNotFound.code());
    let described = connection.send(&describe, 5).await.unwrap().groups;
    assert_eq!((described[1].error_code, &*described[1].group_state), (0, "Dead"));

    let list = |states: &[&str], types: &[&str]| ListGroupsRequest {
        states_filter: states.iter().map(|state| (*state).into()).collect(),
        types_filter: types.iter().map(|kind| (*kind).into()).collect(),
    };
    let listed = connection.call(&list(&[], &[])).await.unwrap();
    let shown: Vec<_> = listed
        .groups
        .iter()
        .map(|one| (&*one.group_id, &*one.group_state, &*one.group_type, &*one.protocol_type))
        .collect();
    assert_eq!(shown, [("g", "Stable", "classic", "consumer")]);
    assert!(connection.call(&list(&["Empty"], &[])).await.unwrap().groups.is_empty());
    assert!(connection.call(&list(&[], &["consumer"])).await.unwrap().groups.is_empty());
    assert_eq!(connection.call(&list(&["stable"], &["Classic"])).await.unwrap().groups.len(), 1);

    let delete = DeleteGroupsRequest { groups_names: vec!["g".into(), "none".into(), "g".into()] };
    let codes = |answer: highwater_node::wire::generated::delete_groups::DeleteGroupsResponse| {
        answer.results.iter().map(|one| one.error_code).collect::<Vec<_>>()
    };
    let refused = codes(connection.call(&delete).await.unwrap());
    let (non_empty, missing) = (ErrorCode::NonEmptyGroup.code(), ErrorCode::GroupIdNotFound.code());
    assert_eq!(refused, [non_empty, missing]);

    let leaver = |member: &str| MemberIdentity { member_id: member.into(), ..Default::default() };
    let leave = LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![leaver("nobody"), leaver(&member)],
        ..Default::default()
    };
    let left = connection.call(&leave).await.unwrap();
    let unknown = ErrorCode::UnknownMemberId.code();
    let left_codes: Vec<_> = left.members.iter().map(|one| one.error_code).collect();
    assert_eq!((left.error_code, left_codes), (0, vec![unknown, 0]));
    assert_eq!(heartbeat(&mut connection, "g", &member, generation).await, unknown);
    assert_eq!(codes(connection.call(&delete).await.unwrap()), [0, missing]);
}

#[tokio::test]
async fn old_versions_are_answered_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    // Without KIP-394 a member is let in at once.
    let mut request = join("g", "");
    request.rebalance_timeout_ms = -1;
    let joined = connection.send(&request, 0).await.unwrap();
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let leave = LeaveGroupRequest {
        group_id: "g".into(),
        member_id: "nobody".into(),
        ..Default::default()
    };
    let left = connection.send(&leave, 2).await.unwrap();
    assert_eq!(left.error_code, ErrorCode::UnknownMemberId.code());
    let leave = LeaveGroupRequest { member_id: joined.member_id, ..leave };
    assert_eq!(connection.send(&leave, 2).await.unwrap().error_code, 0);
    request.session_timeout_ms = 1;
    let refused = connection.send(&request, 4).await.unwrap();
    assert_eq!(refused.error_code, ErrorCode::InvalidSessionTimeout.code());
    assert_eq!(refused.protocol_name.as_deref(), Some(""), "not null before version 7");
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let joined = stable(&mut connection, "g").await;
    let (member, generation) = (joined.member_id.clone(), joined.generation_id);

    for (change, code) in [
        (|r| r.group_id = "".into(), ErrorCode::InvalidGroupId),
        (|r| r.session_timeout_ms = 1, ErrorCode::InvalidSessionTimeout),
        (|r| r.session_timeout_ms = -5, ErrorCode::InvalidSessionTimeout),
        (|r| r.member_id = "nobody".into(), ErrorCode::UnknownMemberId),
        (|r| r.protocol_type = "connect".into(), ErrorCode::InconsistentGroupProtocol),
        (|r| r.protocols.clear(), ErrorCode::InconsistentGroupProtocol),
        (|r| r.protocols[0].name = "other".into(), ErrorCode::InconsistentGroupProtocol),
    ]
        as [(fn(&mut highwater_node::wire::generated::join_group::JoinGroupRequest), _); 7]
    {
        let mut request = join("g", "");
        change(&mut request);
        let refused = connection.call(&request).await.unwrap();
        assert_eq!(refused.error_code, code.code(), "{request:?}");
        assert_eq!((refused.generation_id, refused.protocol_name), (-1, None));
    }
    let good = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    for (change, code) in [
        (|r| r.group_id = "".into(), ErrorCode::InvalidGroupId),
        (|r| r.member_id = "nobody".into(), ErrorCode::UnknownMemberId),
        (|r| r.generation_id += 1, ErrorCode::IllegalGeneration),
        (|r| r.protocol_name = None, ErrorCode::InconsistentGroupProtocol),
        (|r| r.protocol_name = Some("other".into()), ErrorCode::InconsistentGroupProtocol),
        (|r| r.group_instance_id = Some("other".into()), ErrorCode::UnknownMemberId),
    ] as [(fn(&mut SyncGroupRequest), _); 6]
    {
        let mut request = good.clone();
        change(&mut request);
        let refused = connection.call(&request).await.unwrap();
        assert_eq!(refused.error_code, code.code(), "{request:?}");
    }
    for (group, member, generation, code) in [
        ("", &*member, generation, ErrorCode::InvalidGroupId),
        ("none", &*member, generation, ErrorCode::UnknownMemberId),
        ("g", "nobody", generation, ErrorCode::UnknownMemberId),
        ("g", &*member, generation + 1, ErrorCode::IllegalGeneration),
    ] {
        let found = heartbeat(&mut connection, group, member, generation).await;
        assert_eq!(found, code.code(), "{group} {member} {generation}");
    }
    let synced = connection.call(&good).await.unwrap();
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"mine"[..]));
    assert_eq!(heartbeat(&mut connection, "g", &member, generation).await, 0);
}

#[tokio::test]
async fn a_join_that_waits_keeps_nobody_else_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut first) = start_with_topic(dir.path()).await;
    let joined = stable(&mut first, "g").await;
    let (member, generation) = (joined.member_id.clone(), joined.generation_id);
    let mut second = connect(&broker).await;
    let asked = second.call(&join("g", "")).await.unwrap();
    let version = second.version(highwater_node::wire::ApiKey::JoinGroup).unwrap();
    let parked = second.submit(&join("g", &asked.member_id), version).await.unwrap();
    let rebalancing = ErrorCode::RebalanceInProgress.code();
    let mut found = 0;
    for _ in 0..1_000 {
        found = heartbeat(&mut first, "g", &member, generation).await;
        if found != 0 {
            break;
        }
        pause().await;
    }
    assert_eq!(found, rebalancing, "the other connection is served");
    let again = first.call(&join("g", &member)).await.unwrap();
    let new = second.receive(parked).await.unwrap();
    assert_eq!((again.error_code, new.error_code), (0, 0));
    assert_eq!((again.generation_id, new.generation_id), (generation + 1, generation + 1));
    assert_eq!(again.members.len() + new.members.len(), 2, "the leader is told of both");
}

#[tokio::test]
async fn a_join_that_waits_is_refused_when_the_broker_closes() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut first) = start_with_topic(dir.path()).await;
    stable(&mut first, "g").await;
    let mut second = connect(&broker).await;
    let asked = second.call(&join("g", "")).await.unwrap();
    let version = second.version(highwater_node::wire::ApiKey::JoinGroup).unwrap();
    let parked = second.submit(&join("g", &asked.member_id), version).await.unwrap();
    // A request behind it tells that the join has arrived.
    let mut state = String::new();
    for _ in 0..1_000 {
        let describe = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
        state = first.call(&describe).await.unwrap().groups[0].group_state.to_string();
        if state == "PreparingRebalance" {
            break;
        }
        pause().await;
    }
    assert_eq!(state, "PreparingRebalance");
    let clock = OsClock::new();
    let started = clock.now().monotonic;
    let refused = async {
        let answer = second.receive(parked).await;
        (answer, clock.now().monotonic.since(started))
    };
    let ((answer, took), _) = tokio::join!(refused, broker.shutdown());
    assert_eq!(answer.unwrap().error_code, ErrorCode::NotCoordinator.code());
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}
