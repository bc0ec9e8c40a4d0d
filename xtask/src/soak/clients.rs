//! The clients' program, `soak_client.py`: asked by lines, answering by lines.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::outage::Gap;

/// Lines that wait between the program and the one who asks.
const LINES_AHEAD: usize = 65_536;

/// The longest that the creation of the topic or an answer to a question may take.
const CREATE_LIMIT: Duration = Duration::from_secs(90);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The longest that the end may take: delivering what waits and reading everything twice.
const FINISH_LIMIT: Duration = Duration::from_secs(720);

/// What clients are told of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The controller's node id.
    pub controller: i64,
    /// Each partition's leader, -1 for none.
    pub leaders: Vec<i64>,
    /// How many replicas of each partition are in sync.
    pub in_sync: Vec<usize>,
    /// How long the partition that acknowledged least recently has acknowledged nothing.
    pub silence: Duration,
}

/// How a check of the clients ended.
pub struct Check {
    pub name: String,
    pub passed: bool,
    pub note: String,
}

/// The running program; killed on drop.
pub struct Clients {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// When partitions acknowledged nothing, in the order in which they went on.
    pub gaps: Vec<Gap>,
}

impl Clients {
    /// Starts the program; it does nothing before [`Clients::create`].
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let stdin = child.stdin.take().context("the program has no stdin")?;
        let stdout = child.stdout.take().context("the program has no stdout")?;
        let (sender, lines) = sync_channel(LINES_AHEAD);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, stdin, lines, gaps: Vec::new() })
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Creates the topic and lets producers and the reader begin.
    pub fn create(&mut self, replicas: usize, min_insync: usize) -> Result<()> {
        self.ask(&format!("create {replicas} {min_insync}"))?;
        let answer = self.answer(CREATE_LIMIT, |line| {
            (line == "created" || line.starts_with("refused")).then(|| line.to_owned())
        })?;
        match answer.strip_prefix("refused") {
            None => Ok(()),
            Some(reason) => bail!("the topic cannot be created: {reason}"),
        }
    }

    /// What the cluster tells clients of itself; `None` when no broker answers.
    pub fn status(&mut self) -> Result<Option<Status>> {
        self.ask("status")?;
        self.answer(ANSWER_LIMIT, |line| line.strip_prefix("status ").map(parse_status))
    }

    /// Stops the producers and has everything read and judged.
    pub fn finish(&mut self, mut checked: impl FnMut(Check)) -> Result<()> {
        self.ask("finish")?;
        self.answer(FINISH_LIMIT, |line| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (name, note) = rest.split_once(' ').unwrap_or((rest, ""));
            if word == "ok" || word == "FAILED" {
                let (name, note) = (name.to_owned(), note.to_owned());
                checked(Check { name, passed: word == "ok", note });
            }
            (line == "finished").then_some(())
        })
    }

    /// Takes the lines that came by themselves.
    pub fn listen(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.gaps.extend(parse_gap(&line));
        }
    }

    fn ask(&mut self, question: &str) -> Result<()> {
        writeln!(self.stdin, "{question}").context("the clients have ended")
    }

    /// The first line that `wanted` takes; gaps before it are kept.
    fn answer<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match parse_gap(&line) {
                    Some(gap) => self.gaps.push(gap),
                    None => {
                        if let Some(answer) = wanted(&line) {
                            return Ok(answer);
                        }
                    }
                },
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the clients do not answer within {} s", limit.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the clients have ended"),
            }
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse_gap(line: &str) -> Option<Gap> {
    let mut numbers = line.strip_prefix("gap ")?.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(Gap { partition: next()? as usize, from_ms: next()?, until_ms: next()? })
}

fn parse_status(answer: &str) -> Option<Status> {
    let mut words = answer.split(' ');
    let controller = words.next()?.parse().ok()?;
    let leaders: Result<Vec<i64>, _> = words.next()?.split(',').map(str::parse).collect();
    let in_sync: Result<Vec<usize>, _> = words.next()?.split(',').map(str::parse).collect();
    let silence = Duration::from_millis(words.next()?.parse().ok()?);
    Some(Status { controller, leaders: leaders.ok()?, in_sync: in_sync.ok()?, silence })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_clients_are_understood() {
        let status = parse_status("2 1,3,-1 3,3,2 150").unwrap();
        assert_eq!(status.leaders, [1, 3, -1]);
        assert_eq!(status.in_sync, [3, 3, 2]);
        assert_eq!(parse_status("unknown Local: timed out"), None);
        let gap = parse_gap("gap 4 1000 3500").unwrap();
        assert_eq!((gap.partition, gap.from_ms, gap.until_ms), (4, 1000, 3500));
        assert!(parse_gap("gap 4 1000").is_none());
    }
}
