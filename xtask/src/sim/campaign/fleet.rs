//! `cargo xtask sim summary`: what the state files of one campaign say together, of one sitting or
//! of all shards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::identity::Identity;
use super::journal::{Ended, Written};
use super::ledger::Ledger;
use super::options;
use super::shard::Shard;
use super::situations::Situations;
use super::summary::Summary;
use crate::counts::{Counts, Usage};

#[derive(Args)]
pub struct Options {
    /// The state files of all shards of one campaign, or the one of a campaign without shards.
    #[arg(value_name = "STATE", required = true)]
    files: Vec<PathBuf>,
    /// Also write what was found as JSON to this file (see docs/campaigns.md).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Sums up and prints.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    options.json.as_deref().map_or(Ok(()), options::refuse_lost_report)?;
    let summary = sum_up(&options.files)?;
    summary.print();
    if let Some(file) = &options.json {
        options::write(&summary, file)?;
    }
    Ok(summary.counts())
}

/// The shards of one campaign. A shard that is missing or has not come to its end is a failure: its
/// runs are not judged.
fn sum_up(files: &[PathBuf]) -> anyhow::Result<Summary> {
    let shards = read(files)?;
    let of = shards.keys().map(|(of, _)| *of).next().unwrap_or(1);
    let mut wrong: Vec<String> = (0..of)
        .filter(|index| !shards.contains_key(&(of, *index)))
        .map(|index| format!("shard {index}/{of} is missing"))
        .collect();
    let first = shards.values().next().map(|shard| shard.header.clone()).unwrap_or_default();
    let mut ledger = Ledger::new(first.campaign.mutant.as_deref());
    let (mut ended, mut wall) = (Ended::Complete, Duration::ZERO);
    for shard in shards.values() {
        let seen = ledger.add_written(shard);
        if matches!(shard.ended, Ended::Interrupted | Ended::Killed) {
            let name = &shard.header.campaign.shard;
            wrong.push(format!("shard {name} was stopped after {} runs", seen.len()));
        }
        ended = ended.max(shard.ended);
        wall = wall.max(shard.elapsed);
    }
    let reached = std::mem::take(&mut ledger.situations);
    let situations = Situations::new(&first.situations, reached, first.nightly);
    let mut summary = Summary::new(ledger, ended, wall, situations);
    summary.failed += wrong.len() as u64;
    summary.shards = wrong;
    summary.campaign = Some(Identity { shard: Shard::WHOLE.to_string(), ..first.campaign });
    Ok(summary)
}

/// By number of shards and shard: what each file says. All are of one campaign, and no shard is
/// there twice.
fn read(files: &[PathBuf]) -> anyhow::Result<BTreeMap<(u64, u64), Written>> {
    let mut shards: BTreeMap<(u64, u64), Written> = BTreeMap::new();
    for file in files {
        let written = Written::read(file)?
            .ok_or_else(|| Usage(format!("{} has no run yet", file.display())))?;
        let shard: Shard = written.header.campaign.shard.parse().map_err(anyhow::Error::msg)?;
        if let Some(((of, _), first)) = shards.iter().next() {
            same_campaign(file, &first.header.campaign, &written.header.campaign)?;
            if *of != shard.of {
                let message = format!(
                    "{} is of a campaign with {} shards, not {of}",
                    file.display(),
                    shard.of
                );
                return Err(Usage(message).into());
            }
        }
        if shards.insert((shard.of, shard.index), written).is_some() {
            return Err(Usage(format!("{} is shard {shard} once more", file.display())).into());
        }
    }
    Ok(shards)
}

fn same_campaign(file: &Path, first: &Identity, other: &Identity) -> anyhow::Result<()> {
    let differences = first.differences_of_campaign(other);
    if differences.is_empty() {
        if first.worker != other.worker {
            println!("{} comes from a simulator that was built otherwise", file.display());
        }
        return Ok(());
    }
    let message = format!("{} is of another campaign: {}", file.display(), differences.join("; "));
    Err(Usage(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;
    use crate::sim::campaign::identity::ScenarioIdentity;
    use crate::sim::campaign::journal::{FORMAT, Header, Journal};
    use crate::sim::worker::Report;

    /// Writes the state of a shard with these seeds, each of which reached the situation of its
    /// number.
    fn state(
        scratch: &ScratchDirectory,
        shard: &str,
        seeds: &[u64],
        ended: Option<Ended>,
    ) -> PathBuf {
        of_campaign(scratch, "0..4", shard, seeds, ended)
    }

    fn of_campaign(
        scratch: &ScratchDirectory,
        all_seeds: &str,
        shard: &str,
        seeds: &[u64],
        ended: Option<Ended>,
    ) -> PathBuf {
        let scenario = ScenarioIdentity { file: "ab".into(), seeds: all_seeds.into() };
        let campaign = Identity {
            scenarios: [("a".to_owned(), scenario)].into(),
            shard: shard.into(),
            ..Identity::default()
        };
        let situations = (0..4).map(|number| format!("s{number}")).collect();
        let header = Header { format: FORMAT, campaign, situations, nightly: true };
        let path = scratch.path().join(format!("{}-{all_seeds}", shard.replace('/', "-")));
        let _ = std::fs::remove_file(&path);
        let (mut journal, _) = Journal::open(&path, &header).unwrap();
        for &seed in seeds {
            let situations = [(format!("s{seed}"), 1)].into();
            let report = Report {
                scenario: "a".into(),
                seed,
                passed: true,
                situations,
                ..Report::default()
            };
            journal.run(Duration::from_secs(seed), &report).unwrap();
        }
        if let Some(why) = ended {
            journal.ended(Duration::from_secs(10), why).unwrap();
        }
        path
    }

    #[test]
    fn shards_are_judged_together() {
        let scratch = ScratchDirectory::new("fleet");
        let files = [
            state(&scratch, "0/2", &[0, 2], Some(Ended::Complete)),
            state(&scratch, "1/2", &[1, 3], Some(Ended::Time)),
        ];
        let summary = sum_up(&files).unwrap();
        assert_eq!(summary.counts(), Counts { passed: 4, failed: 0 });
        assert_eq!((summary.ended, summary.wall_seconds), (Ended::Time, 10.0));
        assert_eq!(summary.situations.reached.len(), 4);
        assert_eq!(summary.campaign.unwrap().shard, "0/1");
    }

    #[test]
    fn a_situation_that_no_shard_has_reached_fails_the_night() {
        let scratch = ScratchDirectory::new("fleet-situations");
        let files = [
            state(&scratch, "0/2", &[0], Some(Ended::Time)),
            state(&scratch, "1/2", &[1], Some(Ended::Time)),
        ];
        let summary = sum_up(&files).unwrap();
        assert_eq!(summary.situations.never, ["s2", "s3"]);
        assert_eq!(summary.counts(), Counts { passed: 2, failed: 2 });
    }

    #[test]
    fn a_shard_that_is_missing_or_was_stopped_is_a_failure() {
        let scratch = ScratchDirectory::new("fleet-missing");
        let files = [
            state(&scratch, "0/4", &[0, 1], Some(Ended::Complete)),
            state(&scratch, "1/4", &[2], None),
            state(&scratch, "3/4", &[3], Some(Ended::Interrupted)),
        ];
        let summary = sum_up(&files).unwrap();
        assert_eq!(
            summary.shards,
            [
                "shard 2/4 is missing",
                "shard 1/4 was stopped after 1 runs",
                "shard 3/4 was stopped after 1 runs",
            ]
        );
        assert_eq!(summary.counts(), Counts { passed: 4, failed: 3 });
        assert_eq!(summary.ended, Ended::Killed);
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let scratch = ScratchDirectory::new("fleet-mixed");
        let first = state(&scratch, "0/2", &[0], None);
        let refused = |other: PathBuf| {
            let error = sum_up(&[first.clone(), other]).err().unwrap();
            assert!(error.is::<Usage>(), "{error:#}");
            error.to_string()
        };
        let text = refused(of_campaign(&scratch, "0..5", "1/2", &[1], None));
        assert!(text.contains("a has seeds 0..4, in the file 0..5"), "{text}");
        assert!(refused(state(&scratch, "1/3", &[1], None)).contains("3 shards, not 2"));
        assert!(refused(first.clone()).contains("once more"));
        scratch.write("empty", "{\"for");
        assert!(refused(scratch.path().join("empty")).contains("no run yet"));
    }
}
