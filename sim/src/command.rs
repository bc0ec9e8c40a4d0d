//! The command line of the worker: `highwater-sim run --scenario FILE --seed N [--mutant NAME]
//! [--trace FILE] [--json]`, and `highwater-sim explain` with the same run, which keeps its events
//! and shows them: `[--html FILE] [--text FILE] [--expect-hash HASH]`. Exit status 0 when the run passed, 1 when a check failed, 2 when the
//! command was wrong.

use highwater_core::{mutant::Mutant, situation::Situation};
use highwater_sim::{
    explain::{self, explain},
    report::Report,
    run::{RunOptions, run},
    scenario::{Scenario, with_reference},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "usage: highwater-sim run --scenario FILE --seed N [--mutant NAME] \
                     [--trace FILE] [--json]\n       highwater-sim explain --scenario FILE --seed N \
                     [--mutant NAME] [--html FILE] [--text FILE] [--expect-hash HASH]\n       \
                     highwater-sim mutants\n       highwater-sim situations\n       \
                     highwater-sim check FILE...\n       highwater-sim reference FILE";

pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Command::parse(&arguments) {
        Ok(Command::Mutants) => {
            Mutant::ALL.iter().for_each(|mutant| println!("{}", mutant.name()));
            ExitCode::SUCCESS
        }
        Ok(Command::Situations) => {
            Situation::ALL.iter().for_each(|it| println!("{}\t{}", it.name(), it.explanation()));
            ExitCode::SUCCESS
        }
        Ok(Command::Run(command)) => command.execute(),
        Ok(Command::Check(files)) => check(&files),
        Ok(Command::Reference(file)) => renew_reference(&file),
        Ok(Command::Explain(command)) => command.explain(),
        Err(message) => {
            eprintln!("highwater-sim: {message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

enum Command {
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
    scenario: PathBuf,
    seed: u64,
    mutant: Option<Mutant>,
    trace: Option<PathBuf>,
    json: bool,
    html: Option<PathBuf>,
    text: Option<PathBuf>,
    expected_hash: Option<String>,
}

impl Command {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        match arguments.first().map(String::as_str) {
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
        let (mut scenario, mut seed) = (None, None);
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let mut value =
                || rest.next().cloned().ok_or_else(|| format!("{option} needs a value"));
            match option.as_str() {
                "--scenario" => scenario = Some(PathBuf::from(value()?)),
                "--seed" => {
                    let text = value()?;
                    let number = text.parse::<u64>();
                    seed = Some(number.map_err(|_| format!("--seed {text}: not a number"))?);
                }
                "--mutant" => {
                    let name = value()?;
                    let found = Mutant::named(&name);
                    command.mutant = Some(found.ok_or_else(|| unknown_mutant(&name))?);
                }
                "--trace" => command.trace = Some(PathBuf::from(value()?)),
                "--json" => command.json = true,
                "--html" => command.html = Some(PathBuf::from(value()?)),
                "--text" => command.text = Some(PathBuf::from(value()?)),
                "--expect-hash" => command.expected_hash = Some(value()?),
                other => return Err(format!("unknown option `{other}`")),
            }
        }
        command.scenario = scenario.ok_or("--scenario is missing")?;
        command.seed = seed.ok_or("--seed is missing")?;
        Ok(command)
    }

    /// Reads the scenario and plants the bug; `None` when the scenario is wrong, which is told.
    fn prepare(&self) -> Option<Scenario> {
        let scenario = read_scenario(&self.scenario)
            .inspect_err(|message| eprintln!("highwater-sim: {message}"))
            .ok()?;
        if let Some(mutant) = self.mutant {
            mutant.plant();
        }
        Some(scenario)
    }

    fn execute(&self) -> ExitCode {
        let Some(scenario) = self.prepare() else { return ExitCode::from(2) };
        let options = RunOptions { seed: self.seed, keep_trace: self.trace.is_some() };
        let (report, lines) = run(&scenario, &options);
        if let Some(path) = &self.trace
            && let Err(error) = write_lines(path, &lines)
        {
            eprintln!("highwater-sim: cannot write {}: {error}", path.display());
            return ExitCode::from(2);
        }
        self.print(&report);
        if !self.json && !scenario.stakes.promise.is_empty() {
            println!("at stake: {}", scenario.stakes.promise.join(", "));
        }
        if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Runs with events, writes the picture as a page and as text, and prints the text when no file
    /// is named for it.
    fn explain(&self) -> ExitCode {
        let Some(scenario) = self.prepare() else { return ExitCode::from(2) };
        let options = RunOptions { seed: self.seed, keep_trace: false };
        let mutant = self.mutant.map(|mutant| mutant.name().to_owned());
        let picture = explain(&scenario, &options, mutant);
        if let Some(expected) = self.expected_hash.as_ref()
            && *expected != picture.report.hash
        {
            let hash = &picture.report.hash;
            eprintln!("highwater-sim: the run with events has hash {hash}, without {expected}");
            return ExitCode::from(2);
        }
        let text = explain::as_text(&picture);
        let page = || vec![explain::html(&picture)];
        let written = [
            self.html.as_ref().map(|path| write_lines(path, &page())),
            self.text.as_ref().map(|path| write_lines(path, std::slice::from_ref(&text))),
        ];
        if let Some(error) = written.into_iter().flatten().find_map(Result::err) {
            eprintln!("highwater-sim: cannot write the picture: {error}");
            return ExitCode::from(2);
        }
        if self.text.is_none() {
            print!("{text}");
        }
        if picture.report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn print(&self, report: &Report) {
        if self.json {
            println!("{}", serde_json::to_string(report).expect("a report is plain data"));
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
        match &report.failure {
            Some(failure) => println!("FAILED {}: {}", failure.check, failure.message),
            None => println!("passed"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the trace is a file of the person who asked for it")]
fn write_lines(path: &PathBuf, lines: &[String]) -> std::io::Result<()> {
    std::fs::write(path, lines.join("\n") + "\n")
}

fn unknown_mutant(name: &str) -> String {
    let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    format!("unknown mutant `{name}`; there are {}", names.join(", "))
}

#[expect(clippy::disallowed_methods, reason = "the worker reads its own scenario file")]
fn read_scenario(path: &Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let file = path.display().to_string();
    Scenario::parse_file(&name.unwrap_or_default(), &file, &text).map_err(|error| error.to_string())
}

/// Whether all of these scenario files are right; what is wrong with the others is printed.
fn check(files: &[PathBuf]) -> ExitCode {
    let mistakes: Vec<String> = files.iter().filter_map(|file| read_scenario(file).err()).collect();
    mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
    if mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "the document is a file of the repository")]
fn renew_reference(file: &Path) -> ExitCode {
    let renewed = std::fs::read_to_string(file)
        .map_err(|error| error.to_string())
        .and_then(|document| with_reference(&document).ok_or("it has no reference".to_owned()))
        .and_then(|document| std::fs::write(file, document).map_err(|error| error.to_string()));
    match renewed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("highwater-sim: {}: {error}", file.display());
            ExitCode::from(2)
        }
    }
}
