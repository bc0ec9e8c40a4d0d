//! A producer: sends batches of unique records, alone or several in flight, retries what remained
//! unknown, and if it is idempotent also tests the broker with repeated batches, gaps and old
//! epochs.

use super::{Turns, session::Session};
use crate::{
    batch::{Producer as Identity, Sent, encode, with_value_bytes},
    choices::Choices,
    cluster::WALL_AT_START,
    history::{Outcome, Partition, Produce, Request},
    recorder::now_nanos,
    scenario::WorkloadShape,
};
use highwater_node::{
    client::{ClientError, Connection, InFlight, produce_request},
    wire::{
        ApiKey,
        generated::{
            init_producer_id::InitProducerIdRequest,
            produce::{PartitionProduceResponse, ProduceRequest},
        },
    },
};
use madsim::time;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// The broker's own deadline for a produce.
const PRODUCE_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Tries of one batch before an idempotent producer takes a new identity.
const TRIES: u32 = 12;
/// The same in a cluster, where another leader may have to be elected first.
const TRIES_IN_CLUSTER: u32 = 60;
/// Batches that the broker must remember (KIP-98).
const REMEMBERED: usize = 5;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const UNKNOWN_PRODUCER_ID: i16 = 59;

/// Sends until the run comes to an end.
pub async fn run(session: Session, mut turns: Turns, shape: WorkloadShape) {
    let acks = turns.client.weighted("acks", &[(3, "all", -1), (2, "1", 1), (1, "0", 0)]);
    let idempotent = acks == -1 && turns.client.chance("idempotent", 0.75);
    let raises_epochs =
        idempotent && shape.own_epochs > 0.0 && turns.client.chance("own_epochs", shape.own_epochs);
    let calls = turns.client.within("calls", &shape.calls);
    let rate = shape.rate.as_ref().map(|rate| turns.client.within("rate", rate).max(1) as u64);
    let draw = turns.client.clone();
    let mut producer = Producer {
        session,
        draw,
        shape,
        acks,
        idempotent,
        raises_epochs,
        identity: None,
        next: BTreeMap::new(),
        recent: VecDeque::new(),
        made: 0,
    };
    for _ in 0..calls {
        let Some(draw) = turns.next(&mut producer.session).await else { return };
        producer.draw = draw;
        let pause = producer.shape.pause.clone().unwrap_or(1..=25);
        let pause = producer.draw.within("pause", &pause).max(0) as u64;
        if producer.act().await.is_none() {
            return;
        }
        let made = std::mem::take(&mut producer.made);
        let pause = rate.map_or(pause, |rate| made * 1_000 / rate);
        time::sleep(Duration::from_millis(pause)).await;
    }
}

/// What an idempotent producer does.
#[derive(Clone, Copy)]
enum Kind {
    Send,
    Repeat,
    Gap,
    OldEpoch,
}

struct Producer {
    session: Session,
    /// The choices of the operation.
    draw: Choices,
    shape: WorkloadShape,
    acks: i16,
    idempotent: bool,
    /// Whether it takes new epochs without asking.
    raises_epochs: bool,
    /// Producer id and epoch.
    identity: Option<(i64, i16)>,
    /// The next sequence number for each partition.
    next: BTreeMap<Partition, i32>,
    /// The newest acknowledged batches of this identity, oldest first.
    recent: VecDeque<Produce>,
    /// Records that were made in this step.
    made: u64,
}

impl Producer {
    fn stopping(&self) -> bool {
        self.session.clients.is_stopping()
    }

    /// One step. `None` when the run comes to an end.
    async fn act(&mut self) -> Option<()> {
        if !self.session.connected().await {
            return None;
        }
        if self.idempotent && self.identity.is_none() {
            self.identify(None).await?;
            if self.identity.is_none() || !self.session.connected().await {
                return Some(());
            }
        }
        if self.acks == 0 {
            return self.send_unanswered().await;
        }
        if self.idempotent {
            let kinds = [
                (16, "send", Kind::Send),
                (2, "repeat", Kind::Repeat),
                (1, "gap", Kind::Gap),
                (1, "old-epoch", Kind::OldEpoch),
            ];
            match self.draw.weighted("kind", &kinds) {
                Kind::Send => {}
                Kind::Repeat => return self.repeat().await,
                Kind::Gap => return self.leave_a_gap().await,
                Kind::OldEpoch if self.raises_epochs => return self.raise_and_send_old().await,
                Kind::OldEpoch => return self.bump_and_send_old().await,
            }
        }
        let is_window = self.draw.chance("window", 0.3);
        let in_flight = if is_window { self.draw.between("in_flight", 2..=5) } else { 1 };
        let partition = self.partition();
        let window: Vec<_> = (0..in_flight).map(|_| self.batch(partition)).collect();
        self.deliver(window).await
    }

    /// Sends batches until each has a definite outcome or is given up.
    async fn deliver(&mut self, mut window: Vec<Produce>) -> Option<()> {
        let in_cluster = self.session.is_in_cluster();
        for _ in 0..if in_cluster { TRIES_IN_CLUSTER } else { TRIES } {
            if !self.session.connected().await {
                return None;
            }
            let outcomes = self.send(&window).await;
            let mut rest = Vec::new();
            let mut lost_identity = false;
            for (produce, outcome) in window.into_iter().zip(outcomes) {
                match outcome {
                    Outcome::Produced { .. } => self.remember(produce),
                    Outcome::Failed(UNKNOWN_PRODUCER_ID | INVALID_PRODUCER_EPOCH) => {
                        lost_identity = true;
                    }
                    // A batch behind one that failed: it goes again, behind it.
                    Outcome::Failed(_) | Outcome::Unknown if self.idempotent => rest.push(produce),
                    _ => rest.extend(self.draw.chance("again", 0.5).then_some(produce)),
                }
            }
            if lost_identity {
                break;
            }
            if rest.is_empty() {
                return Some(());
            }
            if self.stopping() {
                return None;
            }
            window = rest;
            let pause = if in_cluster { 20..=150 } else { 5..=40 };
            let pause = self.draw.between("retry_pause", pause);
            time::sleep(Duration::from_millis(pause)).await;
        }
        self.forget_identity();
        Some(())
    }

    /// Sends batches one behind the other without waiting, then takes the answers.
    async fn send(&mut self, window: &[Produce]) -> Vec<Outcome> {
        let to = window[0].partition;
        if !self.session.towards(to).await {
            return vec![Outcome::Unknown; window.len()];
        }
        let partition = self.session.reference(to);
        let requests: Vec<ProduceRequest> = window
            .iter()
            .map(|produce| {
                let bytes = encode(&produce.records, produce.producer);
                produce_request(&partition, produce.acks, PRODUCE_TIMEOUT, bytes)
            })
            .collect();
        let calls: Vec<usize> = window
            .iter()
            .map(|produce| self.session.invoke(Request::Produce(produce.clone())))
            .collect();
        let mut outcomes = Vec::new();
        let done = self
            .session
            .exchange(async |connection| exchange(connection, &requests, &mut outcomes).await);
        let _ = done.await;
        if self.session.is_answer_withheld() {
            outcomes.clear();
        }
        outcomes.resize(window.len(), Outcome::Unknown);
        for (call, outcome) in calls.into_iter().zip(&outcomes) {
            self.session.clients.end(call, outcome.clone());
            self.session.heard(to, outcome);
        }
        outcomes
    }

    async fn send_unanswered(&mut self) -> Option<()> {
        let partition = self.partition();
        let produce = self.batch(partition);
        if !self.session.towards(partition).await {
            return Some(());
        }
        let reference = self.session.reference(partition);
        let bytes = encode(&produce.records, None);
        let request = produce_request(&reference, 0, PRODUCE_TIMEOUT, bytes);
        let sent = async |connection: &mut Connection| {
            let version = connection.version(ApiKey::Produce)?;
            connection.submit_unanswered(&request, version).await
        };
        self.session.call(Request::Produce(produce), sent, |_| Outcome::Done).await;
        Some(())
    }

    /// Sends a batch again that was acknowledged among the last five of its partition.
    async fn repeat(&mut self) -> Option<()> {
        if let Some(produce) = self.recent.back().cloned() {
            let of_partition: Vec<_> =
                self.recent.iter().filter(|p| p.partition == produce.partition).cloned().collect();
            let again = self.draw.pick("which", &of_partition).clone();
            self.send(&[again]).await;
        }
        Some(())
    }

    /// Sends a batch whose sequence leaves some out: it must be refused and leave no trace.
    async fn leave_a_gap(&mut self) -> Option<()> {
        let partition = self.partition();
        if !self.recent.iter().any(|produce| produce.partition == partition) {
            return Some(());
        }
        let next = self.next.clone();
        let mut produce = self.batch(partition);
        self.next = next;
        if let Some(producer) = &mut produce.producer {
            producer.base_sequence += self.draw.between("gap", 1..=50) as i32;
        }
        let outcome = self.send(&[produce]).await;
        if outcome != [Outcome::Failed(OUT_OF_ORDER_SEQUENCE_NUMBER)] {
            // It remained unknown, or it was taken: an oracle will see it in the log.
            self.forget_identity();
        }
        Some(())
    }

    /// Takes a new epoch (KIP-360), writes with it, and then once more with the old one.
    async fn bump_and_send_old(&mut self) -> Option<()> {
        let (id, epoch) = self.identity?;
        let partition = self.partition();
        let next = self.next.get(&partition).copied().unwrap_or(0);
        self.identify(Some((id, epoch))).await?;
        let Some((new_id, new_epoch)) = self.identity else { return Some(()) };
        if !self.session.connected().await {
            return None;
        }
        let produce = self.batch(partition);
        self.deliver(vec![produce]).await?;
        if new_id == id && new_epoch > epoch && self.session.is_connected() {
            self.send_as_zombie(partition, Identity { id, epoch, base_sequence: next }).await;
        }
        Some(())
    }

    /// Takes the next epoch without asking anybody, and begins sequences at zero (KIP-360). What it has
    /// sent with the old one arrives once more before it has written, or behind that, or something new
    /// does.
    async fn raise_and_send_old(&mut self) -> Option<()> {
        let (id, epoch) = self.identity?;
        let Some(raised) = epoch.checked_add(1) else { return Some(()) };
        let partition = self.partition();
        let base_sequence = self.next.get(&partition).copied().unwrap_or(0);
        let earlier = self.recent.iter().rfind(|produce| produce.partition == partition).cloned();
        let is_early = self.draw.chance("early", 0.3);
        let is_repeated = self.draw.chance("repeated", 0.3);
        self.forget_identity();
        self.identity = Some((id, raised));
        let produce = self.batch(partition);
        if let Some(earlier) = earlier.clone().filter(|_| is_early) {
            self.send(std::slice::from_ref(&produce)).await;
            self.send(&[earlier]).await;
        }
        self.deliver(vec![produce]).await?;
        if self.identity != Some((id, raised)) || !self.session.is_connected() {
            return Some(());
        }
        match earlier.filter(|_| is_repeated) {
            Some(earlier) => drop(self.send(&[earlier]).await),
            None => {
                self.send_as_zombie(partition, Identity { id, epoch, base_sequence }).await;
            }
        }
        Some(())
    }

    /// Sends a new batch as somebody who does not know that he was replaced: it must be refused.
    async fn send_as_zombie(&mut self, partition: Partition, zombie: Identity) {
        let mut produce = self.batch(partition);
        *self.next.entry(partition).or_default() -= produce.records.len() as i32;
        produce.producer = Some(zombie);
        self.send(&[produce]).await;
    }

    /// Asks for an identity, or for the next epoch of one.
    async fn identify(&mut self, bump: Option<(i64, i16)>) -> Option<()> {
        let (producer_id, producer_epoch) = bump.unwrap_or((-1, -1));
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id,
            producer_epoch,
        };
        let answer = self.session.call(
            Request::InitProducer { bump },
            async |connection| connection.call(&request).await,
            |answer| match answer.error_code {
                0 => Outcome::Identity { id: answer.producer_id, epoch: answer.producer_epoch },
                code => Outcome::Failed(code),
            },
        );
        let answer = answer.await;
        self.forget_identity();
        if let Some(answer) = answer.filter(|answer| answer.error_code == 0) {
            assert!(answer.producer_id >= 0, "a granted producer id is not negative");
            self.identity = Some((answer.producer_id, answer.producer_epoch));
        }
        Some(())
    }

    fn forget_identity(&mut self) {
        self.identity = None;
        self.next.clear();
        self.recent.clear();
    }

    fn remember(&mut self, produce: Produce) {
        if produce.producer.is_none() {
            return;
        }
        let partition = produce.partition;
        self.recent.push_back(produce);
        if self.recent.iter().filter(|p| p.partition == partition).count() > REMEMBERED {
            let oldest = self.recent.iter().position(|p| p.partition == partition);
            oldest.map(|at| self.recent.remove(at));
        }
    }

    fn partition(&mut self) -> Partition {
        self.session.choose(self.shape.partition_choice, &mut self.draw)
    }

    /// The next record's number, with the size that the scenario asks for.
    fn number(&mut self) -> u64 {
        let number = self.session.next_number();
        let bytes = self.shape.value_bytes.as_ref();
        let bytes = bytes.map(|bytes| self.draw.within("value_bytes", bytes).max(0) as u64);
        bytes.map_or(number, |bytes| with_value_bytes(number, bytes))
    }

    /// A batch of new records with the next sequence numbers.
    fn batch(&mut self, partition: Partition) -> Produce {
        let count = self.draw.within("records", &self.shape.records).max(1);
        let now = WALL_AT_START + (now_nanos() / 1_000_000) as i64;
        let mut jitter = self.draw.fork();
        let records: Vec<Sent> = (0..count)
            .map(|_| {
                let jitter = jitter.between(0..=100) as i64 - 90;
                Sent { number: self.number(), timestamp: now + jitter }
            })
            .collect();
        self.made += records.len() as u64;
        let producer = self.identity.filter(|_| self.idempotent).map(|(id, epoch)| {
            let next = self.next.entry(partition).or_default();
            let base_sequence = *next;
            *next += records.len() as i32;
            Identity { id, epoch, base_sequence }
        });
        Produce { partition, acks: self.acks, producer, records }
    }
}

async fn exchange(
    connection: &mut Connection,
    requests: &[ProduceRequest],
    outcomes: &mut Vec<Outcome>,
) -> Result<(), ClientError> {
    let version = connection.version(ApiKey::Produce)?;
    let mut in_flight: VecDeque<InFlight<ProduceRequest>> = VecDeque::new();
    for request in requests {
        in_flight.push_back(connection.submit(request, version).await?);
    }
    while let Some(submitted) = in_flight.pop_front() {
        outcomes.push(outcome_of(&connection.receive_produce(submitted).await?));
    }
    Ok(())
}

/// The outcome of a produce, as its answer says.
pub fn outcome_of(answer: &PartitionProduceResponse) -> Outcome {
    match answer.error_code {
        0 => Outcome::Produced {
            base_offset: answer.base_offset,
            append_time: answer.log_append_time_ms,
            log_start: answer.log_start_offset,
        },
        code => Outcome::Failed(code),
    }
}
