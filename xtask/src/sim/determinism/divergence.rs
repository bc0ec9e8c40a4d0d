//! Where two runs of one seed part: the first event that differs, with what both sides have there.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Side;
use crate::sim::worker::Run;

/// How many events before the first difference are shown.
const LINES_BEFORE: usize = 3;

/// How many events of each side are shown from the first difference on.
const LINES_AFTER: usize = 3;

/// How often both sides are run again to find two traces that differ.
const TRIES: usize = 3;

/// Two traces part here.
#[derive(Debug, PartialEq, Eq)]
struct Divergence {
    /// The number of the first event that differs, from 1.
    event: u64,
    /// The last events that both have.
    before: Vec<String>,
    /// What each side has from there on; nothing when its trace ends before.
    sides: [Vec<String>; 2],
}

/// Runs both sides again with their traces and tells where these part.
pub fn locate(sides: [&Side; 2], run: &Run) -> String {
    let [first, second] = sides;
    for _ in 0..TRIES {
        let found = trace(first, run, 0).and_then(|one| {
            let other = trace(second, run, 1)?;
            compare(&one.0, &other.0)
        });
        match found {
            Ok(Some(found)) => return found.text([first.name, second.name]),
            Ok(None) => {}
            Err(error) => return format!("no traces to compare: {error:#}"),
        }
    }
    format!("{TRIES} times two further runs left the same trace: it differs now and then")
}

/// A trace in a file that goes away with this.
struct Trace(PathBuf);

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn trace(side: &Side, run: &Run, number: usize) -> anyhow::Result<Trace> {
    let name = format!("determinism-{}-{number}.trace", std::process::id());
    let trace = Trace(side.worker.binary.with_file_name(name));
    let mut command = side.command(run);
    command.arg("--trace").arg(&trace.0);
    let report = side.worker.finish(&mut command, side.timeout());
    anyhow::ensure!(
        trace.0.is_file(),
        "{} left none: {}",
        side.name,
        report.failure.unwrap_or_default().message
    );
    Ok(trace)
}

fn compare(first: &Path, second: &Path) -> anyhow::Result<Option<Divergence>> {
    let mut lines = [lines(first)?, lines(second)?];
    let mut before = VecDeque::new();
    let mut event = 0;
    loop {
        let [one, other] = [lines[0].next().transpose()?, lines[1].next().transpose()?];
        event += 1;
        match (one, other) {
            (None, None) => return Ok(None),
            (Some(one), Some(other)) if one == other => {
                before.push_back(one);
                if before.len() > LINES_BEFORE {
                    before.pop_front();
                }
            }
            (one, other) => {
                let [rest_of_one, rest_of_other] = &mut lines;
                let sides = [from(one, rest_of_one)?, from(other, rest_of_other)?];
                return Ok(Some(Divergence { event, before: before.into(), sides }));
            }
        }
    }
}

type Lines = Box<dyn Iterator<Item = std::io::Result<String>>>;

fn lines(file: &Path) -> anyhow::Result<Lines> {
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    // A trace that a worker's death has cut may end inside a letter.
    let split = BufReader::new(open).split(b'\n');
    Ok(Box::new(split.map(|line| Ok(String::from_utf8_lossy(&line?).into_owned()))))
}

fn from(first: Option<String>, rest: &mut Lines) -> anyhow::Result<Vec<String>> {
    let Some(first) = first else { return Ok(Vec::new()) };
    let mut lines = vec![first];
    for line in rest.take(LINES_AFTER - 1) {
        lines.push(line?);
    }
    Ok(lines)
}

impl Divergence {
    fn text(&self, names: [&str; 2]) -> String {
        let mut text = format!("the traces part at event {}:", self.event);
        let first = self.event - self.before.len() as u64;
        let width = names[0].len().max(names[1].len());
        for (number, line) in (first..).zip(&self.before) {
            let _ = write!(text, "\n         {:width$} {number:>8}  {line}", "both");
        }
        for (name, lines) in names.into_iter().zip(&self.sides) {
            for (number, line) in (self.event..).zip(lines) {
                let sign = if number == self.event { '>' } else { ' ' };
                let _ = write!(text, "\n       {sign} {name:width$} {number:>8}  {line}");
            }
            if lines.is_empty() {
                let end = "(its trace has ended)";
                let _ = write!(text, "\n       > {name:width$} {:>8}  {end}", self.event);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    fn parted(one: &str, other: &str) -> Option<Divergence> {
        let scratch = ScratchDirectory::new("divergence");
        scratch.write("one", one);
        scratch.write("other", other);
        compare(&scratch.path().join("one"), &scratch.path().join("other")).unwrap()
    }

    #[test]
    fn the_first_event_that_differs_is_found_with_what_is_around_it() {
        let found = parted("a\nb\nc\nd\nX\nf\ng\nh\n", "a\nb\nc\nd\nY\nz\n").unwrap();
        assert_eq!(found.event, 5);
        assert_eq!(found.before, ["b", "c", "d"]);
        assert_eq!(found.sides, [vec!["X", "f", "g"], vec!["Y", "z"]]);
        let text = found.text(["debug", "release"]);
        let expected = "the traces part at event 5:
         both           2  b
         both           3  c
         both           4  d
       > debug          5  X
         debug          6  f
         debug          7  g
       > release        5  Y
         release        6  z";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_trace_that_ends_early_parts_where_it_ends() {
        let found = parted("a\n", "a\nb\n").unwrap();
        assert_eq!((found.event, &found.sides), (2, &[vec![], vec!["b".to_owned()]]));
        assert!(
            found.text(["first", "second"]).contains("> first         2  (its trace has ended)")
        );
        assert_eq!(parted("", "b\n").unwrap().event, 1);
    }

    #[test]
    fn traces_that_agree_do_not_part() {
        assert_eq!(parted("a\nb\n", "a\nb\n"), None);
        assert_eq!(parted("", ""), None);
    }
}
