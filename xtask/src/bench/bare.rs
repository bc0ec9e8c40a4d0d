//! The floor under every broker on this machine: socket read, file write, group fdatasync, and
//! no protocol at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::load::{ClosedLoop, Sent};
use super::statistics::Percentiles;

/// How often fdatasync is measured.
const SYNC_SAMPLES: usize = 400;

/// What each of these writes appends, in bytes.
const SYNC_WRITE_BYTES: usize = 1024;

/// Where a measured write goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To the end of a file, which grows: the file system must also make the new length durable.
    Append,
    /// Into a file that already has its length, as a log does that lays out its segments ahead.
    InPlace,
}

/// How long it takes to make a small write durable.
pub fn measure_sync(directory: &Path, place: Place) -> anyhow::Result<Percentiles> {
    let path = directory.join("sync-probe");
    let mut file =
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if place == Place::InPlace {
        file.write_all(&vec![0; SYNC_SAMPLES * SYNC_WRITE_BYTES])?;
        file.sync_all().context("fsync failed")?;
        file.rewind()?;
    }
    let bytes = [7; SYNC_WRITE_BYTES];
    let mut durations = Vec::with_capacity(SYNC_SAMPLES);
    for _ in 0..SYNC_SAMPLES {
        file.write_all(&bytes)?;
        let started = Instant::now();
        file.sync_data().context("fdatasync failed")?;
        durations.push(started.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(Percentiles::of(durations))
}

/// Moves the same bytes as `load` over loopback into one file per connection, acknowledging each
/// frame when an fdatasync covers it. One fdatasync per dirty file and round serves all that wait.
pub fn run(directory: &Path, load: &ClosedLoop) -> anyhow::Result<Sent> {
    let frame_bytes = load.records_per_batch * load.record_bytes;
    let frames = load.batches_per_producer();
    let group = Arc::new(Group::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    let mut paths = Vec::new();
    for number in 0..load.producers {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let path = directory.join(format!("bare-{number}"));
        let file = Arc::new(File::create(&path)?);
        paths.push(path);
        servers.push((server, file));
        clients.push(client);
    }
    let started = Instant::now();
    let elapsed = std::thread::scope(|scope| -> anyhow::Result<Duration> {
        let flusher = scope.spawn(|| group.flush_until_closed());
        let mut threads = Vec::new();
        for (number, (server, file)) in servers.into_iter().enumerate() {
            let group = Arc::clone(&group);
            threads.push(scope.spawn(move || serve(number, server, file, frame_bytes, &group)));
        }
        for client in clients {
            let in_flight = load.in_flight;
            threads.push(scope.spawn(move || send(client, frame_bytes, frames, in_flight)));
        }
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let elapsed = started.elapsed();
        group.close();
        flusher.join().map_err(|_| anyhow::anyhow!("the flusher panicked"))??;
        for outcome in outcomes {
            outcome.map_err(|_| anyhow::anyhow!("a thread of the bare loop panicked"))??;
        }
        Ok(elapsed)
    })?;
    for path in paths {
        std::fs::remove_file(path)?;
    }
    let bytes = (frame_bytes * load.producers) as u64 * frames;
    Ok(Sent { bytes, elapsed })
}

/// What waits for the next round of fdatasync.
#[derive(Default)]
struct Group {
    waiting: Mutex<Round>,
    changed: Condvar,
}

#[derive(Default)]
struct Round {
    closed: bool,
    /// Per connection: its file, where to acknowledge, and how many frames.
    dirty: BTreeMap<usize, (Arc<File>, Arc<TcpStream>, usize)>,
}

impl Group {
    fn wrote(&self, number: usize, file: &Arc<File>, peer: &Arc<TcpStream>) {
        let mut round = self.waiting.lock().expect("no thread panics with the round");
        let entry = round.dirty.entry(number).or_insert((Arc::clone(file), Arc::clone(peer), 0));
        entry.2 += 1;
        self.changed.notify_one();
    }

    fn close(&self) {
        self.waiting.lock().expect("no thread panics with the round").closed = true;
        self.changed.notify_one();
    }

    fn flush_until_closed(&self) -> anyhow::Result<()> {
        loop {
            let dirty = {
                let mut round = self.waiting.lock().expect("no thread panics with the round");
                while round.dirty.is_empty() && !round.closed {
                    round = self.changed.wait(round).expect("no thread panics with the round");
                }
                std::mem::take(&mut round.dirty)
            };
            if dirty.is_empty() {
                return Ok(());
            }
            for (file, peer, frames) in dirty.into_values() {
                file.sync_data().context("fdatasync failed")?;
                (&*peer).write_all(&vec![1; frames]).context("cannot acknowledge")?;
            }
        }
    }
}

fn serve(
    number: usize,
    stream: TcpStream,
    file: Arc<File>,
    frame_bytes: usize,
    group: &Group,
) -> anyhow::Result<()> {
    let peer = Arc::new(stream);
    let mut buffer = vec![0; frame_bytes];
    loop {
        match (&*peer).read_exact(&mut buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).context("cannot read a frame"),
        }
        (&*file).write_all(&buffer).context("cannot write a frame")?;
        group.wrote(number, &file, &peer);
    }
}

fn send(
    mut stream: TcpStream,
    frame_bytes: usize,
    frames: u64,
    in_flight: usize,
) -> anyhow::Result<()> {
    let frame = vec![0x5a; frame_bytes];
    let window = in_flight.max(1) as u64;
    let mut acknowledged = [0];
    for sent in 0..frames {
        if sent >= window {
            stream.read_exact(&mut acknowledged)?;
        }
        stream.write_all(&frame)?;
    }
    for _ in 0..frames.min(window) {
        stream.read_exact(&mut acknowledged)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDirectory;

    #[test]
    fn the_bare_loop_moves_every_byte_and_cleans_up() {
        let scratch = ScratchDirectory::new("bare");
        let load = ClosedLoop {
            leaders: Vec::new(),
            topic: String::new(),
            producers: 3,
            in_flight: 2,
            records_per_batch: 10,
            record_bytes: 100,
            total_bytes: 30_000,
        };
        assert_eq!(run(scratch.path(), &load).unwrap().bytes, 30_000);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_sync_takes_some_time() {
        let scratch = ScratchDirectory::new("sync");
        for place in [Place::Append, Place::InPlace] {
            let percentiles = measure_sync(scratch.path(), place).unwrap();
            assert_eq!(percentiles.count, SYNC_SAMPLES);
            assert!(percentiles.p50_ms > 0.0);
        }
    }
}
