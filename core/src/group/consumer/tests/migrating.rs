//! Groups with members of both protocols, and groups that go from one to the other.

use super::{protocols::subscribe, *};
use crate::{
    coordinator::{Decision, Shard},
    group::{
        ClassicMemberMetadata, CommitOffsets, GroupShard, GroupState, Identity, Join, Joined,
        Leaver, MigrationPolicy, OffsetToCommit, Request, Response, Sync, Synced,
    },
    types::RequestId,
};
use alloc::string::String;
use bytes::Bytes;

const CLASSIC_SESSION: Duration = Duration::from_secs(30);

/// A shard of groups, and what it has been asked and has answered.
struct Groups {
    /// Metadata, configuration and clocks.
    world: World,
    shard: GroupShard,
    log: Vec<Record>,
    requests: u64,
    answers: BTreeMap<RequestId, Response>,
}

impl Groups {
    fn new(topics: &[(&str, usize)], policy: MigrationPolicy) -> Self {
        let mut world = World::with_topics(topics);
        world.config.migration_policy = policy;
        let mut shard = GroupShard::new(&world.config);
        shard.loaded(world.now, &world.image);
        Self { world, shard, log: Vec::new(), requests: 0, answers: BTreeMap::new() }
    }

    /// Asks; the records of the decision are replayed at once.
    fn ask(&mut self, body: Request) -> (RequestId, Vec<Record>) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let mut decision = Decision::default();
        self.shard.handle(self.world.now, &self.world.image, request, body, &mut decision);
        let records = self.carry_out(decision);
        (request, records)
    }

    fn carry_out(&mut self, decision: Decision<Record, Response>) -> Vec<Record> {
        for record in &decision.records {
            self.shard.replay(Offset(self.log.len() as u64), record);
            self.log.push(record.clone());
        }
        self.shard.replayed(self.world.now, &self.world.image);
        self.answers.extend(decision.answers);
        let mut reloaded = GroupShard::new(&self.world.config);
        for (offset, record) in (0..).map(Offset).zip(&self.log) {
            reloaded.replay(offset, record);
        }
        assert_eq!(self.shard.hard_state(), reloaded.hard_state());
        decision.records
    }

    fn pass(&mut self, time: Duration) -> Vec<Record> {
        self.world.pass(time);
        let mut decision = Decision::default();
        self.shard.tick(self.world.now, &self.world.image, &mut decision);
        self.carry_out(decision)
    }

    fn answer(&mut self, request: RequestId) -> Response {
        self.answers.remove(&request).expect("answered")
    }

    fn heartbeat(
        &mut self,
        request: ConsumerHeartbeat,
    ) -> (Vec<Record>, Result<ConsumerHeartbeatAnswer, GroupError>) {
        let (id, records) = self.ask(Request::ConsumerHeartbeat(request));
        match self.answer(id) {
            Response::ConsumerHeartbeat(answer) => (records, answer),
            other => panic!("{other:?}"),
        }
    }

    fn accepted(&mut self, request: ConsumerHeartbeat) -> ConsumerHeartbeatAnswer {
        self.heartbeat(request).1.expect("accepted")
    }

    fn joined(&mut self, join: Join) -> Result<Joined, GroupError> {
        let (id, _) = self.ask(Request::Join(join));
        match self.answer(id) {
            Response::Joined(joined) => joined.map_err(|refused| refused.error),
            other => panic!("{other:?}"),
        }
    }

    fn synced(&mut self, member: &str, generation: u32) -> Result<Bytes, GroupError> {
        let (id, _) = self.ask(Request::Sync(classic_sync(member, generation, &[])));
        match self.answer(id) {
            Response::Synced(synced) => synced.map(|Synced { assignment, .. }| assignment),
            other => panic!("{other:?}"),
        }
    }

    fn alive(&mut self, member: &str, generation: u32) -> Result<(), GroupError> {
        let body = Request::Heartbeat { group: "g".into(), identity: identity(member, generation) };
        let (id, _) = self.ask(body);
        match self.answer(id) {
            Response::Heartbeat(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Members `a` and `b` of a stable classic group in generation 1 have partitions 0 and 1.
    fn classic_group(&mut self) {
        let joins = ["a", "b"].map(|member| {
            let join = Join { member: "".into(), ..classic_join(member, &[]) };
            self.ask(Request::Join(join)).0
        });
        // The second join prolongs the wait for others.
        self.pass(Duration::from_secs(3));
        self.pass(Duration::from_secs(3));
        for join in joins {
            let Response::Joined(Ok(joined)) = self.answer(join) else { panic!("not joined") };
            assert_eq!(joined.generation, 1);
        }
        let given = [("a", assigns(&[0])), ("b", assigns(&[1]))];
        let syncs = ["a", "b"].map(|member| {
            let given = if member == "a" { &given[..] } else { &[] };
            self.ask(Request::Sync(classic_sync(member, 1, given))).0
        });
        for sync in syncs {
            let Response::Synced(Ok(_)) = self.answer(sync) else { panic!("not synced") };
        }
    }

    fn state(&mut self) -> Option<GroupState> {
        let (id, _) = self.ask(Request::List { states: vec![], types: vec![] });
        let Response::Listed(listed) = self.answer(id) else { panic!("no list") };
        listed.into_iter().find(|listed| &*listed.group == "g").map(|listed| listed.state)
    }

    fn is_consumer_group(&self) -> bool {
        self.shard.hard_state().consumer_groups.contains_key("g")
    }
}

fn identity(member: &str, generation: u32) -> Identity {
    Identity { member: member.into(), instance: None, generation: Some(generation) }
}

fn protocol(owned: &[u32]) -> Vec<(String, Bytes)> {
    vec![("range".into(), subscribe(3, &["t"], owned, None).into())]
}

/// A join of a member that has `t` in its subscription and owns these partitions of it.
fn classic_join(member: &str, owned: &[u32]) -> Join {
    Join {
        group: "g".into(),
        member: member.into(),
        fresh_member: member.into(),
        instance: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: CLASSIC_SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".into(),
        protocols: protocol(owned),
        must_know_its_id: false,
        can_skip_assignment: true,
        reason: None,
    }
}

fn classic_sync(member: &str, generation: u32, assignments: &[(&str, Bytes)]) -> Sync {
    let assignments = assignments.iter().map(|(id, bytes)| ((*id).into(), bytes.clone())).collect();
    Sync {
        group: "g".into(),
        identity: identity(member, generation),
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        assignments,
    }
}

/// A ConsumerProtocolAssignment of partitions of `t`.
fn assigns(of: &[u32]) -> Bytes {
    let world = World::with_topics(&[("t", 9)]);
    protocol::encode_assignment(3, &partitions(&[(1, of)]), &world.image)
}

fn about_classic(owned: &[u32]) -> ConsumerMemberValue {
    let classic =
        ClassicMemberMetadata { session_timeout: CLASSIC_SESSION, protocols: protocol(owned) };
    ConsumerMemberValue { classic: Some(classic), ..about(&["t"]) }
}

#[test]
fn a_classic_group_becomes_a_consumer_group_with_the_first_such_member() {
    let mut groups = Groups::new(&[("t", 3)], MigrationPolicy::Upgrade);
    groups.classic_group();
    let (records, told) = groups.heartbeat(join("c", &["t"]));
    let hash = groups.shard.hard_state().consumer_groups["g"].value.metadata_hash;
    assert_ne!(hash, 0);
    let had = |partition| Some(partitions(&[(1, &[partition])]));
    let has = |partition| Some(stable(1, 1, assigned(&[(1, &[(partition, 1)])])));
    assert_eq!(
        records,
        [
            Record::Group { group: "g".into(), value: None },
            member_record("a", Some(about_classic(&[]))),
            member_record("b", Some(about_classic(&[]))),
            group_record(1, hash),
            target_record("a", had(0)),
            target_record("b", had(1)),
            target_epoch_record(1),
            current_record("a", has(0)),
            current_record("b", has(1)),
            member_record("c", Some(about(&["t"]))),
            group_record(2, hash),
            target_record("c", had(2)),
            target_epoch_record(2),
            current_record("c", Some(stable(2, 0, assigned(&[(1, &[(2, 2)])])))),
        ]
    );
    assert_eq!(told, Ok(answer("c", 2, Some(partitions(&[(1, &[2])])))));
}

#[test]
fn classic_members_follow_by_joining_again() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Upgrade);
    groups.classic_group();
    let told = groups.accepted(join("c", &["t"]));
    assert_eq!(told, answer("c", 2, Some(partitions(&[]))));
    assert_eq!(groups.alive("b", 1), Err(GroupError::RebalanceInProgress));
    groups.accepted(leave("a")); // A classic member may leave so, too.
    assert_eq!(groups.alive("b", 1), Err(GroupError::RebalanceInProgress));
    let joined = groups.joined(classic_join("b", &[1])).expect("joined");
    assert_eq!((joined.generation, &*joined.leader), (3, ""));
    assert_eq!(groups.synced("b", 3), Ok(assigns(&[1])));
    assert_eq!(groups.alive("b", 3), Ok(()));
    assert_eq!(groups.accepted(stay("c", 2)), answer("c", 3, Some(partitions(&[(1, &[0])]))));
}

#[test]
fn who_waits_for_the_rebalance_of_a_group_that_becomes_a_consumer_group_joins_again() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.classic_group();
    let (parked, _) =
        groups.ask(Request::Join(Join { member: "".into(), ..classic_join("d", &[]) }));
    groups.accepted(join("c", &["t"]));
    match groups.answer(parked) {
        Response::Joined(Err(refused)) => {
            assert_eq!(refused.error, GroupError::RebalanceInProgress);
        }
        other => panic!("{other:?}"),
    }
    let group = &groups.shard.hard_state().consumer_groups["g"];
    assert!(group.member("d").is_some());
}

#[test]
fn members_without_an_assignment_keep_what_they_said_they_own() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Upgrade);
    let (_, _) =
        groups.ask(Request::Join(Join { member: "".into(), ..classic_join("a", &[0, 1]) }));
    groups.pass(Duration::from_secs(3));
    let told = groups.accepted(join("c", &["t"]));
    assert_eq!(told, answer("c", 2, Some(partitions(&[]))), "a may have both still");
    let group = &groups.shard.hard_state().consumer_groups["g"];
    let owned = assigned(&[(1, &[(0, 1), (1, 1)])]);
    assert_eq!(group.member("a").expect("a member").current.assigned, owned);
}

#[test]
fn a_classic_group_stays_one_where_that_is_the_policy() {
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let mut groups = Groups::new(&[("t", 2)], policy);
        groups.classic_group();
        let (records, told) = groups.heartbeat(join("c", &["t"]));
        assert_eq!((records, told), (vec![], Err(GroupError::GroupIdNotFound)));
        assert_eq!(groups.alive("a", 1), Ok(()));
    }
}

#[test]
fn a_classic_group_stays_one_if_it_is_none_of_consumers_or_says_what_cannot_be_read() {
    let table: [(&str, Bytes); 2] = [
        ("connect", subscribe(1, &["t"], &[], None).into()),
        ("consumer", Bytes::from_static(b"?")),
    ];
    for (protocol_type, metadata) in table {
        let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
        let join_of_other = Join {
            member: "".into(),
            protocol_type: protocol_type.into(),
            protocols: vec![("p".into(), metadata)],
            ..classic_join("a", &[])
        };
        let (parked, _) = groups.ask(Request::Join(join_of_other));
        let (records, told) = groups.heartbeat(join("c", &["t"]));
        assert_eq!((records, told), (vec![], Err(GroupError::GroupIdNotFound)));
        groups.pass(Duration::from_secs(3));
        assert!(matches!(groups.answer(parked), Response::Joined(Ok(_))), "it goes on");
    }
}

#[test]
fn an_empty_classic_group_makes_room_whatever_the_policy() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.classic_group();
    for member in ["a", "b"] {
        let leaver = Leaver { member: member.into(), instance: None, reason: None };
        groups.ask(Request::Leave { group: "g".into(), members: vec![leaver] });
        groups.pass(REBALANCE);
    }
    assert_eq!(groups.state(), Some(GroupState::Empty));
    let (records, told) = groups.heartbeat(join("c", &["t"]));
    assert_eq!(records[0], Record::Group { group: "g".into(), value: None });
    assert_eq!(told, Ok(answer("c", 1, Some(partitions(&[(1, &[0, 1])])))));
}

#[test]
fn members_that_do_not_join_a_classic_group_are_not_found() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.classic_group();
    for request in [stay("a", 1), leave("a")] {
        assert_eq!(groups.heartbeat(request).1, Err(GroupError::GroupIdNotFound));
    }
}

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
            target_record("a", Some(partitions(&[(1, &[0])]))),
            target_record("c", Some(partitions(&[(1, &[1])]))),
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
    let owned = Some(partitions(&[(1, &[1])]));
    groups.accepted(ConsumerHeartbeat { owned, ..stay("c", 1) });
    assert_eq!(groups.alive("a", 2), Err(GroupError::RebalanceInProgress), "now it is free");
    assert_eq!(groups.joined(classic_join("a", &[])).expect("joined").generation, 2);
    assert_eq!(groups.synced("a", 2), Ok(assigns(&[0])));
}

/// An assignment of nothing.
fn empty() -> Bytes {
    let world = World::new();
    protocol::encode_assignment(3, &partitions(&[]), &world.image)
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

impl Groups {
    /// A consumer group in which the classic member `a` has everything, in epoch 3.
    fn classic_join_alone(&mut self) {
        self.accepted(join("c", &["t"]));
        self.joined(classic_join("a", &[])).expect("joined");
        self.accepted(leave("c"));
        let joined = self.joined(classic_join("a", &[])).expect("joined");
        assert_eq!(joined.generation, 3);
        assert_eq!(self.synced("a", 3), Ok(assigns(&[0, 1])));
    }
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
fn a_consumer_group_becomes_a_classic_group_when_the_last_such_member_leaves() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Downgrade);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    let (records, told) = groups.heartbeat(leave("c"));
    assert!(told.is_ok());
    assert_eq!(
        records[..8],
        [
            current_record("a", None),
            current_record("c", None),
            target_record("a", None),
            target_record("c", None),
            Record::TargetAssignmentEpoch { group: "g".into(), value: None },
            member_record("a", None),
            member_record("c", None),
            Record::ConsumerGroup { group: "g".into(), value: None },
        ]
    );
    let Some(Record::Group { value: Some(value), .. }) = records.get(8) else { panic!("no group") };
    assert_eq!((value.generation, value.leader.clone()), (2, None));
    assert_eq!(value.members[0].assignment, empty(), "c had it all");
    assert_eq!(groups.state(), Some(GroupState::PreparingRebalance));
    assert_eq!(groups.alive("a", 2), Err(GroupError::RebalanceInProgress));
    let joined = groups.joined(classic_join("a", &[])).expect("joined");
    assert_eq!((joined.generation, &*joined.leader, joined.members.len()), (3, "a", 1));
}

#[test]
fn a_consumer_group_becomes_a_classic_group_when_the_last_such_member_is_silent() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    groups.synced("a", 2).expect("synced");
    for _ in 0..5 {
        groups.pass(Duration::from_secs(9));
        let _ = groups.alive("a", 2);
    }
    assert!(!groups.is_consumer_group());
    assert_eq!(groups.state(), Some(GroupState::PreparingRebalance));
}

#[test]
fn a_consumer_group_stays_one_where_that_is_the_policy_or_nobody_is_left() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Upgrade);
    groups.accepted(join("c", &["t"]));
    groups.joined(classic_join("a", &[])).expect("joined");
    groups.accepted(leave("c"));
    assert!(groups.is_consumer_group());
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.accepted(join("c", &["t"]));
    groups.accepted(leave("c"));
    assert!(groups.is_consumer_group());
}

#[test]
fn a_group_goes_there_and_back() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.classic_group();
    groups.accepted(join("c", &["t"]));
    assert!(groups.is_consumer_group());
    groups.accepted(leave("c"));
    assert!(!groups.is_consumer_group());
    let value = &groups.shard.hard_state().groups["g"];
    let has: Vec<Bytes> = value.members.iter().map(|member| member.assignment.clone()).collect();
    assert_eq!(has, [assigns(&[0]), assigns(&[1])], "nobody has lost anything");
    assert_eq!(value.generation, 2);
}

#[test]
fn a_static_member_that_comes_back_with_the_classic_protocol_takes_the_group_with_it() {
    for rests in [true, false] {
        let mut groups = Groups::new(&[("t", 2), ("u", 1)], MigrationPolicy::Bidirectional);
        let topics: &[&str] = if rests { &["t"] } else { &["u"] };
        groups.accepted(join_static("c", "i", topics));
        let request = Join {
            member: "".into(),
            fresh_member: "d".into(),
            instance: Some("i".into()),
            ..classic_join("d", &[])
        };
        let joined = groups.joined(request).expect("joined");
        assert_eq!(&*joined.member, "d");
        assert!(!groups.is_consumer_group());
        let state = if rests { GroupState::Stable } else { GroupState::PreparingRebalance };
        assert_eq!(groups.state(), Some(state), "{rests}");
        if rests {
            assert_eq!(joined.generation, 1);
            assert_eq!(groups.synced("d", 1), Ok(assigns(&[0, 1])));
        }
    }
}

#[test]
fn an_empty_consumer_group_makes_room_for_a_classic_one() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.accepted(join("c", &["t"]));
    groups.accepted(leave("c"));
    let (_, records) =
        groups.ask(Request::Join(Join { member: "".into(), ..classic_join("a", &[]) }));
    assert_eq!(
        records,
        [
            Record::TargetAssignmentEpoch { group: "g".into(), value: None },
            Record::ConsumerGroup { group: "g".into(), value: None },
        ]
    );
    assert_eq!(groups.state(), Some(GroupState::PreparingRebalance));
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Disabled);
    groups.accepted(join("c", &["t"]));
    groups.accepted(leave("c"));
    let unknown = groups.joined(classic_join("a", &[]));
    assert_eq!(unknown, Err(GroupError::UnknownMemberId));
    assert!(groups.is_consumer_group(), "nobody has joined");
}

#[test]
fn each_kind_of_group_is_described_by_its_own_request() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.classic_group();
    let (id, _) = groups.ask(Request::DescribeConsumer { group: "g".into() });
    let not_found = GroupError::GroupIdNotFound;
    assert_eq!(groups.answer(id), Response::ConsumerDescribed(Err(not_found.clone())));
    groups.accepted(join("c", &["t"]));
    let (id, _) = groups.ask(Request::Describe { group: "g".into() });
    assert_eq!(groups.answer(id), Response::Described(Err(not_found)));
    let (id, _) = groups.ask(Request::DescribeConsumer { group: "g".into() });
    let Response::ConsumerDescribed(Ok(described)) = groups.answer(id) else { panic!("none") };
    let classic: Vec<bool> = described.members.iter().map(|member| member.is_classic).collect();
    assert_eq!(classic, [true, true, false]);
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
