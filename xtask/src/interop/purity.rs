//! The release binary has nothing of the simulator: no bug that can be planted, no mark of a
//! situation, no simulated time.
//!
//! Names are looked for in the whole file, with its symbols and line tables, so a function that was
//! compiled in is found by its name even if nothing calls it. That the search would find them is
//! shown by names that must be there, and by the simulator's own binary when it was built.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{Places, Report};
use crate::workspace::SIMULATION_TARGET;

/// The name on the command line and in the report.
pub const NAME: &str = "purity";

/// The crate that simulates time, disks and networks: part of every name in it, mangled or not.
const SIMULATOR: &str = "madsim";

/// Where the names of the bugs are.
const MUTANTS: &str = "core/src/mutant.rs";

/// Where the names of the situations are.
const SITUATIONS: &str = "core/src/situation.rs";

/// A text of the program, and a part of the names of functions that it runs on: where these are
/// found, neither texts nor names were stripped.
const CERTAINLY_THERE: [&str; 2] = ["advertised.listeners", "tokio"];

/// Fewer names than this, and the table in the source was not understood.
const LEAST_NAMES: usize = 40;

/// How many bytes around a name are shown.
const AROUND: usize = 40;

/// Looks through `binary`.
pub(super) fn run(places: &Places, binary: &Path, report: &mut Report) {
    let mut step = |name: &str, check: &dyn Fn() -> Result<String>| {
        let started = Instant::now();
        let result = check();
        report.result(NAME, name, started.elapsed(), result);
    };
    let bytes = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()));
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => return report.result(NAME, "read", std::time::Duration::ZERO, Err(error)),
    };
    step("names-can-be-found", &|| all_there(&bytes, &CERTAINLY_THERE.map(String::from)));
    let simulator = places.root.join(SIMULATION_TARGET).join("debug/highwater-sim");
    for (what, file) in [("planted-bugs", MUTANTS), ("situations", SITUATIONS)] {
        let file = places.root.join(file);
        step(&format!("no-{what}"), &|| none_there(&bytes, &names(&file)?));
        if is_newer(&simulator, &file) {
            step(&format!("{what}-in-the-simulator"), &|| {
                let bytes = std::fs::read(&simulator)?;
                all_there(&bytes, &[names(&file)?, vec![SIMULATOR.to_owned()]].concat())
            });
        }
    }
    step("no-simulated-time", &|| none_there(&bytes, &[SIMULATOR.to_owned()]));
}

/// Whether the first file was written after the second one.
fn is_newer(one: &Path, other: &Path) -> bool {
    let written = |file: &Path| std::fs::metadata(file).and_then(|about| about.modified()).ok();
    written(one).is_some_and(|one| written(other).is_some_and(|other| one > other))
}

/// The names in a table of the source: its lines are `Variant = "name",`.
fn names(file: &Path) -> Result<Vec<String>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let names: Vec<String> = text.lines().filter_map(name).map(str::to_owned).collect();
    ensure!(names.len() >= LEAST_NAMES, "{} has only {} names", file.display(), names.len());
    Ok(names)
}

fn name(line: &str) -> Option<&str> {
    let (variant, rest) = line.trim().split_once(" = \"")?;
    let is_variant = variant.chars().all(char::is_alphanumeric);
    rest.strip_suffix("\",").filter(|_| is_variant)
}

fn none_there(bytes: &[u8], names: &[String]) -> Result<String> {
    let found = search(bytes, names);
    if let Some((name, at)) = found.iter().find_map(|(name, at)| Some((name, (*at)?))) {
        let from = at.saturating_sub(AROUND);
        let until = (at + name.len() + AROUND).min(bytes.len());
        let around = bytes[from..until].escape_ascii();
        anyhow::bail!("`{name}` is at byte {at} of the release binary: {around}");
    }
    Ok(format!("none of {} names in {} MB", names.len(), bytes.len() / 1_000_000))
}

fn all_there(bytes: &[u8], names: &[String]) -> Result<String> {
    let found = search(bytes, names);
    let missing: Vec<&str> =
        found.iter().filter(|(_, at)| at.is_none()).map(|(name, _)| *name).collect();
    ensure!(missing.is_empty(), "not found: {}", missing.join(", "));
    Ok(format!("all of {} names in {} MB", names.len(), bytes.len() / 1_000_000))
}

/// Where each name is first. The file is gone through once, whatever the number of names.
fn search<'a>(bytes: &[u8], names: &'a [String]) -> Vec<(&'a str, Option<usize>)> {
    let mut found: Vec<(&str, Option<usize>)> =
        names.iter().map(|name| (name.as_str(), None)).collect();
    let pair = |one: u8, other: u8| usize::from(one) << 8 | usize::from(other);
    let mut beginnings = vec![false; 1 << 16];
    for name in names.iter().map(|name| name.as_bytes()) {
        beginnings[pair(name[0], name[1])] = true;
    }
    for (at, window) in bytes.windows(2).enumerate() {
        if !beginnings[pair(window[0], window[1])] {
            continue;
        }
        for (name, place) in &mut found {
            if place.is_none() && bytes[at..].starts_with(name.as_bytes()) {
                *place = Some(at);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_is_found_wherever_it_is() {
        let names = of(&["ack-before-fsync", "acks", "canary"]);
        let bytes = b"\0acack-before-fsync\xffcanary";
        let found = search(bytes, &names);
        assert_eq!(found, [("ack-before-fsync", Some(3)), ("acks", None), ("canary", Some(20))]);
        assert_eq!(
            search(b"", &names),
            [("ack-before-fsync", None), ("acks", None), ("canary", None)]
        );
    }

    #[test]
    fn a_name_that_is_there_fails_and_is_shown_with_what_is_around_it() {
        let error = none_there(b"xx_madsim\0yy", &of(&["canary", "madsim"])).unwrap_err();
        let expected = r"`madsim` is at byte 3 of the release binary: xx_madsim\x00yy";
        assert_eq!(error.to_string(), expected);
        none_there(b"tokio", &of(&["canary", "madsim"])).unwrap();
    }

    #[test]
    fn a_name_that_must_be_there_and_is_not_fails() {
        let error = all_there(b"tokio", &of(&["tokio", "canary"])).unwrap_err();
        assert_eq!(error.to_string(), "not found: canary");
        all_there(b"canary tokio", &of(&["tokio", "canary"])).unwrap();
    }

    #[test]
    fn the_names_of_the_planted_bugs_are_read_from_the_source() {
        let root = crate::workspace::root();
        let names = names(&root.join("core/src/mutant.rs")).unwrap();
        for known in ["ack-before-fsync", "granted-before-revoked", "canary"] {
            assert!(names.iter().any(|name| name == known), "{known}");
        }
        let text = std::fs::read_to_string(root.join("core/src/mutant.rs")).unwrap();
        assert_eq!(names.len(), text.matches("\",\n").count(), "a name was passed over");
    }

    #[test]
    fn only_rows_of_the_table_are_names() {
        assert_eq!(name("    TornTail = \"torn-tail\","), Some("torn-tail"));
        for line in ["/// A = \"b\",", "let a = \"b\";", "const A: &str = \"b\",", "A = b,"] {
            assert_eq!(name(line), None, "{line}");
        }
    }
}
