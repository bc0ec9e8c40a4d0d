//! Which faults a run has, and how often they strike: each seed draws its own set of those that the
//! scenario names. Some bugs show when one fault strikes over and over and another now and then.

use crate::{
    choices::Choices,
    dice::Dice,
    scenario::{FaultKind, FaultPlan, Scenario, Trigger},
};

/// How likely a fault is on: in some runs few are, in others half of them.
const ENABLED: [f64; 3] = [0.15, 0.3, 0.5];
/// How likely one that is on strikes seldom, and one that does not strikes over and over: a third of
/// them each.
const SELDOM: [f64; 1] = [0.33];
const OFTEN: [f64; 1] = [0.5];

/// The faults of a run: all that the scenario names, or some of them under `swarm`.
pub fn enabled_faults(scenario: &Scenario, choices: &mut Choices) -> Vec<FaultPlan> {
    if !scenario.swarm {
        return scenario.faults.clone();
    }
    let enabled = some_of(&scenario.faults, "faults", &ENABLED, choices);
    if scenario.uneven { with_weights(enabled, choices) } else { enabled }
}

/// Some of these faults, each as likely as the others; a script names them.
fn some_of(
    plans: &[FaultPlan],
    name: &'static str,
    likelihoods: &[f64],
    choices: &mut Choices,
) -> Vec<FaultPlan> {
    let draw = |dice: &mut Dice| {
        let likelihood = *dice.pick(likelihoods);
        let drawn = plans.iter().filter(|_| dice.chance(likelihood));
        drawn.map(FaultPlan::name).collect::<Vec<_>>().join(", ")
    };
    let known = |name: &str| name.is_empty() || plans.iter().any(|plan| plan.name() == name);
    let names = choices.text(name, draw, |text| text.split(", ").all(known));
    let is_one = |plan: &&FaultPlan| names.split(", ").any(|name| name == plan.name());
    plans.iter().filter(is_one).cloned().collect()
}

/// The same faults, of which some strike seldom and some over and over.
fn with_weights(plans: Vec<FaultPlan>, choices: &mut Choices) -> Vec<FaultPlan> {
    let repeating: Vec<_> = plans.iter().filter(|plan| repeats(plan)).cloned().collect();
    let seldom = some_of(&repeating, "seldom", &SELDOM, choices);
    let others: Vec<_> = repeating.into_iter().filter(|plan| !seldom.contains(plan)).collect();
    let often = some_of(&others, "over_and_over", &OFTEN, choices);
    let weighed = plans.into_iter().map(|plan| match plan {
        plan if seldom.contains(&plan) => as_seldom(plan),
        plan if often.contains(&plan) => over_and_over(plan),
        plan => plan,
    });
    weighed.collect()
}

/// Whether it can strike more than once.
fn repeats(plan: &FaultPlan) -> bool {
    plan.kind != FaultKind::ConnectionCut && !matches!(plan.trigger, Trigger::At(_))
}

/// As seldom as it may strike.
fn as_seldom(plan: FaultPlan) -> FaultPlan {
    let least = *plan.times.start();
    FaultPlan { times: least..=least, ..plan }
}

/// Three times as often as it may strike, as far as there is time: what lasts long would keep the run
/// from its end otherwise.
fn over_and_over(plan: FaultPlan) -> FaultPlan {
    let often = 3 * plan.times.end();
    FaultPlan { times: often..=often, ends_in_time: true, ..plan }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{choices::Journal, trace::Trace};
    use highwater_script::{Decisions, Value};

    fn scenario(uneven: bool) -> Scenario {
        let text = format!(
            "# x.\nwhy = \"Why: x\"\nswarm = true\nuneven = {uneven}\n\
             [faults.power-cut]\ntimes = [1, 4]\n[faults.sync-error]\ntimes = [2, 3]\n\
             [faults.connection-cut]\n"
        );
        Scenario::parse("x", &text).unwrap()
    }

    fn drawn(uneven: bool, seed: u64, given: Option<Decisions>) -> (Vec<FaultPlan>, Decisions) {
        let journal = Journal::following(seed, given, None, Trace::new(false));
        let plans = enabled_faults(&scenario(uneven), &mut journal.run());
        assert!(journal.misfit().is_none());
        (plans, journal.taken())
    }

    #[test]
    fn an_enabled_fault_strikes_seldom_as_drawn_or_over_and_over() {
        let mut times = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let (even, _) = drawn(false, seed, None);
            let (uneven, _) = drawn(true, seed, None);
            let names = |plans: &[FaultPlan]| plans.iter().map(FaultPlan::name).collect::<Vec<_>>();
            assert_eq!(names(&even), names(&uneven));
            let cuts = uneven.iter().filter(|plan| plan.kind == FaultKind::PowerCut);
            times.extend(cuts.map(|plan| (*plan.times.start(), *plan.times.end())));
        }
        assert_eq!(times, [(1, 1), (1, 4), (12, 12)].into());
    }

    #[test]
    fn faults_have_weights_under_swarm_alone() {
        let refused = Scenario::parse("x", "# x.\nwhy = \"Why: x\"\nuneven = true\n").unwrap_err();
        assert!(refused.to_string().contains("does nothing without `swarm = true`"));
    }

    #[test]
    fn a_script_says_how_often_faults_strike() {
        let mut decisions = Decisions::default();
        decisions.run.push("faults", Value::Text("power-cut, sync-error".into()));
        decisions.run.push("seldom", Value::Text("sync-error".into()));
        decisions.run.push("over_and_over", Value::Text("power-cut".into()));
        for seed in 0..10 {
            let (plans, taken) = drawn(true, seed, Some(decisions.clone()));
            let times: Vec<_> = plans.iter().map(|plan| plan.times.clone()).collect();
            assert_eq!(times, [12..=12, 2..=2]);
            assert_eq!(taken, decisions);
        }
    }
}
