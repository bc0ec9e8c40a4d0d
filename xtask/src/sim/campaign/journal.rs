//! The state of a campaign in a file: JSON lines, the first says which campaign it is, each other
//! one is a run that is done, what a failed one was shrunk to, or the end of a sitting.
//!
//! A line is written at once and to its end, so that whatever kills the campaign leaves at most the
//! last line torn; that run is done again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::grouping::Shape;
use super::identity::Identity;
use crate::counts::Usage;
use crate::sim::worker::Report;

/// The version of the format.
pub const FORMAT: u32 = 2;

/// How every state file begins.
const OPENING: &[u8] = br#"{"format":"#;

/// How long a state file may be held by somebody else: a process that is just being started holds
/// every file of its parent for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How many differences to another campaign are told.
const DIFFERENCES_SHOWN: usize = 6;

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// Which campaign it is.
    pub campaign: Identity,
    /// The names of all situations that the simulator knows.
    pub situations: Vec<String>,
    /// Whether each of them must be reached.
    pub nightly: bool,
}

/// Any other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// A run is done.
    Run {
        /// How long the campaign has taken by then, all sittings together.
        elapsed_ms: u64,
        /// What it reported.
        report: Box<Report>,
    },
    /// A failed run was shrunk.
    Shrunk {
        /// How long the campaign has taken by then, all sittings together.
        elapsed_ms: u64,
        /// Its scenario.
        scenario: String,
        /// Its seed.
        seed: u64,
        /// What is left of it.
        shape: Shape,
    },
    /// A sitting has come to its end.
    Ended {
        /// How long the campaign has taken by then, all sittings together.
        elapsed_ms: u64,
        /// Why.
        why: Ended,
    },
}

/// Why a campaign, or a sitting of it, has ended; the later in this list the less it is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// Every run is done.
    Complete,
    /// Its time was over.
    Time,
    /// Somebody stopped it.
    Interrupted,
    /// Nobody knows: its process is gone.
    #[default]
    Killed,
}

/// What a state file says.
#[derive(Debug, Default)]
pub struct Written {
    /// Which campaign it is.
    pub header: Header,
    /// The runs that are done.
    pub reports: Vec<Report>,
    /// By scenario and seed: what is left of failed runs that were shrunk.
    pub shrunk: BTreeMap<(String, u64), Shape>,
    /// How long they took, all sittings together.
    pub elapsed: Duration,
    /// How the last sitting ended.
    pub ended: Ended,
    /// The length of all whole lines, in bytes.
    whole: u64,
}

impl Written {
    /// Reads a state file. `None` when not even its first line is whole.
    ///
    /// # Errors
    ///
    /// [`Usage`], whatever is wrong with it.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        Self::parse(path).map_err(|error| Usage(format!("{error:#}")).into())
    }

    fn parse(path: &Path) -> anyhow::Result<Option<Self>> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = std::str::from_utf8(&bytes[..whole])
            .with_context(|| format!("{} is not a state file", path.display()))?;
        let mut lines = text.lines();
        let Some(first) = lines.next() else {
            let is_torn = bytes.starts_with(OPENING) || OPENING.starts_with(&bytes);
            anyhow::ensure!(is_torn, "{} does not begin like a state file", path.display());
            return Ok(None);
        };
        let header: Header = serde_json::from_str(first)
            .with_context(|| format!("{} does not begin like a state file", path.display()))?;
        anyhow::ensure!(
            header.format == FORMAT,
            "{} has format {}, this is {FORMAT}",
            path.display(),
            header.format
        );
        let mut written = Self { header, whole: whole as u64, ..Self::default() };
        for (line, number) in lines.zip(2..) {
            let line = serde_json::from_str(line)
                .with_context(|| format!("{}:{number} is damaged", path.display()))?;
            written.take(line);
        }
        Ok(Some(written))
    }

    fn take(&mut self, line: Line) {
        let elapsed_ms = match line {
            Line::Run { elapsed_ms, report } => {
                self.reports.push(*report);
                // Whatever sitting ended before, this one goes on.
                self.ended = Ended::Killed;
                elapsed_ms
            }
            Line::Shrunk { elapsed_ms, scenario, seed, shape } => {
                self.shrunk.insert((scenario, seed), shape);
                elapsed_ms
            }
            Line::Ended { elapsed_ms, why } => {
                self.ended = why;
                elapsed_ms
            }
        };
        self.elapsed = Duration::from_millis(elapsed_ms);
    }
}

/// A state file that is being written. Nobody else writes it meanwhile.
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or creates the state file of this campaign; with what it says already.
    ///
    /// # Errors
    ///
    /// [`Usage`] when the file is of another campaign, which it then still is.
    pub fn open(path: &Path, header: &Header) -> anyhow::Result<(Self, Written)> {
        let path = std::path::absolute(path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        lock(&file, &path)?;
        let written = Written::read(&path)?;
        if let Some(written) = &written {
            same_campaign(&path, &header.campaign, &written.header.campaign)?;
        }
        let written = written.unwrap_or_default();
        file.set_len(written.whole)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .with_context(|| format!("cannot cut the torn end off {}", path.display()))?;
        let mut journal = Self { path, file };
        if written.whole == 0 {
            journal.append(header)?;
        }
        Ok((journal, written))
    }

    /// Writes down a run.
    pub fn run(&mut self, elapsed: Duration, report: &Report) -> anyhow::Result<()> {
        let elapsed_ms = millis(elapsed);
        self.append(&Line::Run { elapsed_ms, report: Box::new(report.clone()) })
    }

    /// Writes down what a failed run was shrunk to.
    pub fn shrunk(
        &mut self,
        elapsed: Duration,
        (scenario, seed): (&str, u64),
        shape: &Shape,
    ) -> anyhow::Result<()> {
        let (elapsed_ms, scenario, shape) = (millis(elapsed), scenario.to_owned(), shape.clone());
        self.append(&Line::Shrunk { elapsed_ms, scenario, seed, shape })
    }

    /// Writes down that this sitting is over.
    pub fn ended(&mut self, elapsed: Duration, why: Ended) -> anyhow::Result<()> {
        self.append(&Line::Ended { elapsed_ms: millis(elapsed), why })
    }

    fn append(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file
            .write_all(text.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Takes the file for this process.
fn lock(file: &File, path: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    while file.try_lock().is_err() {
        if started.elapsed() >= LOCK_PATIENCE {
            let message = format!("another campaign is writing {}", path.display());
            return Err(Usage(message).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn same_campaign(path: &Path, here: &Identity, written: &Identity) -> anyhow::Result<()> {
    let mut differences = here.differences(written);
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(DIFFERENCES_SHOWN);
    differences.truncate(DIFFERENCES_SHOWN);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    let message = format!(
        "{} is of another campaign: {}.\nGo on as it was begun, or begin anew with another file, \
         or remove this one",
        path.display(),
        differences.join("; ")
    );
    Err(Usage(message).into())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    fn header(shard: &str) -> Header {
        let campaign = Identity { shard: shard.into(), worker: "ab".into(), ..Identity::default() };
        Header { format: FORMAT, campaign, situations: vec!["odd".into()], nightly: true }
    }

    fn report(seed: u64) -> Report {
        let effects = [("power_cuts".to_owned(), 2)].into();
        Report { scenario: "a".into(), seed, passed: true, effects, ..Report::default() }
    }

    fn begun(path: &Path) {
        let (mut journal, written) = Journal::open(path, &header("0/1")).unwrap();
        assert!(written.reports.is_empty());
        journal.run(Duration::from_millis(5), &report(1)).unwrap();
        journal.run(Duration::from_millis(9), &report(2)).unwrap();
    }

    #[test]
    fn what_was_written_is_there_in_the_next_sitting() {
        let scratch = ScratchDirectory::new("journal");
        let path = scratch.path().join("state");
        begun(&path);
        let (mut journal, written) = Journal::open(&path, &header("0/1")).unwrap();
        assert_eq!(written.header, header("0/1"));
        assert_eq!(written.reports, [report(1), report(2)]);
        assert_eq!((written.elapsed, written.ended), (Duration::from_millis(9), Ended::Killed));
        journal.ended(Duration::from_millis(12), Ended::Time).unwrap();
        let written = Written::read(&path).unwrap().unwrap();
        assert_eq!((written.elapsed, written.ended), (Duration::from_millis(12), Ended::Time));
        journal.run(Duration::from_millis(15), &report(3)).unwrap();
        assert_eq!(Written::read(&path).unwrap().unwrap().ended, Ended::Killed);
    }

    #[test]
    fn a_file_that_is_torn_anywhere_in_its_last_line_goes_on_with_the_line_before() {
        let scratch = ScratchDirectory::new("torn-journal");
        let path = scratch.path().join("state");
        begun(&path);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
        for length in (0..whole.len()).step_by(5).chain(ends.iter().map(|end| end + 1)) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut journal, written) = Journal::open(&path, &header("0/1")).unwrap();
            let left = ends.iter().filter(|end| **end < length).count().saturating_sub(1);
            assert_eq!(written.reports.len(), left, "cut at {length}");
            journal.run(Duration::from_millis(20), &report(7)).unwrap();
            drop(journal);
            let written = Written::read(&path).unwrap().unwrap();
            assert_eq!(written.reports.len(), left + 1, "cut at {length}");
            assert_eq!(written.reports[left], report(7));
        }
    }

    #[test]
    fn the_state_of_another_campaign_is_refused_and_kept() {
        let scratch = ScratchDirectory::new("other-journal");
        let path = scratch.path().join("state");
        begun(&path);
        let before = std::fs::read(&path).unwrap();
        let error = Journal::open(&path, &header("1/2")).err().unwrap();
        assert!(error.is::<Usage>());
        let text = error.to_string();
        assert!(text.contains("the shard is 1/2, in the file 0/1"), "{text}");
        assert!(text.contains("begin anew"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_is_no_state_file_is_not_overwritten() {
        let scratch = ScratchDirectory::new("no-journal");
        let path = scratch.path().join("state");
        for text in ["[package]\n", "{\"format\":9}\n", "\u{e9}\n", "{}\n", "{\"a\":1}"] {
            std::fs::write(&path, text).unwrap();
            assert!(Journal::open(&path, &header("0/1")).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        begun_then_damaged(&path);
        let error = format!("{:#}", Journal::open(&path, &header("0/1")).err().unwrap());
        assert!(error.contains("state:2 is damaged"), "{error}");
    }

    fn begun_then_damaged(path: &Path) {
        std::fs::remove_file(path).unwrap();
        begun(path);
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, text.replacen("\"run\"", "\"ran\"", 1)).unwrap();
    }

    #[test]
    fn two_campaigns_do_not_write_one_file() {
        let scratch = ScratchDirectory::new("shared-journal");
        let path = scratch.path().join("state");
        let _first = Journal::open(&path, &header("0/1")).unwrap();
        let error = Journal::open(&path, &header("0/1")).err().unwrap();
        assert!(error.is::<Usage>() && error.to_string().contains("another campaign"), "{error}");
    }
}
