//! The command line: what there is to say, and what becomes of it.
//!
//! Exit status: 0 when it was done, 1 when it failed, 2 when the command line was wrong.

mod arguments;
mod cluster;
mod consume;
mod describe;
mod dev;
mod doors;
mod drain;
mod group;
mod kafka_tools;
mod log_dump;
mod logging;
mod output;
mod partition;
mod produce;
mod serve;
mod throttle;
mod topic;

use anyhow::Context;
use arguments::{Arguments, Command, LogCommand};
use clap::Parser;
use highwater_node::{
    client::Cluster,
    config::{ConfigErrors, Origin, Settings},
    env::{Disk, OpenMode, OsClock, OsDisk},
    wire::{ErrorCode, Str},
};
use output::Output;
use std::{io, path::Path, process::ExitCode, sync::Arc};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
/// The largest configuration file that is read.
const MAX_CONFIG_FILE_BYTES: usize = 1 << 20;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let line: Vec<_> = std::env::args_os().collect();
    let arguments = match kafka_tools::command(&line) {
        Some(parsed) => parsed.unwrap_or_else(|error| error.exit()),
        None => Arguments::parse(),
    };
    let outcome = runtime().and_then(|runtime| runtime.block_on(run(arguments)));
    let status = match &outcome {
        Ok(()) => DONE,
        Err(error) => status_of(error),
    };
    if let Err(error) = outcome
        && status != DONE
    {
        report(&error);
    }
    ExitCode::from(status)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let output = Output::new(arguments.output);
    match arguments.command {
        Command::Serve(serve) => serve::run(serve).await,
        Command::Dev(dev) => dev::run(dev, output).await,
        Command::CheckConfig(check) => check_config(&check.file, output).await,
        Command::Topic(topic) => topic::run(topic, output).await,
        Command::Produce(produce) => produce::run(produce, output).await,
        Command::Consume(consume) => consume::run(consume, output).await,
        Command::Group(group) => group::run(group, output).await,
        Command::Cluster(cluster) => cluster::run(cluster, output).await,
        Command::Partition(partition) => partition::run(partition, output).await,
        Command::Log(LogCommand::Dump(dump)) => log_dump::run(dump, output).await,
    }
}

/// One worker per core, at least two, so that a worker that computes never stops the sockets.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(2))
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// A reader that goes away (`highwater consume | head`) is no failure; a wrong option is wrong
/// usage even when only the configuration's rules find it.
fn status_of(error: &anyhow::Error) -> u8 {
    let pipe_closed = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(pipe_closed) && error.downcast_ref::<output::StdoutClosed>().is_some() {
        return DONE;
    }
    let by_option = |errors: &ConfigErrors| {
        errors.0.iter().any(|error| matches!(error.origin, Origin::Given(_)))
    };
    if error.downcast_ref::<ConfigErrors>().is_some_and(by_option) {
        return WRONG_USAGE;
    }
    FAILED
}

/// Prints an error with its causes, except those that it names already.
fn report(error: &anyhow::Error) {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    for line in text.lines() {
        eprintln!("highwater: {line}");
    }
}

async fn check_config(file: &Path, output: Output) -> anyhow::Result<()> {
    match settings_of(file).await?.build() {
        Ok(config) => output.config(&config),
        Err(errors) => {
            if output.is_json() {
                output.config_errors(&errors)?;
            }
            Err(errors.into())
        }
    }
}

/// Reads a configuration file.
async fn settings_of(file: &Path) -> anyhow::Result<Settings> {
    let disk = OsDisk::new().context("cannot start the I/O threads")?;
    let reading = async {
        let handle = disk.open(file, OpenMode::Read).await?;
        handle.read_at(0, MAX_CONFIG_FILE_BYTES + 1).await
    };
    let bytes = reading.await.context("cannot read the configuration")?;
    let name = file.display().to_string();
    anyhow::ensure!(bytes.len() <= MAX_CONFIG_FILE_BYTES, "{name} is larger than 1 MiB");
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{name} is not UTF-8"))?;
    let mut settings = Settings::new();
    settings.read(text, &name);
    Ok(settings)
}

/// Connects to the cluster of the broker that a client command was given.
async fn connect(broker: &str) -> anyhow::Result<Cluster> {
    Ok(Cluster::connect(broker, "highwater-cli", Arc::new(OsClock::new())).await?)
}

/// The error that a code in an answer stands for; `Ok` for none.
fn check(what: &str, code: i16, message: Option<&Str>) -> anyhow::Result<()> {
    if code == 0 {
        return Ok(());
    }
    let name = ErrorCode::from_i16(code).map_or("an unknown error", ErrorCode::name);
    match message.filter(|message| !message.is_empty()) {
        Some(message) => anyhow::bail!("cannot {what}: {name} ({code}): {message}"),
        None => anyhow::bail!("cannot {what}: {name} ({code})"),
    }
}
