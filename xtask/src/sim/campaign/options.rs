//! `cargo xtask sim` without a subcommand: the command line of a campaign.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::identity::Identity;
use super::journal::{Ended, FORMAT, Header, Journal};
use super::plan::Plan;
use super::shard::Shard;
use super::shrinking::Shrinking;
use super::summary::Summary;
use super::{Campaign, situations, time};
use crate::counts::{Counts, Interrupted, Usage};
use crate::sim::scenario::Scenario;
use crate::sim::seeds::Seeds;
use crate::sim::worker::Worker;
use crate::sim::{self, SelectionOptions};

/// The seeds of each scenario when neither they nor a time are given.
const DEFAULT_SEEDS: Seeds = Seeds { start: 0, end: 20 };

/// The exit status of what a signal has stopped, as shells have it for the first of them.
const STOPPED: i32 = 130;

#[derive(Args)]
pub struct CampaignOptions {
    #[command(flatten)]
    pub selection: SelectionOptions,
    #[command(flatten)]
    program: sim::Program,
    /// Begin no run after this time (90s, 10m, 2h, 1h30m); without seeds, go through them from 0
    /// upward until then.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    time: Option<Duration>,
    /// Only this part of the campaign: I of N parts, the first is 0.
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    pub shard: Shard,
    /// Write down every run in this file, and go on where it ends if it is there.
    #[arg(long, value_name = "FILE", visible_alias = "resume")]
    pub state: Option<PathBuf>,
    /// Also write what was found as JSON to this file (see docs/campaigns.md).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Plant this bug (`target/sim/debug/highwater-sim mutants` lists them).
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Shrink so many failures at the end, each for half a minute at most, one of each kind first,
    /// and group failures by what is left of them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    shrink: usize,
    /// As many seeds of each scenario as its `[budget]` has for a night; every situation must be
    /// reached.
    #[arg(long, conflicts_with_all = ["seeds", "seed"])]
    pub nightly: bool,
}

/// Runs the campaign.
pub fn run(options: &CampaignOptions) -> anyhow::Result<Counts> {
    let plan = options.plan(options.selection.scenarios()?);
    refuse_empty_part(&plan)?;
    options.json.as_deref().map_or(Ok(()), refuse_lost_report)?;
    let worker = options.program.worker()?;
    worker.check(plan.scenarios().iter().map(|scenario| scenario.file.as_path()))?;
    if let Some(name) = &options.mutant {
        let known = worker.mutants()?;
        if !known.contains(name) {
            let message = format!("no mutant is called `{name}`; known: {}", known.join(", "));
            return Err(Usage(message).into());
        }
    }
    let identity = Identity::of(&plan, &worker)?;
    let campaign = options.campaign(plan, &worker, &identity)?;
    stop_on_signals(&campaign.interrupt)?;
    let mut summary = campaign.run(&worker)?;
    options.program.print_hint();
    summary.campaign = Some(identity);
    if let Some(file) = &options.json {
        write(&summary, file)?;
    }
    let counts = summary.counts();
    if summary.ended != Ended::Interrupted {
        return Ok(counts);
    }
    println!("{}", how_to_go_on(options.state.is_some(), std::env::args().skip(1)));
    if counts.failed > 0 { Ok(counts) } else { Err(Interrupted(counts).into()) }
}

/// Writes the JSON report.
pub fn write(summary: &Summary, file: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(summary)? + "\n";
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

impl CampaignOptions {
    fn plan(&self, mut scenarios: Vec<Scenario>) -> Plan {
        if self.nightly {
            let nightly = |one: Scenario| one.within(|budget| budget.nightly);
            scenarios = scenarios.into_iter().map(nightly).collect();
        }
        let otherwise = if self.time.is_some() { Seeds::open_from(0) } else { DEFAULT_SEEDS };
        let seeds = self.selection.seeds().unwrap_or(otherwise);
        Plan::new(scenarios, seeds).with_mutant(self.mutant.clone()).part(self.shard)
    }

    fn campaign(
        &self,
        plan: Plan,
        worker: &Worker,
        identity: &Identity,
    ) -> anyhow::Result<Campaign> {
        let names: Vec<String> =
            situations::known(worker)?.into_iter().map(|one| one.name).collect();
        if self.nightly && names.is_empty() {
            let message = "this simulator names no situations, and a nightly campaign is to reach \
                           every one";
            return Err(Usage(message.to_owned()).into());
        }
        let header = Header {
            format: FORMAT,
            campaign: identity.clone(),
            situations: names,
            nightly: self.nightly,
        };
        let state = self.state.as_deref().map(|path| Journal::open(path, &header)).transpose()?;
        Ok(Campaign {
            time: self.time,
            situations: header.situations,
            // A part of a campaign need not reach what another part reaches.
            all_situations: self.nightly && self.shard == Shard::WHOLE,
            shrinking: Shrinking::of(self.shrink),
            state,
            ..Campaign::new(plan, sim::jobs(self.selection.jobs))
        })
    }
}

fn refuse_empty_part(plan: &Plan) -> anyhow::Result<()> {
    if plan.runs().next().is_some() {
        return Ok(());
    }
    let message = format!("shard {} has no run: the campaign has fewer than that", plan.shard());
    Err(Usage(message).into())
}

/// A night must not be over before anybody sees that its report has no place.
pub fn refuse_lost_report(file: &Path) -> anyhow::Result<()> {
    let directory = std::path::absolute(file)?.parent().map(Path::to_path_buf);
    if !file.is_dir() && directory.is_some_and(|directory| directory.is_dir()) {
        return Ok(());
    }
    Err(Usage(format!("there is no place for the file {}", file.display())).into())
}

/// The first signal keeps further runs from being begun; the second one stops the process.
fn stop_on_signals(interrupt: &Arc<AtomicBool>) -> anyhow::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, STOPPED, Arc::clone(interrupt))
            .and_then(|_| flag::register(signal, Arc::clone(interrupt)))
            .context("cannot handle signals")?;
    }
    Ok(())
}

fn how_to_go_on(kept: bool, arguments: impl Iterator<Item = String>) -> String {
    if !kept {
        return "interrupted; what was not run is not known any more (--state FILE keeps it)"
            .into();
    }
    let words: Vec<String> = arguments.map(|word| quoted(&word)).collect();
    format!("interrupted; go on with: cargo xtask {}", words.join(" "))
}

fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::sim::worker::tests::run as a_run;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: CampaignOptions,
    }

    fn parse(line: &str) -> Result<CampaignOptions, clap::Error> {
        let words = std::iter::once("sim").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
    }

    fn seeds(line: &str) -> String {
        let plan = parse(line).unwrap().plan(vec![a_run("a", 0).scenario]);
        plan.seeds_of(&plan.scenarios()[0])
    }

    #[test]
    fn without_seeds_a_campaign_has_a_few_or_all_until_its_time_is_over() {
        for (line, expected) in [
            ("", "0..20"),
            ("--seeds 5..9", "5..9"),
            ("--seed 7", "7..8"),
            ("--time 10m", "0.."),
            ("--time 10m --seeds 5..9", "5..9"),
            ("--nightly", "0..200"),
            ("--nightly --time 8h", "0..200"),
        ] {
            assert_eq!(seeds(line), expected, "{line}");
        }
    }

    #[test]
    fn state_and_shard_are_read() {
        let options = parse("--resume a.state --shard 1/4").unwrap();
        assert_eq!(options.state, Some(PathBuf::from("a.state")));
        assert_eq!(options.shard, Shard { index: 1, of: 4 });
        assert_eq!(parse("--state a.state").unwrap().shard, Shard::WHOLE);
    }

    #[test]
    fn bad_usage_is_refused() {
        for line in [
            "--time 10",
            "--time 0s",
            "--shard 4/4",
            "--shard 1",
            "--nightly --seeds 0..2",
            "--state",
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("`{line}` was accepted"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_part_without_a_run_is_refused_before_anything_is_built() {
        let plan = |line| parse(line).unwrap().plan(vec![a_run("a", 0).scenario]);
        refuse_empty_part(&plan("--seeds 0..2 --shard 1/3")).unwrap();
        assert!(refuse_empty_part(&plan("--seeds 0..2 --shard 2/3")).unwrap_err().is::<Usage>());
    }

    #[test]
    fn a_report_that_could_not_be_written_is_refused_before_anything_is_run() {
        for file in ["/nonexistent/a.json", "/", "/usr"] {
            assert!(refuse_lost_report(Path::new(file)).unwrap_err().is::<Usage>(), "{file}");
        }
        refuse_lost_report(Path::new("a.json")).unwrap();
    }

    #[test]
    fn an_interrupted_campaign_says_how_to_go_on() {
        let words = ["sim", "--time", "10m", "--state", "my state"].map(String::from);
        assert_eq!(
            how_to_go_on(true, words.into_iter()),
            "interrupted; go on with: cargo xtask sim --time 10m --state 'my state'"
        );
        assert!(how_to_go_on(false, std::iter::empty()).contains("--state FILE"));
    }

    #[test]
    fn a_signal_sets_the_flag() {
        let interrupt = Arc::new(AtomicBool::new(false));
        stop_on_signals(&interrupt).unwrap();
        let own = std::process::id().to_string();
        let sent = std::process::Command::new("kill").args(["-INT", &own]).status().unwrap();
        assert!(sent.success());
        // The kernel delivers it to any thread of this process, soon.
        let started = std::time::Instant::now();
        while !interrupt.load(std::sync::atomic::Ordering::Relaxed) {
            assert!(started.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
    }
}
