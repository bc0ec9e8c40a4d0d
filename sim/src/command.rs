//! The command line of the worker: one run of a scenario or of a script, in this process. Exit
//! status 0 when the run passed, 1 when a check failed, 2 when the command was wrong.

use highwater_core::mutant::Mutant;
use highwater_script::{Script, Source};
use highwater_sim::{
    choices::Branch,
    replay::{leave, replay, script_of},
    report::Report,
    run::{Course, Ran, follow},
    scenario::Scenario,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "usage: highwater-sim run --scenario FILE --seed N [--mutant NAME] \
                     [--trace FILE] [--script-out FILE] [--json]\n       \
                     highwater-sim run --script FILE [--without-mutant] [--leave-at MILLIS \
                     --leave-seed N]\n                         [--trace FILE] [--script-out FILE] \
                     [--json]\n       highwater-sim mutants";

pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match Command::parse(&arguments) {
        Ok(Command::Mutants) => {
            Mutant::ALL.iter().for_each(|mutant| println!("{}", mutant.name()));
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(command)) => command.execute(),
        Err(message) => Err(format!("{message}\n{USAGE}")),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("highwater-sim: {message}");
        ExitCode::from(2)
    })
}

enum Command {
    Mutants,
    Run(RunCommand),
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
}

impl Command {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        match arguments.first().map(String::as_str) {
            Some("run") => Ok(Self::Run(RunCommand::parse(&arguments[1..])?)),
            Some("mutants") => Ok(Self::Mutants),
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
    fn execute(&self) -> Result<ExitCode, String> {
        let (ran, script) = match &self.script {
            Some(path) => self.follow_script(path)?,
            None => self.run_seed()?,
        };
        if let Some(path) = &self.trace {
            write(path, &(ran.lines.join("\n") + "\n"))?;
        }
        if let Some(path) = self.script_out.as_ref().filter(|_| !ran.report.passed) {
            write(path, &script.to_text())?;
        }
        self.print(&ran.report);
        Ok(if ran.report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn run_seed(&self) -> Result<(Ran, Script), String> {
        let path = self.scenario.as_deref().unwrap_or_else(|| Path::new(""));
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let source = Source { name: name.unwrap_or_default(), text: read(path)? };
        let scenario = Scenario::parse(&source.name, &source.text);
        let scenario = scenario.map_err(|error| error.to_string())?;
        if let Some(mutant) = self.mutant {
            mutant.plant();
        }
        let course = Course::of_seed(self.seed.unwrap_or_default(), self.trace.is_some());
        let network_seed = course.network_seed;
        let ran = follow(&scenario, course);
        let mutant = self.mutant.map(|mutant| mutant.name().to_owned());
        let script = script_of(source, network_seed, mutant, &ran);
        Ok((ran, script))
    }

    fn follow_script(&self, path: &Path) -> Result<(Ran, Script), String> {
        let script = Script::parse(&read(path)?);
        let mut script = script.map_err(|error| format!("{}: {error}", path.display()))?;
        if self.without_mutant {
            script.mutant = None;
            script.recorded = None;
        }
        let ran = match self.leave_at {
            Some(millis) => {
                let branch = Branch { nanos: millis * 1_000_000, seed: self.leave_seed };
                leave(&script, branch)
            }
            None => replay(&script, self.trace.is_some()),
        };
        let ran = ran.map_err(|error| error.to_string())?;
        let Script { scenario, network_seed, mutant, .. } = script;
        let script = script_of(scenario, network_seed, mutant, &ran);
        Ok((ran, script))
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

#[expect(clippy::disallowed_methods, reason = "the worker reads the files that it is told to")]
fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "the worker writes the files that it is told to")]
fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn unknown_mutant(name: &str) -> String {
    let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    format!("unknown mutant `{name}`; there are {}", names.join(", "))
}
