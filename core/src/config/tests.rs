//! Rule tests: names, values and layers.

use super::*;
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn effective(topic: &[(&str, &str)], broker: &[(&str, &str)]) -> TopicConfig {
    let (topic, broker) = (map(topic), map(broker));
    ConfigLayers { topic: Some(&topic), static_broker: Some(&broker), ..ConfigLayers::default() }
        .effective()
        .expect("valid")
}

#[test]
fn the_defaults_are_kafka_s() {
    let config = TopicConfig::default();
    assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: false });
    assert_eq!(config.retention, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(config.retention_bytes, None);
    assert_eq!((config.segment_bytes, config.max_message_bytes), (1 << 30, 1_048_588));
    assert_eq!(config.timestamp_type, TimestampType::CreateTime);
    assert_eq!(config.timestamp_after_max, Duration::from_secs(3600));
    assert_eq!(config.producer_id_expiration, Duration::from_secs(86_400));
}

#[test]
fn every_default_in_the_table_passes_its_own_rule_and_names_are_sorted() {
    for definition in TOPIC_CONFIGS {
        assert_eq!(validate_topic_config(definition.name, definition.default), Ok(()));
        for synonym in definition.synonyms.iter().filter(|synonym| synonym.scale == 1) {
            assert_eq!(validate_broker_config(synonym.name, definition.default), Ok(()));
        }
    }
    assert!(TOPIC_CONFIGS.is_sorted_by(|left, right| left.name < right.name));
}

#[test]
fn values_are_checked_against_their_rule() {
    for (name, good, bad) in [
        (
            "cleanup.policy",
            &["delete", "compact", "compact,delete", "delete, compact"][..],
            &["", "delet", "delete,"][..],
        ),
        ("compression.type", &["producer"], &["gzip", "uncompressed", ""]),
        (
            "retention.ms",
            &["-1", "0", "9223372036854775807"],
            &["-2", "", "1.5", "9223372036854775808", "x"],
        ),
        ("retention.bytes", &["-1", "5"], &["-2"]),
        ("segment.bytes", &["1024", "2147483647"], &["1023", "2147483648"]),
        ("max.message.bytes", &["0", "1"], &["-1"]),
        ("message.timestamp.type", &["CreateTime", "LogAppendTime"], &["createtime"]),
        ("min.cleanable.dirty.ratio", &["0", "0.5", "1"], &["-0.1", "1.1", "NaN", "x"]),
        ("min.insync.replicas", &["1", "3"], &["0"]),
        ("preallocate", &["true", "false"], &["yes", "TRUE"]),
        ("remote.storage.enable", &["false"], &["true"]),
        (
            "leader.replication.throttled.replicas",
            &["", "*", "0:1", "0:1,12:3"],
            &["1", "a:b", "0:1,"],
        ),
    ] {
        for value in good {
            assert_eq!(validate_topic_config(name, value), Ok(()), "{name} = {value:?}");
        }
        for value in bad {
            assert!(
                matches!(validate_topic_config(name, value), Err(ConfigError::InvalidValue { .. })),
                "{name} = {value:?}"
            );
        }
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    for (name, expected) in [
        ("retention.m", Some("retention.ms")),
        ("retentoin.bytes", Some("retention.bytes")),
        ("cleanup_policy", Some("cleanup.policy")),
        ("something.else.entirely", None),
        ("", None),
    ] {
        let Err(ConfigError::UnknownName { nearest, .. }) = validate_topic_config(name, "1") else {
            panic!("{name} is not known");
        };
        assert_eq!(nearest.as_deref(), expected, "{name}");
    }
    let Err(ConfigError::UnknownName { nearest, .. }) =
        validate_broker_config("log.retention", "1")
    else {
        panic!("not known");
    };
    assert_eq!(nearest.as_deref(), Some("log.retention.ms"));
}

#[test]
fn a_broker_s_minutes_and_hours_become_milliseconds() {
    let retention = |broker: &[(&str, &str)]| effective(&[], broker).retention;
    assert_eq!(retention(&[("log.retention.hours", "2")]), Some(Duration::from_secs(7200)));
    assert_eq!(retention(&[("log.retention.minutes", "2")]), Some(Duration::from_secs(120)));
    assert_eq!(retention(&[("log.retention.hours", "-1")]), None);
    let all =
        [("log.retention.hours", "2"), ("log.retention.minutes", "3"), ("log.retention.ms", "5")];
    assert_eq!(retention(&all), Some(Duration::from_millis(5)));
    assert!(validate_broker_config("log.retention.hours", "9223372036854775807").is_err());
}

#[test]
fn the_topic_s_own_value_is_the_strongest_and_every_layer_is_told() {
    let (topic, dynamic) = (map(&[("retention.ms", "1")]), map(&[("log.retention.ms", "2")]));
    let (default, file) = (map(&[("log.retention.ms", "3")]), map(&[("log.retention.hours", "4")]));
    let layers = ConfigLayers {
        topic: Some(&topic),
        dynamic_broker: Some(&dynamic),
        dynamic_default: Some(&default),
        static_broker: Some(&file),
    };
    let resolved = layers.resolve(definition("retention.ms").expect("known"));
    assert_eq!((resolved.value.as_str(), resolved.source), ("1", ConfigSource::Topic));
    let synonyms: Vec<_> = resolved
        .synonyms
        .iter()
        .map(|synonym| (synonym.name, synonym.value.as_str(), synonym.source))
        .collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", "1", ConfigSource::Topic),
            ("log.retention.ms", "2", ConfigSource::DynamicBroker),
            ("log.retention.ms", "3", ConfigSource::DynamicDefault),
            ("log.retention.hours", "4", ConfigSource::StaticBroker),
            ("log.retention.ms", "604800000", ConfigSource::Default),
        ]
    );
    let layers =
        ConfigLayers { topic: None, dynamic_broker: None, dynamic_default: None, ..layers };
    let resolved = layers.resolve(definition("retention.ms").expect("known"));
    assert_eq!(
        (resolved.value.as_str(), resolved.source),
        ("14400000", ConfigSource::StaticBroker)
    );
}

#[test]
fn a_compacted_topic_is_reported_as_set_and_not_deleted_from() {
    let policy = effective(&[("cleanup.policy", "compact")], &[]).cleanup_policy;
    assert_eq!(policy, CleanupPolicy { delete: false, compact: true });
    let policy = effective(&[("cleanup.policy", "compact,delete")], &[]).cleanup_policy;
    assert_eq!(policy, CleanupPolicy { delete: true, compact: true });
}

#[test]
fn a_value_that_was_never_validated_is_an_error_and_not_a_panic() {
    for broker in [
        map(&[("log.segment.bytes", "many")]),
        map(&[("log.retention.hours", "forever")]),
        map(&[("producer.id.expiration.ms", "0")]),
    ] {
        let layers = ConfigLayers { static_broker: Some(&broker), ..ConfigLayers::default() };
        assert!(matches!(layers.effective(), Err(ConfigError::InvalidValue { .. })));
    }
}

#[test]
fn replication_is_throttled_by_what_is_set_on_the_broker_or_on_all() {
    let rates = |leader, follower| ThrottledRates { leader, follower };
    assert_eq!(ConfigLayers::default().throttled_rates(), rates(None, None));
    let own = map(&[("leader.replication.throttled.rate", "5000")]);
    let all = map(&[
        ("leader.replication.throttled.rate", "7"),
        ("follower.replication.throttled.rate", "9"),
    ]);
    let layers = ConfigLayers {
        dynamic_broker: Some(&own),
        dynamic_default: Some(&all),
        ..ConfigLayers::default()
    };
    assert_eq!(layers.throttled_rates(), rates(Some(5000), Some(9)));
    assert!(validate_broker_config("leader.replication.throttled.rate", "0").is_err());
    assert!(validate_topic_config("leader.replication.throttled.rate", "1").is_err());
}
