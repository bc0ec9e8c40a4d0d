//! Ends what a command started when the command itself ends, whatever ended it.
//!
//! A shell of its own process group reads the names of processes and network namespaces from a
//! pipe. The pipe closes when the command is done, killed or interrupted: then the shell kills
//! and removes them. Nothing else survives ctrl-c without a handler for signals.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
processes=' ' namespaces=
while read -r what which; do
    case $what in
        process) processes="$processes$which " ;;
        gone) processes="${processes%% $which *} ${processes#* $which }" ;;
        namespace) namespaces="$namespaces $which" ;;
    esac
done
for namespace in $namespaces; do
    processes="$processes $(ip netns pids "$namespace" 2>/dev/null | tr '\n' ' ')"
done
for process in $processes; do kill -KILL "$process" 2>/dev/null; done
for namespace in $namespaces; do ip netns del "$namespace" 2>/dev/null; done
exit 0
"#;

/// The shell that cleans up. Dropping it cleans up at once and waits for the end of it.
pub struct Guard {
    shell: Child,
    /// Closed to have everything cleaned up.
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts the shell; it has nothing to clean up yet.
    ///
    /// # Errors
    ///
    /// When there is no `sh`.
    pub fn start() -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// This process is to be killed.
    pub fn process(&mut self, id: u32) {
        self.tell(&format!("process {id}"));
    }

    /// This process has ended: its number may be another's from now on.
    pub fn gone(&mut self, id: u32) {
        self.tell(&format!("gone {id}"));
    }

    /// This network namespace is to be removed, with every process in it.
    pub fn namespace(&mut self, name: &str) {
        self.tell(&format!("namespace {name}"));
    }

    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // A shell that somebody killed cleans nothing up; the drops of the children remain.
            let _ = writeln!(pipe, "{line}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn what_was_started_is_killed_and_what_is_gone_is_left_alone() {
        let (mut first, mut spared, mut last) = (sleeper(), sleeper(), sleeper());
        let mut guard = Guard::start().unwrap();
        for child in [&first, &spared, &last] {
            guard.process(child.id());
        }
        guard.gone(spared.id());
        drop(guard);
        assert!(!first.wait().unwrap().success());
        assert!(!last.wait().unwrap().success());
        assert!(spared.try_wait().unwrap().is_none(), "it was said to be gone");
        spared.kill().unwrap();
        spared.wait().unwrap();
    }
}
