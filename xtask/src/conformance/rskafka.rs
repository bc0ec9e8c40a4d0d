//! The integration tests inside the crate `rskafka`: a pure Rust client, and librdkafka through the
//! crate `rdkafka`, against each other with every codec.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::stage::Stage;
use super::{Suite, Verdict, process};
use crate::interop::{Places, clients};
use crate::{fetch, workspace};

const VERSION: &str = "0.6.0";

/// The test binaries that talk to a broker.
const BINARIES: [&str; 4] = ["client", "consumer", "produce_consume", "producer"];

/// The longest a test may run.
const TEST_LIMIT: Duration = Duration::from_secs(60);

/// Tests that return at once, which looks like success, for want of something that is not set up.
const SKIPPED: [(&str, &str); 3] = [
    ("java", "wants a JVM inside the test process"),
    ("test_produce_rdkafka_consume_rdkafka_nocompression", "wants a JVM inside the test process"),
    ("test_sasl", "SASL is not served"),
];

pub struct Rskafka;

impl Suite for Rskafka {
    fn name(&self) -> &'static str {
        "rskafka"
    }

    fn install(&self, places: &Places) -> Result<()> {
        let home = places.work.join("rskafka");
        clients::unless_installed(&home, VERSION, || {
            let package = home.join("package");
            if package.exists() {
                std::fs::remove_dir_all(&package)?;
            }
            std::fs::create_dir_all(&home)?;
            let sources = fetch::crate_sources(&home, "rskafka", VERSION)?;
            clients::run(
                places,
                "rskafka",
                Command::new("cp").arg("-r").arg(sources).arg(&package),
            )?;
            // Its own toolchain is older than needed, and it is no member of our workspace.
            std::fs::remove_file(package.join("rust-toolchain.toml"))?;
            let manifest = package.join("Cargo.toml");
            let text = std::fs::read_to_string(&manifest)? + "\n[workspace]\n";
            std::fs::write(&manifest, text)?;
            // The locked version of this one does not compile with newer toolchains.
            let mut update = cargo(places);
            clients::run(places, "rskafka", update.args(["update", "--package", "rsasl"]))?;
            clients::run(
                places,
                "rskafka",
                cargo(places).args(["test", "--no-run"]).args(target(places)),
            )
        })?;
        Ok(())
    }

    fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        let cluster = stage.cluster(1, &["num.partitions=1"])?;
        for binary in BINARIES {
            let executable = executable(stage.places, binary)?;
            let tests = tests_of(&executable)?;
            ensure!(!tests.is_empty(), "{} has no tests", executable.display());
            for test in tests {
                let name = format!("{binary}::{test}");
                if stage.wants(&name) {
                    run_one(stage, &executable, (&name, &test), &cluster.bootstrap())?;
                }
            }
        }
        stage.end(cluster);
        Ok(())
    }
}

fn run_one(
    stage: &mut Stage<'_>,
    executable: &Path,
    (name, test): (&str, &str),
    bootstrap: &str,
) -> Result<()> {
    if let Some((_, reason)) = SKIPPED.iter().find(|(part, _)| test.contains(part)) {
        stage.tell(name, Verdict::Skipped((*reason).to_owned()), 0.0);
        return Ok(());
    }
    let mut command = Command::new(executable);
    command
        .args(["--exact", test, "--nocapture"])
        .current_dir(stage.places.work.join("rskafka/package"))
        .env("TEST_INTEGRATION", "1")
        .env("TEST_BROKER_IMPL", "kafka")
        .env("KAFKA_CONNECT", bootstrap);
    let started = Instant::now();
    let mut panic = PanicReader::default();
    let log = stage.log(name);
    let ended = process::run(&mut command, &log, TEST_LIMIT, |line| panic.read(line))?;
    let verdict = match ended {
        process::Ended::With(status) if status.success() => Verdict::Passed,
        process::Ended::With(status) => Verdict::Failed(panic.reason(status)),
        process::Ended::Killed(after) => Verdict::Failed(format!("hung for {} s", after.as_secs())),
    };
    stage.tell(name, verdict, started.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(places: &Places) -> Command {
    let mut command = workspace::cargo();
    command.current_dir(places.work.join("rskafka/package")).env_remove("RUSTFLAGS");
    command
}

fn target(places: &Places) -> [std::ffi::OsString; 2] {
    ["--target-dir".into(), places.work.join("rskafka/target").into()]
}

/// Where cargo put the test binary of this name.
fn executable(places: &Places, binary: &str) -> Result<PathBuf> {
    let output = cargo(places)
        .args(["test", "--no-run", "--quiet", "--message-format=json", "--test", binary])
        .args(target(places))
        .output()
        .context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == binary).then_some(())?;
        message["executable"].as_str().map(PathBuf::from)
    });
    found.with_context(|| format!("cargo builds no test {binary}"))
}

fn tests_of(executable: &Path) -> Result<Vec<String>> {
    let output = Command::new(executable).args(["--list", "--format", "terse"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Keeps what the first panic said, which is on the line after the place of it.
#[derive(Default)]
struct PanicReader {
    next: bool,
    said: Option<String>,
}

impl PanicReader {
    fn read(&mut self, line: &str) {
        if self.next && self.said.is_none() {
            self.said = Some(line.to_owned());
        }
        self.next = line.contains("panicked at");
    }

    fn reason(self, status: std::process::ExitStatus) -> String {
        self.said.unwrap_or_else(|| format!("ended with {status}"))
    }
}
