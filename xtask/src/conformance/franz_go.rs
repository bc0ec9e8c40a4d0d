//! The tests of franz-go's client that want a broker: producing, consuming, and chains of consumer
//! groups with members that come and go, with both group protocols.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::stage::Stage;
use super::{Suite, Verdict, process};
use crate::interop::{Places, clients};

/// The package with the client and its tests, and its version.
const PACKAGE: &str = "github.com/twmb/franz-go/pkg/kgo";
const VERSION: &str = "v1.21.5";

const NODES: usize = 3;

/// The longest until all are done.
const LIMIT: Duration = Duration::from_secs(1500);

/// How many records go through each chain of groups; 500,000 when nothing is said.
const RECORDS: &str = "50000";

/// The tests that talk to brokers; all others of the package are of the client alone.
const TESTS: &str = "^(TestUnknownGroupOffsetFetchPinned|TestPing|TestIssue(1034|325|337|434|523|648\
                     |810|865|769|831)|TestConsumeTopicRetrieval(_Many)?|TestConsumeRegex\
                     |TestDirectPartitionPurge|TestAddRemovePartitions|TestPauseIssue489\
                     |TestPauseIssueOct2023|TestPooling|TestGroupSimple|TestHookPollStart\
                     |TestGroupETL|TestClient_Produce(LargeMessages)?\
                     |TestIssueProduceSyncManualPartitionNegativeDoesNotPanic\
                     |TestShareGroup.*|TestTxnEtl|TestSCRAM.*)$";

pub struct FranzGo;

impl Suite for FranzGo {
    fn name(&self) -> &'static str {
        "franz-go"
    }

    fn install(&self, places: &Places) -> Result<()> {
        let home = module(places);
        clients::unless_installed(&home, VERSION, || {
            clients::need(places, "go", &["golang"])?;
            std::fs::create_dir_all(&home)?;
            std::fs::write(home.join("go.mod"), "module conformance\n")?;
            let package = format!("{PACKAGE}@{VERSION}");
            let mut get = clients::command_line("go", &["get", "-t", &package]);
            clients::run(places, "go", get.current_dir(&home))?;
            let mut compile =
                clients::command_line("go", &["test", "-c", "-o", "kgo.test", PACKAGE]);
            clients::run(places, "go", compile.current_dir(&home))
        })?;
        Ok(())
    }

    fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        let cluster = stage.cluster(NODES, &[])?;
        let mut go = Command::new("go");
        go.args(["test", "-json", "-timeout", "24m", "-parallel", "2", "-run", TESTS, PACKAGE])
            .current_dir(module(stage.places))
            .env("KGO_SEEDS", cluster.bootstrap())
            .env("KGO_TEST_RF", NODES.to_string())
            .env("KGO_TEST_RECORDS", RECORDS)
            .env("KGO_LOG_LEVEL", "none");
        let mut reader = Reader::default();
        let log = stage.log("go-test");
        let ended = process::run(&mut go, &log, LIMIT, |line| reader.read(line))?;
        for (test, (verdict, seconds)) in reader.finish() {
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

fn module(places: &Places) -> PathBuf {
    places.work.join("franz-go")
}

/// Reads what `go test -json` prints: one event in each line.
#[derive(Default)]
struct Reader {
    tests: BTreeMap<String, Running>,
}

#[derive(Default)]
struct Running {
    /// The last line that looks like a reason.
    said: String,
    ended: Option<(Verdict, f64)>,
}

impl Reader {
    fn read(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { return };
        let Some(test) = event["Test"].as_str() else { return };
        let running = self.tests.entry(test.to_owned()).or_default();
        let seconds = event["Elapsed"].as_f64().unwrap_or_default();
        let verdict = match event["Action"].as_str().unwrap_or_default() {
            "output" => {
                let text = event["Output"].as_str().unwrap_or_default().trim();
                if text.contains("_test.go:") || text.starts_with("panic:") {
                    running.said = text.to_owned();
                }
                return;
            }
            "pass" => Verdict::Passed,
            "fail" => Verdict::Failed(running.said.clone()),
            "skip" => Verdict::Skipped(running.said.clone()),
            _ => return,
        };
        running.ended = Some((verdict, seconds));
    }

    /// How each test ended.
    fn finish(self) -> BTreeMap<String, (Verdict, f64)> {
        let never = || (Verdict::Failed("never ended".to_owned()), 0.0);
        let ended =
            |(test, running): (String, Running)| (test, running.ended.unwrap_or_else(never));
        self.tests.into_iter().map(ended).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_go_are_understood() {
        let mut reader = Reader::default();
        for line in [
            r#"{"Action":"run","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1.5}"#,
            r#"{"Action":"output","Package":"p","Test":"TestB/848","Output":"    a_test.go:7: late\n"}"#,
            r#"{"Action":"fail","Package":"p","Test":"TestB/848","Elapsed":2}"#,
            r#"{"Action":"run","Package":"p","Test":"TestC"}"#,
            r#"{"Action":"fail","Package":"p","Elapsed":9}"#,
            "no JSON",
        ] {
            reader.read(line);
        }
        let tests = reader.finish();
        assert_eq!(tests.len(), 3);
        assert_eq!(tests["TestA"], (Verdict::Passed, 1.5));
        let reason = Verdict::Failed("a_test.go:7: late".to_owned());
        assert_eq!(tests["TestB/848"], (reason, 2.0));
        assert_eq!(tests["TestC"].0, Verdict::Failed("never ended".to_owned()));
    }
}
