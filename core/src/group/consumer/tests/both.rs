//! A shard with groups of both kinds, and what members of the classic protocol send to it.

use super::{protocols::subscribe, *};
use crate::{
    coordinator::{Decision, Shard},
    group::{
        ClassicMemberMetadata, GroupShard, GroupState, Identity, Join, Joined, MigrationPolicy,
        Request, Response, Sync, Synced,
    },
    types::RequestId,
};
use alloc::string::String;
use bytes::Bytes;

pub(super) const CLASSIC_SESSION: Duration = Duration::from_secs(30);

/// A shard of groups, and what it has been asked and has answered.
pub(super) struct Groups {
    /// Metadata, configuration and clocks.
    pub(super) world: World,
    pub(super) shard: GroupShard,
    log: Vec<Record>,
    requests: u64,
    answers: BTreeMap<RequestId, Response>,
}

impl Groups {
    pub(super) fn new(topics: &[(&str, usize)], policy: MigrationPolicy) -> Self {
        let mut world = World::with_topics(topics);
        world.config.migration_policy = policy;
        let mut shard = GroupShard::new(&world.config);
        shard.loaded(world.now, &world.image);
        Self { world, shard, log: Vec::new(), requests: 0, answers: BTreeMap::new() }
    }

    /// Asks; the records of the decision are replayed at once.
    pub(super) fn ask(&mut self, body: Request) -> (RequestId, Vec<Record>) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let mut decision = Decision::default();
        self.shard.handle(self.world.now, &self.world.image, request, body, &mut decision);
        let records = self.carry_out(decision);
        (request, records)
    }

    pub(super) fn carry_out(&mut self, decision: Decision<Record, Response>) -> Vec<Record> {
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

    pub(super) fn pass(&mut self, time: Duration) -> Vec<Record> {
        self.world.pass(time);
        let mut decision = Decision::default();
        self.shard.tick(self.world.now, &self.world.image, &mut decision);
        self.carry_out(decision)
    }

    pub(super) fn answer(&mut self, request: RequestId) -> Response {
        self.answers.remove(&request).expect("answered")
    }

    pub(super) fn heartbeat(
        &mut self,
        request: ConsumerHeartbeat,
    ) -> (Vec<Record>, Result<ConsumerHeartbeatAnswer, GroupError>) {
        let (id, records) = self.ask(Request::ConsumerHeartbeat(request));
        match self.answer(id) {
            Response::ConsumerHeartbeat(answer) => (records, answer),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn accepted(&mut self, request: ConsumerHeartbeat) -> ConsumerHeartbeatAnswer {
        self.heartbeat(request).1.expect("accepted")
    }

    pub(super) fn joined(&mut self, join: Join) -> Result<Joined, GroupError> {
        let (id, _) = self.ask(Request::Join(join));
        match self.answer(id) {
            Response::Joined(joined) => joined.map_err(|refused| refused.error),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn synced(&mut self, member: &str, generation: u32) -> Result<Bytes, GroupError> {
        let (id, _) = self.ask(Request::Sync(classic_sync(member, generation, &[])));
        match self.answer(id) {
            Response::Synced(synced) => synced.map(|Synced { assignment, .. }| assignment),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn alive(&mut self, member: &str, generation: u32) -> Result<(), GroupError> {
        let body = Request::Heartbeat { group: "g".into(), identity: identity(member, generation) };
        let (id, _) = self.ask(body);
        match self.answer(id) {
            Response::Heartbeat(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Members `a` and `b` of a stable classic group in generation 1 have partitions 0 and 1.
    pub(super) fn classic_group(&mut self) {
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

    pub(super) fn state(&mut self) -> Option<GroupState> {
        let (id, _) = self.ask(Request::List { states: vec![], types: vec![] });
        let Response::Listed(listed) = self.answer(id) else { panic!("no list") };
        listed.into_iter().find(|listed| &*listed.group == "g").map(|listed| listed.state)
    }

    pub(super) fn is_consumer_group(&self) -> bool {
        self.shard.hard_state().consumer_groups.contains_key("g")
    }
}

pub(super) fn identity(member: &str, generation: u32) -> Identity {
    Identity { member: member.into(), instance: None, generation: Some(generation) }
}

pub(super) fn protocol(owned: &[u32]) -> Vec<(String, Bytes)> {
    vec![("range".into(), subscribe(3, &["t"], owned, None).into())]
}

/// A join of a member that has `t` in its subscription and owns these partitions of it.
pub(super) fn classic_join(member: &str, owned: &[u32]) -> Join {
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

pub(super) fn classic_sync(member: &str, generation: u32, assignments: &[(&str, Bytes)]) -> Sync {
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
pub(super) fn assigns(of: &[u32]) -> Bytes {
    let world = World::with_topics(&[("t", 9)]);
    protocol::encode_assignment(3, &partitions(&[(1, of)]), &world.image)
}

pub(super) fn about_classic(owned: &[u32]) -> ConsumerMemberValue {
    let classic =
        ClassicMemberMetadata { session_timeout: CLASSIC_SESSION, protocols: protocol(owned) };
    ConsumerMemberValue { classic: Some(classic), ..about(&["t"]) }
}

/// An assignment of nothing.
pub(super) fn empty() -> Bytes {
    let world = World::new();
    protocol::encode_assignment(3, &partitions(&[]), &world.image)
}

impl Groups {
    /// A consumer group in which the classic member `a` has everything, in epoch 3.
    pub(super) fn classic_join_alone(&mut self) {
        self.accepted(join("c", &["t"]));
        self.joined(classic_join("a", &[])).expect("joined");
        self.accepted(leave("c"));
        let joined = self.joined(classic_join("a", &[])).expect("joined");
        assert_eq!(joined.generation, 3);
        assert_eq!(self.synced("a", 3), Ok(assigns(&[0, 1])));
    }
}
