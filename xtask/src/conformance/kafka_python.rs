//! kafka-python's integration tests, from its source distribution, against one broker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::stage::Stage;
use super::{Suite, Verdict, process};
use crate::fetch;
use crate::interop::{Places, clients};

const VERSION: &str = "3.0.12";

/// The Kafka version that the tests are told: they skip what it does not have. One of them demands
/// that the client takes the broker for this one, by the versions of ListOffsets it serves.
const KAFKA_VERSION: &str = "4.1.0";

/// The longest that one test may take, in seconds.
const TEST_LIMIT_SECONDS: &str = "90";

/// The longest that all may take.
const LIMIT: Duration = Duration::from_secs(1500);

pub struct KafkaPython;

impl Suite for KafkaPython {
    fn name(&self) -> &'static str {
        "kafka-python"
    }

    fn install(&self, places: &Places) -> Result<()> {
        let home = places.work.join("kafka-python");
        let requirements = extras(places).join("requirements.txt");
        let service = extras(places).join("service.py");
        let wanted = format!("{VERSION}\n{}", std::fs::read_to_string(&requirements)?);
        clients::unless_installed(&home, &wanted, || {
            clients::need(places, "python3", &["python3", "python3-venv"])?;
            let environment = home.join("environment");
            let mut venv = clients::command_line("python3", &["-m", "venv", "--clear"]);
            clients::run(places, "pip", venv.arg(&environment))?;
            let mut install = pip(&environment, &["install", "--requirement"]);
            clients::run(places, "pip", install.arg(&requirements))?;
            let download = home.join("download");
            let sources = format!("kafka-python=={VERSION}");
            let mut get = pip(&environment, &["download", "--no-deps", "--no-binary"]);
            get.args(["kafka-python", &sources, "--dest"]).arg(&download);
            clients::run(places, "pip", &mut get)?;
            let archive = fetch::file_with_ending(&download, ".tar.gz")?;
            fetch::unpack(&archive, &home.join("package"))
        })?;
        std::fs::copy(&service, home.join("package/test/service.py"))
            .with_context(|| format!("cannot copy {}", service.display()))?;
        // Without this the `test` of Python's own library is found instead.
        std::fs::write(home.join("package/test/__init__.py"), "")?;
        Ok(())
    }

    fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        // As the suite's own fixtures start brokers; its groups have sessions of 3 seconds.
        let settings = ["num.partitions=4", "group.min.session.timeout.ms=1000"];
        let cluster = stage.cluster(1, &settings)?;
        let home = stage.places.work.join("kafka-python");
        let mut pytest = Command::new(home.join("environment/bin/python"));
        pytest
            .args([
                "-m",
                "pytest",
                "test/integration",
                "-v",
                "--color=no",
                "-p",
                "no:cacheprovider",
            ])
            .args(["-rfEs", "--tb=short", "-o", "log_level=INFO", "--show-capture=no"])
            .args(["--timeout", TEST_LIMIT_SECONDS, "--timeout-method", "signal"])
            .current_dir(home.join("package"))
            .env("COLUMNS", "1000")
            .env("KAFKA_VERSION", KAFKA_VERSION)
            .env("KAFKA_URI", format!("kafka://{}", cluster.bootstrap()))
            .env("KAFKA_ROOT", stage.kafka_programs()?);
        let mut reader = Reader::new();
        let log = stage.log("pytest");
        let ended = process::run(&mut pytest, &log, LIMIT, |line| reader.read(line))?;
        for (test, (verdict, seconds)) in reader.tests {
            if stage.wants(&test) {
                stage.tell(&test, verdict, seconds);
            }
        }
        ensure!(
            matches!(ended, process::Ended::With(_)),
            "not done within {} s; see {}",
            LIMIT.as_secs(),
            log.display()
        );
        ensure!(!stage.outcomes().is_empty(), "no test ran; see {}", log.display());
        stage.end(cluster);
        Ok(())
    }
}

fn extras(places: &Places) -> PathBuf {
    places.root.join("xtask/conformance/kafka-python")
}

fn pip(environment: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(environment.join("bin/python"));
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(arguments);
    command
}

/// Reads what `pytest -v -rfEs` prints: a line for each test, and the reasons at the end.
struct Reader {
    since: Instant,
    /// The test that began, and whose end is on a line of its own after something that it printed.
    begun: Option<String>,
    tests: BTreeMap<String, (Verdict, f64)>,
}

impl Reader {
    fn new() -> Self {
        Self { since: Instant::now(), begun: None, tests: BTreeMap::new() }
    }

    fn read(&mut self, line: &str) {
        let begun = line.split_once(' ').and_then(|(test, _)| short(test));
        let whole = match &self.begun {
            Some(test) if begun.is_none() => format!("test/integration/{test} {line}"),
            _ => line.to_owned(),
        };
        self.begun = begun.or(self.begun.take());
        if let Some((test, verdict)) = progress(&whole) {
            self.begun = None;
            let seconds = self.since.elapsed().as_secs_f64();
            self.since = Instant::now();
            self.tests.insert(test, (verdict, seconds));
        } else if let Some((test, reason)) = summary(line)
            && let Some((verdict, _)) = self.tests.get_mut(&test)
        {
            *verdict = Verdict::Failed(reason);
        }
    }
}

/// `test/integration/test_a.py::test_b PASSED [ 12%]`, a reason in brackets after SKIPPED.
fn progress(line: &str) -> Option<(String, Verdict)> {
    let (test, rest) = line.split_once(' ')?;
    let test = short(test)?;
    let (word, rest) = rest.trim().split_once(' ')?;
    let reason = rest.split_once('[').map_or(rest, |(reason, _)| reason).trim();
    let verdict = match word {
        "PASSED" => Verdict::Passed,
        "FAILED" | "ERROR" => Verdict::Failed("no reason given".to_owned()),
        "SKIPPED" => Verdict::Skipped(reason.trim_matches(['(', ')']).to_owned()),
        _ => return None,
    };
    Some((test, verdict))
}

/// `FAILED test/integration/test_a.py::test_b - reason`.
fn summary(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("FAILED ").or_else(|| line.strip_prefix("ERROR "))?;
    let (test, reason) = rest.split_once(" - ")?;
    Some((short(test)?, reason.to_owned()))
}

/// A test's name without the directory of all of them.
fn short(test: &str) -> Option<String> {
    let name = test.strip_prefix("test/integration/")?;
    name.contains("::").then(|| name.replace(".py::", "::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_pytest_is_understood() {
        let mut reader = Reader::new();
        for line in [
            "============================= test session starts =====",
            "test/integration/test_a.py::test_one[gzip-1] PASSED             [  1%]",
            "test/integration/test_a.py::test_two FAILED                     [  2%]",
            "test/integration/test_a.py::test_noisy Done!",
            "PASSED                                                          [  3%]",
            "test/integration/test_b.py::test_three SKIPPED (Testing on external) [ 3%]",
            "FAILED test/integration/test_a.py::test_two - AssertionError: 1 - 2",
        ] {
            reader.read(line);
        }
        let verdict = |test: &str| reader.tests[test].0.clone();
        assert_eq!(reader.tests.len(), 4);
        assert_eq!(verdict("test_a::test_noisy"), Verdict::Passed);
        assert_eq!(verdict("test_a::test_one[gzip-1]"), Verdict::Passed);
        let failed = Verdict::Failed("AssertionError: 1 - 2".to_owned());
        assert_eq!(verdict("test_a::test_two"), failed);
        let skipped = Verdict::Skipped("Testing on external".to_owned());
        assert_eq!(verdict("test_b::test_three"), skipped);
    }
}
