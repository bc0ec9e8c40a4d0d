//! What goes wrong between one client and the brokers.

use super::Nemesis;
use crate::{
    explain::{Event, Kind, Lane},
    recorder::now_nanos,
    scenario::{FaultPlan, Target},
};

impl Nemesis {
    /// One client is cut off from all brokers, or from one, for a while.
    pub(super) async fn isolate_a_client(&mut self) {
        let links = self.cluster.client_links.clone();
        let possible = links.names(self.plan.client);
        if possible.is_empty() {
            self.cluster.recorder.note(format_args!("no client to cut off"));
            return;
        }
        let is_one = |name: &str| possible.iter().any(|known| known == name);
        let name = self.draw.text("client", |dice| dice.pick(&possible).clone(), is_one);
        let brokers = self.brokers_to_lose();
        let ways = match self.plan.direction {
            Some(ways) => ways,
            None => self.draw.named("direction", FaultPlan::DIRECTIONS),
        };
        self.say(|| format!("{name} is cut off from {brokers:?}, {ways:?}"));
        links.cut(&name, &brokers, ways);
        self.pause().await;
        links.mend(&name, &brokers, ways);
        self.say(|| format!("{name} reaches {brokers:?} again"));
    }

    /// Those that the plan names; one or all when it names none.
    fn brokers_to_lose(&mut self) -> Vec<i32> {
        let is_open = self.plan.target == Target::Any;
        if is_open && self.draw.chance("from_all_brokers", 0.5) {
            return self.cluster.machines.iter().map(|machine| machine.id.0).collect();
        }
        self.targets().iter().map(|machine| machine.id.0).collect()
    }

    fn say(&self, text: impl Fn() -> String) {
        let recorder = &self.cluster.recorder;
        recorder.note(format_args!("{}", text()));
        let event = || Event::new(now_nanos(), Lane::Network, Kind::Fault, text());
        recorder.trace.events.add(event);
    }
}
