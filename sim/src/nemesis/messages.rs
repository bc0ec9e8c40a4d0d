//! What befalls single messages: they are held, lost, repeated or late, and everything behind them
//! goes on.

use super::Nemesis;
use crate::{
    network::{Catch, Message, MessageKind, Wanted},
    scenario::FaultKind,
};
use madsim::time;
use std::time::Duration;

impl Nemesis {
    /// Waits for the messages that the plan wants, and does to them what it says.
    pub(super) async fn catch_a_message(&mut self) {
        let kind = self.plan.message.unwrap_or_else(|| MessageKind {
            message: self.dice.pick(&Message::NAMES).1,
            is_reply: self.dice.chance(0.5),
        });
        let millis = self.dice.within(&self.plan.millis).max(0) as u64;
        let catch = match self.plan.kind {
            FaultKind::DroppedMessage => Catch::Drop,
            FaultKind::DuplicatedMessage => Catch::Duplicate(millis),
            FaultKind::DelayedMessage => Catch::Delay(millis),
            _ => Catch::Hold,
        };
        let partition = match &self.plan.partition {
            None => None,
            Some(name) => match self.cluster.id_of(name) {
                None => return,
                known => known,
            },
        };
        let wanted = Wanted {
            kind,
            from: self.named(&self.plan.from),
            to: self.named(&self.plan.to),
            command: self.plan.command,
            partition,
            nth: self.dice.within(&self.plan.nth).max(1) as u64,
            count: self.dice.within(&self.plan.count).max(1) as u64,
        };
        let count = wanted.count;
        let patience = self.dice.within(&self.plan.patience).max(0) as u64;
        let mut trapped = self.cluster.network.trap(wanted, catch);
        let patience = Duration::from_millis(patience);
        if catch == Catch::Hold {
            if time::timeout(patience, trapped.caught()).await.is_ok() {
                self.pause().await;
            }
        } else {
            // Whether all came or not, the strike is over then.
            let _ = time::timeout(patience, trapped.caught_all(count)).await;
        }
        trapped.release();
    }
}
