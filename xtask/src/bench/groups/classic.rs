//! The members of one classic group. Each has a connection of its own, because a join that is
//! parked holds up whatever comes behind it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::fleet::{Share, deal};
use super::wire::{self, Api, Joined};
use crate::bench::kafka::{Answer, Connection};

/// How often a rebalance may be overtaken by the next one.
const ROUNDS_MAX: usize = 20;

/// How long the coordinator may take to tell a member of a rebalance.
const NOTICE_LIMIT: Duration = Duration::from_secs(60);

/// The members of a group, which all do the same at the same time.
pub struct Members {
    group: String,
    topic: String,
    partitions: usize,
    connections: Vec<Connection>,
    /// Their ids.
    ids: Vec<String>,
    generation: i32,
    /// The leader's place among them.
    leader: usize,
}

impl Members {
    /// Connects so many members.
    pub fn connect(
        address: SocketAddr,
        (group, topic): (&str, &str),
        partitions: usize,
        count: usize,
    ) -> Result<Self> {
        let connections: Result<Vec<_>> = (0..count).map(|_| Connection::open(address)).collect();
        Ok(Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            partitions,
            connections: connections?,
            ids: vec![String::new(); count],
            generation: 0,
            leader: 0,
        })
    }

    /// Gets an id for each member (KIP-394).
    pub fn introduce(&mut self) -> Result<()> {
        self.send_joins(0..self.ids.len())?;
        for (place, joined) in self.receive(wire::joined)?.into_iter().enumerate() {
            let error = joined.error;
            ensure!(error == wire::MEMBER_ID_REQUIRED, "a first join: error code {error}");
            self.ids[place] = joined.member;
        }
        Ok(())
    }

    /// All join and sync, again if another rebalance comes between, until every one is in the same
    /// generation and has its answer.
    pub fn converge(&mut self) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            self.send_joins(0..self.ids.len())?;
            let joined = self.receive(wire::joined)?;
            if self.take_generation(&joined)? && self.sync(&joined[self.leader].members)? {
                return Ok(());
            }
        }
        bail!("no generation has all members after {ROUNDS_MAX} rounds")
    }

    /// The leader joins again, which begins a rebalance; the others follow when they hear of it.
    /// Returns how long it takes until all have their assignments.
    pub fn rebalance(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let (leader, count) = (self.leader, self.ids.len());
        self.send_joins(leader..leader + 1)?;
        if count > 1 {
            self.wait_for_notice(usize::from(leader == 0))?;
        }
        self.send_joins((0..leader).chain(leader + 1..count))?;
        let joined = self.receive(wire::joined)?;
        if !(self.take_generation(&joined)? && self.sync(&joined[self.leader].members)?) {
            self.converge()?;
        }
        Ok(started.elapsed())
    }

    /// The members as such that send heartbeats over so many connections.
    pub fn shares(&self, connections: usize) -> Vec<Beating> {
        let dealt = deal(self.ids.clone(), connections);
        let (group, generation) = (&self.group, self.generation);
        dealt.into_iter().map(|ids| Beating { group: group.clone(), generation, ids }).collect()
    }

    fn send_joins(&mut self, places: impl IntoIterator<Item = usize>) -> Result<()> {
        for place in places {
            let body = wire::join(&self.group, &self.ids[place], &self.topic);
            self.connections[place].send(wire::JOIN_GROUP, &body)?;
        }
        Ok(())
    }

    /// Everybody's next answer.
    fn receive<T>(&mut self, read: impl Fn(&mut Answer) -> Result<T>) -> Result<Vec<T>> {
        let receive = |connection: &mut Connection| {
            let mut answer = connection.receive()?;
            answer.i32()?; // correlation id
            read(&mut answer)
        };
        self.connections.iter_mut().map(receive).collect()
    }

    /// Whether all have joined the same generation, which is noted then.
    fn take_generation(&mut self, joined: &[Joined]) -> Result<bool> {
        let Some(generation) = common_generation(joined)? else { return Ok(false) };
        let leader = joined.iter().position(|joined| joined.leader == joined.member);
        let Some(leader) = leader else { return Ok(false) };
        if joined[leader].members.len() != joined.len() {
            return Ok(false);
        }
        (self.generation, self.leader) = (generation, leader);
        Ok(true)
    }

    /// The leader assigns. Whether all have got their assignments.
    fn sync(&mut self, members: &[String]) -> Result<bool> {
        let (topic, partitions) = (&self.topic, self.partitions);
        for (place, (connection, id)) in self.connections.iter_mut().zip(&self.ids).enumerate() {
            let assigned = if place == self.leader { members } else { &[] };
            let body = wire::sync(&self.group, self.generation, id, (topic, partitions), assigned);
            connection.send(wire::SYNC_GROUP, &body)?;
        }
        let mut all = true;
        for (error, has_assignment) in self.receive(wire::synced)? {
            match error {
                wire::NO_ERROR => ensure!(has_assignment, "a sync was answered with nothing"),
                wire::REBALANCE_IN_PROGRESS => all = false,
                error => bail!("a sync: error code {error}"),
            }
        }
        Ok(all)
    }

    /// Waits until a member's heartbeats tell it of a rebalance.
    fn wait_for_notice(&mut self, place: usize) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < NOTICE_LIMIT {
            let body = wire::heartbeat(&self.group, self.generation, &self.ids[place]);
            let mut answer = self.connections[place].call(wire::HEARTBEAT, &body)?;
            match wire::error_of(&mut answer)? {
                wire::NO_ERROR => {}
                wire::REBALANCE_IN_PROGRESS => return Ok(()),
                error => bail!("a heartbeat: error code {error}"),
            }
        }
        bail!("no member heard of the rebalance")
    }
}

/// The generation that all have joined, if it is the same one.
fn common_generation(joined: &[Joined]) -> Result<Option<i32>> {
    let mut common = joined.first().map(|first| first.generation);
    for one in joined {
        match one.error {
            wire::NO_ERROR if common == Some(one.generation) => {}
            wire::NO_ERROR | wire::REBALANCE_IN_PROGRESS => common = None,
            error => bail!("a join: error code {error}"),
        }
    }
    Ok(common)
}

/// Members that do nothing but send heartbeats.
pub struct Beating {
    group: String,
    generation: i32,
    ids: Vec<String>,
}

impl Share for Beating {
    const API: Api = wire::HEARTBEAT;

    fn len(&self) -> usize {
        self.ids.len()
    }

    fn request(&mut self, place: usize) -> Vec<u8> {
        wire::heartbeat(&self.group, self.generation, &self.ids[place])
    }

    fn answer(&mut self, _place: usize, answer: &mut Answer) -> Result<()> {
        let error = wire::error_of(answer)?;
        ensure!(error == wire::NO_ERROR, "a heartbeat: error code {error}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_two_generations_have_to_join_again() {
        let of = |error, generation| Joined { error, generation, ..Joined::default() };
        assert_eq!(common_generation(&[of(0, 3), of(0, 3)]).unwrap(), Some(3));
        assert_eq!(common_generation(&[of(0, 3), of(0, 4)]).unwrap(), None);
        assert_eq!(common_generation(&[of(27, -1), of(0, 4), of(0, 4)]).unwrap(), None);
        assert!(common_generation(&[of(0, 3), of(25, -1)]).is_err());
    }
}
