//! Offsets of partitions and of groups as Prometheus text: from their difference comes the lag.
//!
//! They are a page of their own, because there may be many: a series for each partition, and one for
//! each partition that a group has committed. The names are those of `kafka_exporter`, so that the
//! dashboards and alerts that people have go on working.

use super::page::Page;
use std::sync::Arc;

/// The offsets that one broker knows best: of the partitions that it leads, and of the groups that
/// it coordinates.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// The partitions.
    pub partitions: Vec<PartitionOffsets>,
    /// What groups have committed.
    pub groups: Vec<GroupOffset>,
    /// Coordinators that could not answer, because they load or their log is not committed.
    pub coordinators_silent: usize,
    /// Whether there are more than are shown.
    pub truncated: bool,
}

/// A partition that this broker leads.
#[derive(Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: u32,
    /// The first offset that can be read.
    pub log_start: u64,
    /// The first offset that cannot be read yet.
    pub high_watermark: u64,
}

/// How far a group has come in a partition.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The group's id.
    pub group: Arc<str>,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: u32,
    /// The first offset that the group has not read.
    pub offset: u64,
}

impl Offsets {
    /// As Prometheus text, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page::new();
        let name = "kafka_topic_partition_oldest_offset";
        page.family(name, "gauge", "The first offset of a partition that is led from here.");
        self.of_partitions(&mut page, name, |partition| partition.log_start);
        let name = "kafka_topic_partition_current_offset";
        page.family(name, "gauge", "The high watermark of a partition that is led from here.");
        self.of_partitions(&mut page, name, |partition| partition.high_watermark);
        let name = "kafka_consumergroup_current_offset";
        page.family(name, "gauge", "What a group that is coordinated from here has committed.");
        for one in &self.groups {
            let partition = one.partition.to_string();
            let labels = [
                ("consumergroup", &*one.group),
                ("topic", &*one.topic),
                ("partition", partition.as_str()),
            ];
            page.sample(name, &labels, one.offset);
        }
        let name = "highwater_offsets_coordinators_silent";
        page.family(name, "gauge", "Coordinators here whose groups are not on this page.");
        page.sample(name, &[], self.coordinators_silent);
        let name = "highwater_offsets_truncated";
        page.family(name, "gauge", "1 if there are more offsets than this page shows.");
        page.sample(name, &[], u8::from(self.truncated));
        page.into_text()
    }

    fn of_partitions(&self, page: &mut Page, name: &str, of: fn(&PartitionOffsets) -> u64) {
        for one in &self.partitions {
            let partition = one.partition.to_string();
            let labels = [("topic", &*one.topic), ("partition", partition.as_str())];
            page.sample(name, &labels, of(one));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_the_names_that_dashboards_know() {
        let offsets = Offsets {
            partitions: vec![PartitionOffsets {
                topic: "orders".into(),
                partition: 3,
                log_start: 5,
                high_watermark: 90,
            }],
            groups: vec![GroupOffset {
                group: "bill\"ing".into(),
                topic: "orders".into(),
                partition: 3,
                offset: 70,
            }],
            coordinators_silent: 1,
            truncated: true,
        };
        let text = offsets.render();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "kafka_topic_partition_oldest_offset{topic=\"orders\",partition=\"3\"} 5",
                "kafka_topic_partition_current_offset{topic=\"orders\",partition=\"3\"} 90",
                "kafka_consumergroup_current_offset{consumergroup=\"bill\\\"ing\",topic=\"orders\",\
                 partition=\"3\"} 70",
                "highwater_offsets_coordinators_silent 1",
                "highwater_offsets_truncated 1",
            ]
        );
    }
}
