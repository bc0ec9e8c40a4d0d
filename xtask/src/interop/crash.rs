//! A file through kcat, brokers killed while records arrive, clean stops, a second broker.
//!
//! These tests own their broker, because they end it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::broker::Broker;
use super::clients::{self, Client};
use super::program::Program;
use super::{Places, Report};

/// The name of these tests on the command line and in the report.
pub const NAME: &str = "crash";

/// How many lines the file has.
const LINES: usize = 100_000;

/// How many lines kcat is given at once while brokers are killed.
const CHUNK_LINES: usize = 1_000;

/// The pause between two chunks: kcat is then still producing when the broker dies.
const CHUNK_PAUSE: Duration = Duration::from_millis(15);

/// After which chunks the broker is killed, and how many more chunks it stays away.
const KILLS_AFTER: [usize; 5] = [10, 25, 40, 60, 80];
const CHUNKS_AWAY: usize = 5;

/// The longest kcat may take to deliver or to read the whole file.
const KCAT_LIMIT: Duration = Duration::from_secs(90);

/// How many times the broker dies under the idempotent producer, and its records.
const PRODUCER_KILLS: usize = 6;
const PRODUCER_RECORDS: usize = 180_000;

/// Runs them all; `has` tells which clients can be used.
pub fn run(places: &Places, binary: &Path, has: &dyn Fn(Client) -> bool, report: &mut Report) {
    if has(Client::Kcat) {
        step(report, "file-through-kcat", || {
            let broker = Broker::start(places, binary, "file")?;
            let file = lines_file(places)?;
            produce_file(&broker, &file)?;
            read_file_back(places, &broker, &file)
        });
        step(report, "kill-9-under-kcat", || kill_under_kcat(places, binary));
        stops(places, binary, report);
    }
    if has(Client::ConfluentKafka) {
        kill_under_producer(places, binary, report);
    }
}

fn step(report: &mut Report, name: &str, work: impl FnOnce() -> Result<String>) {
    let started = Instant::now();
    let result = work();
    report.result(NAME, name, started.elapsed(), result);
}

/// A file of the kind people pipe into kcat: log lines of different lengths, not all ASCII.
fn lines_file(places: &Places) -> Result<PathBuf> {
    let path = places.work.join("lines.txt");
    let mut text = String::new();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for line in 0..LINES {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (user, size) = ((state >> 33) % 5_000, (state >> 40) % 120);
        write!(text, "{line:06} user={user} path=/café/{:x} ", state >> 20)?;
        text.extend(std::iter::repeat_n('x', size as usize));
        text.push('\n');
    }
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn kcat(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    // -E: a broker that is away for a moment is no reason to give up.
    command.args(["-q", "-E", "-b", &broker.address()]).args(arguments);
    command
}

fn produce_file(broker: &Broker, file: &Path) -> Result<()> {
    let mut command = kcat(broker, &["-P", "-t", "lines", "-p", "0", "-l"]);
    let child = command.arg(file).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    finish(child, "kcat -P")
}

fn read_file_back(places: &Places, broker: &Broker, file: &Path) -> Result<String> {
    let path = places.work.join("lines-read.txt");
    let output = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let arguments =
        ["-C", "-t", "lines", "-p", "0", "-o", "beginning", "-e", "-X", "check.crcs=true"];
    let started = Instant::now();
    let child = kcat(broker, &arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start kcat")?;
    finish(child, "kcat -C")?;
    let (wrote, read) = (std::fs::read(file)?, std::fs::read(&path)?);
    if wrote == read {
        let (lines, took) = (LINES, started.elapsed().as_millis());
        return Ok(format!("{lines} lines, {} bytes, read back in {took} ms", read.len()));
    }
    bail!("{}", first_difference(&wrote, &read))
}

/// Where two files part, by line.
fn first_difference(wrote: &[u8], read: &[u8]) -> String {
    let (mut left, mut right) = (wrote.split(|b| *b == b'\n'), read.split(|b| *b == b'\n'));
    let counts = format!(
        "{} lines read, {} produced",
        right.clone().count().saturating_sub(1),
        left.clone().count().saturating_sub(1)
    );
    for line in 1_usize.. {
        let (want, have) = (left.next(), right.next());
        if want != have {
            let text = |line: Option<&[u8]>| match line {
                Some(line) => String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned(),
                None => "the end".into(),
            };
            return format!("{counts}; line {line}: {:?} for {:?}", text(have), text(want));
        }
    }
    counts
}

/// Waits for a kcat that must end with success in time.
fn finish(mut child: Child, what: &str) -> Result<()> {
    let end = Instant::now() + KCAT_LIMIT;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > end => {
                child.kill()?;
                child.wait()?;
                bail!("{what} did not end within {} s", KCAT_LIMIT.as_secs());
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut words)?;
    }
    ensure!(status.success(), "{what} ended with {status}: {}", words.trim());
    Ok(())
}

/// The same file, idempotent, into a broker that dies again and again meanwhile.
fn kill_under_kcat(places: &Places, binary: &Path) -> Result<String> {
    let mut broker = Broker::start(places, binary, "kcat-kills")?;
    let file = lines_file(places)?;
    let text = std::fs::read(&file)?;
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    let settings = ["-P", "-t", "lines", "-p", "0", "-X", "enable.idempotence=true"];
    let mut child = kcat(&broker, &settings)
        .stdin(Stdio::piped())
        .stderr(File::create(places.log("kcat-kills"))?)
        .spawn()
        .context("cannot start kcat")?;
    let mut stdin = child.stdin.take().context("kcat has no stdin")?;
    let mut slowest_restart = Duration::ZERO;
    for (number, chunk) in lines.chunks(CHUNK_LINES).enumerate() {
        stdin.write_all(&chunk.concat()).context("kcat gave up")?;
        std::thread::sleep(CHUNK_PAUSE);
        if KILLS_AFTER.contains(&number) {
            broker.kill()?;
        }
        if number >= CHUNKS_AWAY && KILLS_AFTER.contains(&(number - CHUNKS_AWAY)) {
            slowest_restart = slowest_restart.max(broker.restart()?);
        }
    }
    drop(stdin);
    finish(child, "kcat -P")?;
    let note = read_file_back(places, &broker, &file)?;
    let kills = KILLS_AFTER.len();
    Ok(format!("{kills} kills, ready again within {} ms; {note}", slowest_restart.as_millis()))
}

/// SIGTERM under data and a restart; then a second broker on the same directory.
fn stops(places: &Places, binary: &Path, report: &mut Report) {
    let started = Instant::now();
    let mut broker = match Broker::start(places, binary, "stops") {
        Ok(broker) => broker,
        Err(error) => return report.result(NAME, "start", started.elapsed(), Err(error)),
    };
    step(report, "sigterm-and-restart", || {
        let file = lines_file(places)?;
        produce_file(&broker, &file)?;
        let stopped = broker.stop()?;
        let restarted = broker.restart()?.as_millis();
        let note = read_file_back(places, &broker, &file)?;
        Ok(format!("{stopped}, ready again in {restarted} ms; {note}"))
    });
    step(report, "second-broker-refused", || broker.start_second(places));
    step(report, "stop", || broker.terminate());
}

/// An idempotent producer that keeps every acknowledgement, into a broker that dies meanwhile;
/// the program then reads everything and compares.
fn kill_under_producer(places: &Places, binary: &Path, report: &mut Report) {
    let started = Instant::now();
    let mut broker = match Broker::start(places, binary, "producer-kills") {
        Ok(broker) => broker,
        Err(error) => return report.result(NAME, "start", started.elapsed(), Err(error)),
    };
    let mut command = clients::python(places, "crash_producer.py");
    command.args([broker.address(), "crash".into(), PRODUCER_RECORDS.to_string()]);
    command.arg(PRODUCER_KILLS.to_string());
    let mut kills = Ok(0);
    Program::new("crash-producer", command, places)
        .on_line(|line| {
            if line.starts_with("kill-now")
                && let Ok(done) = &mut kills
            {
                *done += 1;
                if let Err(error) = broker.kill().and_then(|()| broker.restart()) {
                    kills = Err(error);
                }
            }
        })
        .run(report);
    step(report, "kill-9-under-producer", || {
        let kills = kills?;
        ensure!(kills == PRODUCER_KILLS, "only {kills} kills took place");
        Ok(format!("{kills} kills"))
    });
}
