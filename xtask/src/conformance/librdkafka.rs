//! librdkafka's own tests against three brokers, with the group protocol of old or that of KIP-848.
//!
//! The sources come inside the npm package of the JavaScript client. What the suite tests against a
//! mock cluster inside itself, and what it leaves to hands, is left out: no broker is in it. Each
//! number is a process of its own, because the suite aborts at the first failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::stage::Stage;
use super::{Suite, Verdict, process};
use crate::cluster::Cluster;
use crate::fetch;
use crate::interop::{Places, clients};

const PACKAGE: &str = "@confluentinc/kafka-javascript@1.10.1";

/// The Kafka version that the tests are told: what they ask for depends on it.
const KAFKA_VERSION: &str = "4.2.0.0";

const NODES: usize = 3;

/// Every node has a rack, named as the suite expects it, and consumers are sent to their own.
const RACKS: [&str; 2] = [
    "broker.rack=RACK{node}",
    "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector",
];

/// The longest that the tests of one number may take.
const LIMIT: Duration = Duration::from_secs(420);

/// A test that talks to brokers takes longer than this, in milliseconds.
const NOTHING_RAN: f64 = 5.0;

/// Patience with a slow machine.
const TIMEOUT_MULTIPLIER: u32 = 2;

/// The scenario of tests that name none.
const DEFAULT: &str = "default";

/// The scenario in which topics are not created by using them.
const NO_AUTO_CREATE: &str = "noautocreate";

/// Headers that the build wants, and the packages of the system that have them.
const HEADERS: [(&str, &str); 5] = [
    ("openssl/ssl.h", "libssl-dev"),
    ("zlib.h", "zlib1g-dev"),
    ("zstd.h", "libzstd-dev"),
    ("curl/curl.h", "libcurl4-openssl-dev"),
    ("rapidjson/schema.h", "rapidjson-dev"),
];

/// A test in which librdkafka itself goes wrong now and then with KIP-848: when it is to unsubscribe
/// while a revocation is under way, it leaves the group, is told that it has left, and never joins
/// again. `docs/conformance.md` says how often.
const RACE: &str = "0045_subscribe_many_updates";

/// How often that test may be tried.
const RACE_TRIES: usize = 5;

/// The tests that subscribe, which are run with both group protocols.
const GROUPS: [&str; 43] = [
    "0018", "0019", "0020", "0022", "0026", "0029", "0030", "0033", "0040", "0042", "0045", "0049",
    "0050", "0052", "0056", "0060", "0064", "0069", "0076", "0077", "0081", "0082", "0083", "0084",
    "0089", "0090", "0091", "0093", "0094", "0099", "0101", "0102", "0107", "0109", "0113", "0118",
    "0119", "0122", "0125", "0130", "0132", "0137", "0140",
];

/// Tests of what brokers do not serve, by the beginning of their names: many would wait until they
/// time out.
const NOT_SERVED: [(&str, &str); 6] = [
    ("0098_", "transactions are not served"),
    ("0103_", "transactions are not served"),
    ("0129_", "transactions are not served"),
    ("017", "share groups are not served"),
    ("018", "share groups are not served"),
    ("0190_", "share groups are not served"),
];

pub struct Librdkafka {
    /// Whether groups follow KIP-848.
    pub consumer_protocol: bool,
}

/// A test that is many tests, of which each is run and told alone: what is not served of one must
/// not hide the others.
const IN_PARTS: &str = "0081";
const PARTS: [&str; 23] = [
    "do_test_AlterConfigs",
    "do_test_AlterConsumerGroupOffsets",
    "do_test_CreateAcls",
    "do_test_CreatePartitions",
    "do_test_CreateTopics",
    "do_test_DeleteAcls",
    "do_test_DeleteConsumerGroupOffsets",
    "do_test_DeleteGroups",
    "do_test_DeleteRecords",
    "do_test_DeleteTopics",
    "do_test_DescribeAcls",
    "do_test_DescribeCluster",
    "do_test_DescribeConfigs",
    "do_test_DescribeConfigs_groups",
    "do_test_DescribeConsumerGroups",
    "do_test_DescribeConsumerGroups_with_authorized_ops",
    "do_test_DescribeTopics",
    "do_test_IncrementalAlterConfigs",
    "do_test_ListConsumerGroupOffsets",
    "do_test_ListConsumerGroups",
    "do_test_ListOffsets",
    "do_test_UserScramCredentials",
    "do_test_unclean_destroy",
];

/// A test as the suite declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Test {
    name: String,
    flags: String,
    scenario: String,
}

/// How tests are started.
#[derive(Clone, Copy)]
struct Mode<'a> {
    scenario: &'a str,
    /// Leave out what takes long.
    quick: bool,
    /// Only this part.
    part: Option<&'a str>,
}

impl Suite for Librdkafka {
    fn name(&self) -> &'static str {
        if self.consumer_protocol { "librdkafka-consumer" } else { "librdkafka" }
    }

    fn install(&self, places: &Places) -> Result<()> {
        let home = places.work.join("librdkafka");
        clients::unless_installed(&home, PACKAGE, || {
            clients::need(places, "npm", &["nodejs", "npm"])?;
            clients::need(places, "make", &["build-essential"])?;
            let missing = HEADERS.iter().filter(|(header, _)| !has_header(header));
            let missing: Vec<_> = missing.map(|(_, package)| *package).collect();
            if !missing.is_empty() {
                clients::apt_install(places, &missing)?;
            }
            let download = home.join("download");
            if download.exists() {
                std::fs::remove_dir_all(&download)?;
            }
            std::fs::create_dir_all(&download)?;
            let mut pack = clients::command_line("npm", &["pack", "--silent", PACKAGE]);
            clients::run(places, "npm", pack.current_dir(&download))?;
            let archive = fetch::file_with_ending(&download, ".tgz")?;
            fetch::unpack(&archive, &home.join("package"))?;
            build(places)
        })?;
        Ok(())
    }

    fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        let tests = declared(stage.places)?;
        ensure!(!tests.is_empty(), "no tests found in the sources");
        let wanted: Vec<_> = tests
            .into_iter()
            .filter(|test| test.is_about_brokers() && stage.wants(&test.name))
            .filter(|test| !self.consumer_protocol || GROUPS.contains(&test.number()))
            .collect();
        for (scenario, settings) in [
            (DEFAULT, "auto.create.topics.enable=true"),
            (NO_AUTO_CREATE, "auto.create.topics.enable=false"),
        ] {
            let mut numbers: BTreeMap<&str, Vec<&Test>> = BTreeMap::new();
            for test in wanted.iter().filter(|test| test.scenario.contains(scenario)) {
                if let Some(reason) = test.not_served() {
                    stage.tell(&test.name, Verdict::Skipped(reason.to_owned()), 0.0);
                    continue;
                }
                numbers.entry(test.number()).or_default().push(test);
            }
            if numbers.is_empty() {
                continue;
            }
            let settings = [&RACKS[..], &[settings, "num.partitions=4"]].concat();
            let cluster = stage.cluster(NODES, &settings)?;
            for (number, tests) in numbers {
                self.run_number(stage, &cluster, number, (scenario, &tests))?;
            }
            stage.end(cluster);
        }
        Ok(())
    }
}

impl Librdkafka {
    fn run_number(
        &self,
        stage: &mut Stage<'_>,
        cluster: &Cluster,
        number: &str,
        (scenario, tests): (&str, &[&Test]),
    ) -> Result<()> {
        if number == IN_PARTS {
            return self.run_parts(stage, cluster, tests);
        }
        let started = Instant::now();
        let mode = Mode { scenario, quick: true, part: None };
        let (mut reader, mut ended) = self.start(stage, cluster, number, mode)?;
        if tests.iter().any(|test| reader.left_out(&test.name)) {
            // Quick mode has left out all of it: that it passes says nothing.
            let mode = Mode { quick: false, ..mode };
            (reader, ended) = self.start(stage, cluster, number, mode)?;
        }
        let took = started.elapsed().as_secs_f64() / tests.len() as f64;
        for test in tests {
            let verdict = match reader.verdict(&test.name, ended) {
                Verdict::Failed(reason) if self.consumer_protocol && test.name == RACE => {
                    println!("        {}: {reason}; again", test.name);
                    self.try_again(stage, cluster, test, mode)?
                }
                verdict => verdict,
            };
            stage.tell(&test.name, verdict, took);
        }
        Ok(())
    }

    /// Runs the number of a test that has failed once, until it passes or was tried often enough.
    fn try_again(
        &self,
        stage: &Stage<'_>,
        cluster: &Cluster,
        test: &Test,
        mode: Mode<'_>,
    ) -> Result<Verdict> {
        let mut verdict = Verdict::Failed("not tried again".to_owned());
        for _ in 1..RACE_TRIES {
            let mode = Mode { quick: false, ..mode };
            let (reader, ended) = self.start(stage, cluster, test.number(), mode)?;
            verdict = reader.verdict(&test.name, ended);
            if verdict == Verdict::Passed {
                break;
            }
        }
        Ok(verdict)
    }

    fn run_parts(&self, stage: &mut Stage<'_>, cluster: &Cluster, tests: &[&Test]) -> Result<()> {
        for part in PARTS {
            let started = Instant::now();
            let mode = Mode { scenario: DEFAULT, quick: true, part: Some(part) };
            let (reader, ended) = self.start(stage, cluster, IN_PARTS, mode)?;
            for test in tests {
                let verdict = match reader.verdict(&test.name, ended) {
                    Verdict::Passed if reader.parts == 0 => {
                        Verdict::Skipped("the suite leaves it out".to_owned())
                    }
                    verdict => verdict,
                };
                let name = format!("{}/{part}", test.name);
                stage.tell(&name, verdict, started.elapsed().as_secs_f64());
            }
        }
        Ok(())
    }

    fn start(
        &self,
        stage: &Stage<'_>,
        cluster: &Cluster,
        number: &str,
        Mode { scenario, quick, part }: Mode<'_>,
    ) -> Result<(Reader, process::Ended)> {
        let directory = sources(stage.places).join("tests");
        let configuration = directory.join(format!("{}.conf", self.name()));
        let lines = format!(
            "metadata.broker.list={}\ntest.timeout.multiplier={TIMEOUT_MULTIPLIER}\n",
            cluster.bootstrap()
        );
        std::fs::write(&configuration, lines)?;
        let mut command = Command::new("./test-runner");
        command
            .args(["-p1", "-L", "-s", scenario])
            .args(quick.then_some("-Q"))
            .current_dir(&directory)
            .env("TESTS", number)
            .env("RDKAFKA_TEST_CONF", &configuration)
            .env("LD_LIBRARY_PATH", "../src:../src-cpp")
            .env("TEST_KAFKA_VERSION", KAFKA_VERSION)
            .env("BROKERS", cluster.bootstrap())
            .env("KAFKA_PATH", stage.kafka_programs()?);
        if self.consumer_protocol {
            command.env("TEST_CONSUMER_GROUP_PROTOCOL", "consumer");
        }
        let mut reader = Reader::default();
        if let Some(part) = part {
            // Parts are known by their name and a number after a colon.
            command.env("SUBTESTS", format!("{part}:"));
        }
        let log = stage.log(&format!("{number}-{}", part.unwrap_or(scenario)));
        let ended = process::run(&mut command, &log, LIMIT, |line| reader.read(line))?;
        Ok((reader, ended))
    }
}

fn sources(places: &Places) -> PathBuf {
    places.work.join("librdkafka/package/deps/librdkafka")
}

fn has_header(header: &str) -> bool {
    let roots = ["/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu"];
    roots.iter().any(|root| Path::new(root).join(header).is_file())
}

fn build(places: &Places) -> Result<()> {
    // The package has lost the permissions of its scripts.
    let scripts = "chmod +x configure mklove/* lds-gen.py tests/*.sh";
    // One file at a time: this is often a small machine.
    let steps: [(&str, &[&str]); 4] = [
        ("sh", &["-c", scripts]),
        ("./configure", &["--disable-gssapi"]),
        ("make", &["-j1", "libs"]),
        ("make", &["-C", "tests", "-j1", "build"]),
    ];
    for (program, arguments) in steps {
        let mut step = clients::command_line(program, arguments);
        clients::run(places, "librdkafka", step.current_dir(sources(places)))?;
    }
    Ok(())
}

/// The tests that the suite's table declares.
fn declared(places: &Places) -> Result<Vec<Test>> {
    let path = sources(places).join("tests/test.c");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Vec<Test> {
    let table = text.split_once("struct test tests[] = {").map_or("", |(_, rest)| rest);
    let table = table.split_once("};").map_or("", |(table, _)| table);
    let entries = table.split("_TEST(").skip(1);
    let test = |entry: &str| {
        let mut words = entry.splitn(3, [',', ')']);
        let name = words.next().unwrap_or_default().trim().to_owned();
        let flags = words.next().unwrap_or_default().trim().to_owned();
        let scenario =
            entry.split_once(".scenario = \"").and_then(|(_, rest)| rest.split('"').next());
        Test { name, flags, scenario: scenario.unwrap_or(DEFAULT).to_owned() }
    };
    entries.map(test).collect()
}

impl Test {
    fn number(&self) -> &str {
        self.name.get(..4).unwrap_or(&self.name)
    }

    /// What it is about that is not served.
    fn not_served(&self) -> Option<&'static str> {
        let of = |(beginning, _): &&(&str, _)| self.name.starts_with(*beginning);
        NOT_SERVED.iter().find(of).map(|(_, reason)| *reason)
    }

    /// Neither against a mock cluster, nor for hands, nor with an issue of the suite's own.
    fn is_about_brokers(&self) -> bool {
        let left_out = ["TEST_F_LOCAL", "TEST_F_MANUAL"];
        let known_issue = self.flags.split('|').any(|flag| flag.trim() == "TEST_F_KNOWN_ISSUE");
        !known_issue
            && !left_out.iter().any(|flag| self.flags.contains(flag))
            && !self.name.ends_with("_mock")
    }
}

/// Reads what the tests of one process print.
#[derive(Default)]
struct Reader {
    verdicts: BTreeMap<String, Verdict>,
    /// How many parts of tests passed.
    parts: usize,
    /// How long each test took, in milliseconds.
    took: BTreeMap<String, f64>,
    /// The test whose failure the next line explains.
    explained_next: Option<String>,
}

impl Reader {
    fn read(&mut self, line: &str) {
        let line = without_colours(line);
        let line = line.as_str();
        if let Some(test) = self.explained_next.take() {
            let reason = line.trim().to_owned();
            // The first failure is the cause; that of the process comes last.
            self.verdicts.entry(test).or_insert(Verdict::Failed(reason));
        }
        if let Some((before, duration)) = line.split_once(": duration ")
            && let Some(Ok(took)) = duration.trim().strip_suffix("ms").map(str::parse)
        {
            let test = before.rsplit(' ').next().unwrap_or_default();
            self.took.insert(test.to_owned(), took);
        }
        if line.contains(": PASS (") {
            self.parts += 1;
        }
        if let Some((_, rest)) = line.split_once("### Test \"")
            && line.contains(" failed at ")
        {
            let name = rest.split([' ', '"']).next().unwrap_or_default();
            self.explained_next = Some(name.to_owned());
        }
        let of_test =
            line.trim_start().strip_prefix('[').and_then(|rest| rest.split(['/', ' ']).next());
        if let Some(test) = of_test
            && let Some((_, reason)) = line.split_once("SKIPPING TEST: ")
        {
            let verdict = Verdict::Skipped(reason.trim().to_owned());
            self.verdicts.entry(test.to_owned()).or_insert(verdict);
        }
        if let Some((_, rest)) = line.split_once("================= Test ") {
            let mut words = rest.split_whitespace();
            let (test, how) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let verdict = match how {
                "PASSED" => Verdict::Passed,
                "SKIPPED" => Verdict::Skipped("no reason given".to_owned()),
                "FAILED" => Verdict::Failed("no reason given".to_owned()),
                _ => return,
            };
            self.verdicts.entry(test.to_owned()).or_insert(verdict);
        }
    }

    /// Whether quick mode left all of a test out, which then passes or says so.
    fn left_out(&self, test: &str) -> bool {
        match self.verdicts.get(test) {
            Some(Verdict::Passed) => self.took.get(test).is_some_and(|took| *took < NOTHING_RAN),
            Some(Verdict::Skipped(reason)) => reason.contains("quick mode"),
            _ => false,
        }
    }

    /// How a test ended, when its process ended like this.
    fn verdict(&self, test: &str, ended: process::Ended) -> Verdict {
        match (self.verdicts.get(test), ended) {
            (Some(verdict), _) => verdict.clone(),
            (None, process::Ended::Killed(after)) => {
                Verdict::Failed(format!("not done within {} s; killed", after.as_secs()))
            }
            (None, process::Ended::With(status)) => {
                Verdict::Failed(format!("never ended; the process ended with {status}"))
            }
        }
    }
}

/// Takes the escape sequences of terminals out: each ends at its letter.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic());
        plain.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    #[test]
    fn the_table_of_tests_is_understood() {
        let text = "struct test tests[] = {\n {.name = \"<MAIN>\"},\n\
             _TEST(0000_unittests, TEST_F_LOCAL, _THRES(.ucpu = 100.0)),\n _TEST(0001_multiobj, 0),\n\
             _TEST(0028_long, TEST_F_KNOWN_ISSUE, .extra = \"x\"),\n\
             _TEST(0055_latency, TEST_F_KNOWN_ISSUE_WIN32),\n\
             _TEST(0107_topic,\n 0,\n V,\n .scenario = \"noautocreate\"),\n {NULL}};\n";
        let tests = parse(text);
        let asked: Vec<_> = tests.iter().filter(|test| test.is_about_brokers()).collect();
        let names: Vec<_> = asked.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["0001_multiobj", "0055_latency", "0107_topic"]);
        assert_eq!((asked[0].number(), asked[0].scenario.as_str()), ("0001", DEFAULT));
        assert_eq!(asked[2].scenario, NO_AUTO_CREATE);
    }

    #[test]
    fn the_output_of_a_run_is_understood() {
        let mut reader = Reader::default();
        for line in [
            "[0001_multiobj               /  1.2s] 0001_multiobj: duration 1200.071ms",
            "[0001_multiobj               /  1.2s] ================= Test 0001_multiobj PASSED =====",
            "[0018_cgrp_term              /  0.0s] 0018_cgrp_term: duration 0.016ms",
            "[0018_cgrp_term              /  0.0s] ================= Test 0018_cgrp_term PASSED =====",
            "\u{1b}[0m\u{1b}[33m[0016_client_swname          /  0.1s] WARN: SKIPPING TEST: no JMX",
            "[0016_client_swname          /  0.1s] ================= Test 0016_client_swname SKIPPED ==",
            "[0045_subscribe              /  0.1s] \u{1b}[35m[ part:12 ]",
            "[0045_subscribe              /  0.2s] \u{1b}[32m[ part:12: PASS (0.10s) ]",
            "[0045_subscribe              /  0.2s] \u{1b}[33m[ other:34: SKIP: no SASL ]",
            "### Test \"0045_subscribe (part)\" failed at a.c:1:f() at now: ###",
            "too slow",
            "### Test \"0045_subscribe\" failed at a.c:2:g() at now: ###",
            "1 test failed",
        ] {
            reader.read(line);
        }
        assert!(reader.left_out("0018_cgrp_term") && !reader.left_out("0001_multiobj"));
        assert_eq!(reader.parts, 1);
        let ended = process::Ended::With(ExitStatus::from_raw(134));
        assert_eq!(reader.verdict("0001_multiobj", ended), Verdict::Passed);
        let skipped = Verdict::Skipped("no JMX".to_owned());
        assert_eq!(reader.verdict("0016_client_swname", ended), skipped);
        assert_eq!(reader.verdict("0045_subscribe", ended), Verdict::Failed("too slow".to_owned()));
        let Verdict::Failed(reason) = reader.verdict("0045_other", ended) else { panic!() };
        assert!(reason.starts_with("never ended"), "{reason}");
    }
}
