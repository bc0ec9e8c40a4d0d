//! The results of a benchmark, as a table with the aims beside them and as JSON.

use serde::Serialize;

use super::librdkafka::Performance;
use super::statistics::Percentiles;

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// Processors of this machine.
    pub processors: usize,
    /// Programs that wanted a processor in the minute before the benchmark, on average. On a busy
    /// machine every number is worse, and the floor most of all: its single thread waits longest.
    pub load_average: f64,
    /// Payload of one record, in bytes.
    pub record_bytes: usize,
    /// Records of one batch in the throughput runs.
    pub records_per_batch: usize,
    /// Producers of the throughput runs.
    pub producers: usize,
    /// Making a small write at the end of a growing file durable.
    pub fdatasync_append: Percentiles,
    /// Making a small write into a file that has its length already durable.
    pub fdatasync_in_place: Percentiles,
    /// Socket, file and group fdatasync without a broker, in MB/s.
    pub bare_megabytes_per_second: f64,
    /// Closed loop with acks=all, in MB/s of payload.
    pub megabytes_per_second: f64,
    /// Payload of the closed loop, in units of 1,000,000,000 bytes.
    pub gigabytes: f64,
    /// The broker's processor time for each of them.
    pub cpu_seconds_per_gigabyte: f64,
    /// The most memory that was resident, after the closed loop.
    pub peak_memory_mebibytes: f64,
    /// The memory resident at its end.
    pub resident_mebibytes: f64,
    /// Records per second of the fixed rate.
    pub rate: u64,
    /// From when a record was due to its acknowledgement.
    pub latency: Percentiles,
    /// librdkafka's own tool, when it could be built.
    pub librdkafka: Option<Performance>,
    /// From the start of the process to the first answer, on an empty directory.
    pub empty_start_ms: f64,
    /// The same after `kill -9`, until every partition answers.
    pub crash_start_ms: f64,
    /// Payload on the disk at that time, in units of 1,000,000,000 bytes.
    pub crash_gigabytes: f64,
}

impl Results {
    /// What share of the bare loop the broker reaches.
    #[must_use]
    pub fn throughput_ratio(&self) -> f64 {
        ratio(self.megabytes_per_second, self.bare_megabytes_per_second)
    }

    /// How many median syncs the slowest hundredth of the records waits, by the quicker way to
    /// sync.
    #[must_use]
    pub fn latency_ratio(&self) -> f64 {
        let quicker = self.fdatasync_append.quicker(self.fdatasync_in_place);
        ratio(self.latency.p99_ms, quicker.p50_ms)
    }

    /// Prints the table.
    pub fn print(&self) {
        println!(
            "{} processors, {} byte records, {} to a batch, {} producers, every ack after an fsync",
            self.processors, self.record_bytes, self.records_per_batch, self.producers,
        );
        if self.load_average > 0.5 {
            println!(
                "this machine is busy with something else (load {:.1}): do not trust the numbers",
                self.load_average
            );
        }
        print_table(&self.rows());
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = vec![
            Row::plain("fdatasync of an append, median", ms(self.fdatasync_append.p50_ms)),
            Row::plain("fdatasync in place, median", ms(self.fdatasync_in_place.p50_ms)),
            Row::plain("fdatasync in place, p99", ms(self.fdatasync_in_place.p99_ms)),
            Row::plain("bare loop", mbps(self.bare_megabytes_per_second)),
            Row::aimed(
                "throughput, acks=all",
                mbps(self.megabytes_per_second),
                "at least 600 MB/s",
                self.megabytes_per_second >= 600.0,
            ),
            Row::aimed(
                "throughput to bare loop",
                format!("{:.2}", self.throughput_ratio()),
                "at least 0.55",
                self.throughput_ratio() >= 0.55,
            ),
            Row::aimed(
                "broker CPU per GB",
                format!("{:.2} s", self.cpu_seconds_per_gigabyte),
                "under 1.0 s",
                self.cpu_seconds_per_gigabyte < 1.0,
            ),
            Row::aimed(
                format!("peak memory after {:.1} GB", self.gigabytes),
                format!("{:.1} MiB", self.peak_memory_mebibytes),
                "under 64 MiB",
                self.peak_memory_mebibytes < 64.0,
            ),
            Row::plain("memory at the end", format!("{:.1} MiB", self.resident_mebibytes)),
            Row::plain(format!("latency at {}/s, p50", self.rate), ms(self.latency.p50_ms)),
            Row::aimed(
                format!("latency at {}/s, p99", self.rate),
                ms(self.latency.p99_ms),
                "3 times fdatasync",
                self.latency_ratio() <= 3.0,
            ),
            Row::plain(format!("latency at {}/s, p999", self.rate), ms(self.latency.p999_ms)),
            Row::plain("latency p99 to fdatasync", format!("{:.2}", self.latency_ratio())),
            Row::aimed(
                "ready on an empty directory",
                ms(self.empty_start_ms),
                "within 100 ms",
                self.empty_start_ms <= 100.0,
            ),
            Row::aimed(
                format!("ready after kill -9 with {:.1} GB", self.crash_gigabytes),
                ms(self.crash_start_ms),
                "within 1000 ms",
                self.crash_start_ms <= 1000.0,
            ),
        ];
        if self.gigabytes == 0.0 {
            // No broker ran: only the floor was measured.
            rows.truncate(4);
            return rows;
        }
        rows.push(match self.librdkafka {
            Some(tool) => Row::plain("rdkafka_performance", mbps(tool.megabytes_per_second)),
            None => Row::plain("rdkafka_performance", "skipped".to_owned()),
        });
        rows
    }
}

/// Prints rows with the aims beside them.
pub fn print_table(rows: &[Row]) {
    println!("| {:38} | {:>12} | {:24} | met |", "measure", "value", "aim");
    println!("|{:-<40}|-{:->12}:|{:-<26}|-----|", "", "", "");
    for row in rows {
        let met = row.met.map_or("", |met| if met { "yes" } else { "no" });
        println!("| {:38} | {:>12} | {:24} | {met:3} |", row.measure, row.value, row.aim);
    }
}

/// One measure.
pub struct Row {
    pub measure: String,
    pub value: String,
    aim: &'static str,
    met: Option<bool>,
}

impl Row {
    /// Without an aim.
    pub fn plain(measure: impl Into<String>, value: String) -> Self {
        Self { measure: measure.into(), value, aim: "", met: None }
    }

    /// With an aim, met or not.
    pub fn aimed(measure: impl Into<String>, value: String, aim: &'static str, met: bool) -> Self {
        Self { measure: measure.into(), value, aim, met: Some(met) }
    }

    /// Whether its aim is met.
    #[cfg(test)]
    pub fn met(&self) -> Option<bool> {
        self.met
    }
}

pub fn ratio(value: f64, base: f64) -> f64 {
    if base > 0.0 { value / base } else { 0.0 }
}

pub fn ms(value: f64) -> String {
    format!("{value:.2} ms")
}

pub fn mbps(value: f64) -> String {
    format!("{value:.0} MB/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_are_judged_by_their_own_numbers() {
        let mut results = Results {
            bare_megabytes_per_second: 1000.0,
            megabytes_per_second: 650.0,
            gigabytes: 4.0,
            ..Results::default()
        };
        results.fdatasync_append.p50_ms = 2.0;
        results.fdatasync_append.count = 1;
        results.latency.p99_ms = 7.0;
        assert_eq!(results.throughput_ratio(), 0.65);
        assert_eq!(results.latency_ratio(), 3.5);
        let rows = results.rows();
        let met =
            |measure: &str| rows.iter().find(|row| row.measure.contains(measure)).unwrap().met;
        assert_eq!(met("throughput, acks"), Some(true));
        assert_eq!(met("in place, p99"), None, "the sync itself has no aim");
        assert_eq!(met("latency at 0/s, p99"), Some(false));
    }

    #[test]
    fn the_json_form_has_the_ratio_s_parts() {
        let json = serde_json::to_value(Results::default()).unwrap();
        assert!(json["latency"]["p999_ms"].is_number());
        assert!(json["librdkafka"].is_null());
    }
}
