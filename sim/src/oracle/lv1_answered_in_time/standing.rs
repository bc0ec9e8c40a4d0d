//! When a leader could commit at once: its in-sync replicas all run, and nobody else may join them.

use crate::history::{History, MarkKind, MetadataSeen, Partition};

/// How often the metadata of brokers is looked at, at least: what is seen changed in the time before.
const LOOK_EVERY_NANOS: u64 = 25_000_000;

/// A time in which a leader's in-sync replicas all ran, and all others were stopped and fenced, as it
/// knew.
#[derive(Debug)]
pub struct Standing<'a> {
    /// Which partition it leads.
    pub partition: Partition,
    /// Which broker.
    pub leader: i32,
    /// The in-sync replicas.
    pub isr: &'a [i32],
    /// When the leader was seen to know of it, in simulated nanoseconds.
    pub from: u64,
    /// When something changed.
    pub until: u64,
}

/// Every such time.
pub fn standings(history: &History) -> Vec<Standing<'_>> {
    let turns = turns(history);
    let mut standings = Vec::new();
    for (at, look) in history.metadata.iter().enumerate() {
        for (partition, seen) in &look.partitions {
            let (runs, stands) = (Turn::Ready, Turn::Stopped);
            let is_in = |broker: &&i32| seen.isr.contains(broker);
            let (members, others): (Vec<&i32>, Vec<&i32>) = seen.replicas.iter().partition(is_in);
            let are = |brokers: &[&i32], turn: Turn| {
                brokers.iter().all(|broker| last_turn(&turns, **broker, look.nanos) == Some(turn))
            };
            let all_fenced = others.iter().all(|broker| look.fenced.contains(broker));
            let is_standing = seen.leader == Some(look.machine)
                && seen.adding.is_empty()
                && seen.isr.len() as u32 >= seen.min_insync
                && are(&members, runs)
                && are(&others, stands)
                && all_fenced;
            if is_standing {
                let concerns = |turn: &&(u64, i32, Turn)| seen.replicas.contains(&turn.1);
                let mut later = turns.iter().filter(concerns).map(|(nanos, ..)| *nanos);
                let next_turn = later.find(|nanos| *nanos > look.nanos);
                let next_look = changed(&history.metadata[at + 1..], look, *partition);
                let until = next_turn.unwrap_or(history.nanos).min(next_look.unwrap_or(u64::MAX));
                let (leader, from) = (look.machine, look.nanos);
                let (partition, isr) = (*partition, &seen.isr[..]);
                standings.push(Standing { partition, leader, isr, from, until });
            }
        }
    }
    standings
}

/// When a machine was seen next to know something else of a partition.
fn changed(later: &[MetadataSeen], look: &MetadataSeen, partition: Partition) -> Option<u64> {
    let mut of_machine = later.iter().filter(|it| it.machine == look.machine);
    let differs =
        |it: &&MetadataSeen| it.partitions.get(&partition) != look.partitions.get(&partition);
    of_machine.find(differs).map(|it| it.nanos.saturating_sub(LOOK_EVERY_NANOS))
}

/// What a process came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It was started.
    Started,
    /// It answered.
    Ready,
    /// It was asked to stop.
    Asked,
    /// It was gone.
    Stopped,
}

/// What all processes came to, in order: when, on which machine, and what.
fn turns(history: &History) -> Vec<(u64, i32, Turn)> {
    let marks = history.marks.iter().filter_map(|mark| match mark.kind {
        MarkKind::Ready => Some((mark.nanos, mark.machine, Turn::Ready)),
        MarkKind::Stopped => Some((mark.nanos, mark.machine, Turn::Stopped)),
        _ => None,
    });
    let asked = history.clean_stops.iter().map(|it| (it.asked, it.machine, Turn::Asked));
    let started = history.starts.iter().map(|(nanos, id)| (*nanos, *id, Turn::Started));
    let mut turns: Vec<_> = marks.chain(asked).chain(started).collect();
    turns.sort_by_key(|(nanos, ..)| *nanos);
    turns
}

fn last_turn(turns: &[(u64, i32, Turn)], broker: i32, nanos: u64) -> Option<Turn> {
    let before = turns.iter().take_while(|(at, ..)| *at <= nanos);
    before.filter(|(_, id, _)| *id == broker).last().map(|(.., turn)| *turn)
}
