//! `cargo xtask interop`: real clients, unmodified, against a release broker.
//!
//! Each client's program lives in `xtask/interop/` and is installed with its libraries into
//! `target/interop`. It prints one line when a step begins and one when it ends (see
//! [`program`]). Then the crash tests of [`crash`] kill and restart a broker of their own, those of
//! [`groups`] one under consumer groups, those of [`cluster`] the leaders of three nodes, and those of
//! [`racks`] nodes that a consumer reads from. [`purity`] looks for the simulator in the binary.
//!
//! One line for each step, the reason of a failure under it; the last line is
//! `N passed, N failed`. What the clients wrote to stderr and what the brokers logged stays in
//! `target/interop/logs`.
#![allow(
    clippy::disallowed_methods,
    reason = "automation works on the real machine; the doors belong to the broker"
)]

pub(crate) mod broker;
pub(crate) mod clients;
mod cluster;
mod crash;
mod explain;
mod groups;
mod program;
mod purity;
mod racks;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use broker::Broker;
use clients::Client;
use program::Program;

use crate::counts::Counts;

/// What `cargo xtask interop` is asked for.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// The clients to run, `crash` for the tests that kill a broker, `groups` for those with consumer
    /// groups, `cluster` for those that kill leaders of three nodes, `racks` for reading from a
    /// replica nearby, `explain` for the simulator's pages in a browser, `purity` for a look into the
    /// binary; all of it when none is named.
    #[arg(value_name = "CLIENT", value_parser = known_client)]
    pub clients: Vec<String>,

    /// Use this broker, which runs already; the tests that kill a broker are left out.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "binary")]
    pub broker: Option<String>,

    /// Start this broker instead of building the release one.
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,

    /// Put pictures of the simulator's pages into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub pictures: Option<PathBuf>,

    /// Write every outcome to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// One step of one client.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    client: String,
    step: String,
    verdict: Verdict,
    seconds: f64,
    note: String,
}

/// Prints the outcomes as they come and keeps them.
#[derive(Default)]
struct Report {
    outcomes: Vec<Outcome>,
}

/// Where everything of the interoperability tests is kept.
pub(crate) struct Places {
    /// The top level of the repository.
    pub(crate) root: PathBuf,
    /// `target/interop`, or that of another command: what was installed, data directories and logs.
    pub(crate) work: PathBuf,
}

/// Installs the clients, runs them and the crash tests, and prints every step.
///
/// # Errors
///
/// When no broker could be had: the build failed, or it did not come up. A client that cannot be
/// installed or that fails is counted, not an error.
pub fn run(args: &Args) -> Result<Counts> {
    let started = Instant::now();
    let places = Places::prepare()?;
    let chosen = chosen(&args.clients);
    let mut report = Report::default();
    let pages = || args.clients.iter().filter(|name| *name == explain::NAME).count();
    if args.clients.is_empty() || pages() > 0 {
        explain::run(&places, args.pictures.as_deref(), &mut report);
    }
    if !args.clients.is_empty() && pages() == args.clients.len() {
        // Pages need no broker.
        return finished(args, &report, started);
    }
    println!("building the broker and installing the clients into {}", places.work.display());
    let (binary, ready) = prepare(args, &places, &chosen, &mut report)?;
    run_clients(args, &places, binary.as_deref(), &ready, &mut report)?;
    let asked = |name| args.clients.is_empty() || args.clients.iter().any(|asked| asked == name);
    let has = |client| chosen.contains(&client) && ready.contains(&client);
    if let Some(binary) = &binary {
        if asked(purity::NAME) {
            purity::run(&places, binary, &mut report);
        }
        if asked(crash::NAME) {
            crash::run(&places, binary, &has, &mut report);
        }
        if asked(groups::NAME) {
            groups::run(&places, binary, &has, &mut report);
        }
        if asked(cluster::NAME) {
            cluster::run(&places, binary, &has, &mut report);
        }
        if asked(racks::NAME) {
            racks::run(&places, binary, &has, &mut report);
        }
    }
    finished(args, &report, started)
}

fn finished(args: &Args, report: &Report, started: Instant) -> Result<Counts> {
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    println!("interop took {:.0} s", started.elapsed().as_secs_f64());
    Ok(report.counts())
}

fn known_client(name: &str) -> Result<String, String> {
    let mut known: Vec<_> = Client::ALL.iter().map(|client| client.name()).collect();
    known.extend([crash::NAME, groups::NAME, cluster::NAME, racks::NAME]);
    known.extend([explain::NAME, purity::NAME]);
    match known.contains(&name) {
        true => Ok(name.into()),
        false => Err(format!("known are {}", known.join(", "))),
    }
}

/// The clients named; the crash tests need kcat and confluent-kafka, those of the cluster the Java
/// client as well, those of racks confluent-kafka, those of groups all that have groups.
fn chosen(names: &[String]) -> Vec<Client> {
    let named = |client: &Client| {
        let crash = matches!(client, Client::Kcat | Client::ConfluentKafka);
        let needed = |name: &str| match name {
            crash::NAME => crash,
            cluster::NAME => crash || *client == Client::Java,
            groups::NAME => *client != Client::Rskafka,
            racks::NAME => *client == Client::ConfluentKafka,
            name => name == client.name(),
        };
        names.iter().any(|name| needed(name))
    };
    Client::ALL.into_iter().filter(|client| names.is_empty() || named(client)).collect()
}

/// Builds the broker and installs the clients at the same time: one mostly computes, the other
/// mostly waits for the network. Returns the broker's binary and the clients that can run.
fn prepare(
    args: &Args,
    places: &Places,
    chosen: &[Client],
    report: &mut Report,
) -> Result<(Option<PathBuf>, Vec<Client>)> {
    let (binary, installed) = std::thread::scope(|scope| {
        let build = scope.spawn(|| match (&args.broker, &args.binary) {
            (Some(_), _) => Ok(None),
            (None, Some(binary)) => Ok(Some(binary.clone())),
            (None, None) => broker::build(&places.root).map(Some),
        });
        let installed: Vec<_> = chosen
            .iter()
            .map(|client| {
                let started = Instant::now();
                let result = clients::install(*client, places);
                (*client, started.elapsed(), result)
            })
            .collect();
        (build.join(), installed)
    });
    let binary =
        binary.map_err(|_| anyhow::anyhow!("the thread that built the broker panicked"))?;
    let mut ready = Vec::new();
    for (client, took, result) in installed {
        match result {
            Ok(note) => {
                report.add(client.name(), "install", Verdict::Passed, took, note);
                ready.push(client);
            }
            Err(error) => {
                let reason = format!("{error:#}");
                report.add(client.name(), "install", Verdict::Failed, took, reason);
            }
        }
    }
    Ok((binary?, ready))
}

fn run_clients(
    args: &Args,
    places: &Places,
    binary: Option<&Path>,
    ready: &[Client],
    report: &mut Report,
) -> Result<()> {
    let asked = |name: &str| args.clients.is_empty() || args.clients.iter().any(|c| c == name);
    let ready: Vec<_> = ready.iter().filter(|client| asked(client.name())).collect();
    if ready.is_empty() {
        return Ok(());
    }
    let broker = match (binary, &args.broker) {
        (Some(binary), _) => Some(Broker::start(places, binary, "clients")?),
        (None, Some(_)) => None,
        (None, None) => bail!("neither a broker to use nor one to start"),
    };
    let address = match &broker {
        Some(broker) => broker.address(),
        None => args.broker.clone().unwrap_or_default(),
    };
    for client in ready {
        let topic = format!("interop-{}-{}", client.name(), std::process::id());
        let command = clients::command(*client, places, &address, &topic)?;
        Program::new(client.name(), command, places).run(report);
    }
    if let Some(broker) = broker {
        let started = Instant::now();
        let ended = broker.terminate();
        report.result("broker", "stop-after-the-clients", started.elapsed(), ended);
    }
    Ok(())
}

impl Places {
    pub(crate) fn prepare() -> Result<Places> {
        Self::prepare_below("interop")
    }

    /// The same below another directory of `target`.
    pub(crate) fn prepare_below(name: &str) -> Result<Places> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask package has no parent directory")?
            .to_path_buf();
        let work = broker::target_directory(&root).join(name);
        std::fs::create_dir_all(work.join("logs"))
            .with_context(|| format!("cannot create {}", work.join("logs").display()))?;
        Ok(Places { root, work })
    }

    /// The client programs' sources.
    fn sources(&self) -> PathBuf {
        self.root.join("xtask/interop")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.work.join("logs").join(format!("{name}.log"))
    }

    /// An empty directory of this name.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.work.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }
}

impl Report {
    fn add(&mut self, client: &str, step: &str, verdict: Verdict, took: Duration, note: String) {
        let seconds = took.as_secs_f64();
        let word = match verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        };
        let note = note.trim().to_string();
        println!("{word:<8}{client:<26} {step:<28}{seconds:>7.2} s  {note}");
        let (client, step) = (client.to_string(), step.to_string());
        self.outcomes.push(Outcome { client, step, verdict, seconds, note });
    }

    fn result(&mut self, client: &str, step: &str, took: Duration, result: Result<String>) {
        match result {
            Ok(note) => self.add(client, step, Verdict::Passed, took, note),
            Err(error) => self.add(client, step, Verdict::Failed, took, format!("{error:#}")),
        }
    }

    fn counts(&self) -> Counts {
        let count = |verdict| self.outcomes.iter().filter(|o| o.verdict == verdict).count() as u64;
        Counts { passed: count(Verdict::Passed), failed: count(Verdict::Failed) }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.outcomes)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
