//! What partitions want of the metadata log: the leaders' proposals for their ISRs, gathered,
//! proposed in one command and answered one by one; and the replicas whose log has failed, so that
//! others may lead.

use super::{PartitionDriver, TopicPartition};
use crate::{
    env::Clock,
    quorum::{ProposeError, Quorum, Watch},
};
use highwater_core::{
    metadata::{Command, IsrChange, Reply},
    partition::{Input, IsrOutcome, IsrProposal},
    sometimes,
    types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, TopicId},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// Proposals in one command.
const CHANGES_MAX: usize = 1_000;

/// The pause before failed replicas are given up again.
const AGAIN: Duration = Duration::from_millis(500);

/// Where the drivers leave their proposals. A partition has one under way, so that their number is
/// bounded by that of the partitions.
#[derive(Default)]
pub struct IsrChanges {
    waiting: Mutex<Vec<Waiting>>,
    /// Replicas that have failed and that the metadata does not know of yet.
    failed: Mutex<BTreeSet<(TopicId, PartitionIndex)>>,
    wake: Notify,
}

struct Waiting {
    driver: Arc<PartitionDriver>,
    change: IsrChange,
}

impl IsrChanges {
    /// Takes a proposal of a leader.
    pub fn propose(
        &self,
        driver: Arc<PartitionDriver>,
        leader_epoch: LeaderEpoch,
        proposal: IsrProposal,
    ) {
        let IsrProposal { partition_epoch, isr } = proposal;
        let (topic, index) = (driver.id.topic_id, driver.id.index);
        let change = IsrChange { topic, index, leader_epoch, partition_epoch, isr };
        self.waiting().push(Waiting { driver, change });
        self.wake.notify_one();
    }

    /// Takes note of a replica whose log has failed.
    pub fn fail(&self, id: &TopicPartition) {
        self.failed().insert((id.topic_id, id.index));
        self.wake.notify_one();
    }

    /// Proposes what comes, for ever. `followed` is the position of the image that the partitions
    /// are in line with.
    pub async fn run(
        self: Arc<Self>,
        quorum: Arc<dyn Quorum>,
        followed: Arc<Watch<()>>,
        clock: Arc<dyn Clock>,
        (broker, broker_epoch): (BrokerId, BrokerEpoch),
    ) {
        loop {
            if !self.give_up_failed(&*quorum, broker, broker_epoch).await {
                clock.sleep_until(clock.now().monotonic.after(AGAIN)).await;
            }
            let batch: Vec<Waiting> = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(CHANGES_MAX);
                waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let changes = batch.iter().map(|waiting| waiting.change.clone()).collect();
            let command = Command::AlterPartition { broker, broker_epoch, changes };
            let proposed = quorum.propose(command).await;
            if let Ok((offset, _)) = &proposed {
                // What was decided was decided by the image of that moment: a leader must not go
                // by an older `min.insync.replicas` than the one its ISR was accepted under.
                followed.changed(offset.0 - 1).await;
            }
            let outcomes = outcomes_of(proposed, batch.len());
            for (Waiting { driver, change }, outcome) in batch.into_iter().zip(outcomes) {
                let IsrChange { leader_epoch, partition_epoch, .. } = change;
                driver.tell(Input::IsrAnswered { leader_epoch, partition_epoch, outcome });
            }
        }
    }

    /// Tells the metadata which replicas have failed. Whether it knows all of them now.
    async fn give_up_failed(
        &self,
        quorum: &dyn Quorum,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> bool {
        let failed = std::mem::take(&mut *self.failed());
        if failed.is_empty() {
            return true;
        }
        let partitions = failed.iter().copied().collect();
        let proposed = quorum.propose(Command::FailReplicas { broker, epoch, partitions }).await;
        match proposed {
            Ok(_) | Err(ProposeError::Refused(_)) => true,
            Err(error) => {
                sometimes!(FailedReplicasNotToldYet);
                tracing::debug!(%error, "failed replicas not given up yet");
                self.failed().extend(failed);
                self.wake.notify_one();
                false
            }
        }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, BTreeSet<(TopicId, PartitionIndex)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcomes_of<T>(proposed: Result<(T, Reply), ProposeError>, count: usize) -> Vec<IsrOutcome> {
    match proposed {
        Ok((_, Reply::PartitionsAltered(answers))) => answers
            .into_iter()
            .map(|answer| match answer {
                Ok(partition_epoch) => IsrOutcome::Accepted { partition_epoch },
                Err(error) => {
                    tracing::debug!(%error, "ISR change refused");
                    IsrOutcome::Refused
                }
            })
            .collect(),
        Ok((_, reply)) => unreachable!("an ISR change was answered with {reply:?}"),
        Err(error) => {
            tracing::debug!(%error, "ISR change not proposed");
            let outcome = match error {
                ProposeError::Unknown(_) => IsrOutcome::Unknown,
                _ => IsrOutcome::Refused,
            };
            vec![outcome; count]
        }
    }
}
