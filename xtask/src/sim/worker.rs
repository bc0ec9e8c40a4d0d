//! One simulated run in a process of its own, and the JSON line it reports.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::scenario::Scenario;
use crate::counts::Usage;

/// How much of a crashed worker's error output is kept, in lines from its end.
const KEPT_ERROR_LINES: usize = 40;

/// The simulator's executable.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The executable.
    pub binary: PathBuf,
    /// Where it runs: the root of the repository.
    pub directory: PathBuf,
    /// How long one run may take on the wall clock.
    pub timeout: Duration,
    /// Where the scripts of failed runs go.
    pub failures: Option<PathBuf>,
}

/// One run to do.
#[derive(Clone, Debug)]
pub struct Run {
    /// What to simulate.
    pub scenario: Scenario,
    /// Where every random choice comes from.
    pub seed: u64,
    /// The bug to plant.
    pub mutant: Option<String>,
}

impl Run {
    /// The name of the file for this run's script.
    #[must_use]
    pub fn script_name(&self) -> String {
        let scenario = self.scenario.name.replace(['/', '\\'], "-");
        let mutant = self.mutant.as_ref().map_or(String::new(), |mutant| format!("-{mutant}"));
        format!("{scenario}-{}{mutant}.json", self.seed)
    }

    /// The one command line that shows this run again.
    #[must_use]
    pub fn replay_command(&self) -> String {
        replay_command(&self.scenario.name, self.seed, self.mutant.as_deref())
    }
}

/// The one command line that shows the run of this seed again.
#[must_use]
pub fn replay_command(scenario: &str, seed: u64, mutant: Option<&str>) -> String {
    let line = format!("cargo xtask sim replay {scenario} --seed {seed}");
    mutant.map_or(line.clone(), |mutant| format!("{line} --mutant {mutant}"))
}

/// What one run found, as the worker prints it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Whether every oracle was content.
    pub passed: bool,
    /// The 128-bit hash over the whole trace, in hexadecimal.
    pub hash: String,
    /// How much time passed inside.
    pub simulated_seconds: f64,
    /// How much happened inside.
    pub events: u64,
    /// What the clients got.
    pub ops: Operations,
    /// How often each fault had an effect (bytes discarded, writes torn, syncs failed, ...). An
    /// effect that the faults of this seed may have is listed even when it is zero.
    pub effects: BTreeMap<String, u64>,
    /// How often each situation worth reaching was reached; those that never were are left out.
    pub situations: BTreeMap<String, u64>,
    /// The first thing found wrong.
    pub failure: Option<Failure>,
    /// Where a run that follows a script parted from it.
    pub divergence: Option<Divergence>,
    /// How long it took outside, in milliseconds.
    pub wall_ms: u64,
}

impl Report {
    /// Whether there is no more to it than that the process went wrong.
    #[must_use]
    pub fn died(&self) -> bool {
        self.hash.is_empty() && self.failure.as_ref().is_some_and(|why| why.check == "worker")
    }
}

/// Where a run parted from its script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Divergence {
    /// The number of the first event that may differ.
    pub event: u64,
    /// Its line, as it is now.
    pub line: String,
    /// What does not apply any more, or what is known otherwise.
    pub reason: String,
}

/// What the clients of a run got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operations {
    /// Calls that were answered with success.
    pub ok: u64,
    /// Calls that were answered with an error.
    pub fail: u64,
    /// Calls whose outcome nobody knows.
    pub unknown: u64,
}

/// Why a run failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// The oracle, or `worker` when the process itself went wrong.
    pub check: String,
    /// What it saw.
    pub message: String,
}

impl Worker {
    /// Does one run and waits for it. Never fails: whatever goes wrong is a failed report.
    #[must_use]
    pub fn run(&self, run: &Run) -> Report {
        let mut command = self.command(run);
        if let Some(script) = self.script_of(run) {
            command.arg("--script-out").arg(script);
        }
        let mut report = self.finish(&mut command, self.timeout);
        report.scenario.clone_from(&run.scenario.name);
        report.seed = run.seed;
        report
    }

    /// Where the script of a run is, if it failed.
    #[must_use]
    pub fn script_of(&self, run: &Run) -> Option<PathBuf> {
        self.failures.as_ref().map(|directory| directory.join(run.script_name()))
    }

    /// Waits for a run that a command line describes. Never fails, like [`Worker::run`].
    #[must_use]
    pub fn finish(&self, command: &mut Command, timeout: Duration) -> Report {
        let started = Instant::now();
        let mut report = self.try_run(command, timeout).unwrap_or_else(|error| Report {
            failure: Some(Failure { check: "worker".into(), message: format!("{error:#}") }),
            ..Report::default()
        });
        report.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        report
    }

    /// The command line of something that is done with one run, without which one.
    #[must_use]
    pub fn bare_command(&self, what: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.directory).arg(what);
        command
    }

    /// The command line of one run, with its results as a line of JSON or as readable text.
    #[must_use]
    pub fn command(&self, run: &Run) -> Command {
        self.command_for("run", run)
    }

    /// The command line of something else that is done with one run.
    #[must_use]
    pub fn command_for(&self, what: &str, run: &Run) -> Command {
        let mut command = self.bare_command(what);
        command.arg("--scenario").arg(&run.scenario.file).args(["--seed", &run.seed.to_string()]);
        if let Some(mutant) = &run.mutant {
            command.args(["--mutant", mutant]);
        }
        command
    }

    /// Whether the simulator takes these scenario files.
    ///
    /// # Errors
    ///
    /// [`Usage`], with what is wrong and where.
    pub fn check<'a>(&self, files: impl Iterator<Item = &'a Path>) -> anyhow::Result<()> {
        let output = self
            .bare_command("check")
            .args(files)
            .output()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let mistakes = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        anyhow::ensure!(!mistakes.is_empty(), "`check` ended with {}", output.status);
        Err(Usage(mistakes).into())
    }

    /// The names of the bugs that can be planted.
    pub fn mutants(&self) -> anyhow::Result<Vec<String>> {
        let output = Command::new(&self.binary)
            .current_dir(&self.directory)
            .arg("mutants")
            .output()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        anyhow::ensure!(output.status.success(), "`mutants` ended with {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|line| line.split_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }

    fn try_run(&self, command: &mut Command, timeout: Duration) -> anyhow::Result<Report> {
        let mut child = command
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let ended = collect(&mut child, timeout)?;
        judge(&ended)
    }
}

/// A worker that came to an end.
struct Ended {
    status: ExitStatus,
    output: String,
    errors: String,
}

/// Reads both streams to their end and waits; kills the worker when its time is over.
fn collect(child: &mut Child, timeout: Duration) -> anyhow::Result<Ended> {
    let output = child.stdout.take().context("the worker has no output")?;
    let errors = child.stderr.take().context("the worker has no error output")?;
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let errors = std::thread::spawn(move || read_all(errors));
        let output = read_all(output);
        // A receiver that has gone away has given up on this worker.
        let _ = sender.send((output, errors.join().unwrap_or_default()));
    });
    let streams = receiver.recv_timeout(timeout);
    if streams.is_err() {
        child.kill().context("cannot kill a worker whose time is over")?;
    }
    let status = child.wait().context("cannot wait for a worker")?;
    let Ok((output, errors)) = streams else {
        // A grandchild may hold the pipes open, so the reader is left to itself.
        anyhow::bail!("still running after {} s, so it was killed", timeout.as_secs_f64());
    };
    reader.join().ok();
    Ok(Ended { status, output, errors })
}

fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is still worth showing.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Turns what a worker left behind into a report, or says what is wrong with it.
fn judge(ended: &Ended) -> anyhow::Result<Report> {
    let line = ended.output.lines().rev().find(|line| line.starts_with('{'));
    let Some(line) = line else {
        let tail = tail(&ended.errors);
        anyhow::bail!("ended with {} and no result\n{tail}", ended.status);
    };
    let mut report: Report = serde_json::from_str(line)
        .with_context(|| format!("its result is not what a worker reports: {line}"))?;
    if report.passed {
        anyhow::ensure!(
            ended.status.success(),
            "reported success but ended with {}\n{}",
            ended.status,
            tail(&ended.errors)
        );
        anyhow::ensure!(report.failure.is_none(), "reported success and a failure: {line}");
        anyhow::ensure!(!report.hash.is_empty(), "reported no trace hash: {line}");
    } else if report.failure.is_none() {
        let message = format!("reported no reason\n{}", tail(&ended.errors));
        report.failure = Some(Failure { check: "worker".into(), message });
    }
    Ok(report)
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(KEPT_ERROR_LINES)..].join("\n")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    /// A worker made of a shell script, in a directory that goes away with it.
    pub fn fake_worker(script: &str) -> (ScratchDirectory, Worker) {
        let scratch = ScratchDirectory::new("fake-worker");
        // The arguments are: run --scenario FILE --seed N [--mutant NAME] --json
        let prelude = "#!/bin/sh\nscenario=$(basename \"$3\" .toml) seed=$5 mutant=none\n\
                       [ \"$6\" = --mutant ] && mutant=$7\n";
        scratch.write("worker.sh", &format!("{prelude}{script}\n"));
        let worker = Worker {
            binary: scratch.executable("worker.sh"),
            directory: scratch.path().to_path_buf(),
            timeout: Duration::from_secs(20),
            failures: None,
        };
        (scratch, worker)
    }

    pub fn run(name: &str, seed: u64) -> Run {
        Run {
            scenario: Scenario {
                name: name.to_owned(),
                file: PathBuf::from(format!("scenarios/{name}.toml")),
                frozen_seeds: Vec::new(),
                budget: Default::default(),
            },
            seed,
            mutant: None,
        }
    }

    fn failure(report: Report) -> Failure {
        assert!(!report.passed);
        report.failure.expect("a failed report says why")
    }

    #[test]
    fn a_good_run_is_read_from_its_last_json_line() {
        let (_scratch, worker) = fake_worker(
            r#"echo starting
            echo '{"scenario":"'$scenario'","seed":'$seed',"passed":true,"hash":"ab12","simulated_seconds":12.5,"ops":{"ok":3,"fail":1,"unknown":2},"effects":{"bytes_discarded":4096},"failure":null,"wall_ms":8,"later_field":1}'"#,
        );
        let report = worker.run(&run("power-cut", 7));
        assert!(report.passed, "{report:?}");
        assert_eq!((report.scenario.as_str(), report.seed), ("power-cut", 7));
        assert_eq!(report.ops, Operations { ok: 3, fail: 1, unknown: 2 });
        assert_eq!(report.effects["bytes_discarded"], 4096);
    }

    #[test]
    fn a_red_run_keeps_the_oracles_words() {
        let (_scratch, worker) = fake_worker(
            r#"echo '{"passed":false,"hash":"1","failure":{"check":"L7","message":"offset 4 lost"}}'
            exit 1"#,
        );
        let failure = failure(worker.run(&run("power-cut", 1)));
        assert_eq!((failure.check.as_str(), failure.message.as_str()), ("L7", "offset 4 lost"));
    }

    #[test]
    fn a_crash_is_a_failure_with_the_error_output() {
        let (_scratch, worker) = fake_worker("echo 'thread main panicked' >&2; kill -SEGV $$");
        let failure = failure(worker.run(&run("power-cut", 1)));
        assert_eq!(failure.check, "worker");
        assert!(failure.message.contains("thread main panicked"), "{}", failure.message);
    }

    #[test]
    fn a_hang_is_a_failure() {
        let (_scratch, mut worker) = fake_worker("exec sleep 30");
        worker.timeout = Duration::from_millis(200);
        let started = Instant::now();
        assert!(failure(worker.run(&run("power-cut", 1))).message.contains("killed"));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn success_with_a_bad_exit_or_without_a_hash_is_a_failure() {
        for script in [
            r#"echo '{"passed":true,"hash":"1"}'; exit 1"#,
            r#"echo '{"passed":true}'"#,
            r#"echo '{"passed":true,"hash":"1","failure":{"check":"L1","message":""}}'"#,
            r#"echo '{"passed":"maybe"}'"#,
        ] {
            let (_scratch, worker) = fake_worker(script);
            assert_eq!(failure(worker.run(&run("power-cut", 1))).check, "worker", "{script}");
        }
    }

    #[test]
    fn the_script_of_a_failure_has_a_name_of_its_own() {
        let (_scratch, mut worker) = fake_worker(r#"echo '{"passed":true,"hash":"'$7'"}'"#);
        worker.failures = Some(PathBuf::from("kept"));
        assert_eq!(worker.run(&run("regressions/x", 3)).hash, "kept/regressions-x-3.json");
        let planted = Run { mutant: Some("early".into()), ..run("a", 9) };
        assert_eq!(planted.script_name(), "a-9-early.json");
    }

    #[test]
    fn the_replay_command_names_scenario_seed_and_mutant() {
        let mut run = run("power-cut", 9);
        assert_eq!(run.replay_command(), "cargo xtask sim replay power-cut --seed 9");
        run.mutant = Some("ack-before-fsync".into());
        assert!(run.replay_command().ends_with("--seed 9 --mutant ack-before-fsync"));
    }
}
