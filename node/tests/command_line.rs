//! The `highwater` binary as a user runs it: one broker, the client commands, exit codes.
#![expect(clippy::disallowed_methods, reason = "a test sets up real files")]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

/// A broker in a process of its own, killed when the test ends.
struct Broker {
    process: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Broker {
    fn start(data: &Path) -> Self {
        let mut process = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "none", "--log-format", "json"])
            .arg("--data")
            .arg(data)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped"));
        let address = loop {
            let mut line = String::new();
            let read = log.read_line(&mut line).expect("its log can be read");
            assert!(read > 0, "the broker ended before it was started");
            let event: Value = serde_json::from_str(&line).expect("every log line is JSON");
            if event["message"] == "broker started" {
                break event["address"].as_str().expect("it names its address").to_owned();
            }
        };
        Self { process, log, address }
    }

    fn client(&self, line: &str, input: &[u8]) -> Output {
        let arguments: Vec<_> = line.split_whitespace().collect();
        run(&[&arguments[..], &["--broker", &self.address]].concat(), input)
    }

    /// What a command prints; it must succeed.
    fn done(&self, line: &str, input: &[u8]) -> String {
        let output = self.client(line, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {error}");
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// Ends it with a signal and returns the rest of its log.
    fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        let id = Pid::from_child(&self.process);
        kill_process(id, signal).expect("it is running");
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("its log can be read");
        (self.process.wait().expect("it ends").code(), rest)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut process = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    // A command that reads no input may close it first.
    let _ = process.stdin.take().expect("it is piped").write_all(input);
    process.wait_with_output().expect("it ends")
}

fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the target directory is writable");
    path
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_session_of_a_newcomer() {
    let data = directory("newcomer").join("data");
    let broker = Broker::start(&data);
    let lines: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(broker.done("produce events", lines.as_bytes()), "20000 records acknowledged\n");
    assert!(broker.done("consume events", b"") == lines, "every line comes back, in order");
    assert_eq!(broker.done("consume events -f 19999", b""), "line 19999\n");
    assert_eq!(broker.done("consume events -f @0 -n 1", b""), "line 0\n");
    assert_eq!(broker.done("topic list", b""), "events\n");

    broker.done("topic create keyed -p 4 -c retention.ms=60000", b"");
    broker.done("produce keyed -K :", b"a:1\nb:2\na:3\n");
    let mut consumed: Vec<_> =
        broker.done("consume keyed -K :", b"").lines().map(str::to_owned).collect();
    consumed.sort();
    assert_eq!(consumed, ["a:1", "a:3", "b:2"]);
    let described = broker.done("topic describe keyed --output json", b"");
    let described: Value = serde_json::from_str(&described).expect("it is JSON");
    assert_eq!(described[0]["settings"]["retention.ms"], "60000");
    assert_eq!(described[0]["partitions"].as_array().map(Vec::len), Some(4));
    broker.done("topic alter keyed -p 5 --unset retention.ms", b"");
    let moved = broker.done("partition reassign keyed 0 --replicas 1 --throttle 1000000", b"");
    assert!(moved.starts_with("keyed-0 moves to [1] at 1000000 bytes per second\n"), "{moved}");
    let settings = |broker: &Broker| {
        let described = broker.done("topic describe keyed --output json", b"");
        let described: Value = serde_json::from_str(&described).expect("it is JSON");
        described[0]["settings"]["leader.replication.throttled.replicas"].clone()
    };
    assert_eq!(settings(&broker), "0:1");
    broker.done("partition unthrottle", b"");
    assert_eq!(settings(&broker), Value::Null);
    assert_eq!(broker.done("topic delete keyed", b""), "deleted keyed\n");

    for (line, expected) in [
        ("topic create events", "TOPIC_ALREADY_EXISTS (36)"),
        ("topic describe nowhere", "UNKNOWN_TOPIC_OR_PARTITION (3)"),
        ("consume nowhere", "UNKNOWN_TOPIC_OR_PARTITION (3)"),
        ("consume events -p 9", "topic `events` has no partition 9: it has 1"),
        ("topic alter events --set retention.mss=1", "did you mean \"retention.ms\"?"),
    ] {
        let output = broker.client(line, b"");
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(error_of(&output).contains(expected), "{line}: {}", error_of(&output));
    }

    let dump = run(&["log", "dump", &data.display().to_string(), "--records"], b"");
    let dump = String::from_utf8(dump.stdout).expect("it prints text");
    assert!(dump.contains("offsets 0..=") && dump.contains("value line 19999"), "{dump}");

    let (status, log) = broker.stop(Signal::TERM);
    assert_eq!(status, Some(0));
    assert!(log.contains("shut down cleanly"), "{log}");
}

#[test]
fn acknowledged_lines_survive_a_kill() {
    let data = directory("killed").join("data");
    let broker = Broker::start(&data);
    broker.done("produce events", b"one\ntwo\n");
    broker.stop(Signal::KILL);
    let broker = Broker::start(&data);
    assert_eq!(broker.done("consume events", b""), "one\ntwo\n");
}

#[test]
fn groups_are_listed_reset_and_deleted_and_survive_a_kill() {
    let data = directory("groups").join("data");
    let broker = Broker::start(&data);
    broker.done("produce events", b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    let json = |broker: &Broker, line: &str| -> Value {
        let printed = broker.done(&format!("{line} --output json"), b"");
        serde_json::from_str(&printed).expect("it is JSON")
    };
    assert_eq!(json(&broker, "group list"), serde_json::json!([]));
    let missing = broker.client("group offsets readers", b"");
    assert_eq!(missing.status.code(), Some(1));
    assert!(error_of(&missing).contains("GROUP_ID_NOT_FOUND"), "{}", error_of(&missing));

    // A group may get its first offsets here.
    broker.done("group reset readers --topic events --to-offset 4", b"");
    let listed = json(&broker, "group list");
    assert_eq!((&listed[0]["group"], &listed[0]["state"]), (&"readers".into(), &"Empty".into()));
    broker.stop(Signal::KILL);

    let broker = Broker::start(&data);
    let offsets = json(&broker, "group offsets readers");
    let shown = ["committed", "end", "lag"].map(|field| offsets[0][field].as_i64());
    assert_eq!(shown, [Some(4), Some(10), Some(6)]);
    let planned = json(&broker, "group reset readers --shift-by -3 --dry-run");
    assert_eq!((&planned["committed"], &planned["offsets"][0]["to"]), (&false.into(), &1.into()));
    assert_eq!(json(&broker, "group offsets readers")[0]["committed"], 4, "nothing was changed");
    let reset = broker.client("group reset readers --to-latest", b"");
    assert!(error_of(&reset).contains("6 records are skipped"), "{}", error_of(&reset));
    assert_eq!(json(&broker, "group offsets readers")[0]["committed"], 10);
    let described = json(&broker, "group describe");
    assert_eq!(described[0]["offsets"][0]["lag"], 0);
    let export = "group reset readers --by-duration P1D --topic events:0 --export --dry-run";
    assert_eq!(broker.done(export, b""), "events,0,0\n");
    let file = data.with_file_name("offsets.csv");
    fs::write(&file, "events,0,7\n").expect("it is writable");
    let from_file = format!("group reset readers --from-file {}", file.display());
    assert_eq!(broker.done(&from_file, b""), "events-0  10 is 7\n");
    assert_eq!(json(&broker, "group reset readers --to-current")["offsets"][0]["to"], 7);
    let forgotten = broker.done("group delete-offsets readers --topic events:0", b"");
    assert_eq!(forgotten, "deleted events-0\n");
    let left = broker.client("group offsets readers", b"");
    assert!(error_of(&left).contains("GROUP_ID_NOT_FOUND"), "it had nothing else");
    broker.done("group reset readers --topic events --to-latest", b"");
    assert_eq!(broker.done("group delete readers", b""), "deleted readers\n");
    assert_eq!(json(&broker, "group list"), serde_json::json!([]));
}

#[test]
fn a_member_of_a_group_goes_on_where_the_one_before_it_was() {
    let data = directory("member").join("data");
    let broker = Broker::start(&data);
    broker.done("topic create events -p 3", b"");
    let read = |broker: &Broker| {
        let printed = broker.done("consume events --group readers", b"");
        let mut lines: Vec<_> = printed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    broker.done("produce events -K :", b"a:1\nb:2\nc:3\nd:4\n");
    assert_eq!(read(&broker), ["1", "2", "3", "4"]);
    broker.done("produce events -K :", b"a:5\nb:6\n");
    assert_eq!(read(&broker), ["5", "6"]);
    assert!(read(&broker).is_empty());
}

#[test]
fn what_a_member_did_not_print_is_left_for_the_next_one() {
    let data = directory("counted").join("data");
    let broker = Broker::start(&data);
    broker.done("topic create events", b"");
    // One batch: the first member gets all of it and prints a part.
    broker.done("produce events", b"1\n2\n3\n4\n");
    assert_eq!(broker.done("consume events --group readers -n 1", b""), "1\n");
    assert_eq!(broker.done("consume events --group readers -n 2", b""), "2\n3\n");
    assert_eq!(broker.done("consume events --group readers", b""), "4\n");
}

#[test]
fn a_second_broker_on_the_same_data_is_refused() {
    let data = directory("locked").join("data");
    let _first = Broker::start(&data);
    let data = data.display().to_string();
    let second =
        run(&["serve", "--listen", "127.0.0.1:0", "--admin", "none", "--data", &data], b"");
    assert_eq!(second.status.code(), Some(1));
    assert!(error_of(&second).contains("in use by another broker"), "{}", error_of(&second));
}

/// A process that is killed when the test ends.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status and the text that the admin listener answers with; `None` while nobody listens.
fn probe(admin: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[test]
fn a_node_that_waits_for_its_quorum_is_alive_and_not_ready() {
    let directory = directory("probed");
    // An address that no other test listens on: a port that was free stays so.
    let bound = [(); 4].map(|()| TcpListener::bind("127.77.0.1:0").expect("a port is free"));
    let [first, second, third, admin] =
        bound.map(|bound| bound.local_addr().expect("it is bound").to_string());
    let file = directory.join("highwater.toml");
    let lines = [
        "node.id = 1\ncluster.id = \"probed\"".to_owned(),
        format!("listeners = \"PLAINTEXT://127.0.0.1:0,CONTROLLER://{first}\""),
        format!("controller.quorum.voters = \"1@{first},2@{second},3@{third}\""),
        format!("admin.listen = \"{admin}\""),
        format!("log.dirs = \"{}\"", directory.join("data").display()),
    ];
    fs::write(&file, lines.join("\n")).expect("it is writable");
    let mut node = Node(
        Command::new(BINARY)
            .args(["serve", "--config"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary is built"),
    );
    let tries = (0..1_500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        assert!(node.0.try_wait().expect("it is a child").is_none(), "it ended");
        probe(&admin, "/healthz")
    });
    let alive = tries.expect("a probe is answered within half a minute");
    let starting = || Some((503, "starting\n".to_owned()));
    let told =
        [probe(&admin, "/readyz"), probe(&admin, "/metrics"), probe(&admin, "/metrics/offsets")];
    kill_process(Pid::from_child(&node.0), Signal::TERM).expect("it is running");
    let code = node.0.wait().expect("it ends").code();
    assert_eq!(alive, (200, "alive\n".to_owned()));
    assert_eq!(told, [starting(), starting(), starting()]);
    assert_eq!(code, Some(0), "stopping is safe then");
}

#[test]
fn a_wrong_configuration_is_explained_line_by_line() {
    let directory = directory("configuration");
    let file = directory.join("broker.toml");
    fs::write(&file, "node.idd = 1\nlog.retention.ms = \"soon\"\n").expect("it is writable");
    let name = file.display().to_string();
    let refused = run(&["check-config", &name], b"");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        error_of(&refused),
        format!(
            "highwater: {name}:1: unknown key `node.idd`; did you mean `node.id`?\n\
             highwater: {name}:2: `log.retention.ms` is \"soon\", expected -1 (unlimited) or an \
             integer of at least 0\n"
        )
    );
    let refused = run(&["check-config", &name, "--output", "json"], b"");
    let errors: Value = serde_json::from_slice(&refused.stdout).expect("it is JSON");
    assert_eq!(errors["errors"][0]["origin"], format!("{name}:1"));

    fs::write(&file, "node.id = 9\n").expect("it is writable");
    let taken = run(&["check-config", &name], b"");
    assert_eq!(taken.status.code(), Some(0));
    let printed = String::from_utf8_lossy(&taken.stdout).into_owned();
    assert!(printed.starts_with(&format!("* node.id = 9    ({name}:1)\n")), "{printed}");

    let wildcard = run(&["serve", "--listen", "0.0.0.0:9092"], b"");
    assert_eq!(wildcard.status.code(), Some(2));
    assert!(error_of(&wildcard).contains("--advertise"), "{}", error_of(&wildcard));
    assert_eq!(run(&["serve", "--colour"], b"").status.code(), Some(2));
    assert_eq!(run(&["topic", "list", "--broker", "127.0.0.1:1"], b"").status.code(), Some(1));
}
