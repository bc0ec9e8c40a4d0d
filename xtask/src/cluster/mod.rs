//! A cluster of real nodes on this machine, for the commands that break it and that measure it.

mod guard;
mod network;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

pub use guard::Guard;
pub use network::{Network, Place, Port, free_ports};

/// The longest a node may take to end after SIGTERM: it hands its partitions over first.
pub const STOP_LIMIT: Duration = Duration::from_secs(45);

/// How often a condition is looked at while waiting for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Nodes that vote, replicate and serve. All of them are killed on drop.
pub struct Cluster {
    binary: PathBuf,
    directory: PathBuf,
    nodes: Vec<Node>,
    /// One node without a quorum, numbered 0 as Kafka numbers one.
    alone: bool,
    /// Where they live.
    pub network: Network,
    /// What ends them if this process cannot.
    pub guard: Guard,
}

struct Node {
    /// The running process. Invariant: none between its end and the next start.
    child: Option<Child>,
    /// Stopped by SIGSTOP.
    paused: bool,
}

impl Cluster {
    /// Writes the configuration of `count` nodes below `directory`; starts none. `settings` are
    /// lines of the configuration of every node, in which `{node}` stands for the node's number.
    pub fn prepare(
        binary: &Path,
        directory: &Path,
        (network, guard): (Network, Guard),
        count: usize,
        settings: &[&str],
    ) -> Result<Self> {
        Self::prepare_nodes(binary, directory, (network, guard), (count, false), settings)
    }

    /// The same for one broker that is alone.
    pub fn prepare_alone(
        binary: &Path,
        directory: &Path,
        surroundings: (Network, Guard),
        settings: &[&str],
    ) -> Result<Self> {
        Self::prepare_nodes(binary, directory, surroundings, (1, true), settings)
    }

    fn prepare_nodes(
        binary: &Path,
        directory: &Path,
        (network, guard): (Network, Guard),
        (count, alone): (usize, bool),
        settings: &[&str],
    ) -> Result<Self> {
        let nodes = (0..count).map(|_| Node { child: None, paused: false }).collect();
        let directory = directory.to_path_buf();
        let cluster =
            Self { binary: std::path::absolute(binary)?, directory, nodes, alone, network, guard };
        for node in 0..count {
            std::fs::create_dir_all(cluster.data(node))?;
            let path = cluster.configuration(node);
            std::fs::write(&path, cluster.configuration_text(node, settings))
                .with_context(|| format!("cannot write {}", path.display()))?;
            File::create(cluster.log(node))?;
        }
        Ok(cluster)
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Where clients begin, as `HOST:PORT,...`.
    pub fn bootstrap(&self) -> String {
        let all: Vec<_> = (0..self.len()).map(|node| self.client(node).to_string()).collect();
        all.join(",")
    }

    /// Where clients reach one node.
    pub fn client(&self, node: usize) -> SocketAddr {
        self.network.endpoint(node, Port::Client)
    }

    /// What a node prints.
    pub fn log(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node-{}.log", node + 1))
    }

    /// Where a node keeps its data.
    pub fn data(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node-{}", node + 1))
    }

    /// Starts a node that does not run; does not wait until it is ready.
    pub fn start(&mut self, node: usize) -> Result<()> {
        ensure!(self.nodes[node].child.is_none(), "node {} runs already", node + 1);
        let mut log = OpenOptions::new().append(true).open(self.log(node))?;
        writeln!(log, "--- started by xtask at {}", clock())?;
        let child = self
            .network
            .command(Place::Node(node), &self.binary)
            .arg("serve")
            .arg("--config")
            .arg(self.configuration(node))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-c is for the command, which then ends the nodes.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.guard.process(child.id());
        self.nodes[node] = Node { child: Some(child), paused: false };
        Ok(())
    }

    /// Starts every node that does not run.
    pub fn start_all(&mut self) -> Result<()> {
        (0..self.len()).try_for_each(|node| match self.is_running(node) {
            true => Ok(()),
            false => self.start(node),
        })
    }

    /// Whether a node was started and not ended by us.
    pub fn is_running(&self, node: usize) -> bool {
        self.nodes[node].child.is_some()
    }

    /// Ends a node at once, as `kill -9` does.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        if let Some(mut child) = self.nodes[node].child.take() {
            child.kill().context("cannot kill a node")?;
            child.wait().context("cannot wait for a node")?;
            self.guard.gone(child.id());
        }
        Ok(())
    }

    /// Ends every node at once.
    pub fn kill_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child {
                child.kill().context("cannot kill a node")?;
            }
        }
        (0..self.len()).try_for_each(|node| self.kill(node))
    }

    /// Stops a node's process where it is (SIGSTOP).
    pub fn pause(&mut self, node: usize) -> Result<()> {
        self.signal(node, "-STOP")?;
        self.nodes[node].paused = true;
        Ok(())
    }

    /// Lets a stopped process go on.
    pub fn resume(&mut self, node: usize) -> Result<()> {
        self.signal(node, "-CONT")?;
        self.nodes[node].paused = false;
        Ok(())
    }

    /// Asks a node to end (SIGTERM); it must end by itself, with success. Returns how long it took.
    pub fn terminate(&mut self, node: usize) -> Result<Duration> {
        let started = Instant::now();
        self.signal(node, "-TERM")?;
        let child = self.nodes[node].child.as_mut().context("the node does not run")?;
        let id = child.id();
        let Some(status) = wait_for_end(child, STOP_LIMIT)? else {
            self.kill(node)?;
            bail!("node {} still there {} s after SIGTERM", node + 1, STOP_LIMIT.as_secs());
        };
        self.nodes[node].child = None;
        self.guard.gone(id);
        ensure!(status.success(), "node {} ended with {status} after SIGTERM", node + 1);
        Ok(started.elapsed())
    }

    /// The nodes that ended though nobody asked them to, with how. They can be started again.
    pub fn ended_by_themselves(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let Some(child) = &mut node.child else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                self.guard.gone(child.id());
                node.child = None;
                ended.push(format!("node {} ended with {status}", number + 1));
            }
        }
        ended
    }

    /// What the logs say of panics, one line for each with the node's number.
    pub fn panics(&self) -> Vec<String> {
        let of_node = |node: usize| {
            let text = std::fs::read(self.log(node)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let found: Vec<_> = text
                .lines()
                .filter(|line| line.contains("panicked at"))
                .map(|line| format!("node {}: {line}", node + 1))
                .collect();
            found
        };
        (0..self.len()).flat_map(of_node).collect()
    }

    /// Waits until every node says that it is ready. On the loopback interface only.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        for node in 0..self.len() {
            let admin = self.network.endpoint(node, Port::Admin);
            while !is_ready(admin) {
                if let Some(how) = self.ended_by_themselves().first() {
                    bail!("{how} before it was ready; its log is {}", self.log(node).display());
                }
                if Instant::now() > end {
                    bail!("node {} is not ready within {} s", node + 1, limit.as_secs());
                }
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
        Ok(())
    }

    /// The process of a node that runs.
    pub fn process(&self, node: usize) -> Option<u32> {
        self.nodes[node].child.as_ref().map(Child::id)
    }

    fn signal(&self, node: usize, signal: &str) -> Result<()> {
        let id = self.process(node).with_context(|| format!("node {} does not run", node + 1))?;
        let sent = Command::new("kill").args([signal, &id.to_string()]).status()?;
        ensure!(sent.success(), "cannot send {signal} to node {}", node + 1);
        Ok(())
    }

    fn configuration(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node-{}.properties", node + 1))
    }

    fn configuration_text(&self, node: usize, settings: &[&str]) -> String {
        let at = |node, port| self.network.endpoint(node, port);
        let client = at(node, Port::Client);
        let mut lines = vec![
            format!("log.dirs={}", self.data(node).display()),
            format!("admin.listen={}", at(node, Port::Admin)),
        ];
        if self.alone {
            lines.push("node.id=0".to_owned());
            lines.push(format!("listeners=PLAINTEXT://{client}"));
            lines.push(format!("advertised.listeners=PLAINTEXT://{client}"));
        } else {
            let voters: Vec<_> = (0..self.len())
                .map(|voter| format!("{}@{}", voter + 1, at(voter, Port::Controller)))
                .collect();
            let controller = at(node, Port::Controller);
            let replicas = self.len().min(3);
            lines.push(format!("node.id={}", node + 1));
            lines.push("cluster.id=xtask".to_owned());
            lines.push(format!("controller.quorum.voters={}", voters.join(",")));
            lines.push(format!("listeners=PLAINTEXT://{client},CONTROLLER://{controller}"));
            lines.push(format!("default.replication.factor={replicas}"));
            lines.push(format!("min.insync.replicas={}", replicas.div_ceil(2)));
        }
        let number = (node + 1).to_string();
        lines.extend(settings.iter().map(|line| line.replace("{node}", &number)));
        lines.join("\n") + "\n"
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // There is nobody to tell in a drop, and the guard kills what this did not.
        let _ = self.kill_all();
    }
}

/// Seconds since 1970 with milliseconds, as the nodes' logs can be matched with.
pub fn clock() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{:.3}", now.unwrap_or_default().as_secs_f64())
}

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
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
