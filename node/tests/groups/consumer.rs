//! Consumer groups (KIP-848): their coordinator assigns.

use super::support::*;
use highwater_node::wire::{
    ErrorCode,
    generated::{
        consumer_group_describe::ConsumerGroupDescribeRequest,
        consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
        update_features::{FeatureUpdateKey, UpdateFeaturesRequest},
    },
};

pub fn first_heartbeat(member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_member_is_assigned_partitions_and_commits_in_its_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let joined = connection.call(&first_heartbeat("m")).await.unwrap();
    assert_eq!((joined.error_code, joined.member_id.as_deref()), (0, Some("m")));
    assert!(joined.member_epoch > 0 && joined.heartbeat_interval_ms == 5_000, "{joined:?}");
    let assigned = joined.assignment.unwrap().topic_partitions;
    assert_eq!((assigned.len(), &assigned[0].partitions[..]), (1, &[0, 1][..]));

    let epoch = joined.member_epoch;
    assert_eq!(commit_one(&mut connection, &commit("g", "m", epoch, 0, 4)).await, 0);
    let stale = commit_one(&mut connection, &commit("g", "m", epoch + 1, 0, 5)).await;
    assert_eq!(stale, ErrorCode::StaleMemberEpoch.code());
    assert_eq!(committed(&mut connection, "g", 0).await, (0, 4));

    let describe = ConsumerGroupDescribeRequest {
        group_ids: vec!["g".into(), "none".into()],
        include_authorized_operations: false,
    };
    let described = connection.call(&describe).await.unwrap().groups;
    assert_eq!((described[0].error_code, described[0].group_epoch), (0, epoch));
    let member = &described[0].members[0];
    assert_eq!((&*member.member_id, member.member_epoch, member.member_type), ("m", epoch, 1));
    assert_eq!(&*member.target_assignment.topic_partitions[0].topic_name, "t");
    assert_eq!(described[1].error_code, ErrorCode::GroupIdNotFound.code());
    let old = connection.send(&describe, 0).await.unwrap().groups;
    assert_eq!(old[0].members[0].member_type, -1);

    let leave = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        member_epoch: -1,
        rebalance_timeout_ms: -1,
        ..Default::default()
    };
    let left = connection.call(&leave).await.unwrap();
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
}

#[tokio::test]
async fn a_heartbeat_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    for (change, code) in [
        (|r| r.group_id = "".into(), ErrorCode::InvalidRequest),
        (|r| r.member_id = "".into(), ErrorCode::InvalidRequest),
        (|r| r.member_epoch = -3, ErrorCode::InvalidRequest),
        (|r| r.member_epoch = -2, ErrorCode::InvalidRequest),
        (|r| r.rebalance_timeout_ms = -1, ErrorCode::InvalidRequest),
        (|r| r.topic_partitions = None, ErrorCode::InvalidRequest),
        (|r| r.subscribed_topic_names = None, ErrorCode::InvalidRequest),
        (|r| r.server_assignor = Some("best".into()), ErrorCode::UnsupportedAssignor),
        (|r| r.member_epoch = 5, ErrorCode::GroupIdNotFound),
    ] as [(fn(&mut ConsumerGroupHeartbeatRequest), _); 9]
    {
        let mut request = first_heartbeat("m");
        change(&mut request);
        let refused = connection.call(&request).await.unwrap();
        assert_eq!(refused.error_code, code.code(), "{request:?}");
        assert!(refused.error_message.is_some(), "{request:?}");
    }
    // Who has no id gets one where the version allows that.
    let joined = connection.send(&first_heartbeat(""), 0).await.unwrap();
    assert_eq!(joined.error_code, 0);
    assert!(joined.member_id.is_some_and(|id| id.starts_with("tester-")));
}

#[tokio::test]
async fn without_their_feature_consumer_groups_are_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start_with_topic(dir.path()).await;
    let update = UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "group.version".into(),
            max_version_level: 0,
            upgrade_type: 2,
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    assert_eq!(connection.call(&update).await.unwrap().error_code, 0);
    let refused = connection.call(&first_heartbeat("m")).await.unwrap();
    assert_eq!(refused.error_code, ErrorCode::UnsupportedVersion.code());
    stable(&mut connection, "g").await;
}
