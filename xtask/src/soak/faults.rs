//! What is done to the cluster: drawn from a seed, never to more than a minority at once, except
//! where all nodes are killed together.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::{Cluster, Place};

/// Numbers that a seed decides: splitmix64.
pub struct Draw(pub u64);

impl Draw {
    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// A duration from `from` to `to` seconds.
    pub fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from * 1000 + self.below((to - from) * 1000 + 1))
    }
}

/// Which node a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// This one, counted from 0.
    Node(usize),
    /// The one that leads this partition then.
    Leader(usize),
    /// The one that clients are told is the controller.
    Controller,
}

/// Which directions of a node's traffic are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Everything,
    Peers,
    Clients,
    ToPeers,
    FromPeers,
    /// Everything, and the node sees its link go down.
    Link,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `kill -9`, and a start when the time is over.
    Kill,
    /// SIGSTOP, and SIGCONT when the time is over.
    Pause,
    /// Links are cut, and mended when the time is over.
    Cut(Cut),
    /// Every node in turn ends by SIGTERM and starts again.
    RollingRestart,
    /// All nodes are killed at once, and started together when the time is over.
    KillAll,
}

/// One thing that happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub victim: Victim,
    /// How long it lasts.
    pub hold: Duration,
    /// Whether the next fault may come before all replicas are in sync again.
    pub hasty: bool,
}

impl Fault {
    /// The next fault; every draw takes the same numbers, whatever they mean.
    pub fn draw(draw: &mut Draw, nodes: usize, partitions: usize, cuts: bool) -> Self {
        let victim = match draw.below(10) {
            0..=4 => Victim::Leader(draw.below(partitions as u64) as usize),
            5..=6 => {
                draw.below(1);
                Victim::Controller
            }
            _ => Victim::Node(draw.below(nodes as u64) as usize),
        };
        let (chosen, cut) = (draw.below(100), draw.below(6));
        let hold = draw.seconds(1, 20);
        let hasty = draw.below(6) == 0;
        let kind = match chosen {
            0..=39 => Kind::Kill,
            40..=59 => Kind::Pause,
            60..=89 if cuts => Kind::Cut(Cut::ALL[cut as usize]),
            60..=74 => Kind::Kill,
            75..=89 => Kind::Pause,
            90..=95 => Kind::RollingRestart,
            _ => Kind::KillAll,
        };
        // Where everything is killed, nothing is waited for anyway.
        let hold = if kind == Kind::KillAll { hold.min(Duration::from_secs(5)) } else { hold };
        Self { kind, victim, hold, hasty }
    }
}

impl Cut {
    const ALL: [Cut; 6] =
        [Cut::Everything, Cut::Peers, Cut::Clients, Cut::ToPeers, Cut::FromPeers, Cut::Link];

    /// The directions that are lost, as (from, to).
    fn directions(self, node: usize, nodes: usize) -> Vec<(Place, Place)> {
        let this = Place::Node(node);
        let peers = || (0..nodes).filter(|peer| *peer != node).map(Place::Node);
        let to_peers = || peers().map(|peer| (this, peer));
        let from_peers = || peers().map(|peer| (peer, this));
        let clients = [(this, Place::Clients), (Place::Clients, this)];
        match self {
            Cut::Everything => to_peers().chain(from_peers()).chain(clients).collect(),
            Cut::Peers => to_peers().chain(from_peers()).collect(),
            Cut::Clients => clients.to_vec(),
            Cut::ToPeers => to_peers().collect(),
            Cut::FromPeers => from_peers().collect(),
            Cut::Link => Vec::new(),
        }
    }
}

/// Begins a fault that one node suffers, or all that are killed.
pub fn begin(kind: Kind, node: usize, cluster: &mut Cluster) -> Result<()> {
    match kind {
        Kind::Kill => cluster.kill(node),
        Kind::Pause => cluster.pause(node),
        Kind::Cut(Cut::Link) => cluster.network.set_link(Place::Node(node), false),
        Kind::Cut(cut) => cut
            .directions(node, cluster.len())
            .into_iter()
            .try_for_each(|(from, to)| cluster.network.cut(from, to)),
        Kind::KillAll => cluster.kill_all(),
        Kind::RollingRestart => Ok(()),
    }
}

/// Ends it: afterwards every node runs and reaches every other.
pub fn heal(kind: Kind, node: usize, cluster: &mut Cluster) -> Result<()> {
    match kind {
        Kind::Kill | Kind::KillAll => cluster.start_all(),
        Kind::Pause => cluster.resume(node),
        Kind::Cut(Cut::Link) => cluster.network.set_link(Place::Node(node), true),
        Kind::Cut(cut) => cut
            .directions(node, cluster.len())
            .into_iter()
            .try_for_each(|(from, to)| cluster.network.mend(from, to)),
        Kind::RollingRestart => Ok(()),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Kill => "kill -9",
            Kind::Pause => "SIGSTOP",
            Kind::Cut(Cut::Everything) => "cut from all",
            Kind::Cut(Cut::Peers) => "cut from peers",
            Kind::Cut(Cut::Clients) => "cut from clients",
            Kind::Cut(Cut::ToPeers) => "cut towards peers",
            Kind::Cut(Cut::FromPeers) => "deaf to peers",
            Kind::Cut(Cut::Link) => "link down",
            Kind::RollingRestart => "rolling restart",
            Kind::KillAll => "kill -9 of all",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seed: u64, cuts: bool) -> Vec<Fault> {
        let mut draw = Draw(seed);
        (0..300).map(|_| Fault::draw(&mut draw, 3, 6, cuts)).collect()
    }

    #[test]
    fn a_seed_decides_every_fault() {
        assert_eq!(faults(7, true), faults(7, true));
        assert_ne!(faults(7, true), faults(8, true));
    }

    #[test]
    fn every_kind_is_drawn_and_no_cut_where_none_is_possible() {
        let drawn = faults(1, true);
        let has = |kind| drawn.iter().any(|fault| fault.kind == kind);
        assert!(has(Kind::Kill) && has(Kind::Pause) && has(Kind::RollingRestart));
        assert!(has(Kind::KillAll) && Cut::ALL.iter().all(|cut| has(Kind::Cut(*cut))));
        assert!(!faults(1, false).iter().any(|fault| matches!(fault.kind, Kind::Cut(_))));
    }

    #[test]
    fn a_one_way_cut_loses_one_direction() {
        let (this, peer) = (Place::Node(1), Place::Node(0));
        let directions = Cut::ToPeers.directions(1, 3);
        assert!(directions.contains(&(this, peer)) && !directions.contains(&(peer, this)));
        assert_eq!(Cut::Everything.directions(1, 3).len(), 6);
    }
}
