//! A cluster with clients, and the faults it suffers one after the other.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::clients::{Check, Clients, Status};
use super::faults::{self, Draw, Fault, Kind, Victim};
use super::outage::{self, Span};
use crate::cluster::{Cluster, Guard, Network};

/// The topic of all clients.
pub const TOPIC: &str = "soak";

/// The longest until all replicas are in sync again after everything was healed. A follower that
/// was away has little to fetch here; the rest is sessions and elections.
pub const IN_SYNC_LIMIT: Duration = Duration::from_secs(60);

/// A partition that acknowledges nothing for so long is not healed, whatever its replicas say.
const SILENCE_LIMIT: Duration = Duration::from_secs(1);

/// How often in a row, and how far apart, all replicas must be told in sync: a node that was cut
/// off tells what it last heard.
const IN_SYNC_ANSWERS: u32 = 3;
const ASK_EVERY: Duration = Duration::from_millis(300);

/// After so many faults in a row without all replicas in sync again there is no point in more.
const HOPELESS_AFTER: u32 = 3;

/// How much the clients do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub partitions: usize,
    pub producers: usize,
    /// Records per second of each producer.
    pub rate: usize,
}

/// What happened to the cluster once.
pub struct Event {
    pub fault: Fault,
    /// The node that suffered it, counted from 0; 0 also where all did.
    pub node: usize,
    /// The partitions that it led before.
    pub led: Vec<usize>,
    /// From its beginning until it was healed.
    pub lasted: Duration,
    /// Whether all replicas were in sync before.
    pub settled: bool,
    pub span: Span,
    /// From the healing until all replicas were in sync, when that was waited for.
    pub in_sync_after: Option<Duration>,
}

/// The cluster, its clients, and what was seen.
pub struct Run {
    // Before the cluster: clients end first.
    clients: Clients,
    cluster: Cluster,
    load: Load,
    replicas: usize,
    started: Instant,
    /// Every fault so far.
    pub events: Vec<Event>,
    /// Replicas that were not in sync in time.
    late: Vec<String>,
    /// What was missing when the clients were asked last.
    missing: String,
    late_in_a_row: u32,
    /// Nodes that ended though nobody asked them to.
    ended: Vec<String>,
    /// Stops by SIGTERM that went wrong.
    stops: Vec<String>,
}

impl Run {
    /// Starts the nodes and the clients and waits until records are written. `clients` makes the
    /// clients' command from the network and the brokers' addresses.
    pub fn start(
        binary: &Path,
        directory: &Path,
        (network, guard): (Network, Guard),
        nodes: usize,
        load: Load,
        clients: impl FnOnce(&Network) -> Command,
    ) -> Result<Self> {
        let mut cluster = Cluster::prepare(binary, directory, (network, guard), nodes, &[])?;
        cluster.start_all()?;
        let mut command = clients(&cluster.network);
        let numbers = [load.partitions, load.producers, load.rate].map(|number| number.to_string());
        command.arg(cluster.bootstrap()).arg(TOPIC).args(numbers);
        let mut clients = Clients::start(command, &directory.join("clients.log"))?;
        cluster.guard.process(clients.id());
        let replicas = nodes.min(3);
        clients.create(replicas, replicas.div_ceil(2))?;
        let (events, started) = (Vec::new(), Instant::now());
        let (late, ended, stops) = (Vec::new(), Vec::new(), Vec::new());
        let (late_in_a_row, missing) = (0, String::new());
        let mut run = Self {
            clients,
            cluster,
            load,
            replicas,
            started,
            events,
            late,
            missing,
            late_in_a_row,
            ended,
            stops,
        };
        if run.await_in_sync(IN_SYNC_LIMIT)?.is_none() {
            run.late.push(format!("not before any fault: {}", run.missing));
        }
        Ok(run)
    }

    /// Draws and suffers faults until the time is over.
    pub fn suffer_until(&mut self, end: Instant, seed: u64) -> Result<()> {
        let mut draw = Draw(seed);
        let (nodes, cuts) = (self.cluster.len(), self.cluster.network.can_be_cut());
        while Instant::now() < end && self.late_in_a_row < HOPELESS_AFTER {
            let fault = Fault::draw(&mut draw, nodes, self.load.partitions, cuts);
            let pause = draw.seconds(2, 6);
            self.suffer(fault)?;
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// One fault from its beginning until all replicas are in sync again, or, for a hasty one,
    /// until it is healed.
    pub fn suffer(&mut self, fault: Fault) -> Result<()> {
        let before = self.status_within(IN_SYNC_LIMIT)?;
        let settled = before.as_ref().is_some_and(|status| self.missing_in(status).is_none());
        let node = self.victim(fault.victim, before.as_ref());
        let led = match (&before, fault.kind) {
            (Some(status), Kind::Kill | Kind::Pause | Kind::Cut(_)) => led_by(node, status),
            _ => (0..self.load.partitions).collect(),
        };
        let (from_ms, begun) = (now_ms(), Instant::now());
        if let Some(last) = self.events.last_mut() {
            last.span.until_ms = from_ms;
        }
        faults::begin(fault.kind, node, &mut self.cluster)?;
        match fault.kind {
            Kind::RollingRestart => self.restart_in_turn()?,
            _ => std::thread::sleep(fault.hold),
        }
        self.note_ends();
        let lasted = begun.elapsed();
        faults::heal(fault.kind, node, &mut self.cluster)?;
        let in_sync_after = if fault.hasty { None } else { self.recover(fault)? };
        let span = Span { from_ms, until_ms: u64::MAX };
        self.events.push(Event { fault, node, led, lasted, settled, span, in_sync_after });
        self.clients.listen();
        self.tell_last();
        Ok(())
    }

    /// Judges everything: replicas, records, ends of nodes, logs.
    pub fn finish(mut self) -> Result<(Vec<Event>, Vec<outage::Gap>, Vec<Check>)> {
        let mut checks = Vec::new();
        let started = Instant::now();
        if self.await_in_sync(IN_SYNC_LIMIT)?.is_none() {
            let limit = IN_SYNC_LIMIT.as_secs();
            self.late.push(format!("not within {limit} s at the end: {}", self.missing));
        }
        let took = format!("{:.1} s at the end", started.elapsed().as_secs_f64());
        if let Some(last) = self.events.last_mut() {
            last.span.until_ms = now_ms();
        }
        checks.push(check("all-replicas-in-sync-in-time", &self.late, took));
        self.clients.finish(|found| checks.push(found))?;
        self.note_ends();
        let (mut slowest, mut stopped) = (Duration::ZERO, 0);
        for node in 0..self.cluster.len() {
            if !self.cluster.is_running(node) {
                continue;
            }
            match self.cluster.terminate(node) {
                Ok(took) => (slowest, stopped) = (slowest.max(took), stopped + 1),
                Err(error) => self.stops.push(format!("{error:#}")),
            }
        }
        let note = format!("{stopped} at the end, slowest {:.1} s", slowest.as_secs_f64());
        checks.push(check("nodes-stop-when-asked", &self.stops, note));
        checks.push(check("no-node-ended-by-itself", &self.ended, String::new()));
        checks.push(check("no-panic-in-the-logs", &self.cluster.panics(), String::new()));
        Ok((self.events, std::mem::take(&mut self.clients.gaps), checks))
    }

    /// Where the clients begin, for other clients.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap()
    }

    /// Kills the leader of a partition, by what a client was told: the node's id.
    pub fn kill_and_restart(&mut self, id: usize, away: Duration) -> Result<()> {
        self.cluster.kill(id - 1)?;
        std::thread::sleep(away);
        self.cluster.start(id - 1)
    }

    fn restart_in_turn(&mut self) -> Result<()> {
        for node in 0..self.cluster.len() {
            if let Err(error) = self.cluster.terminate(node) {
                self.stops.push(format!("{error:#}"));
            }
            self.cluster.start_all()?;
            // The next one only when this one carries its part again.
            if self.await_in_sync(IN_SYNC_LIMIT)?.is_none() {
                let missing = &self.missing;
                self.late.push(format!("not after the restart of node {}: {missing}", node + 1));
            }
        }
        Ok(())
    }

    fn recover(&mut self, fault: Fault) -> Result<Option<Duration>> {
        let took = self.await_in_sync(IN_SYNC_LIMIT)?;
        match took {
            Some(_) => self.late_in_a_row = 0,
            None => {
                self.late_in_a_row += 1;
                let (at, limit) = (self.started.elapsed().as_secs(), IN_SYNC_LIMIT.as_secs());
                let (kind, missing) = (fault.kind, &self.missing);
                self.late.push(format!("not within {limit} s after {kind} ({at} s): {missing}"));
            }
        }
        Ok(took)
    }

    /// Waits until all replicas are in sync; `None` when they are not in time.
    fn await_in_sync(&mut self, limit: Duration) -> Result<Option<Duration>> {
        let started = Instant::now();
        let (mut since, mut answers) = (None, 0);
        while started.elapsed() < limit {
            self.note_ends();
            self.cluster.start_all()?;
            let missing = match self.clients.status()? {
                Some(status) => self.missing_in(&status),
                None => Some("no broker answers".to_owned()),
            };
            match missing {
                None => {
                    since = since.or(Some(started.elapsed()));
                    answers += 1;
                }
                Some(missing) => {
                    self.missing = missing;
                    (since, answers) = (None, 0);
                }
            }
            if answers == IN_SYNC_ANSWERS {
                return Ok(since);
            }
            std::thread::sleep(ASK_EVERY);
        }
        Ok(None)
    }

    /// What keeps the cluster from counting as healed.
    fn missing_in(&self, status: &Status) -> Option<String> {
        if let Some(partition) = status.leaders.iter().position(|leader| *leader <= 0) {
            return Some(format!("partition {partition} has no leader"));
        }
        if let Some(partition) = status.in_sync.iter().position(|count| *count != self.replicas) {
            let (count, all) = (status.in_sync[partition], self.replicas);
            return Some(format!("partition {partition} has {count} of {all} replicas in sync"));
        }
        let silence = status.silence;
        let is_silent = silence >= SILENCE_LIMIT;
        is_silent.then(|| format!("nothing was acknowledged for {:.1} s", silence.as_secs_f64()))
    }

    fn status_within(&mut self, limit: Duration) -> Result<Option<Status>> {
        let end = Instant::now() + limit;
        loop {
            let status = self.clients.status()?;
            if status.is_some() || Instant::now() > end {
                return Ok(status);
            }
        }
    }

    fn victim(&self, victim: Victim, status: Option<&Status>) -> usize {
        let named = match (victim, status) {
            (Victim::Node(node), _) => return node,
            (Victim::Leader(partition), Some(status)) => status.leaders[partition],
            (Victim::Controller, Some(status)) => status.controller,
            (_, None) => -1,
        };
        // Where there is none just now, anybody will do.
        usize::try_from(named - 1).ok().filter(|node| *node < self.cluster.len()).unwrap_or(0)
    }

    fn note_ends(&mut self) {
        let at = self.started.elapsed().as_secs();
        for how in self.cluster.ended_by_themselves() {
            println!("        {how}");
            self.ended.push(format!("{how} after {at} s"));
        }
    }

    fn tell_last(&self) {
        let Some(event) = self.events.last() else { return };
        let at = self.started.elapsed().as_secs();
        let whom = match (event.fault.kind, event.fault.victim) {
            (Kind::KillAll | Kind::RollingRestart, _) => String::new(),
            (_, Victim::Leader(p)) => format!(", node {}, leader of {p}", event.node + 1),
            (_, Victim::Controller) => format!(", node {}, the controller", event.node + 1),
            (_, Victim::Node(_)) => format!(", node {}", event.node + 1),
        };
        let recovered = match event.in_sync_after {
            Some(took) => format!("in sync {:.1} s after", took.as_secs_f64()),
            None if event.fault.hasty => "not waited for".to_owned(),
            None => "NOT IN SYNC IN TIME".to_owned(),
        };
        println!(
            "{:>3}:{:02}  {}{whom}, {:.1} s: {:.1} s without acks, {recovered}",
            at / 60,
            at % 60,
            event.fault.kind,
            event.lasted.as_secs_f64(),
            self.outage(event).as_secs_f64(),
        );
    }

    fn outage(&self, event: &Event) -> Duration {
        let of = |partition| outage::longest(&self.clients.gaps, partition, event.span);
        (0..self.load.partitions).map(of).max().unwrap_or_default()
    }
}

fn led_by(node: usize, status: &Status) -> Vec<usize> {
    let leads =
        |(partition, leader): (usize, &i64)| (*leader == node as i64 + 1).then_some(partition);
    status.leaders.iter().enumerate().filter_map(leads).collect()
}

fn check(name: &str, problems: &[String], note: String) -> Check {
    let passed = problems.is_empty();
    let note = match problems {
        [] => note,
        [one] => one.clone(),
        [first, others @ ..] => format!("{first}; {} more", others.len()),
    };
    Check { name: name.to_owned(), passed, note }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
