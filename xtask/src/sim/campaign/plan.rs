//! Which runs a campaign has, and in which order.

use super::shard::Shard;
use crate::sim::scenario::Scenario;
use crate::sim::seeds::Seeds;
use crate::sim::worker::Run;

/// The runs of a campaign: every scenario with every seed, in rounds, so that a campaign that ends
/// early has tried all scenarios alike.
pub struct Plan {
    /// Invariant: by name, each once. So a run's shard does not depend on the order on the command
    /// line.
    scenarios: Vec<Scenario>,
    seeds: Seeds,
    shard: Shard,
    mutant: Option<String>,
}

impl Plan {
    /// All seeds of all scenarios; a frozen failure brings its own.
    #[must_use]
    pub fn new(mut scenarios: Vec<Scenario>, seeds: Seeds) -> Self {
        scenarios.sort_by(|one, other| one.name.cmp(&other.name));
        scenarios.dedup_by(|one, other| one.name == other.name);
        for scenario in &mut scenarios {
            scenario.frozen_seeds.sort_unstable();
            scenario.frozen_seeds.dedup();
        }
        Self { scenarios, seeds, shard: Shard::WHOLE, mutant: None }
    }

    /// The same with this bug planted in every run.
    #[must_use]
    pub fn with_mutant(mut self, mutant: Option<String>) -> Self {
        self.mutant = mutant;
        self
    }

    /// One part of it.
    #[must_use]
    pub fn part(mut self, shard: Shard) -> Self {
        self.shard = shard;
        self
    }

    /// Which part of the campaign this is.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// The bug to plant.
    #[must_use]
    pub fn mutant(&self) -> Option<&str> {
        self.mutant.as_deref()
    }

    /// The scenarios, by name, whatever the shard.
    #[must_use]
    pub fn scenarios(&self) -> &[Scenario] {
        &self.scenarios
    }

    /// The seeds of a scenario, as text that is the same only for the same seeds.
    #[must_use]
    pub fn seeds_of(&self, scenario: &Scenario) -> String {
        let frozen = &scenario.frozen_seeds;
        let (Some(first), Some(last)) = (frozen.first(), frozen.last()) else {
            return self.seeds.to_string();
        };
        if frozen.len() > 1 && last - first == frozen.len() as u64 - 1 {
            return Seeds { start: *first, end: last + 1 }.to_string();
        }
        frozen.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
    }

    /// Every run of this part, in order.
    pub fn runs(&self) -> impl Iterator<Item = Run> + Send + '_ {
        let rounds = self.scenarios.iter().map(|scenario| self.rounds(scenario)).max();
        (0..rounds.unwrap_or(0)).flat_map(move |round| {
            let places = (0_u64..).zip(&self.scenarios);
            places.filter(move |(place, _)| self.shard.has(*place, round)).filter_map(
                move |(_, scenario)| {
                    Some(Run {
                        scenario: scenario.clone(),
                        seed: self.seed(scenario, round)?,
                        mutant: self.mutant.clone(),
                    })
                },
            )
        })
    }

    /// How many runs this part has; `None` when it goes on until its time is over.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let open = |scenario: &Scenario| scenario.frozen_seeds.is_empty() && self.seeds.is_open();
        if self.scenarios.iter().any(open) {
            return None;
        }
        let places = (0_u64..).zip(&self.scenarios);
        Some(places.map(|(place, one)| self.shard.count(place, self.rounds(one))).sum())
    }

    fn rounds(&self, scenario: &Scenario) -> u64 {
        match scenario.frozen_seeds.len() as u64 {
            0 => self.seeds.count(),
            frozen => frozen,
        }
    }

    fn seed(&self, scenario: &Scenario, round: u64) -> Option<u64> {
        if scenario.frozen_seeds.is_empty() {
            return (round < self.seeds.count()).then(|| self.seeds.start + round);
        }
        scenario.frozen_seeds.get(usize::try_from(round).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sim::worker::tests::run;

    fn plan(names: &[&str], seeds: &str) -> Plan {
        let scenarios = names.iter().map(|name| run(name, 0).scenario).collect();
        Plan::new(scenarios, seeds.parse().unwrap())
    }

    fn keys(plan: &Plan) -> Vec<(String, u64)> {
        plan.runs().map(|run| (run.scenario.name, run.seed)).collect()
    }

    fn shown(plan: &Plan) -> Vec<String> {
        plan.runs().map(|run| format!("{}{}", run.scenario.name, run.seed)).collect()
    }

    #[test]
    fn runs_come_in_rounds_over_all_scenarios() {
        assert_eq!(shown(&plan(&["b", "a", "b"], "4..6")), ["a4", "b4", "a5", "b5"]);
    }

    #[test]
    fn a_frozen_failure_has_its_own_seeds_in_the_first_rounds() {
        let mut scenarios: Vec<Scenario> =
            ["a", "b"].iter().map(|name| run(name, 0).scenario).collect();
        scenarios[1].frozen_seeds = vec![77, 9, 77];
        let plan = Plan::new(scenarios, "0..3".parse().unwrap());
        assert_eq!(shown(&plan), ["a0", "b9", "a1", "b77", "a2"]);
        assert_eq!(plan.count(), Some(5));
        let [a, b] = plan.scenarios() else { panic!("two scenarios") };
        assert_eq!((plan.seeds_of(a).as_str(), plan.seeds_of(b).as_str()), ("0..3", "9,77"));
    }

    #[test]
    fn shards_are_disjoint_and_together_the_whole_and_alike_in_size() {
        let of = 3;
        let whole = plan(&["a", "b", "c", "d", "e"], "10..21");
        let mut parts: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for index in 0..of {
            let part = plan(&["e", "a", "c", "d", "b"], "10..21").part(Shard { index, of });
            let runs = keys(&part);
            assert_eq!(part.count(), Some(runs.len() as u64));
            assert!((18..=19).contains(&runs.len()), "{}", runs.len());
            for scenario in ["a", "b", "c", "d", "e"] {
                let own = runs.iter().filter(|(name, _)| name == scenario).count();
                assert!((3..=4).contains(&own), "{own}");
            }
            for run in runs {
                *parts.entry(run).or_default() += 1;
            }
        }
        assert!(parts.values().all(|count| *count == 1));
        let mut all = keys(&whole);
        all.sort();
        assert_eq!(parts.into_keys().collect::<Vec<_>>(), all);
    }

    #[test]
    fn without_an_end_there_is_always_another_run() {
        let open = Plan::new(vec![run("a", 0).scenario], Seeds::open_from(7));
        assert_eq!(open.count(), None);
        assert_eq!(open.runs().nth(1_000).unwrap().seed, 1_007);
        assert_eq!(open.seeds_of(&open.scenarios()[0]), "7..");
        let mut frozen = run("a", 0).scenario;
        frozen.frozen_seeds = vec![1, 2];
        let frozen = Plan::new(vec![frozen], Seeds::open_from(0));
        assert_eq!((frozen.count(), frozen.runs().count()), (Some(2), 2));
        assert_eq!(frozen.seeds_of(&frozen.scenarios()[0]), "1..3");
    }
}
