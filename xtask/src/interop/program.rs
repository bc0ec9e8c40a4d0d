//! Runs one client program and turns what it prints into outcomes.
//!
//! A program prints, among anything else: `begin STEP`, then `ok STEP [NOTE]`,
//! `FAILED STEP REASON` or `skipped STEP REASON`. A step that does not end in time fails, and the
//! program with all it started is killed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Places, Report, Verdict};

/// The longest a step may take, counted from the line before.
const STEP_LIMIT: Duration = Duration::from_secs(180);

/// The longest a program may run.
const PROGRAM_LIMIT: Duration = Duration::from_secs(600);

/// Lines that wait between the reader and the judge.
const LINES_AHEAD: usize = 1024;

type LineAction<'a> = Box<dyn FnMut(&str) + 'a>;

/// A client program about to run.
pub struct Program<'a> {
    name: &'a str,
    command: Command,
    places: &'a Places,
    /// The name of the log of what it writes to stderr.
    log: &'a str,
    /// Told of every line that is no step line, as it comes.
    on_line: Option<LineAction<'a>>,
}

/// A running program and what it was last seen doing.
struct Running {
    child: Child,
    lines: Receiver<String>,
    started: Instant,
    /// The step that began and did not end yet.
    step: Option<(String, Instant)>,
    steps: usize,
}

enum Ended {
    Itself,
    TooSlow(Duration),
}

impl<'a> Program<'a> {
    /// A program whose outcomes are counted for the client `name`.
    pub fn new(name: &'a str, command: Command, places: &'a Places) -> Self {
        Program { name, command, places, log: name, on_line: None }
    }

    /// Keeps what it writes to stderr in a log of this name, not of the client's.
    pub fn log(mut self, name: &'a str) -> Self {
        self.log = name;
        self
    }

    /// Calls `action` with every line that is no step line.
    pub fn on_line(mut self, action: impl FnMut(&str) + 'a) -> Self {
        self.on_line = Some(Box::new(action));
        self
    }

    /// Runs the program to its end, or until it is too slow.
    pub fn run(mut self, report: &mut Report) {
        let mut running = match self.start() {
            Ok(running) => running,
            Err(error) => {
                let reason = format!("{error:#}");
                return report.add(self.name, "start", Verdict::Failed, Duration::ZERO, reason);
            }
        };
        let ended = self.watch(&mut running, report);
        if let Ended::TooSlow(limit) = ended {
            kill_group(&running.child);
            let step = running.step.as_ref().map_or("run", |(step, _)| step.as_str());
            let reason = format!("not done within {} s; killed", limit.as_secs());
            report.add(self.name, step, Verdict::Failed, limit, reason);
        }
        let status = running.child.wait();
        kill_group(&running.child);
        if matches!(ended, Ended::Itself) {
            self.judge_exit(&running, status.context("cannot wait for the program"), report);
        }
    }

    fn start(&mut self) -> Result<Running> {
        let log = self.places.log(self.log);
        let log = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {:?}", self.command.get_program()))?;
        let stdout = child.stdout.take().context("the program has no stdout")?;
        let (sender, lines) = sync_channel(LINES_AHEAD);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Running { child, lines, started: Instant::now(), step: None, steps: 0 })
    }

    fn watch(&mut self, running: &mut Running, report: &mut Report) -> Ended {
        loop {
            let Some(left) = PROGRAM_LIMIT.checked_sub(running.started.elapsed()) else {
                return Ended::TooSlow(PROGRAM_LIMIT);
            };
            match running.lines.recv_timeout(left.min(STEP_LIMIT)) {
                Ok(line) => self.judge(running, &line, report),
                Err(RecvTimeoutError::Disconnected) => return Ended::Itself,
                Err(RecvTimeoutError::Timeout) => return Ended::TooSlow(left.min(STEP_LIMIT)),
            }
        }
    }

    fn judge(&mut self, running: &mut Running, line: &str, report: &mut Report) {
        let mut words = line.splitn(3, ' ');
        let (word, step) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let note = words.next().unwrap_or("").to_string();
        let verdict = match word {
            "begin" => {
                running.step = Some((step.to_string(), Instant::now()));
                return;
            }
            "ok" => Verdict::Passed,
            "FAILED" => Verdict::Failed,
            "skipped" => Verdict::Skipped,
            _ => {
                if let Some(action) = &mut self.on_line {
                    action(line);
                }
                return;
            }
        };
        let took = match running.step.take() {
            Some((begun, at)) if begun == step => at.elapsed(),
            _ => Duration::ZERO,
        };
        running.steps += 1;
        report.add(self.name, step, verdict, took, note);
    }

    /// A program that ends badly, or without having tried anything, has failed.
    fn judge_exit(
        &self,
        running: &Running,
        status: Result<std::process::ExitStatus>,
        report: &mut Report,
    ) {
        let reason = match (status, &running.step) {
            (Err(error), _) => format!("{error:#}"),
            (Ok(status), Some((step, _))) => format!("ended with {status} in the step {step}"),
            (Ok(status), None) if !status.success() => format!("ended with {status}"),
            (Ok(_), None) if running.steps == 0 => "ended without any step".into(),
            (Ok(_), None) => return,
        };
        let log = self.places.log(self.log);
        let tail = std::fs::read_to_string(&log).unwrap_or_default();
        let last = tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
        let reason = format!("{reason}; last message: {last} (all in {})", log.display());
        report.add(self.name, "exit", Verdict::Failed, running.started.elapsed(), reason);
    }
}

/// Kills the program and all it started.
fn kill_group(child: &Child) {
    let group = format!("-{}", child.id());
    // The group is gone when the program ended by itself: then this has no effect.
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
}
