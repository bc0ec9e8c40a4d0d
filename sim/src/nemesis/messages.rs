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
            message: self.draw.named("message", &Message::NAMES),
            is_reply: self.draw.chance("is_reply", 0.5),
        });
        let catch = self.catch();
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
            nth: self.draw.within("nth", &self.plan.nth).max(1) as u64,
            count: self.draw.within("count", &self.plan.count).max(1) as u64,
        };
        let count = wanted.count;
        let patience = self.draw.within("patience", &self.plan.patience).max(0) as u64;
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

    /// What becomes of the messages.
    fn catch(&mut self) -> Catch {
        let late =
            |nemesis: &mut Self| nemesis.draw.within("late", &nemesis.plan.millis).max(0) as u64;
        match self.plan.kind {
            FaultKind::DroppedMessage => Catch::Drop,
            FaultKind::DuplicatedMessage => Catch::Duplicate(late(self)),
            FaultKind::DelayedMessage => Catch::Delay(late(self)),
            _ => Catch::Hold,
        }
    }
}
