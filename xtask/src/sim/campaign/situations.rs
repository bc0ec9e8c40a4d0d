//! The situations that are worth reaching, and which of them a campaign has reached.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Context as _;
use serde::Serialize;

use crate::sim::worker::Worker;

/// A mark in the source of the broker, past which some run should come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Its name.
    pub name: String,
    /// What it is, in a sentence.
    pub text: String,
}

/// Which situations were reached.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Situations {
    /// Those that were, with how often.
    pub reached: BTreeMap<String, u64>,
    /// Those that never were.
    pub never: Vec<String>,
    /// Whether each of these is a failure of the campaign.
    pub required: bool,
}

impl Situations {
    /// Which of the known situations are among those that were reached.
    #[must_use]
    pub fn new(known: &[String], mut reached: BTreeMap<String, u64>, required: bool) -> Self {
        reached.retain(|name, _| known.contains(name));
        let never = known.iter().filter(|name| !reached.contains_key(*name)).cloned().collect();
        Self { reached, never, required }
    }

    /// How many failures they are.
    #[must_use]
    pub fn failures(&self) -> u64 {
        if self.required { self.never.len() as u64 } else { 0 }
    }

    /// How many situations there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.reached.len() + self.never.len()
    }
}

/// The situations that the simulator knows. A simulator that does not know the question knows none.
pub fn known(worker: &Worker) -> anyhow::Result<Vec<Situation>> {
    let output = Command::new(&worker.binary)
        .current_dir(&worker.directory)
        .arg("situations")
        .output()
        .with_context(|| format!("cannot start {}", worker.binary.display()))?;
    if output.status.code() == Some(2) {
        return Ok(Vec::new());
    }
    anyhow::ensure!(output.status.success(), "`situations` ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(parse).collect()
}

/// Prints them, one to a line.
pub fn print(worker: &Worker) -> anyhow::Result<()> {
    let known = known(worker)?;
    anyhow::ensure!(!known.is_empty(), "the simulator names no situations");
    let width = known.iter().map(|situation| situation.name.len()).max().unwrap_or(0);
    for Situation { name, text } in &known {
        println!("{name:width$}  {text}");
    }
    println!("{} situations", known.len());
    Ok(())
}

fn parse(line: &str) -> anyhow::Result<Situation> {
    let (name, text) = line
        .split_once('\t')
        .with_context(|| format!("`{line}` is no situation: a name, a tab and a sentence"))?;
    Ok(Situation { name: name.to_owned(), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::tests::fake_worker;

    #[test]
    fn what_was_not_reached_is_listed_and_counts_when_it_must() {
        let known = ["a", "b", "c"].map(String::from);
        let reached = BTreeMap::from([("b".to_owned(), 4)]);
        let by_day = Situations::new(&known, reached.clone(), false);
        assert_eq!((by_day.failures(), by_day.count()), (0, 3));
        let by_night = Situations::new(&known, reached, true);
        assert_eq!(by_night.never, ["a", "c"]);
        assert_eq!(by_night.failures(), 2);
        let unknown = BTreeMap::from([("d".to_owned(), 4)]);
        assert_eq!(Situations::new(&known, unknown.clone(), true).count(), 3);
        assert_eq!(
            Situations::new(&[], unknown, true),
            Situations { required: true, ..Default::default() }
        );
    }

    #[test]
    fn the_simulator_lists_them_with_a_sentence_each() {
        let (_scratch, worker) =
            fake_worker(r"[ $1 = situations ] && printf 'split-brain\tTwo lead.\nodd\tIs odd.\n'");
        let known = known(&worker).unwrap();
        assert_eq!(known[0], Situation { name: "split-brain".into(), text: "Two lead.".into() });
        assert_eq!(known.len(), 2);
    }

    #[test]
    fn a_simulator_without_the_question_has_none_and_one_that_breaks_is_an_error() {
        let (_scratch, worker) = fake_worker("exit 2");
        assert_eq!(known(&worker).unwrap(), []);
        for script in ["exit 3", "kill -9 $$", "echo nonsense"] {
            let (_scratch, worker) = fake_worker(script);
            assert!(known(&worker).is_err(), "{script}");
        }
    }
}
