//! How fast one log takes appends that are all synced, and how fast they are read back.
//!
//! `cargo run --release --example log_bench -- DIR MEGABYTES BATCH_BYTES IN_FLIGHT_BYTES`

#[cfg(madsim)]
fn main() {}

#[cfg(not(madsim))]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    bench::run(std::env::args().skip(1).collect()).await
}

#[cfg(not(madsim))]
mod bench {
    use highwater_core::{
        record::{Batch, BatchBuilder, NewRecord, Origin},
        time::Instant,
        types::{LeaderEpoch, Offset, WriteId},
    };
    use highwater_node::{
        env::{Clock, OsClock, OsDisk},
        log::{Log, LogEvent, LogOptions},
        tasks::Tasks,
    };
    use std::{path::PathBuf, sync::Arc};
    use tokio::sync::mpsc;

    pub async fn run(arguments: Vec<String>) -> anyhow::Result<()> {
        let [dir, megabytes, batch_bytes, in_flight] = &arguments[..] else {
            anyhow::bail!("usage: log_bench DIR MEGABYTES BATCH_BYTES IN_FLIGHT_BYTES");
        };
        let total = megabytes.parse::<u64>()? * 1_000_000;
        let batch = batch_of(batch_bytes.parse()?)?;
        let in_flight = (in_flight.parse::<usize>()? / batch.bytes.len()).max(1) as u64;
        let (flushed, mut events) = mpsc::unbounded_channel();
        let sink = Arc::new(move |event| {
            // The bench ends before the log does.
            let _ = flushed.send(event);
        });
        let clock = OsClock::new();
        let start = clock.now().monotonic;
        let (log, recovered) = Log::open(
            Arc::new(OsDisk::new()?),
            &Tasks::default(),
            PathBuf::from(dir),
            LogOptions::default(),
            clock.now(),
            sink,
        )
        .await?;
        report(&clock, start, "open", 0);
        let (start, base) = (clock.now().monotonic, recovered.log_end_offset);
        let count = total / batch.bytes.len() as u64;
        let (mut appended, mut done) = (0, 0);
        let mut latencies = Vec::new();
        let mut sent = Vec::new();
        while done < count {
            while appended < count && appended - done < in_flight {
                let offset = base.plus(appended * u64::from(batch.header.record_count));
                let now = clock.now();
                sent.push(now.monotonic);
                let placed = batch.clone().placed(offset, LeaderEpoch(0), None);
                log.append(now, WriteId(appended), placed);
                appended += 1;
            }
            match events.recv().await {
                Some(LogEvent::Flushed(through)) => {
                    let now = clock.now().monotonic;
                    let newly = &sent[done as usize..=through.0 as usize];
                    latencies.extend(newly.iter().map(|sent| now.since(*sent)));
                    done = through.0 + 1;
                }
                Some(LogEvent::Failed(error)) => return Err(error.into()),
                _ => {}
            }
        }
        report(&clock, start, "append", total);
        latencies.sort();
        let at = |part: usize| latencies[(latencies.len() - 1) * part / 1000];
        println!("latency   p50 {:?}  p99 {:?}  p999 {:?}", at(500), at(990), at(999));
        read_all(&clock, &log, base).await
    }

    async fn read_all(clock: &OsClock, log: &Log, base: Offset) -> anyhow::Result<()> {
        let start = clock.now().monotonic;
        let (mut at, mut total) = (base, 0);
        loop {
            let bytes = log.read(at, Offset(u64::MAX), 1024 * 1024, true).await?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let header = highwater_core::record::BatchHeader::parse(rest)?;
                at = header.next_offset();
                rest = &rest[header.size_in_bytes..];
            }
            if bytes.is_empty() {
                break;
            }
            total += bytes.len() as u64;
        }
        report(clock, start, "read", total);
        Ok(())
    }

    fn report(clock: &OsClock, start: Instant, what: &str, bytes: u64) {
        let elapsed = clock.now().monotonic.since(start);
        let rate = bytes as f64 / 1e6 / elapsed.as_secs_f64();
        println!("{what:8} {elapsed:>12.2?}  {rate:8.0} MB/s");
    }

    fn batch_of(bytes: usize) -> anyhow::Result<Batch> {
        let value = vec![b'x'; bytes.clamp(1, 1000)];
        let mut builder = BatchBuilder::new();
        while builder.size_in_bytes() < bytes {
            builder.push(NewRecord { value: Some(&value), ..NewRecord::default() });
        }
        Ok(Batch::parse(builder.build(), usize::MAX, Origin::Client)?)
    }
}
