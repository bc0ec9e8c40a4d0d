//! The text format of Prometheus, version 0.0.4.

use super::{BUCKETS_MICROS, Counter, Gauge, Histogram};
use std::{fmt::Write, sync::atomic::Ordering::Relaxed};

/// The text so far. Writing to a string cannot fail.
pub struct Page {
    text: String,
}

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self { text: String::with_capacity(16 << 10) }
    }

    /// What was written.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Announces the metrics of a name, before its samples.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.family(name, "counter", help);
        self.sample(name, &[], counter.value());
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) {
        self.family(name, "gauge", help);
        self.sample(name, &[], gauge.value());
    }

    /// One value of a family.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{opening}{label}=\"");
            self.escaped(text);
            self.text.push('"');
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{closing} {value}");
    }

    fn escaped(&mut self, label: &str) {
        for character in label.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }

    /// The buckets, the sum and the count of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let buckets = format!("{name}_bucket");
        let mut below = 0;
        // One pass over the buckets: the last sum is the count, so that both always agree.
        for (index, bucket) in histogram.buckets.iter().enumerate() {
            below += bucket.load(Relaxed);
            let bound = BUCKETS_MICROS
                .get(index)
                .map_or("+Inf".to_owned(), |micros| (*micros as f64 / 1e6).to_string());
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&buckets, &labels, below);
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum().as_secs_f64());
        self.sample(&format!("{name}_count"), labels, below);
    }
}
