//! The end of the time under faults: everything works again, and whoever is down comes back.

use crate::{
    choices::Choices, cluster::Cluster, dice::Dice, disk::CutStyle, machine::Machine,
    report::Failure, scenario::FaultPlan,
};
use std::time::Duration;

/// How long a broker on a healthy disk has to start, in simulated time.
pub const START_WITHIN: Duration = Duration::from_secs(10);

/// Everything works again; the brokers are stopped once more at times, so that what they
/// acknowledged must have reached the media. Which of them do not start, where they need not.
pub async fn heal(cluster: &Cluster, plans: &[FaultPlan]) -> Result<Vec<String>, Failure> {
    let mut choices = cluster.recorder.journal.ending();
    cluster.recorder.note(format_args!("heal"));
    cluster.network.heal();
    cluster.client_links.heal();
    for machine in cluster.machines.iter() {
        machine.resume();
        machine.repair_disk();
        machine.repair_clock();
    }
    if cluster.recorder.history().topics.iter().any(|topic| topic.replicated) {
        stop_one_at_the_end(cluster, &mut choices);
        return wait_ready(cluster).await;
    }
    let power = plans.iter().any(|plan| plan.kind.may_cost_unsynced_bytes());
    if power && choices.chance("power_cut_at_the_end", 0.7) {
        for machine in cluster.machines.iter() {
            let contents = choices.named("contents_at_the_end", &CutStyle::WEIGHTED);
            let entries = choices.named("entries_at_the_end", &CutStyle::WEIGHTED);
            {
                let mut model = machine.disk.model();
                model.cut_styles = (Some(contents), Some(entries));
                model.draw_from(choices.fork());
            }
            machine.cut_power();
        }
        cluster.machines.iter().for_each(Machine::restart);
    } else {
        let killed = killed_at_the_end(cluster, &mut choices);
        for machine in cluster.machines.iter() {
            if !machine.is_ready() || killed.contains(&machine.id.to_string()) {
                machine.kill();
                machine.restart();
            }
        }
    }
    wait_ready(cluster).await
}

/// Starts whoever is down; and stops one that is well at times. To stop more would be a crash of all
/// that are in sync, which replicated topics do not promise to survive.
fn stop_one_at_the_end(cluster: &Cluster, choices: &mut Choices) {
    let down = |machine: &&Machine| !machine.is_ready();
    for machine in cluster.machines.iter().filter(down) {
        machine.kill();
        machine.restart();
    }
    let well: Vec<&Machine> =
        cluster.machines.iter().filter(|machine| machine.is_ready()).collect();
    let ways = [("nobody", None), ("process", Some(false)), ("power", Some(true))];
    let Some(power) = choices.named("stopped_at_the_end", &ways).filter(|_| !well.is_empty())
    else {
        return;
    };
    let machine = choices.pick("machine_at_the_end", &well);
    if power {
        machine.cut_power()
    } else {
        machine.kill()
    }
    machine.restart();
}

/// The ids of the machines whose brokers are killed although they are well.
fn killed_at_the_end(cluster: &Cluster, choices: &mut Choices) -> Vec<String> {
    let ids: Vec<String> = cluster.machines.iter().map(|machine| machine.id.to_string()).collect();
    let draw = |dice: &mut Dice| {
        ids.iter().filter(|_| dice.chance(0.5)).cloned().collect::<Vec<_>>().join(" ")
    };
    let known = |text: &str| text.split_whitespace().all(|id| ids.iter().any(|known| known == id));
    let text = choices.text("killed_at_the_end", draw, known);
    text.split_whitespace().map(str::to_owned).collect()
}

/// Waits until every broker has started. Which of them do not, and what they say of it, where faults
/// may exceed the promise.
pub async fn wait_ready(cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let is_unlimited = cluster.recorder.history().promise.unlimited;
    let is_cluster = cluster.machines.len() > 1;
    let mut excuses = Vec::new();
    for machine in cluster.machines.iter() {
        if machine.wait_ready(START_WITHIN).await {
            continue;
        }
        let name = if is_cluster { format!("broker {}", machine.id) } else { "the broker".into() };
        let missing = Missing { name, said: machine.start_failure() };
        excuses.push(missing.excuse(is_unlimited)?);
    }
    Ok(excuses)
}

/// A broker that is not there on a disk that works again.
struct Missing {
    name: String,
    /// What it failed with; `None` when it said nothing.
    said: Option<String>,
}

impl Missing {
    /// One that hangs has no excuse, whatever was done to it.
    fn excuse(self, is_unlimited: bool) -> Result<String, Failure> {
        let Self { name, said } = self;
        let is_excused = is_unlimited && said.is_some();
        let why = said.unwrap_or_else(|| format!("not within {START_WITHIN:?}"));
        let message = format!("{name} does not start: {why}");
        if is_excused {
            return Ok(message);
        }
        Err(Failure { check: "LV7 starts".into(), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_hangs_at_its_start_is_never_excused_and_one_that_says_why_beyond_the_promise()
    {
        for (said, is_unlimited, is_excused) in [
            (Some("its metadata is damaged"), true, true),
            (Some("its metadata is damaged"), false, false),
            (None, true, false),
            (None, false, false),
        ] {
            let missing = Missing { name: "broker 2".into(), said: said.map(str::to_owned) };
            assert_eq!(missing.excuse(is_unlimited).is_ok(), is_excused, "{said:?}");
        }
    }
}
