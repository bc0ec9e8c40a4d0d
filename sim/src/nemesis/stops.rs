//! Stops in good order: what was asked, what came of it, and who leads what then.

use super::Nemesis;
use crate::{
    history::{CleanStop, Mark, MarkKind},
    machine::Machine,
    metadata,
    recorder::now_nanos,
    trace::Effect,
};
use madsim::time;
use std::time::Duration;

impl Nemesis {
    /// Every machine is shut down and started again, one after the other, each when the one before
    /// it is in sync again.
    pub(super) async fn roll_over(&mut self) {
        let turn = self.turn.clone();
        let _turn = turn.lock().await;
        for machine in self.cluster.machines.clone().iter() {
            while self.struck.contains(machine) {
                time::sleep(Duration::from_millis(1)).await;
            }
            let _claim = self.struck.claim(std::slice::from_ref(machine));
            let stop = self.stop_cleanly(machine).await;
            self.pause().await;
            self.start_again(std::slice::from_ref(machine)).await;
            let is_in_sync = self.wait_in_sync().await;
            let mut history = self.cluster.recorder.history();
            let stop = stop.and_then(|at| history.clean_stops.get_mut(at));
            stop.into_iter().for_each(|stop| stop.in_sync_again = Some(is_in_sync));
        }
        self.cluster.recorder.trace.effect(Effect::RolledOver, 1);
    }

    /// Asks a broker to shut down, kills it when it has or takes too long, and writes down what it left
    /// behind; where that is written. One that is not there is only killed.
    pub(super) async fn stop_cleanly(&self, machine: &Machine) -> Option<usize> {
        let (asked, marks) = (now_nanos(), self.cluster.recorder.history().marks.len());
        let others = || self.others(machine);
        let were_there: Vec<_> =
            others().filter(|other| other.is_ready()).map(|other| other.id.0).collect();
        let outcome = machine.shut_down().await;
        let written = outcome.map(|handed_over| {
            // If it led the quorum, the others may yet have to hear of what it handed over.
            let image = self.cluster.newest_image();
            let mut history = self.cluster.recorder.history();
            let is_fenced =
                |id| image.as_ref().is_none_or(|it| it.broker(id).is_none_or(|it| it.fenced));
            let living = others().filter(|other| other.is_ready() && !is_fenced(other.id));
            let stopped =
                |mark: &&Mark| mark.kind == MarkKind::Stopped && mark.machine != machine.id.0;
            let stopped: Vec<_> = history.marks[marks..].iter().filter(stopped).collect();
            let stayed = |other: &Machine| {
                were_there.contains(&other.id.0)
                    && stopped.iter().all(|mark| mark.machine != other.id.0)
            };
            let is_disturbed = !others().all(stayed);
            let voters = || self.cluster.machines.iter().filter(|machine| machine.votes);
            let voted = voters().filter(|it| it.id == machine.id || stayed(it)).count();
            let had_quorum = 2 * voted > voters().count();
            let over = history.tick();
            let stop = CleanStop {
                machine: machine.id.0,
                asked,
                over,
                is_disturbed,
                had_quorum,
                handed_over,
                partitions: image
                    .as_ref()
                    .map(|image| metadata::partitions_of(image, &history.topics))
                    .unwrap_or_default(),
                living: living.map(|other| other.id.0).collect(),
                in_sync_again: None,
            };
            history.clean_stops.push(stop);
            history.clean_stops.len() - 1
        });
        machine.kill();
        written
    }

    fn others<'a>(&'a self, machine: &'a Machine) -> impl Iterator<Item = &'a Machine> {
        self.cluster.machines.iter().filter(|other| other.id != machine.id)
    }
}
