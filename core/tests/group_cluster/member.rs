//! A member that speaks the classic protocol: it joins, syncs, sends heartbeats and commits; the
//! leader assigns as the range assignor does.

use crate::{
    clients::{Common, Context, commit, draw_topics, fetch, is_refusal},
    wire::{self, Named},
    world::MILLI,
};
use bytes::Bytes;
use highwater_core::group::{
    GroupError, Identity, InstanceId, Join, Joined, Leaver, MemberId, Request, Response, Sync,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::{sync::Arc, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Outside,
    Joined,
    Stable,
}

pub struct Member {
    instance: Option<InstanceId>,
    topics: Vec<Arc<str>>,
    pub id: MemberId,
    generation: u32,
    protocol: String,
    phase: Phase,
    /// What it is to give to others, as their leader.
    to_assign: Vec<(MemberId, Bytes)>,
    pub owned: Named,
    session: Duration,
    rebalance: Duration,
    protocols: &'static [&'static str],
    must_know_its_id: bool,
    can_skip: bool,
    /// It has left, and will be back.
    is_away: bool,
    /// Another process has its instance: it ends.
    pub has_ended: bool,
    /// Why it was refused last.
    pub refused: Option<GroupError>,
}

impl Member {
    pub fn draw(random: &mut ChaCha8Rng, instance: Option<InstanceId>) -> Self {
        // All speak both: who is loaded is known to speak the group's protocol only.
        let protocols: [&[&str]; 2] = [&["range", "sticky"], &["sticky", "range"]];
        Self {
            instance,
            topics: draw_topics(random),
            id: MemberId::from(""),
            generation: 0,
            protocol: String::new(),
            phase: Phase::Outside,
            to_assign: Vec::new(),
            owned: Named::new(),
            session: Duration::from_millis([1000, 2000][random.random_range(0..2)]),
            rebalance: Duration::from_millis([1000, 3000, 5000][random.random_range(0..3)]),
            protocols: protocols[random.random_range(0..2)],
            must_know_its_id: random.random_bool(0.8),
            can_skip: random.random_bool(0.5),
            is_away: false,
            has_ended: false,
            refused: None,
        }
    }

    /// Another process, which knows nothing, takes its place.
    pub fn forget(&mut self) {
        self.id = MemberId::from("");
        self.generation = 0;
        self.phase = Phase::Outside;
        self.owned.clear();
        self.to_assign.clear();
    }

    fn end(&mut self) {
        self.forget();
        self.has_ended = true;
    }

    pub fn is_stable(&self) -> bool {
        self.phase == Phase::Stable
    }

    fn identity(&self) -> Identity {
        Identity {
            member: self.id.clone(),
            instance: self.instance.clone(),
            generation: Some(self.generation),
        }
    }

    pub fn act(&mut self, common: &mut Common, context: &mut Context<'_>) -> Option<Request> {
        common.next_act = context.time + context.random.random_range(100..400) * MILLI;
        if self.has_ended {
            // Somebody may start it again.
            self.has_ended = context.is_calm || context.random.random_bool(0.9);
            return None;
        }
        if self.is_away {
            if !context.is_calm && !context.random.random_bool(0.1) {
                return None;
            }
            self.is_away = false;
        }
        match self.phase {
            Phase::Outside => Some(self.join(common, context)),
            Phase::Joined => Some(self.sync(common)),
            Phase::Stable => Some(self.stay(common, context)),
        }
    }

    fn join(&mut self, common: &Common, context: &mut Context<'_>) -> Request {
        // Until it is answered it wants to join, whatever gets lost.
        self.phase = Phase::Outside;
        self.owned.clear();
        let metadata = wire::subscription(&self.topics, &Named::new());
        let protocols = self.protocols.iter();
        let protocols = protocols.map(|name| (String::from(*name), metadata.clone()));
        Request::Join(Join {
            group: common.group.clone(),
            member: self.id.clone(),
            fresh_member: context.mint.fresh("c"),
            instance: self.instance.clone(),
            client_id: String::new(),
            client_host: String::new(),
            session_timeout: self.session,
            rebalance_timeout: self.rebalance,
            protocol_type: String::from("consumer"),
            protocols: protocols.collect(),
            must_know_its_id: self.must_know_its_id,
            can_skip_assignment: self.can_skip,
            reason: None,
        })
    }

    fn sync(&mut self, common: &Common) -> Request {
        Request::Sync(Sync {
            group: common.group.clone(),
            identity: self.identity(),
            protocol_type: Some(String::from("consumer")),
            protocol: Some(self.protocol.clone()),
            assignments: self.to_assign.clone(),
        })
    }

    fn stay(&mut self, common: &mut Common, context: &mut Context<'_>) -> Request {
        let group = common.group.clone();
        if context.random.random_bool(context.churn) {
            return self.change_its_mind(common, context);
        }
        match context.random.random_range(0..10) {
            0..3 if !self.owned.is_empty() && !context.is_calm => {
                commit(common, context, self.identity(), self.owned.clone().into_iter())
            }
            3 if !context.is_calm => fetch(common, context, None),
            _ => Request::Heartbeat { group, identity: self.identity() },
        }
    }

    /// It leaves, subscribes to something else, or joins again for no reason that shows.
    fn change_its_mind(&mut self, common: &mut Common, context: &mut Context<'_>) -> Request {
        match context.random.random_range(0..3) {
            0 if self.instance.is_none() => {
                let request = self.leave(common);
                self.is_away = true;
                request
            }
            1 => {
                self.topics = draw_topics(context.random);
                self.join(common, context)
            }
            _ => self.join(common, context),
        }
    }

    pub fn leave(&mut self, common: &mut Common) -> Request {
        let (group, member) = (common.group.clone(), self.id.clone());
        common.removed.insert((group.clone(), member.clone()));
        let instance = self.instance.clone();
        self.forget();
        Request::Leave { group, members: vec![Leaver { member, instance, reason: None }] }
    }

    pub fn hear(
        &mut self,
        common: &mut Common,
        context: &mut Context<'_>,
        body: Request,
        response: Response,
    ) {
        match response {
            Response::Joined(Ok(joined)) => {
                self.take_generation(context, joined);
                let slow = common.is_slow && context.random.random_bool(0.1);
                let most = if slow { 2000 } else { 30 };
                let pause = context.random.random_range(0..most);
                common.next_act = context.time + pause * MILLI;
            }
            Response::Joined(Err(refused)) => {
                self.phase = Phase::Outside;
                self.refused = Some(refused.error.clone());
                common.next_act = context.time + context.random.random_range(0..100) * MILLI;
                match refused.error {
                    GroupError::MemberIdRequired => self.id = refused.member,
                    GroupError::UnknownMemberId => self.forget(),
                    GroupError::FencedInstanceId => self.end(),
                    _ => common.next_act += 300 * MILLI,
                }
            }
            Response::Synced(Ok(synced)) => {
                self.phase = Phase::Stable;
                self.to_assign.clear();
                self.owned = wire::read_assignment(&synced.assignment);
            }
            Response::Synced(Err(error)) | Response::Heartbeat(Err(error)) => {
                self.obey(common, context, &error);
            }
            Response::Committed(Err(error)) if matches!(body, Request::CommitOffsets(_)) => {
                self.obey(common, context, &error);
            }
            other => drop(is_refusal(&other)),
        }
    }

    fn obey(&mut self, common: &mut Common, context: &mut Context<'_>, error: &GroupError) {
        self.refused = Some(error.clone());
        match error {
            GroupError::RebalanceInProgress => {
                let slow = common.is_slow && context.random.random_bool(0.8);
                // It goes on for a while, and sends heartbeats.
                if !slow || self.phase == Phase::Joined {
                    self.phase = Phase::Outside;
                }
            }
            GroupError::UnknownMemberId => self.forget(),
            GroupError::FencedInstanceId => self.end(),
            _ => self.phase = Phase::Outside,
        }
        common.next_act = context.time + context.random.random_range(0..50) * MILLI;
        if self.phase == Phase::Stable {
            common.next_act += 200 * MILLI;
        }
    }

    fn take_generation(&mut self, context: &Context<'_>, joined: Joined) {
        self.id = joined.member;
        self.generation = joined.generation;
        self.protocol = joined.protocol;
        self.phase = Phase::Joined;
        self.to_assign.clear();
        if joined.leader != self.id || joined.skip_assignment {
            return;
        }
        let members = joined.members.iter();
        let members =
            members.map(|known| (known.member.clone(), wire::read_topics(&known.metadata)));
        let assigned = wire::assign(context.image, &members.collect());
        self.to_assign = assigned
            .iter()
            .map(|(id, partitions)| (id.clone(), wire::assignment(partitions)))
            .collect();
    }
}
