//! Runs a foreign program to its end or until it is too slow, line by line.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Lines that wait between the reader and the judge.
const LINES_AHEAD: usize = 1024;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    With(ExitStatus),
    /// Killed, with all that it had started, after this long.
    Killed(Duration),
}

/// Runs `command` with both its outputs going, in one stream, to `log` and to `on_line`.
///
/// # Errors
///
/// When the program cannot be started or waited for.
pub fn run(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<Ended> {
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let (output, input) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    // The command keeps its copies of the pipe's end, which would hold the reader for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, lines) = sync_channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let started = Instant::now();
    let ended = loop {
        let left = limit.saturating_sub(started.elapsed());
        match lines.recv_timeout(left) {
            Ok(line) => {
                writeln!(log, "{line}")?;
                on_line(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => break Some(Ended::Killed(limit)),
        }
    };
    if ended.is_some() {
        kill_group(child.id());
    }
    let status = child.wait().context("cannot wait for a program")?;
    // What it left behind must not disturb the next one.
    kill_group(child.id());
    Ok(ended.unwrap_or(Ended::With(status)))
}

fn kill_group(id: u32) {
    // The group is gone when the program ended by itself: then this has no effect.
    let group = format!("-{id}");
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    fn shell(script: &str, limit: Duration) -> (Ended, Vec<String>) {
        let directory = ScratchDirectory::new("process");
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let log = directory.path().join("log");
        let ended = run(&mut command, &log, limit, |line| lines.push(line.to_owned())).unwrap();
        let kept = std::fs::read_to_string(&log).unwrap();
        assert_eq!(kept.lines().collect::<Vec<_>>(), lines);
        (ended, lines)
    }

    #[test]
    fn both_outputs_arrive_and_the_status_is_told() {
        let (ended, lines) = shell("echo one; echo two >&2; exit 3", Duration::from_secs(20));
        assert_eq!(lines, ["one", "two"]);
        let Ended::With(status) = ended else { panic!("{ended:?}") };
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_what_it_started() {
        let limit = Duration::from_millis(300);
        let started = Instant::now();
        let (ended, lines) = shell("echo begun; sleep 60 & wait", limit);
        assert_eq!(ended, Ended::Killed(limit));
        assert_eq!(lines, ["begun"]);
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
