//! One client's connections to the brokers: it connects again whenever a connection was lost, follows
//! leaders as the metadata tells them, and records every call with its outcome.

use super::{Clients, path::Path};
use crate::{
    choices::Choices,
    cluster::{client_address, client_clock},
    dice::Dice,
    history::{Outcome, Partition, Request},
    network::Way,
    recorder::now_nanos,
    scenario::Spread,
    trace::Effect,
};
use highwater_core::types::{LeaderEpoch, PartitionIndex, TopicId};
use highwater_node::{
    client::{ClientError, Connection, PartitionRef},
    env::Clock,
};
use madsim::time;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use incremental::FetchSessions;
pub use reads::Fetched;

mod incremental;
mod reads;

/// How long a client waits for an answer.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long it waits before it tries to connect again.
const RECONNECT_AFTER: Duration = Duration::from_millis(15);

/// How often a client asks for a leader, at most, before it gives up for the moment.
const LOOKUPS: u32 = 10;

/// Where the numbers of the records of a client begin. Up to client 89, and nobody above writes, they
/// stay below the bits with a meaning, even when they are multiplied by the number of keys.
const RECORDS_OF_A_CLIENT: u64 = 200_000_000;
/// An operation sends fewer records. Odd, so that single records of compacted topics have every key,
/// and are values and deletions.
const RECORDS_OF_AN_OPERATION: u64 = 10_001;

/// Names a client in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNumber(pub u32);

/// Whether an error code means that the partition is led elsewhere, or not yet.
#[must_use]
pub const fn is_about_leadership(code: i16) -> bool {
    const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    const LEADER_NOT_AVAILABLE: i16 = 5;
    const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    const REQUEST_TIMED_OUT: i16 = 7;
    const BROKER_NOT_AVAILABLE: i16 = 8;
    const REPLICA_NOT_AVAILABLE: i16 = 9;
    const NOT_CONTROLLER: i16 = 41;
    const KAFKA_STORAGE_ERROR: i16 = 56;
    const FENCED_LEADER_EPOCH: i16 = 74;
    const UNKNOWN_LEADER_EPOCH: i16 = 75;
    const OFFSET_NOT_AVAILABLE: i16 = 78;
    const UNKNOWN_TOPIC_ID: i16 = 100;
    matches!(
        code,
        UNKNOWN_TOPIC_OR_PARTITION
            | LEADER_NOT_AVAILABLE
            | NOT_LEADER_OR_FOLLOWER
            | REQUEST_TIMED_OUT
            | BROKER_NOT_AVAILABLE
            | REPLICA_NOT_AVAILABLE
            | NOT_CONTROLLER
            | KAFKA_STORAGE_ERROR
            | FENCED_LEADER_EPOCH
            | UNKNOWN_LEADER_EPOCH
            | OFFSET_NOT_AVAILABLE
            | UNKNOWN_TOPIC_ID
    )
}

/// One client's way to the brokers.
pub struct Session {
    /// What all clients share.
    pub clients: Clients,
    client: ClientNumber,
    clock: Arc<dyn Clock>,
    /// By broker.
    connections: BTreeMap<i32, Connection>,
    /// Whether the answer to the last call was on its way, and did not arrive.
    is_withheld: bool,
    /// Those that the client has given up and whose brokers cannot hear of it, by broker.
    unheard: Vec<(i32, Connection)>,
    /// The broker that the next call goes to.
    at: i32,
    /// Where brokers are, as the metadata told.
    addresses: BTreeMap<i32, String>,
    /// Who leads, and in which epoch, as the metadata told.
    leaders: BTreeMap<Partition, (i32, LeaderEpoch)>,
    /// The followers to read from, as leaders told.
    preferred: BTreeMap<Partition, i32>,
    /// For what has no name, such as which broker is asked.
    dice: Dice,
    /// What the client is doing.
    operation: String,
    /// How many calls it made for that.
    calls: u32,
    /// The number of the next record.
    next_number: u64,
}

impl Session {
    /// A session that is not connected yet.
    #[must_use]
    pub fn new(clients: Clients, client: ClientNumber) -> Self {
        let dice = Dice::new(clients.seed, &format!("session {}", client.0));
        let mut session = Self {
            clients,
            client,
            clock: client_clock(),
            connections: BTreeMap::new(),
            is_withheld: false,
            unheard: Vec::new(),
            at: 1,
            addresses: BTreeMap::new(),
            leaders: BTreeMap::new(),
            preferred: BTreeMap::new(),
            dice,
            operation: format!("client {}", client.0),
            calls: 0,
            next_number: first_number(client, 0),
        };
        session.turn();
        session
    }

    /// The client begins its operation of this number: what follows draws from dice of its own.
    pub fn begin(&mut self, client: &str, number: u32) {
        self.operation = format!("{client} op {number}");
        self.calls = 0;
        self.next_number = first_number(self.client, number);
        self.dice = Dice::new(self.clients.seed, &format!("session of {}", self.operation));
    }

    /// One of the partitions that live as long as the run; its name is written down.
    pub fn choose(&self, spread: Spread, draw: &mut Choices) -> Partition {
        choose(&self.clients.partitions, &self.clients, spread, draw)
    }

    /// One of the partitions of compacted topics; its name is written down.
    pub fn choose_compacted(&self, spread: Spread, draw: &mut Choices) -> Partition {
        choose(&self.clients.compacted, &self.clients, spread, draw)
    }

    /// The number of the next record. No other client and no other operation has it.
    pub fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Whose session it is.
    #[must_use]
    pub fn client(&self) -> ClientNumber {
        self.client
    }

    /// Whether there is more than one broker.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.clients.brokers() > 1
    }

    /// Connects to some broker if needed. `false` when everybody shall stop before that worked.
    pub async fn connected(&mut self) -> bool {
        while !self.is_connected() {
            if self.connect().await {
                break;
            }
            if self.clients.is_stopping() {
                return false;
            }
            time::sleep(RECONNECT_AFTER).await;
            self.turn();
        }
        true
    }

    /// Turns to the leader of a partition, and connects to it. `false` when it is not known or not
    /// reached now. A broker alone leads everything, and is not connected to again.
    pub async fn towards(&mut self, partition: Partition) -> bool {
        if !self.is_in_cluster() {
            return self.is_connected();
        }
        for _ in 0..LOOKUPS {
            let known = self.leader_of(partition);
            let leader = match known {
                Some(leader) => Some(leader),
                None => self.look_up(partition).await,
            };
            if let Some(leader) = leader {
                self.at = leader;
                if self.is_connected() || self.connect().await {
                    return true;
                }
                self.leaders.remove(&partition);
            }
            if self.clients.is_stopping() {
                return false;
            }
            time::sleep(RECONNECT_AFTER).await;
        }
        false
    }

    /// Turns to a broker by its id, and connects to it if needed.
    pub async fn connect_to(&mut self, broker: i32) -> bool {
        self.at = broker;
        self.is_connected() || self.connect().await
    }

    /// Takes an outcome into account: whether the leader of the partition has to be asked for again.
    pub fn heard(&mut self, partition: Partition, outcome: &Outcome) {
        let moved = match outcome {
            Outcome::Unknown => true,
            Outcome::Failed(code) => is_about_leadership(*code),
            _ => false,
        };
        if moved {
            self.leaders.remove(&partition);
        }
    }

    /// Asks some broker who leads what; the leader of this partition, if there is one.
    async fn look_up(&mut self, partition: Partition) -> Option<i32> {
        // Whoever was asked before may be the one that does not know.
        if !self.is_connected() || self.dice.chance(0.5) {
            self.turn();
        }
        if !self.is_connected() && !self.connect().await {
            return None;
        }
        let asking = self.exchange(async |connection| connection.metadata(None, false).await);
        let metadata = asking.await?;
        for broker in &metadata.brokers {
            let address = format!("{}:{}", broker.host.as_str(), broker.port);
            self.addresses.insert(broker.node_id, address);
        }
        let history = self.clients.recorder.history();
        for topic in &metadata.topics {
            let known = history.topics.iter().position(|known| known.id == topic.topic_id.0);
            for described in &topic.partitions {
                let Some(topic) = known else { continue };
                let of = Partition { topic, index: described.partition_index };
                let leader = described.leader_id;
                let epoch = LeaderEpoch(described.leader_epoch.max(0) as u32);
                match self.addresses.contains_key(&leader) {
                    true => self.leaders.insert(of, (leader, epoch)),
                    false => self.leaders.remove(&of),
                };
            }
        }
        self.leader_of(partition)
    }

    fn leader_of(&self, partition: Partition) -> Option<i32> {
        self.leaders.get(&partition).map(|(leader, _)| *leader)
    }

    /// One attempt to connect to the broker that is turned to.
    async fn connect(&mut self) -> bool {
        let name = format!("client-{}", self.client.0);
        let known = self.addresses.get(&self.at).cloned();
        let address = known.unwrap_or_else(|| client_address(self.at));
        self.let_brokers_hear();
        let (path, until) = (self.path(), now_nanos() + CALL_TIMEOUT.as_nanos() as u64);
        for way in Way::BOTH {
            if !path.passes(*way, until).await {
                return false;
            }
        }
        let connecting = Connection::connect(&address, &name, self.clock.clone());
        match time::timeout(CALL_TIMEOUT, connecting).await {
            Ok(Ok(mut connection)) => {
                connection.set_timeout(CALL_TIMEOUT);
                self.connections.insert(self.at, connection);
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Turns to any broker.
    pub fn turn(&mut self) {
        if self.is_in_cluster() {
            self.at = self.dice.between(1..=self.clients.brokers() as u64) as i32;
        }
    }

    /// Whether there is a connection that may work to the broker that is turned to.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connections.contains_key(&self.at)
    }

    /// Makes a call on the connection and records it. The session must be connected.
    pub async fn call<T>(
        &mut self,
        request: Request,
        make: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
        outcome_of: impl FnOnce(&T) -> Outcome,
    ) -> Option<T> {
        let call = self.invoke(request);
        self.go_on(call, make, outcome_of).await
    }

    async fn go_on<T>(
        &mut self,
        call: usize,
        make: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
        outcome_of: impl FnOnce(&T) -> Outcome,
    ) -> Option<T> {
        let answer = self.exchange(make).await;
        let outcome = answer.as_ref().map_or(Outcome::Unknown, outcome_of);
        self.clients.end(call, outcome);
        answer
    }

    /// Notes that a call begins.
    pub fn invoke(&mut self, request: Request) -> usize {
        self.clients.recorder.invoke(self.client.0, self.at, request)
    }

    /// Uses the connection; any failure, and giving up, ends it.
    pub async fn exchange<T>(
        &mut self,
        make: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
    ) -> Option<T> {
        let at = self.at;
        let mut connection = self.connections.remove(&at)?;
        self.let_brokers_hear();
        let patience = self.patience();
        let (path, until) = (self.path(), now_nanos() + CALL_TIMEOUT.as_nanos() as u64);
        let mut is_withheld = false;
        let calling = async {
            if !path.passes(Way::ToBroker, until).await {
                return None;
            }
            let answer = make(&mut connection).await;
            is_withheld = true;
            is_withheld = !path.passes(Way::FromBroker, until).await;
            (!is_withheld).then_some(answer)
        };
        let answered = time::timeout(patience, calling).await;
        self.is_withheld = is_withheld;
        match answered {
            Ok(Some(Ok(answer))) => {
                self.connections.insert(at, connection);
                return Some(answer);
            }
            Ok(Some(Err(error))) => {
                self.clients.recorder.note(format_args!("client {}: {error}", self.client.0));
            }
            Ok(None) => {}
            Err(_) if patience < CALL_TIMEOUT => {
                self.clients.recorder.trace.effect(Effect::CallCut, 1);
            }
            Err(_) => {}
        }
        if path.is_cut() {
            self.unheard.push((at, connection));
        }
        None
    }

    /// Whether the broker answered the last call, and its client did not hear of that.
    #[must_use]
    pub fn is_answer_withheld(&self) -> bool {
        self.is_withheld
    }

    fn path(&self) -> Path {
        Path::new(&self.clients, self.client, self.at)
    }

    /// A broker goes on with a call that its client has given up, until it can hear of that.
    fn let_brokers_hear(&mut self) {
        let (clients, client) = (&self.clients, self.client);
        self.unheard.retain(|(broker, _)| Path::new(clients, client, *broker).is_cut());
    }

    /// How long the next call may take before the client cuts its connection.
    fn patience(&mut self) -> Duration {
        self.calls += 1;
        if self.clients.impatience > 0.0 {
            let name = format!("connection-cut#{} call {}", self.operation, self.calls);
            let cut = self.clients.recorder.journal.cut(&name, self.clients.impatience);
            if let Some(mut strike) = cut {
                strike.note("at", now_nanos() / 1_000_000);
                return Duration::from_millis(strike.between("after", 1..=8));
            }
        }
        CALL_TIMEOUT * 2
    }

    /// A partition by the names that the protocol uses.
    #[must_use]
    pub fn reference(&self, partition: Partition) -> PartitionRef {
        let history = self.clients.recorder.history();
        let topic = &history.topics[partition.topic];
        PartitionRef {
            topic: topic.name.as_str().into(),
            topic_id: TopicId(topic.id),
            index: PartitionIndex(partition.index as u32),
        }
    }
}

fn choose(
    partitions: &[Partition],
    clients: &Clients,
    spread: Spread,
    draw: &mut Choices,
) -> Partition {
    let names: Vec<String> = partitions.iter().map(|of| clients.recorder.name(*of)).collect();
    let drawn = |dice: &mut Dice| names[spread.index(dice, names.len())].clone();
    let at = |name: &str| names.iter().position(|known| known == name);
    let name = draw.text("partition", drawn, |name| at(name).is_some());
    partitions[at(&name).expect("it was drawn from them, or found to be one")]
}

/// The number of an operation's first record: readable, and below the bits with a meaning.
fn first_number(client: ClientNumber, operation: u32) -> u64 {
    u64::from(client.0) * RECORDS_OF_A_CLIENT + u64::from(operation) * RECORDS_OF_AN_OPERATION
}
