//! A release broker in a directory of its own, and what the system says about its process.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::kafka::Connection;
use crate::workspace;

/// A broker that is not ready after this time has failed.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a starting broker is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// The unit of processor time in `/proc/PID/stat` on Linux, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Builds the broker with optimisation and names its executable.
pub fn build() -> anyhow::Result<PathBuf> {
    println!("building the release broker");
    let status = workspace::cargo()
        .args(["build", "--release", "--quiet", "-p", "highwater-node", "--bin", "highwater"])
        .status()
        .context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "the broker does not build ({status})");
    Ok(workspace::root().join("target/release/highwater"))
}

/// A running broker; killed when dropped.
pub struct Broker {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    started: Instant,
}

impl Broker {
    /// Starts a broker on the data in `directory`, on a free port of the loopback interface.
    pub fn start(binary: &Path, directory: &Path) -> anyhow::Result<Self> {
        Self::start_with(binary, directory, "")
    }

    /// The same with more lines in its configuration file.
    pub fn start_with(binary: &Path, directory: &Path, lines: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let address = free_address()?;
        let log = File::create(directory.with_extension("log"))?;
        let configuration = directory.with_extension("toml");
        std::fs::write(&configuration, configuration_text(address, directory) + lines)?;
        let started = Instant::now();
        let child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self { child, address, started })
    }

    /// Waits until `ready` succeeds and says how long that took from the start of the process.
    pub fn wait_until(
        &mut self,
        ready: impl Fn(&mut Connection) -> anyhow::Result<()>,
    ) -> anyhow::Result<Duration> {
        loop {
            let outcome = Connection::open(self.address).and_then(|mut asked| ready(&mut asked));
            let elapsed = self.started.elapsed();
            let Err(error) = outcome else { return Ok(elapsed) };
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the broker ended with {status} while it started");
            }
            if elapsed > START_TIMEOUT {
                return Err(error.context("the broker did not become ready"));
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// The process.
    pub fn process(&self) -> Process {
        Process { id: self.child.id() }
    }

    /// Ends the process at once, as `kill -9` does.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill the broker")?;
        self.child.wait().context("cannot wait for the broker")?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the system knows about a process.
#[derive(Clone, Copy)]
pub struct Process {
    id: u32,
}

impl Process {
    /// Processor time used so far, in seconds, by the program and by the kernel for it.
    pub fn cpu_seconds(self) -> anyhow::Result<f64> {
        let file = format!("/proc/{}/stat", self.id);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        cpu_seconds(&text).with_context(|| format!("cannot understand {file}"))
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak_memory_bytes(self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    /// The memory that is resident now, in bytes.
    pub fn resident_bytes(self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    fn memory(self, line: &str) -> anyhow::Result<u64> {
        let file = format!("/proc/{}/status", self.id);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        memory_bytes(&text, line).with_context(|| format!("no {line} in {file}"))
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

fn configuration_text(address: SocketAddr, directory: &Path) -> String {
    let directory = toml::Value::from(directory.to_string_lossy().into_owned());
    format!(
        "listeners = \"PLAINTEXT://{address}\"\nadmin.listen = \"none\"\nlog.dirs = {directory}\n"
    )
}

/// User and system time; the program's name may hold spaces, so fields count from its `)`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn memory_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_the_name() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 5 0 0 0 250 50 0 0 20 0 1 0 9 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\thighwater\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n";
        assert_eq!(memory_bytes(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(memory_bytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let process = Process { id: std::process::id() };
        assert!(process.cpu_seconds().is_ok());
        assert!(process.peak_memory_bytes().unwrap() >= process.resident_bytes().unwrap() / 2);
    }

    #[test]
    fn the_configuration_quotes_its_directory() {
        let text = configuration_text("127.0.0.1:9092".parse().unwrap(), Path::new("/tmp/a \"b\""));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["log"]["dirs"].as_str(), Some("/tmp/a \"b\""));
    }
}
