//! [`Metrics`] as Prometheus text.

use super::{Counter, Metrics, TopicMetrics, page::Page};
use crate::wire::{ApiKey, ErrorCode};
use highwater_core::group::GroupState;
use std::sync::PoisonError;

pub(super) fn render(metrics: &Metrics) -> String {
    let mut page = Page::new();
    topics(&mut page, metrics);
    requests(&mut page, metrics);
    replicas(&mut page, metrics);
    cluster(&mut page, metrics);
    sockets_and_memory(&mut page, metrics);
    flushes(&mut page, metrics);
    groups(&mut page, metrics);
    compaction(&mut page, metrics);
    page.into_text()
}

type OfTopic = fn(&TopicMetrics) -> &Counter;

/// Kafka has each of these once without a label, for all topics, and once per topic.
const TOPIC_COUNTERS: [(&str, &str, OfTopic); 7] = [
    ("bytesin", "Bytes of batches appended.", |topic| &topic.bytes_in),
    ("bytesout", "Bytes of batches read by consumers.", |topic| &topic.bytes_out),
    ("messagesin", "Records appended.", |topic| &topic.messages_in),
    ("totalproducerequests", "Produce requests to partitions.", |topic| &topic.produce_requests),
    ("totalfetchrequests", "Fetch requests to partitions.", |topic| &topic.fetch_requests),
    ("failedproducerequests", "Produce requests that got an error.", |topic| {
        &topic.failed_produces
    }),
    ("failedfetchrequests", "Fetch requests that got an error.", |topic| &topic.failed_fetches),
];

fn topics(page: &mut Page, metrics: &Metrics) {
    let topics = metrics.topics.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for (name, help, counter) in TOPIC_COUNTERS {
        let name = format!("kafka_server_brokertopicmetrics_{name}_total");
        page.family(&name, "counter", help);
        page.sample(&name, &[], counter(&metrics.all_topics).value());
        for (topic, counters) in &topics {
            page.sample(&name, &[("topic", topic)], counter(counters).value());
        }
    }
}

fn requests(page: &mut Page, metrics: &Metrics) {
    let served: Vec<_> = ApiKey::all()
        .filter_map(|key| Some((key.name(), metrics.apis[key as usize].get()?)))
        .collect();
    let name = "kafka_network_requestmetrics_requests_total";
    page.family(name, "counter", "Requests answered.");
    for (request, api) in &served {
        page.sample(name, &[("request", request)], api.requests());
    }
    let name = "kafka_network_requestmetrics_errors_total";
    page.family(name, "counter", "Answers by their first error code.");
    for (request, api) in &served {
        for (index, count) in api.errors.iter().enumerate() {
            if count.value() > 0 {
                let error = error_name(index as i16 - 1);
                page.sample(name, &[("request", request), ("error", &error)], count.value());
            }
        }
    }
    for (name, help, counter) in [
        ("highwater_request_bytes_total", "Bytes of requests read.", request_bytes as OfApi),
        ("highwater_response_bytes_total", "Bytes of answers written.", response_bytes),
    ] {
        page.family(name, "counter", help);
        for (request, api) in &served {
            page.sample(name, &[("request", request)], counter(api).value());
        }
    }
    let name = "highwater_request_duration_seconds";
    page.family(name, "histogram", "From a request's last byte read to its answer written.");
    for (request, api) in &served {
        page.histogram(name, &[("request", request)], &api.latency);
    }
}

type OfApi = fn(&super::ApiMetrics) -> &Counter;

fn request_bytes(api: &super::ApiMetrics) -> &Counter {
    &api.request_bytes
}

fn response_bytes(api: &super::ApiMetrics) -> &Counter {
    &api.response_bytes
}

fn error_name(code: i16) -> String {
    ErrorCode::from_i16(code).map_or_else(|| code.to_string(), |code| code.name().to_owned())
}

fn replicas(page: &mut Page, metrics: &Metrics) {
    let replicas = &metrics.replicas;
    for (name, help, gauge) in [
        ("kafka_server_replicamanager_partitioncount", "Partitions here.", &replicas.partitions),
        ("kafka_server_replicamanager_leadercount", "Partitions led from here.", &replicas.leaders),
        (
            "kafka_server_replicamanager_underreplicatedpartitions",
            "Partitions with fewer replicas in sync than they have.",
            &replicas.under_replicated,
        ),
        (
            "kafka_server_replicamanager_offlinereplicacount",
            "Partitions whose log failed: they refuse writes until a restart.",
            &replicas.offline,
        ),
        (
            "kafka_server_replicamanager_underminisrpartitioncount",
            "Partitions with fewer replicas in sync than min.insync.replicas.",
            &replicas.under_min_isr,
        ),
        (
            "kafka_server_replicamanager_atminisrpartitioncount",
            "Partitions with just min.insync.replicas replicas in sync.",
            &replicas.at_min_isr,
        ),
    ] {
        page.gauge(name, help, gauge);
    }
    for (name, help, counter) in [
        (
            "kafka_server_replicamanager_isrshrinks_total",
            "Times that a replica left the ISR of a partition led from here.",
            &replicas.isr_shrinks,
        ),
        (
            "kafka_server_replicamanager_isrexpands_total",
            "Times that a replica joined the ISR of a partition led from here.",
            &replicas.isr_expands,
        ),
        (
            "highwater_leader_elections_total",
            "New leader epochs of partitions with a replica here.",
            &replicas.leader_elections,
        ),
    ] {
        page.counter(name, help, counter);
    }
}

fn cluster(page: &mut Page, metrics: &Metrics) {
    let cluster = &metrics.cluster;
    for (name, help, gauge) in [
        (
            "kafka_controller_kafkacontroller_offlinepartitionscount",
            "Partitions without a leader that can be written. 0 unless this is the controller.",
            &cluster.offline_partitions,
        ),
        (
            "kafka_controller_kafkacontroller_activebrokercount",
            "Brokers that are alive. 0 unless this is the controller.",
            &cluster.active_brokers,
        ),
        (
            "kafka_controller_kafkacontroller_fencedbrokercount",
            "Brokers that are fenced. 0 unless this is the controller.",
            &cluster.fenced_brokers,
        ),
        (
            "kafka_controller_kafkacontroller_activecontrollercount",
            "1 if this broker leads the metadata quorum.",
            &cluster.is_controller,
        ),
        (
            "kafka_server_raft_metrics_current_epoch",
            "The term of the metadata quorum.",
            &cluster.quorum_term,
        ),
        (
            "kafka_server_raft_metrics_current_leader",
            "The leader of the metadata quorum, -1 if none is known.",
            &cluster.quorum_leader,
        ),
        ("highwater_broker_fenced", "1 if this broker is fenced.", &cluster.fenced),
    ] {
        page.gauge(name, help, gauge);
    }
}

fn sockets_and_memory(page: &mut Page, metrics: &Metrics) {
    let network = &metrics.network;
    let memory = &metrics.memory;
    for (name, help, counter) in [
        ("highwater_network_bytes_in_total", "Bytes read from clients.", &network.bytes_in),
        ("highwater_network_bytes_out_total", "Bytes written to clients.", &network.bytes_out),
        ("highwater_connections_accepted_total", "Connections accepted.", &network.accepted),
        (
            "highwater_connections_refused_total",
            "Connections closed because max.connections were open.",
            &network.refused,
        ),
        (
            "highwater_connections_malformed_total",
            "Connections closed because of a frame that no client may send.",
            &network.malformed,
        ),
        (
            "highwater_connections_idle_closed_total",
            "Connections closed because they were idle.",
            &network.idle_closed,
        ),
        (
            "highwater_request_memory_waits_total",
            "Requests that waited for memory (queued.max.request.bytes).",
            &memory.waits,
        ),
    ] {
        page.counter(name, help, counter);
    }
    page.gauge("highwater_connections", "Connections open now.", &network.connections);
    let name = "highwater_request_memory_wait_seconds";
    page.family(name, "histogram", "How long requests waited for memory.");
    page.histogram(name, &[], &memory.wait_latency);
}

fn flushes(page: &mut Page, metrics: &Metrics) {
    let fsync = &metrics.fsync;
    for (name, help, counter) in [
        ("highwater_flush_rounds_total", "Rounds of group commit.", &fsync.rounds),
        ("highwater_flushed_bytes_total", "Bytes made durable.", &fsync.bytes),
        ("highwater_flush_failures_total", "Flushes that failed.", &fsync.failures),
    ] {
        page.counter(name, help, counter);
    }
    let name = "highwater_flush_duration_seconds";
    page.family(name, "histogram", "How long the flush of one file took.");
    page.histogram(name, &[], &fsync.latency);
}

fn compaction(page: &mut Page, metrics: &Metrics) {
    let compaction = &metrics.compaction;
    for (name, help, counter) in [
        ("highwater_compactions_total", "Compactions that ended well.", &compaction.runs),
        ("highwater_compaction_failures_total", "Compactions that failed.", &compaction.failures),
        ("highwater_compaction_read_bytes_total", "Bytes read.", &compaction.bytes_read),
        ("highwater_compaction_written_bytes_total", "Bytes written.", &compaction.bytes_written),
        ("highwater_compacted_records_total", "Records removed.", &compaction.records_removed),
    ] {
        page.counter(name, help, counter);
    }
    for (name, help, gauge) in [
        (
            "kafka_log_logcleanermanager_max_dirty_percent",
            "The dirty share of the dirtiest partition, in hundredths.",
            &compaction.max_dirty_percent,
        ),
        (
            "kafka_log_logcleanermanager_uncleanable_partitions_count",
            "Partitions that are left alone because their compaction has failed.",
            &compaction.paused_partitions,
        ),
    ] {
        page.gauge(name, help, gauge);
    }
}

fn groups(page: &mut Page, metrics: &Metrics) {
    let groups = &metrics.groups;
    let name = "highwater_groups";
    page.family(name, "gauge", "Groups whose coordinator is here, by state.");
    for (state, gauge) in GroupState::ALL.iter().zip(&groups.groups) {
        page.sample(name, &[("state", state.name())], gauge.value());
    }
    for (name, help, gauge) in [
        ("highwater_group_members", "Members of the groups coordinated here.", &groups.members),
        (
            "highwater_group_coordinators_loading",
            "Coordinators that have not read their log to its end.",
            &groups.loading,
        ),
        (
            "highwater_group_answers_deferred",
            "Answers of coordinators that wait for their records to be committed.",
            &groups.deferred_answers,
        ),
    ] {
        page.gauge(name, help, gauge);
    }
    for (name, help, counter) in [
        (
            "highwater_group_loads_total",
            "Times that a coordinator was elected, or had to read its log again.",
            &groups.loads,
        ),
        (
            "highwater_group_rebalances_total",
            "Rebalances of groups of both protocols that were completed.",
            &groups.rebalances,
        ),
        (
            "highwater_group_offset_commits_total",
            "Offsets of partitions that were committed.",
            &groups.offset_commits,
        ),
        (
            "highwater_group_requests_refused_total",
            "Requests refused because too many waited for their coordinator.",
            &groups.queue_refusals,
        ),
    ] {
        page.counter(name, help, counter);
    }
    let name = "highwater_group_rebalance_seconds";
    page.family(name, "histogram", "How long groups took from one stable state to the next.");
    page.histogram(name, &[], &groups.rebalance_latency);
    let name = "highwater_group_load_seconds";
    page.family(name, "histogram", "How long coordinators took to read their logs.");
    page.histogram(name, &[], &groups.load_latency);
}

#[cfg(test)]
mod tests {
    use super::super::{BUCKETS_MICROS, Histogram};
    use super::*;
    use std::{sync::atomic::Ordering::Relaxed, time::Duration};

    fn lines(metrics: &Metrics, with: &str) -> Vec<String> {
        let text = metrics.render();
        text.lines().filter(|line| line.starts_with(with)).map(str::to_owned).collect()
    }

    #[test]
    fn a_topic_counts_under_its_name_and_for_all_topics() {
        let metrics = Metrics::new();
        let orders = metrics.topic("orders");
        metrics.produced(&orders, 100, 3);
        metrics.produced(&metrics.topic("other"), 11, 1);
        metrics.forget_topic("other");
        assert_eq!(
            lines(&metrics, "kafka_server_brokertopicmetrics_bytesin_total"),
            [
                "kafka_server_brokertopicmetrics_bytesin_total 111",
                "kafka_server_brokertopicmetrics_bytesin_total{topic=\"orders\"} 100",
            ]
        );
        assert_eq!(
            lines(&metrics, "kafka_server_brokertopicmetrics_messagesin_total{"),
            ["kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"} 3"]
        );
    }

    #[test]
    fn requests_are_counted_by_name_and_by_error() {
        let metrics = Metrics::new();
        let fetch = metrics.api(ApiKey::Fetch as i16);
        fetch.answered(0, Duration::from_micros(400));
        fetch.answered(3, Duration::from_secs(60));
        fetch.answered(999, Duration::ZERO);
        assert_eq!(
            lines(&metrics, "kafka_network_requestmetrics_"),
            [
                "kafka_network_requestmetrics_requests_total{request=\"Fetch\"} 3",
                "kafka_network_requestmetrics_errors_total{request=\"Fetch\",error=\"UNKNOWN_SERVER_ERROR\"} 1",
                "kafka_network_requestmetrics_errors_total{request=\"Fetch\",error=\"NONE\"} 1",
                "kafka_network_requestmetrics_errors_total{request=\"Fetch\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 1",
            ]
        );
        let buckets = lines(&metrics, "highwater_request_duration_seconds_bucket");
        assert_eq!(buckets.len(), BUCKETS_MICROS.len() + 1);
        assert!(buckets[3].ends_with("le=\"0.00035\"} 1"), "{}", buckets[3]);
        assert!(buckets[4].ends_with("le=\"0.0005\"} 2"), "{}", buckets[4]);
        assert!(buckets[20].ends_with("le=\"+Inf\"} 3"), "{}", buckets[20]);
        assert_eq!(
            lines(&metrics, "highwater_request_duration_seconds_count"),
            ["highwater_request_duration_seconds_count{request=\"Fetch\"} 3"]
        );
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(50));
        histogram.observe(Duration::from_micros(51));
        assert_eq!(histogram.buckets[0].load(Relaxed), 1);
        assert_eq!(histogram.buckets[1].load(Relaxed), 1);
        assert_eq!((histogram.count(), histogram.sum()), (2, Duration::from_micros(101)));
    }

    #[test]
    fn every_family_is_announced_once_and_labels_are_escaped() {
        let metrics = Metrics::new();
        let _kept = metrics.topic("a\"b\\c\nd");
        let text = metrics.render();
        assert!(text.contains("{topic=\"a\\\"b\\\\c\\nd\"} 0"));
        let mut families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let all = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), all);
        assert!(text.contains("\nkafka_server_replicamanager_underreplicatedpartitions 0\n"));
    }
}
