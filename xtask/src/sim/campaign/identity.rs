//! What makes two sittings parts of one campaign: the same scenarios, seeds, bug, shard and worker.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::sim::worker::Worker;

/// What a campaign runs, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The scenarios.
    pub scenarios: BTreeMap<String, ScenarioIdentity>,
    /// The planted bug.
    pub mutant: Option<String>,
    /// Which part of the campaign, as `I/N`.
    pub shard: String,
    /// The hash of the simulator's executable.
    pub worker: String,
}

/// What of one scenario a campaign runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioIdentity {
    /// The hash of its file.
    pub file: String,
    /// Its seeds: a range, one without an end, or a list.
    pub seeds: String,
}

impl Identity {
    /// Reads what the plan and the worker consist of.
    pub fn of(plan: &Plan, worker: &Worker) -> anyhow::Result<Self> {
        let mut scenarios = BTreeMap::new();
        for scenario in plan.scenarios() {
            let file = hash_of(&worker.directory.join(&scenario.file))?;
            let one = ScenarioIdentity { file, seeds: plan.seeds_of(scenario) };
            scenarios.insert(scenario.name.clone(), one);
        }
        Ok(Self {
            scenarios,
            mutant: plan.mutant().map(str::to_owned),
            shard: plan.shard().to_string(),
            worker: hash_of(&worker.binary)?,
        })
    }

    /// In which respects another one, of a state file, is not the same; each as a sentence.
    #[must_use]
    pub fn differences(&self, written: &Self) -> Vec<String> {
        let mut found = self.differences_of_campaign(written);
        if self.shard != written.shard {
            found.push(format!("the shard is {}, in the file {}", self.shard, written.shard));
        }
        if self.worker != written.worker {
            found.push("the simulator was built from other source".to_owned());
        }
        found
    }

    /// The same, but for the shard and the worker: whether both are of one campaign at all.
    #[must_use]
    pub fn differences_of_campaign(&self, written: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, here) in &self.scenarios {
            match written.scenarios.get(name) {
                None => found.push(format!("the file is of a campaign without {name}")),
                Some(there) if here.file != there.file => {
                    found.push(format!("the scenario {name} has changed"));
                }
                Some(there) if here.seeds != there.seeds => {
                    let seeds = (&here.seeds, &there.seeds);
                    found.push(format!("{name} has seeds {}, in the file {}", seeds.0, seeds.1));
                }
                Some(_) => {}
            }
        }
        for name in written.scenarios.keys().filter(|name| !self.scenarios.contains_key(*name)) {
            found.push(format!("the file is of a campaign with {name}"));
        }
        if self.mutant != written.mutant {
            let planted = |mutant: &Option<String>| mutant.clone().unwrap_or("no bug".into());
            let (here, there) = (planted(&self.mutant), planted(&written.mutant));
            found.push(format!("{here} is planted, in the file {there}"));
        }
        found
    }
}

/// FNV-1a of 64 bits over a file, in hexadecimal: against mistakes, not against malice.
fn hash_of(file: &Path) -> anyhow::Result<String> {
    let mut stream =
        std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count =
            stream.read(&mut buffer).with_context(|| format!("cannot read {}", file.display()))?;
        if count == 0 {
            return Ok(format!("{hash:016x}"));
        }
        for &byte in &buffer[..count] {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::campaign::shard::Shard;
    use crate::sim::worker::tests::{fake_worker, run};

    #[test]
    fn every_difference_is_told_in_words() {
        let (scratch, worker) = fake_worker("exit 0");
        for name in ["a", "b", "c"] {
            scratch.write(&format!("scenarios/{name}.toml"), "");
        }
        let plan = |names: &[&str], seeds: &str| {
            let scenarios = names.iter().map(|name| run(name, 0).scenario).collect();
            Plan::new(scenarios, seeds.parse().unwrap())
        };
        let of = |plan: Plan| Identity::of(&plan, &worker).unwrap();
        let written = of(plan(&["a", "b"], "0..4"));
        assert_eq!(of(plan(&["b", "a"], "0..4")).differences(&written), [""; 0]);
        assert_eq!(
            of(plan(&["b", "c"], "0..5").part(Shard { index: 1, of: 2 })).differences(&written),
            [
                "b has seeds 0..5, in the file 0..4",
                "the file is of a campaign without c",
                "the file is of a campaign with a",
                "the shard is 1/2, in the file 0/1",
            ]
        );
        let planted = plan(&["a", "b"], "0..4").with_mutant(Some("early".into()));
        let expected = ["early is planted, in the file no bug"];
        assert_eq!(of(planted).differences(&written), expected);
        scratch.write("scenarios/a.toml", "# Changed.\n");
        let expected = ["the scenario a has changed"];
        assert_eq!(of(plan(&["a", "b"], "0..4")).differences(&written), expected);
        let other = Identity { worker: "0".into(), ..written.clone() };
        assert_eq!(other.differences(&written), ["the simulator was built from other source"]);
        assert_eq!(other.differences_of_campaign(&written), [""; 0]);
    }

    #[test]
    fn a_file_is_known_by_its_bytes() {
        let (scratch, _worker) = fake_worker("exit 0");
        scratch.write("x", "foobar");
        assert_eq!(hash_of(&scratch.path().join("x")).unwrap(), "85944171f73967e8");
        assert!(hash_of(&scratch.path().join("y")).is_err());
    }
}
