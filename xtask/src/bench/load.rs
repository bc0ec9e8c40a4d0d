//! The load: a closed loop of producers for throughput, a fixed rate for latency.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::kafka::{Connection, ProduceRequest};

/// A closed loop: each producer has so many requests in flight and sends the next one when one
/// is acknowledged.
#[derive(Clone, Debug)]
pub struct ClosedLoop {
    /// The leaders of the partitions in order; they repeat where there are fewer of them.
    pub leaders: Vec<SocketAddr>,
    pub topic: String,
    /// One connection and one partition each.
    pub producers: usize,
    /// Requests sent and not yet acknowledged, per producer.
    pub in_flight: usize,
    pub records_per_batch: usize,
    pub record_bytes: usize,
    /// Payload to send, over all producers.
    pub total_bytes: u64,
}

/// What a closed loop did.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Payload acknowledged, in bytes.
    pub bytes: u64,
    /// From the first byte sent to the last acknowledgement.
    pub elapsed: Duration,
}

impl Sent {
    /// Payload per second, in units of 1,000,000 bytes.
    #[must_use]
    pub fn megabytes_per_second(self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl ClosedLoop {
    /// Batches that each producer sends.
    #[must_use]
    pub fn batches_per_producer(&self) -> u64 {
        let batch = (self.records_per_batch * self.record_bytes * self.producers) as u64;
        self.total_bytes.div_ceil(batch.max(1)).max(1)
    }

    /// Sends everything and waits until all of it is acknowledged.
    pub fn run(&self) -> anyhow::Result<Sent> {
        let batches = self.batches_per_producer();
        let mut connections = Vec::new();
        for partition in 0..self.producers {
            let request = ProduceRequest::new(
                &self.topic,
                partition,
                self.records_per_batch,
                self.record_bytes,
            );
            connections.push((Connection::open(leader(&self.leaders, partition)?)?, request));
        }
        let started = Instant::now();
        std::thread::scope(|scope| {
            let producers: Vec<_> = connections
                .into_iter()
                .map(|(connection, request)| {
                    scope.spawn(move || produce(connection, &request, batches, self.in_flight))
                })
                .collect();
            producers.into_iter().try_for_each(|producer| {
                producer.join().map_err(|_| anyhow::anyhow!("a producer panicked"))?
            })
        })?;
        let payload = (self.records_per_batch * self.record_bytes * self.producers) as u64;
        Ok(Sent { bytes: payload * batches, elapsed: started.elapsed() })
    }
}

fn produce(
    mut connection: Connection,
    request: &ProduceRequest,
    batches: u64,
    in_flight: usize,
) -> anyhow::Result<()> {
    let window = in_flight.max(1) as u64;
    for sent in 0..batches {
        if sent >= window {
            connection.receive_produced()?;
        }
        connection.send_produce(request)?;
    }
    for _ in 0..batches.min(window) {
        connection.receive_produced()?;
    }
    Ok(())
}

/// Small requests sent at fixed times, whether the earlier ones are acknowledged or not.
#[derive(Clone, Debug)]
pub struct FixedRate {
    /// The leaders of the partitions in order; they repeat where there are fewer of them.
    pub leaders: Vec<SocketAddr>,
    pub topic: String,
    /// Connections that share the rate, one partition each.
    pub producers: usize,
    pub records_per_request: usize,
    pub record_bytes: usize,
    /// Over all producers.
    pub requests_per_second: f64,
    pub duration: Duration,
}

impl FixedRate {
    /// The time from when each request was due to its acknowledgement: a broker that stalls the
    /// sender does not hide the requests that were due meanwhile.
    pub fn run(&self) -> anyhow::Result<Vec<Duration>> {
        self.run_unless(&AtomicBool::new(false))
    }

    /// As [`FixedRate::run`], but nothing more is sent once `over` is set.
    pub fn run_unless(&self, over: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
        wake_punctually();
        let interval = Duration::from_secs(1)
            .mul_f64(self.producers as f64 / self.requests_per_second.max(1.0));
        let count = (self.duration.as_secs_f64() / interval.as_secs_f64()).ceil() as u32;
        let started = Instant::now() + Duration::from_millis(50);
        std::thread::scope(|scope| {
            let mut producers = Vec::new();
            for producer in 0..self.producers {
                // Spread over the interval, as independent clients would be.
                let first = started + interval.mul_f64(producer as f64 / self.producers as f64);
                let schedule = (0..count)
                    .map(move |nth| first + interval * nth)
                    .take_while(|_| !over.load(Ordering::Relaxed));
                producers.push(scope.spawn(move || self.produce(producer, schedule)));
            }
            let mut latencies = Vec::new();
            for producer in producers {
                latencies
                    .extend(producer.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??);
            }
            Ok(latencies)
        })
    }

    fn produce(
        &self,
        partition: usize,
        schedule: impl Iterator<Item = Instant>,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut connection = Connection::open(leader(&self.leaders, partition)?)?;
        let mut reader = connection.reader()?;
        let records = self.records_per_request;
        let request = ProduceRequest::new(&self.topic, partition, records, self.record_bytes);
        let (sender, due_times) = mpsc::channel::<Instant>();
        std::thread::scope(|scope| {
            let latencies = scope.spawn(move || -> anyhow::Result<Vec<Duration>> {
                let mut latencies = Vec::new();
                for due in due_times {
                    reader.receive_produced()?;
                    latencies.push(due.elapsed());
                }
                Ok(latencies)
            });
            for due in schedule {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                connection.send_produce(&request)?;
                if sender.send(due).is_err() {
                    break;
                }
            }
            drop(sender);
            latencies.join().ok().context("a reader panicked")?
        })
    }
}

fn leader(leaders: &[SocketAddr], partition: usize) -> anyhow::Result<SocketAddr> {
    leaders.iter().cycle().nth(partition).copied().context("a load without leaders")
}

/// Asks the kernel to end the sleeps of this thread, and of those it starts, when they are over
/// and not 50 microseconds later: that is a good part of an fdatasync. Where it cannot be asked,
/// the latencies come out that much longer.
fn wake_punctually() {
    if let Ok(thread) = std::fs::read_link("/proc/thread-self")
        && let Some(number) = thread.file_name()
    {
        let slack = std::path::Path::new("/proc").join(number).join("timerslack_ns");
        let _ = std::fs::write(slack, "1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fake_broker::FakeBroker;

    #[test]
    fn a_closed_loop_sends_what_it_was_told() {
        let broker = FakeBroker::start();
        let load = ClosedLoop {
            leaders: vec![broker.address],
            topic: "t".into(),
            producers: 2,
            in_flight: 3,
            records_per_batch: 10,
            record_bytes: 100,
            total_bytes: 19_000,
        };
        assert_eq!(load.batches_per_producer(), 10);
        let sent = load.run().unwrap();
        assert_eq!(sent.bytes, 20_000);
        assert_eq!(broker.requests(), 20);
        assert!(sent.megabytes_per_second() > 0.0);
    }

    #[test]
    fn a_fixed_rate_measures_every_record() {
        let broker = FakeBroker::start();
        let load = FixedRate {
            leaders: vec![broker.address],
            topic: "t".into(),
            producers: 2,
            records_per_request: 1,
            record_bytes: 100,
            requests_per_second: 400.0,
            duration: Duration::from_millis(250),
        };
        let latencies = load.run().unwrap();
        assert_eq!(latencies.len(), 100);
        assert_eq!(broker.requests(), 100);
        assert!(latencies.iter().all(|latency| *latency < Duration::from_secs(5)));
    }
}
