//! The command line of the worker: one run of a scenario or of a script, in this process, or a
//! picture of it. Exit status 0 when the run passed, 1 when a check failed, 2 when the command was
//! wrong.

use super::Lab;
use crate::{
    choices::Branch,
    explain::{self, explain},
    replay::{leave, prepare, replay, script_of},
    report::Report,
    run::{Course, Ran, follow},
    scenario::{Scenario, with_reference},
};
use highwater_core::{mutant::Mutant, situation::Situation};
use highwater_script::{Script, Source};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "usage: highwater-sim run --scenario FILE --seed N [--mutant NAME] \
                     [--trace FILE] [--script-out FILE] [--json]\n       \
                     highwater-sim run --script FILE [--without-mutant] [--leave-at MILLIS \
                     --leave-seed N]\n                         [--trace FILE] [--script-out FILE] \
                     [--json]\n       \
                     highwater-sim explain --scenario FILE --seed N [--mutant NAME] [--html FILE] \
                     [--text FILE] [--expect-hash HASH]\n       \
                     highwater-sim explain --script FILE [--without-mutant] [--html FILE] \
                     [--text FILE] [--expect-hash HASH]\n       \
                     highwater-sim mutants\n       highwater-sim situations\n       \
                     highwater-sim check FILE...\n       highwater-sim reference FILE";

/// Does what the arguments of this process say, with these applications and checks.
#[must_use]
pub fn main(lab: &Lab) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match Command::parse(&arguments) {
        Ok(Command::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::Mutants) => {
            Mutant::ALL.iter().for_each(|mutant| println!("{}", mutant.name()));
            return ExitCode::SUCCESS;
        }
        Ok(Command::Situations) => {
            Situation::ALL.iter().for_each(|it| println!("{}\t{}", it.name(), it.explanation()));
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(command)) => command.execute(lab),
        Ok(Command::Explain(command)) => command.explain(lab),
        Ok(Command::Check(files)) => Ok(check(&files)),
        Ok(Command::Reference(file)) => renew_reference(&file),
        Err(message) => Err(format!("{message}\n{USAGE}")),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("highwater-sim: {message}");
        ExitCode::from(2)
    })
}

enum Command {
    Help,
    Mutants,
    Situations,
    Run(RunCommand),
    /// Says what is wrong with scenario files.
    Check(Vec<PathBuf>),
    /// Makes the reference in this document anew.
    Reference(PathBuf),
    Explain(RunCommand),
}

#[derive(Default)]
struct RunCommand {
    scenario: Option<PathBuf>,
    seed: Option<u64>,
    script: Option<PathBuf>,
    mutant: Option<Mutant>,
    without_mutant: bool,
    leave_at: Option<u64>,
    leave_seed: u64,
    trace: Option<PathBuf>,
    script_out: Option<PathBuf>,
    json: bool,
    html: Option<PathBuf>,
    text: Option<PathBuf>,
    expected_hash: Option<String>,
}

impl Command {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        match arguments.first().map(String::as_str) {
            Some("help" | "--help" | "-h") => Ok(Self::Help),
            Some("run") => Ok(Self::Run(RunCommand::parse(&arguments[1..])?)),
            Some("explain") => Ok(Self::Explain(RunCommand::parse(&arguments[1..])?)),
            Some("mutants") => Ok(Self::Mutants),
            Some("situations") => Ok(Self::Situations),
            Some("check") if arguments.len() > 1 => {
                Ok(Self::Check(arguments[1..].iter().map(PathBuf::from).collect()))
            }
            Some("reference") if arguments.len() == 2 => {
                Ok(Self::Reference(PathBuf::from(&arguments[1])))
            }
            Some(name @ ("check" | "reference")) => Err(format!("{name} needs a file")),
            Some(other) => Err(format!("unknown command `{other}`")),
            None => Err("a command is missing".into()),
        }
    }
}

impl RunCommand {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut command = Self::default();
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let mut value =
                || rest.next().cloned().ok_or_else(|| format!("{option} needs a value"));
            let number = |text: String| {
                text.parse::<u64>().map_err(|_| format!("{option} {text}: not a number"))
            };
            match option.as_str() {
                "--scenario" => command.scenario = Some(PathBuf::from(value()?)),
                "--seed" => command.seed = Some(number(value()?)?),
                "--script" => command.script = Some(PathBuf::from(value()?)),
                "--mutant" => {
                    let name = value()?;
                    let found = Mutant::named(&name);
                    command.mutant = Some(found.ok_or_else(|| unknown_mutant(&name))?);
                }
                "--without-mutant" => command.without_mutant = true,
                "--leave-at" => command.leave_at = Some(number(value()?)?),
                "--leave-seed" => command.leave_seed = number(value()?)?,
                "--trace" => command.trace = Some(PathBuf::from(value()?)),
                "--script-out" => command.script_out = Some(PathBuf::from(value()?)),
                "--json" => command.json = true,
                "--html" => command.html = Some(PathBuf::from(value()?)),
                "--text" => command.text = Some(PathBuf::from(value()?)),
                "--expect-hash" => command.expected_hash = Some(value()?),
                other => return Err(format!("unknown option `{other}`")),
            }
        }
        if command.script.is_some() {
            let drawn = command.scenario.is_some() || command.seed.is_some();
            if drawn || command.mutant.is_some() {
                return Err("a script has its scenario, its seed and its mutant".into());
            }
            return Ok(command);
        }
        if command.scenario.is_none() {
            return Err("--scenario is missing".into());
        }
        if command.seed.is_none() {
            return Err("--seed is missing".into());
        }
        Ok(command)
    }

    /// Runs; the error is one of the command, not of the run.
    fn execute(&self, lab: &Lab) -> Result<ExitCode, String> {
        let (ran, script) = match &self.script {
            Some(path) => self.follow_script(path, lab)?,
            None => self.run_seed(lab)?,
        };
        if let Some(path) = &self.trace {
            write(path, &(ran.lines.join("\n") + "\n"))?;
        }
        if let Some(path) = self.script_out.as_ref().filter(|_| !ran.report.passed) {
            write(path, &script.to_text())?;
        }
        self.print(&ran.report);
        Ok(exit_code(&ran.report))
    }

    fn run_seed(&self, lab: &Lab) -> Result<(Ran, Script), String> {
        let (source, scenario, course) = self.seed_of_scenario(lab)?;
        let network_seed = course.network_seed;
        let ran = follow(&scenario, course, self.trace.is_some());
        if !self.json && !scenario.stakes.promise.is_empty() {
            println!("at stake: {}", scenario.stakes.promise.join(", "));
        }
        let mutant = self.mutant.map(|mutant| mutant.name().to_owned());
        let script = script_of(source, network_seed, mutant, &ran);
        Ok((ran, script))
    }

    /// The scenario and the seed that are named, with the bug planted.
    fn seed_of_scenario(&self, lab: &Lab) -> Result<(Source, Scenario, Course), String> {
        let path = self.scenario.as_deref().unwrap_or_else(|| Path::new(""));
        let (source, scenario) = read_scenario(path)?;
        if let Some(mutant) = self.mutant {
            mutant.plant();
        }
        let course = Course::of_seed(self.seed.unwrap_or_default());
        Ok((source, scenario, Course { lab: lab.clone(), ..course }))
    }

    fn read_script(&self, path: &Path) -> Result<Script, String> {
        let script = Script::parse(&read(path)?);
        let script = script.map_err(|error| format!("{}: {error}", path.display()))?;
        match self.without_mutant {
            true => Ok(Script { mutant: None, ..script.unrecorded() }),
            false => Ok(script),
        }
    }

    fn follow_script(&self, path: &Path, lab: &Lab) -> Result<(Ran, Script), String> {
        let script = self.read_script(path)?;
        let ran = match self.leave_at {
            Some(millis) => {
                let branch =
                    Branch { nanos: millis.saturating_mul(1_000_000), seed: self.leave_seed };
                leave(&script, branch, lab)
            }
            None => replay(&script, self.trace.is_some(), lab),
        };
        let ran = ran.map_err(|error| error.to_string())?;
        let Script { scenario, network_seed, mutant, .. } = script;
        let script = script_of(scenario, network_seed, mutant, &ran);
        Ok((ran, script))
    }

    /// Runs with events, writes the picture as a page and as text, and prints the text when no file
    /// is named for it.
    fn explain(&self, lab: &Lab) -> Result<ExitCode, String> {
        let (scenario, course, mutant) = match &self.script {
            Some(path) => {
                let script = self.read_script(path)?;
                let (scenario, course) =
                    prepare(&script, lab).map_err(|error| error.to_string())?;
                (scenario, course, script.mutant)
            }
            None => {
                let (_, scenario, course) = self.seed_of_scenario(lab)?;
                (scenario, course, self.mutant.map(|mutant| mutant.name().to_owned()))
            }
        };
        let picture = explain(&scenario, course, mutant);
        let hash = &picture.report.hash;
        if let Some(expected) = self.expected_hash.as_ref().filter(|expected| *expected != hash) {
            return Err(format!("the run with events has hash {hash}, without {expected}"));
        }
        let text = explain::as_text(&picture);
        if let Some(path) = &self.html {
            write(path, &(explain::html(&picture) + "\n"))?;
        }
        match &self.text {
            Some(path) => write(path, &(text + "\n"))?,
            None => print!("{text}"),
        }
        Ok(exit_code(&picture.report))
    }

    fn print(&self, report: &Report) {
        if self.json {
            let line = serde_json::to_string(report).expect("a report is plain data");
            println!("{line}");
            return;
        }
        let Report { scenario, seed, hash, simulated_seconds, ops, wall_ms, .. } = report;
        println!(
            "{scenario} seed {seed}: {simulated_seconds:.1} simulated seconds in {wall_ms} ms, \
             {} calls ok, {} failed, {} unknown, hash {hash}",
            ops.ok, ops.fail, ops.unknown
        );
        for (name, count) in &report.effects {
            println!("  {name}: {count}");
        }
        for excuse in &report.excuses {
            println!("excused: {excuse}");
        }
        if let Some(divergence) = &report.divergence {
            let (event, line, reason) = (divergence.event, &divergence.line, &divergence.reason);
            println!("DIVERGED at event {event}: {reason}\n  {line}");
        } else if self.script.is_some() && !self.without_mutant && self.leave_at.is_none() {
            println!("every event is the recorded one");
        }
        match &report.failure {
            Some(failure) => println!("FAILED {}: {}", failure.check, failure.message),
            None => println!("passed"),
        }
    }
}

fn exit_code(report: &Report) -> ExitCode {
    if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "the worker reads the files that it is told to")]
fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "the worker reads the files that it is told to")]
fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "the worker writes the files that it is told to")]
fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn unknown_mutant(name: &str) -> String {
    let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    format!("unknown mutant `{name}`; there are {}", names.join(", "))
}

fn read_scenario(path: &Path) -> Result<(Source, Scenario), String> {
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let file = path.display().to_string();
    let text = Scenario::decode(&file, &read_bytes(path)?).map_err(|error| error.to_string())?;
    let source = Source { name: name.unwrap_or_default(), text };
    let scenario = Scenario::parse_file(&source.name, &file, &source.text);
    Ok((source, scenario.map_err(|error| error.to_string())?))
}

/// Whether all of these scenario files are right; what is wrong with the others is printed.
fn check(files: &[PathBuf]) -> ExitCode {
    let mistakes: Vec<String> = files.iter().filter_map(|file| read_scenario(file).err()).collect();
    mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
    if mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn renew_reference(file: &Path) -> Result<ExitCode, String> {
    let document = with_reference(&read(file)?);
    let document = document.ok_or_else(|| format!("{}: it has no reference", file.display()))?;
    write(file, &document)?;
    Ok(ExitCode::SUCCESS)
}
