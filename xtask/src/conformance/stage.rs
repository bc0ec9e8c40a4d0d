//! What a suite gets while it runs: nodes, a place for its logs, and somebody to tell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Outcome, Verdict};
use crate::cluster::{Cluster, Guard, Network};
use crate::interop::Places;

/// The longest until all nodes of a new cluster are ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The names of Kafka's programs that suites start; the binary answers to them.
const KAFKA_PROGRAMS: [&str; 3] =
    ["kafka-topics.sh", "kafka-configs.sh", "kafka-consumer-groups.sh"];

/// How much of a reason is shown.
const MAX_REASON_CHARACTERS: usize = 200;

/// A suite's run.
pub struct Stage<'a> {
    /// Where everything is.
    pub places: &'a Places,
    binary: &'a Path,
    suite: &'static str,
    wanted: &'a [String],
    outcomes: Vec<Outcome>,
    accidents: Vec<String>,
}

impl<'a> Stage<'a> {
    /// Nothing has run yet. Only tests whose name contains one of `wanted` are to; all of them when
    /// there is none.
    pub fn new(
        places: &'a Places,
        binary: &'a Path,
        suite: &'static str,
        wanted: &'a [String],
    ) -> Self {
        Self { places, binary, suite, wanted, outcomes: Vec::new(), accidents: Vec::new() }
    }

    /// Whether a test is to run.
    pub fn wants(&self, test: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| test.contains(part.as_str()))
    }

    /// Starts `nodes` nodes with these lines of configuration more. One node is a broker alone.
    pub fn cluster(&self, nodes: usize, settings: &[&str]) -> Result<Cluster> {
        let directory = self.places.fresh(&format!("nodes-{}", self.suite))?;
        let network = (Network::loopback(nodes)?, Guard::start()?);
        let mut cluster = match nodes {
            1 => Cluster::prepare_alone(self.binary, &directory, network, settings)?,
            _ => Cluster::prepare(self.binary, &directory, network, nodes, settings)?,
        };
        cluster.start_all()?;
        cluster.wait_ready(START_LIMIT)?;
        Ok(cluster)
    }

    /// Ends a cluster. A node that had died, panicked or does not stop is an accident.
    pub fn end(&mut self, mut cluster: Cluster) {
        self.accidents.extend(cluster.ended_by_themselves());
        self.accidents.extend(cluster.panics());
        for node in 0..cluster.len() {
            if cluster.is_running(node)
                && let Err(error) = cluster.terminate(node)
            {
                self.accidents.push(format!("{error:#}"));
            }
        }
    }

    /// A directory with `bin/kafka-topics.sh` and the like, all of them the binary.
    pub fn kafka_programs(&self) -> Result<PathBuf> {
        let home = self.places.work.join("kafka-programs");
        std::fs::create_dir_all(home.join("bin"))?;
        for name in KAFKA_PROGRAMS {
            let link = home.join("bin").join(name);
            if link.symlink_metadata().is_ok() {
                std::fs::remove_file(&link)?;
            }
            std::os::unix::fs::symlink(self.binary, &link)
                .with_context(|| format!("cannot make {}", link.display()))?;
        }
        Ok(home)
    }

    /// Where the output of a test, or of the whole suite, goes.
    pub fn log(&self, test: &str) -> PathBuf {
        let name: String =
            test.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        self.places.log(&format!("{}-{name}", self.suite))
    }

    /// Prints how a test ended, and keeps it.
    pub fn tell(&mut self, test: &str, verdict: Verdict, seconds: f64) {
        let (word, reason) = match &verdict {
            Verdict::Passed => ("ok", ""),
            Verdict::Failed(reason) => ("failed", reason.as_str()),
            Verdict::Skipped(reason) => ("skipped", reason.as_str()),
        };
        let reason: String = reason.chars().take(MAX_REASON_CHARACTERS).collect();
        println!("{word:<8}{test:<60}{seconds:>7.1} s  {reason}");
        self.outcomes.push(Outcome { test: test.to_owned(), verdict, seconds });
    }

    /// How the tests ended so far.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// What happened to nodes that must not.
    pub fn accidents(&self) -> &[String] {
        &self.accidents
    }
}
