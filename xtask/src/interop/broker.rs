//! The broker under test: built, started on a fresh directory, stopped in every way.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Places;
use crate::cluster::free_ports;

/// The longest a broker may take until it is ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The longest a broker may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How often a condition is looked at while waiting for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A broker process of our own; killed when dropped.
pub struct Broker {
    binary: PathBuf,
    data: PathBuf,
    log: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
    child: Child,
}

/// Builds the release broker and returns its binary.
pub fn build(root: &Path) -> Result<PathBuf> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "highwater-node",
            "--bin",
            "highwater",
        ])
        .current_dir(root)
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cargo build --release ended with {status}");
    let binary = target_directory(root).join("release/highwater");
    ensure!(binary.exists(), "the build left no {}", binary.display());
    Ok(binary)
}

/// Cargo's target directory.
pub fn target_directory(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root.join(directory),
        None => root.join("target"),
    }
}

impl Broker {
    /// Starts `binary` on an empty data directory `name` and on free ports; returns when it is
    /// ready.
    pub fn start(places: &Places, binary: &Path, name: &str) -> Result<Broker> {
        let data = places.fresh(&format!("data-{name}"))?;
        let log = places.log(&format!("broker-{name}"));
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let (listen, admin) = two_addresses()?;
        let child = spawn(binary, &data, &log, listen, admin)?;
        let binary = binary.to_path_buf();
        let mut broker = Broker { binary, data, log, listen, admin, child };
        broker.wait_ready()?;
        Ok(broker)
    }

    /// Where clients reach it: `HOST:PORT`.
    pub fn address(&self) -> String {
        self.listen.to_string()
    }

    /// Kills it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill the broker")?;
        self.child.wait().context("cannot wait for the killed broker")?;
        Ok(())
    }

    /// Starts it again on its directory and its ports after it ended; returns when it is ready.
    pub fn restart(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.child = spawn(&self.binary, &self.data, &self.log, self.listen, self.admin)?;
        self.wait_ready()?;
        Ok(started.elapsed())
    }

    /// Asks it to end with SIGTERM; it must end by itself, with success.
    pub fn terminate(mut self) -> Result<String> {
        self.stop()
    }

    /// As [`Broker::terminate`], but it can be started again.
    pub fn stop(&mut self) -> Result<String> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it had ended before with {status}; {}", self.last_words());
        }
        let started = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "cannot send SIGTERM");
        let status = wait_for_end(&mut self.child, STOP_LIMIT)?
            .with_context(|| format!("still there {} s after SIGTERM", STOP_LIMIT.as_secs()))?;
        ensure!(status.success(), "ended with {status} after SIGTERM; {}", self.last_words());
        Ok(format!("ended in {} ms", started.elapsed().as_millis()))
    }

    /// Starts a second broker on the same directory: it must refuse, with a message.
    pub fn start_second(&self, places: &Places) -> Result<String> {
        let log = places.log("broker-second");
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let (listen, admin) = two_addresses()?;
        let mut second = spawn(&self.binary, &self.data, &log, listen, admin)?;
        let Some(status) = wait_for_end(&mut second, STOP_LIMIT)? else {
            second.kill()?;
            second.wait()?;
            bail!("a second broker runs on {}", self.data.display());
        };
        ensure!(!status.success(), "the second broker ended with success");
        let words = last_words(&log);
        ensure!(!words.is_empty(), "the second broker ended with {status} and no message");
        ensure!(!words.contains("panicked"), "the second broker panicked: {words}");
        Ok(words)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        while !is_ready(self.listen, self.admin) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended with {status} before it was ready; {}", self.last_words());
            }
            if Instant::now() > end {
                bail!("not ready within {} s; {}", START_LIMIT.as_secs(), self.last_words());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        format!("its last words: {} (all in {})", last_words(&self.log), self.log.display())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell in a drop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    binary: &Path,
    data: &Path,
    log: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
) -> Result<Child> {
    let log = OpenOptions::new()
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    Command::new(binary)
        .arg("serve")
        .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
        .arg("--data")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

/// Addresses on which nobody listens now, for clients and for the administration.
fn two_addresses() -> Result<(SocketAddr, SocketAddr)> {
    let ports = free_ports(2)?;
    let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok((address(ports[0]), address(ports[1])))
}

/// It takes connections and its `/readyz` says so.
fn is_ready(listen: SocketAddr, admin: SocketAddr) -> bool {
    TcpStream::connect_timeout(&listen, Duration::from_secs(1)).is_ok()
        && http_status(admin, "/readyz").is_ok_and(|line| line.contains(" 200 "))
}

fn http_status(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or("").to_string())
}

fn wait_for_end(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() > end => return Ok(None),
            None => std::thread::sleep(LOOK_INTERVAL),
        }
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}
