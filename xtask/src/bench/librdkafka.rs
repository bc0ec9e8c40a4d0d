//! librdkafka's own performance tool as a load that somebody else wrote.
//!
//! Its sources come inside the crate `rdkafka-sys`, so cargo can fetch them; they are built here
//! without any optional library.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::Serialize;

use crate::{fetch, workspace};

/// The version of the crate, and so of librdkafka.
const CRATE_VERSION: &str = "4.10.0";

/// What librdkafka is built without: nothing of it is measured here.
const LEFT_OUT: [&str; 6] = ["ssl", "sasl", "gssapi", "curl", "zstd", "syslog"];

/// What the tool says at its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Performance {
    /// Messages acknowledged.
    pub delivered: u64,
    /// Messages that failed.
    pub failed: u64,
    /// Payload acknowledged per second, in units of 1,000,000 bytes.
    pub megabytes_per_second: f64,
}

/// Builds the tool, once, and names its executable.
pub fn build() -> anyhow::Result<PathBuf> {
    let directory = workspace::root().join("target/bench-tools");
    let tool = directory.join("rdkafka_performance");
    if tool.is_file() {
        return Ok(tool);
    }
    println!("building librdkafka and its rdkafka_performance");
    let sources =
        fetch::crate_sources(&directory, "rdkafka-sys", CRATE_VERSION)?.join("librdkafka");
    let build = directory.join("librdkafka");
    if build.exists() {
        std::fs::remove_dir_all(&build)?;
    }
    must_succeed(Command::new("cp").arg("-r").arg(&sources).arg(&build))?;
    let disabled = LEFT_OUT.map(|feature| format!("--disable-{feature}"));
    must_succeed(Command::new("./configure").args(disabled).current_dir(&build))?;
    let make = ["-s", "-j2", "-C", "src", "librdkafka.a"];
    must_succeed(Command::new("make").args(make).current_dir(&build))?;
    let unfinished = directory.join("rdkafka_performance.new");
    must_succeed(
        Command::new("cc")
            .args(["-O2", "-Isrc", "examples/rdkafka_performance.c", "src/librdkafka.a"])
            .args(["-lm", "-lz", "-lpthread", "-ldl", "-lrt", "-o"])
            .arg(&unfinished)
            .current_dir(&build),
    )?;
    std::fs::rename(&unfinished, &tool)?;
    Ok(tool)
}

/// Produces `messages` messages with acks=all and reads the tool's last line.
pub fn produce(
    tool: &Path,
    address: SocketAddr,
    topic: &str,
    messages: u64,
    message_bytes: usize,
) -> anyhow::Result<Performance> {
    let output = Command::new(tool)
        .args(["-P", "-q", "-t", topic, "-b", &address.to_string(), "-a", "-1"])
        .args(["-s", &message_bytes.to_string(), "-c", &messages.to_string()])
        .args(["-X", "linger.ms=5", "-X", "batch.size=1000000"])
        .args(["-X", "batch.num.messages=10000", "-X", "queue.buffering.max.messages=200000"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", tool.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().rev().find_map(parse).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("rdkafka_performance ended with {} and no result: {errors}", output.status)
    })
}

fn must_succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?} ended with {}: {errors}", output.status);
    Ok(())
}

/// `% N messages produced (B bytes), D delivered (offset O, F failed) in Tms: R msgs/s and X MB/s, ...`
fn parse(line: &str) -> Option<Performance> {
    if !line.contains(" messages produced ") {
        return None;
    }
    Some(Performance {
        delivered: before(line, " delivered")?.parse().ok()?,
        failed: before(line, " failed)")?.parse().ok()?,
        megabytes_per_second: before(line, " MB/s")?.parse().ok()?,
    })
}

/// The word before `marker`.
fn before<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    line.split_once(marker)?.0.rsplit(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_tool_is_understood() {
        let line = "% 500000 messages produced (512000000 bytes), 499999 delivered (offset 7, 1 \
                    failed) in 2048ms: 244140 msgs/s and 249.75 MB/s, 0 produce failures, 0 in \
                    queue, no compression";
        let expected = Performance { delivered: 499_999, failed: 1, megabytes_per_second: 249.75 };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("% Sending 500000 messages of size 1024 bytes"), None);
    }
}
