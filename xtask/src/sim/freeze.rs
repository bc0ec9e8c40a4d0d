//! `cargo xtask sim freeze`: a failure becomes a regression that every test run replays.

use std::path::{Path, PathBuf};

use clap::Args;
use highwater_script::{Script, render};

use super::RUN_TIMEOUT;
use super::scripts::{self, Following, ScriptArgument};
use super::worker::Worker;
use crate::counts::{Counts, Usage};
use crate::workspace;

/// Where frozen failures are, relative to the root.
const REGRESSIONS: &str = "scenarios/regressions";

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    program: super::Program,
    #[command(flatten)]
    script: ScriptArgument,
    /// What the failure is called from now on: lower case letters, digits and hyphens.
    #[arg(long, value_name = "SLUG")]
    name: String,
}

/// Freezes a script.
pub fn run(options: &Options) -> anyhow::Result<Counts> {
    let script = options.script.read()?;
    let worker = options.program.worker()?;
    let files = freeze(&script, &options.name, &workspace::root().join(REGRESSIONS))?;
    for file in &files {
        println!("wrote {}", file.display());
    }
    println!(
        "say in the scenario's `why` what was wrong; `cargo xtask test` replays it from now on"
    );
    let report = scripts::follow(&worker, &files[0], &healthy(), RUN_TIMEOUT);
    if let Some(failure) = report.failure {
        println!("until that is mended it fails there: {}: {}", failure.check, failure.message);
    }
    Ok(Counts::one(true))
}

/// As a frozen script is followed: on good code, whatever it planted.
fn healthy() -> Following {
    Following { without_mutant: true, ..Following::default() }
}

/// Writes a script and its scenario into a directory.
fn freeze(script: &Script, name: &str, directory: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    if name.is_empty() || !name.chars().all(|letter| is_plain(letter) || letter == '-') {
        let message = format!("`{name}` is no name: use lower case letters, digits and hyphens");
        return Err(Usage(message).into());
    }
    let files = ["json", "toml"].map(|ending| directory.join(format!("{name}.{ending}")));
    if let Some(file) = files.iter().find(|file| file.exists()) {
        return Err(Usage(format!("{} is there already", file.display())).into());
    }
    scripts::write(&files[0], &script.to_text())?;
    scripts::write(&files[1], &render::scenario(script))?;
    Ok(files)
}

/// Replays every frozen script of a directory: on good code each passes, whatever it planted.
pub fn replay_all(worker: &Worker, directory: &Path) -> anyhow::Result<Counts> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    let mut counts = Counts::default();
    for file in files {
        let report = scripts::follow(worker, &file, &healthy(), RUN_TIMEOUT);
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        if let Some(divergence) = &report.divergence {
            println!("{name}: not all of it applies any more: {}", divergence.reason);
        }
        match &report.failure {
            Some(failure) => {
                println!("FAILED {name}: {}: {}", failure.check, failure.message);
                println!("       cargo xtask sim replay {} --without-mutant", file.display());
            }
            None => println!("{name}: passed"),
        }
        counts += Counts::one(report.passed);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;
    use crate::sim::worker::tests::fake_worker;

    const SCRIPT: &str = r##"{"format":1,"simulator":"0.1.0","scenario":{"name":"a",
        "text":"# The power goes.\nwhy = \"Why: it does.\"\n"},"seed":7,"network_seed":7,
        "decisions":{"run":{"millis":900},"strikes":{},"clients":{}}}"##;

    #[test]
    fn a_frozen_failure_has_its_script_and_its_scenario() {
        let scratch = ScratchDirectory::new("freeze");
        let script = Script::parse(SCRIPT).unwrap();
        let [json, toml] = freeze(&script, "lost-tail", scratch.path()).unwrap();
        assert_eq!(scripts::read(&json).unwrap(), script);
        assert!(std::fs::read_to_string(toml).unwrap().contains("millis = 900"));
        for name in ["lost-tail", "", "Lost", "../x"] {
            assert!(freeze(&script, name, scratch.path()).unwrap_err().is::<Usage>(), "{name}");
        }
    }

    #[test]
    fn every_frozen_script_is_replayed_without_its_bug() {
        let (scratch, worker) = fake_worker(
            r#"case "$*" in *--without-mutant*) ;; *) exit 9;; esac
               case "$3" in *bad.json)
                 echo '{"passed":false,"hash":"1","failure":{"check":"L1","message":"x"}}'; exit 1;;
               esac
               echo '{"passed":true,"hash":"1"}'"#,
        );
        for name in ["good.json", "bad.json", "other.toml"] {
            scratch.write(&format!("frozen/{name}"), SCRIPT);
        }
        let counts = replay_all(&worker, &scratch.path().join("frozen")).unwrap();
        assert_eq!(counts, Counts { passed: 1, failed: 1 });
    }
}
