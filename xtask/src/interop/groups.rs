//! Consumer groups: every client that has them joins, shares, commits, leaves and resumes, while
//! the broker is killed and started again under it. Then Kafka's own program for groups looks at
//! what they left, and changes it.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::broker::Broker;
use super::clients::{self, Client};
use super::program::Program;
use super::{Places, Report};

/// The name of these tests on the command line and in the report.
pub const NAME: &str = "groups";

/// The class behind Kafka's `kafka-consumer-groups.sh`.
const GROUP_COMMAND: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// The partitions of the programs' topics.
const PARTITIONS: usize = 6;

/// A client's program: its name in the report, the client, and the group protocol if it has both.
/// With the classic one krafka's members do not rejoin, against Apache Kafka 4.3.1 neither.
const PROGRAMS: [(&str, Client, Option<&str>); 9] = [
    ("kcat", Client::Kcat, None),
    ("confluent-kafka", Client::ConfluentKafka, Some("classic")),
    ("confluent-kafka", Client::ConfluentKafka, Some("consumer")),
    ("kafka-python", Client::KafkaPython, None),
    ("aiokafka", Client::Aiokafka, None),
    ("kafkajs", Client::Kafkajs, None),
    ("krafka", Client::Krafka, Some("consumer")),
    ("java", Client::Java, Some("classic")),
    ("java", Client::Java, Some("consumer")),
];

/// Runs them all; `has` tells which clients can be used.
pub fn run(places: &Places, binary: &Path, has: &dyn Fn(Client) -> bool, report: &mut Report) {
    let started = Instant::now();
    let mut broker = match Broker::start(places, binary, NAME) {
        Ok(broker) => broker,
        Err(error) => return report.result(NAME, "start", started.elapsed(), Err(error)),
    };
    // kcat makes no topics of several partitions.
    let topic = create_topic(binary, &broker.address(), "groups-kcat");
    report.result(NAME, "topic-for-kcat", started.elapsed(), topic);
    for (name, client, protocol) in PROGRAMS.into_iter().filter(|(_, client, _)| has(*client)) {
        let label = match protocol {
            Some(protocol) => format!("{name}/{protocol}"),
            None => name.to_owned(),
        };
        let topic = format!("groups-{}", label.replace('/', "-"));
        match command(places, client, protocol, (&broker.address(), &topic)) {
            Ok(command) => under_a_kill(places, &label, command, &mut broker, report),
            Err(error) => report.result(&label, "start", started.elapsed(), Err(error)),
        }
    }
    if has(Client::Java) {
        kafka_consumer_groups(places, &broker.address(), report);
    }
    let started = Instant::now();
    report.result(NAME, "stop-after-the-groups", started.elapsed(), broker.terminate());
}

fn create_topic(binary: &Path, address: &str, name: &str) -> Result<String> {
    let partitions = PARTITIONS.to_string();
    let status = Command::new(binary)
        .args(["topic", "create", name, "--partitions", &partitions, "--broker", address])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot start the command line")?;
    ensure!(status.success(), "it ended with {status}");
    Ok(format!("{PARTITIONS} partitions"))
}

fn command(
    places: &Places,
    client: Client,
    protocol: Option<&str>,
    (address, topic): (&str, &str),
) -> Result<Command> {
    let sources = places.sources();
    let mut command = match client {
        Client::Kcat => {
            let mut command = Command::new("sh");
            command.arg(sources.join("shell/kcat_groups.sh"));
            command
        }
        Client::ConfluentKafka => clients::python(places, "confluent_groups.py"),
        Client::KafkaPython => clients::python(places, "kafka_python_groups.py"),
        Client::Aiokafka => clients::python(places, "aiokafka_groups.py"),
        Client::Kafkajs => clients::node(places, "kafkajs_groups.js"),
        Client::Rskafka | Client::Krafka => {
            let mut command = Command::new(places.work.join("rust/debug/highwater-interop"));
            command.arg("krafka-groups");
            command
        }
        Client::Java => clients::java(places, "GroupsClient"),
    };
    command.args([address, topic]).args(protocol);
    if client == Client::Kcat {
        command.arg(places.fresh("kcat-groups")?);
    }
    Ok(command)
}

/// Runs a program that says when the broker is to be killed and started again. The file that
/// `BROKER_IS_BACK` names tells it that the broker is ready.
fn under_a_kill(
    places: &Places,
    label: &str,
    mut command: Command,
    broker: &mut Broker,
    report: &mut Report,
) {
    let started = Instant::now();
    let back = match places.fresh("groups-back") {
        Ok(directory) => directory.join("broker-is-back"),
        Err(error) => return report.result(label, "start", started.elapsed(), Err(error)),
    };
    command.env("BROKER_IS_BACK", &back);
    let mut kills = Ok(0);
    let log = format!("groups-{}", label.replace('/', "-"));
    Program::new(label, command, places)
        .log(&log)
        .on_line(|line| {
            if line.starts_with("kill-now")
                && let Ok(count) = &mut kills
            {
                *count += 1;
                let restarted = broker.kill().and_then(|()| broker.restart());
                let told = restarted.and_then(|_| {
                    File::create(&back).context("cannot tell that the broker is back")
                });
                if let Err(error) = told {
                    kills = Err(error);
                }
            }
        })
        .run(report);
    let killed = kills.and_then(|count| {
        ensure!(count == 1, "{count} kills took place");
        Ok("1 kill".to_owned())
    });
    report.result(label, "group-kill-9", started.elapsed(), killed);
}

/// `kafka-consumer-groups.sh`: lists, describes, resets and deletes a group of its own.
fn kafka_consumer_groups(places: &Places, address: &str, report: &mut Report) {
    let (topic, group) = ("groups-java-classic", "readers-classic");
    let mut step = |name: &str, work: &dyn Fn() -> Result<String>| {
        let started = Instant::now();
        let result = work();
        report.result("consumer-groups", name, started.elapsed(), result);
    };
    let tool = |arguments: &[&str]| group_command(places, address, arguments);
    step("list", &|| {
        let listed = tool(&["--list"])?;
        ensure!(listed.lines().any(|line| line.trim() == group), "no {group} in: {listed}");
        Ok(format!("{} groups", listed.lines().count()))
    });
    step("describe-state", &|| {
        let described = tool(&["--describe", "--state", "--group", group])?;
        ensure!(described.contains("Empty"), "not Empty: {described}");
        Ok(String::new())
    });
    step("describe-offsets", &|| {
        let lags = lags(&tool(&["--describe", "--group", group])?, topic)?;
        ensure!(lags == [0; PARTITIONS], "lags are {lags:?}");
        Ok(format!("{PARTITIONS} partitions without lag"))
    });
    step("reset-offsets", &|| {
        tool(&[
            "--reset-offsets",
            "--group",
            group,
            "--topic",
            topic,
            "--to-earliest",
            "--execute",
        ])?;
        let lags = lags(&tool(&["--describe", "--group", group])?, topic)?;
        ensure!(lags.len() == PARTITIONS && lags.iter().all(|lag| *lag > 0), "lags are {lags:?}");
        Ok(format!("lag {} in all", lags.iter().sum::<u64>()))
    });
    step("delete-offsets", &|| {
        tool(&["--delete-offsets", "--group", group, "--topic", &format!("{topic}:0")])?;
        let left = lags(&tool(&["--describe", "--group", group])?, topic)?;
        ensure!(left.len() == PARTITIONS - 1, "{} partitions have offsets", left.len());
        Ok(String::new())
    });
    step("delete", &|| {
        tool(&["--delete", "--group", group])?;
        let listed = tool(&["--list"])?;
        ensure!(!listed.lines().any(|line| line.trim() == group), "{group} is still listed");
        Ok(String::new())
    });
}

fn group_command(places: &Places, address: &str, arguments: &[&str]) -> Result<String> {
    let output = clients::java(places, GROUP_COMMAND)
        .args(["--bootstrap-server", address, "--timeout", "20000"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot start java")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    ensure!(output.status.success(), "it ended with {}: {} {last}", output.status, text.trim());
    ensure!(!text.contains("Error:"), "{}", text.trim());
    Ok(text)
}

/// The column LAG of what `--describe` prints of a topic's partitions, those without an offset left
/// out.
fn lags(described: &str, topic: &str) -> Result<Vec<u64>> {
    let mut rows = described.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = rows.find(|row| row.contains(&"LAG")).context("no table of offsets")?;
    let column = |name| head.iter().position(|title| *title == name).context("no such column");
    let (of_topic, lag) = (column("TOPIC")?, column("LAG")?);
    let mine = rows.filter(|row| row.get(of_topic) == Some(&topic));
    Ok(mine.filter_map(|row| row.get(lag)?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lags_are_read_from_the_column_of_that_name() {
        let described = "\nConsumer group 'g' has no active members.\n\n\
            GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID\n\
            g     t     0         20             32             12  -           -    -\n\
            g     t     1         -              32             -   -           -    -\n\
            g     other 0         20             21             1   -           -    -\n";
        assert_eq!(lags(described, "t").unwrap(), [12]);
        assert!(lags("Error: no such group", "t").is_err());
    }
}
