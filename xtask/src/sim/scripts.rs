//! Scripts of failures: where they are kept, and running one in a worker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use highwater_script::Script;

use super::worker::{Report, Worker};
use crate::workspace;

/// Where the scripts and pages of failed runs are kept, relative to the root.
pub const FAILURES: &str = "target/sim-failures";

/// A script as an argument.
#[derive(Args)]
pub struct ScriptArgument {
    /// The script of a failure, such as those that a campaign leaves in `target/sim-failures`.
    #[arg(value_name = "SCRIPT")]
    pub script: PathBuf,
}

impl ScriptArgument {
    /// Reads it.
    pub fn read(&self) -> anyhow::Result<Script> {
        read(&self.script)
    }

    /// The file beside it with another ending, such as `min.json`.
    #[must_use]
    pub fn beside(&self, ending: &str) -> PathBuf {
        self.script.with_extension(ending)
    }
}

/// The directory for scripts of failed runs; created when it is not there.
pub fn failures() -> anyhow::Result<PathBuf> {
    let directory = workspace::root().join(FAILURES);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}

/// Reads a script.
pub fn read(file: &Path) -> anyhow::Result<Script> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the script {}", file.display()))?;
    Script::parse(&text).with_context(|| format!("in {}", file.display()))
}

/// Writes a file.
pub fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// How a script is followed.
#[derive(Clone, Debug, Default)]
pub struct Following {
    /// Plant nothing, although the script does.
    pub without_mutant: bool,
    /// From when on, in simulated milliseconds, everything is drawn anew, and from which seed.
    pub leave: Option<(u64, u64)>,
    /// Where the script of the run goes if it fails.
    pub script_out: Option<PathBuf>,
}

/// Follows a script in a process of its own. Never fails: whatever goes wrong is a failed report.
#[must_use]
pub fn follow(worker: &Worker, script: &Path, how: &Following, timeout: Duration) -> Report {
    let mut command = worker.bare_command("run");
    command.arg("--script").arg(script);
    if how.without_mutant {
        command.arg("--without-mutant");
    }
    if let Some((millis, seed)) = how.leave {
        command.args(["--leave-at", &millis.to_string(), "--leave-seed", &seed.to_string()]);
    }
    if let Some(file) = &how.script_out {
        command.arg("--script-out").arg(file);
    }
    worker.finish(&mut command, timeout)
}
