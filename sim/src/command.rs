//! The command line of the worker: `highwater-sim run --scenario FILE --seed N [--mutant NAME]
//! [--trace FILE] [--json]`. Exit status 0 when the run passed, 1 when a check failed, 2 when the
//! command was wrong.

use highwater_core::mutant::Mutant;
use highwater_sim::{
    report::Report,
    run::{RunOptions, run},
    scenario::Scenario,
};
use std::{path::PathBuf, process::ExitCode};

const USAGE: &str = "usage: highwater-sim run --scenario FILE --seed N [--mutant NAME] \
                     [--trace FILE] [--json]\n       highwater-sim mutants";

pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Command::parse(&arguments) {
        Ok(Command::Mutants) => {
            Mutant::ALL.iter().for_each(|mutant| println!("{}", mutant.name()));
            ExitCode::SUCCESS
        }
        Ok(Command::Run(command)) => command.execute(),
        Err(message) => {
            eprintln!("highwater-sim: {message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

enum Command {
    Mutants,
    Run(RunCommand),
}

#[derive(Default)]
struct RunCommand {
    scenario: PathBuf,
    seed: u64,
    mutant: Option<Mutant>,
    trace: Option<PathBuf>,
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
                other => return Err(format!("unknown option `{other}`")),
            }
        }
        command.scenario = scenario.ok_or("--scenario is missing")?;
        command.seed = seed.ok_or("--seed is missing")?;
        Ok(command)
    }

    fn execute(&self) -> ExitCode {
        let scenario = match self.read_scenario() {
            Ok(scenario) => scenario,
            Err(message) => {
                eprintln!("highwater-sim: {message}");
                return ExitCode::from(2);
            }
        };
        if let Some(mutant) = self.mutant {
            mutant.plant();
        }
        let options = RunOptions { seed: self.seed, keep_trace: self.trace.is_some() };
        let (report, lines) = run(&scenario, &options);
        if let Some(path) = &self.trace
            && let Err(error) = write_lines(path, &lines)
        {
            eprintln!("highwater-sim: cannot write {}: {error}", path.display());
            return ExitCode::from(2);
        }
        self.print(&report);
        if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    #[expect(clippy::disallowed_methods, reason = "the worker reads its own scenario file")]
    fn read_scenario(&self) -> Result<Scenario, String> {
        let path = &self.scenario;
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Scenario::parse(&name.unwrap_or_default(), &text).map_err(|error| error.to_string())
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
