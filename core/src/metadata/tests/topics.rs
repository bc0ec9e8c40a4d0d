//! Rule tests: topics, configurations and producer ids, and that replay is deterministic.

use super::*;

#[test]
fn a_created_topic_is_found_by_name_and_by_id() {
    let mut log = Log::new();
    let id = log.create(topic("a", 1)).expect("new");
    assert_eq!(id, TopicId([1; 16]));
    let found = log.image.topic_named("a").expect("created");
    assert_eq!(Some(found), log.image.topic(id));
    assert_eq!(found.partitions.len(), 2);
    let expected = PartitionRegistration {
        replicas: vec![BROKER],
        isr: vec![BROKER],
        elr: vec![],
        last_known_leader: None,
        adding: vec![],
        removing: vec![],
        leader: Some(BROKER),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        failed: vec![],
    };
    assert_eq!(log.image.partition(id, PartitionIndex(1)), Some(&expected));
    assert_eq!(log.image.partition(id, PartitionIndex(2)), None);
}

#[test]
fn each_topic_of_a_command_stands_for_itself() {
    let mut log = Log::new();
    let topics = vec![topic("a", 1), topic("bad name", 2), topic("a", 3), topic("c", 4)];
    let Ok(Reply::TopicsCreated(replies)) = log.apply(Command::CreateTopics { topics }) else {
        panic!("the command itself cannot fail");
    };
    assert!(matches!(
        replies[..],
        [
            Ok(_),
            Err(MetadataError::InvalidTopicName { .. }),
            Err(MetadataError::TopicExists { .. }),
            Ok(_)
        ]
    ));
    assert_eq!(log.image.topic_count(), 2);
}

#[test]
fn a_topic_that_cannot_be_created_leaves_no_trace() {
    let mut log = Log::new();
    log.create(topic("a.b", 1)).expect("new");
    let before = log.image.fingerprint_at_zero();
    let replicas = |replicas: &[&[i32]]| NewTopic {
        replicas: replicas.iter().map(|ids| ids.iter().map(|id| BrokerId(*id)).collect()).collect(),
        ..topic("new", 9)
    };
    let configs = |pairs| NewTopic { configs: map(pairs), ..topic("new", 9) };
    let (name, id) = (String::from("a.b"), TopicId([1; 16]));
    let collides = || (String::from("a_b"), String::from("a.b"));
    for (new, expected) in [
        (topic("a.b", 2), MetadataError::TopicExists { name, id }),
        (
            topic("a_b", 2),
            MetadataError::TopicNameCollides { name: collides().0, existing: collides().1 },
        ),
        (topic("other", 1), MetadataError::TopicIdExists { id }),
        (replicas(&[]), MetadataError::InvalidPartitions { count: 0, current: 0 }),
        (
            replicas(&vec![&[1][..]; 10_001]),
            MetadataError::InvalidPartitions { count: 10_001, current: 0 },
        ),
        (replicas(&[&[1], &[2]]), MetadataError::UnknownBroker { broker: BrokerId(2) }),
        (
            configs(&[("retention.ms", "x")]),
            MetadataError::InvalidConfig(ConfigError::InvalidValue {
                name: "retention.ms".into(),
                value: "x".into(),
                rule: "-1 (unlimited) or an integer of at least 0".into(),
            }),
        ),
    ] {
        assert_eq!(log.image.check_new_topic(&new), Err(expected.clone()));
        assert_eq!(log.create(new), Err(expected));
    }
    for wrong in [&[&[][..]][..], &[&[1, 1]]] {
        let refused = log.create(replicas(wrong));
        assert!(matches!(refused, Err(MetadataError::InvalidReplicas { .. })));
    }
    assert_eq!(log.image.fingerprint_at_zero(), before);
}

#[test]
fn topic_names_follow_kafka_s_rules() {
    let longest = "x".repeat(249);
    for name in ["a", "A-z_0.9", "...", "__internal", longest.as_str()] {
        assert_eq!(validate_topic_name(name), Ok(()), "{name}");
    }
    let too_long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "\u{e4}", "a\0", too_long.as_str()] {
        assert!(validate_topic_name(name).is_err(), "{name}");
    }
}

#[test]
fn a_deleted_topic_s_name_is_free_and_its_id_is_gone() {
    let mut log = Log::new();
    let id = log.create(topic("a", 1)).expect("new");
    assert_eq!(log.apply(Command::DeleteTopic { topic: id }), Ok(Reply::Done));
    assert_eq!(log.image.topic(id), None);
    let unknown = Err(MetadataError::UnknownTopic { id });
    assert_eq!(log.apply(Command::DeleteTopic { topic: id }), unknown);
    assert_eq!(log.create(topic("a", 2)), Ok(TopicId([2; 16])));
}

#[test]
fn partitions_are_added_once_behind_the_ones_there_are() {
    let mut log = Log::new();
    let id = log.create(topic("a", 1)).expect("new");
    let add = |first| Command::CreatePartitions {
        topic: id,
        first: PartitionIndex(first),
        replicas: vec![vec![BROKER]],
    };
    assert_eq!(log.apply(add(2)), Ok(Reply::Done));
    let repeated = MetadataError::InvalidPartitions { count: 3, current: 3 };
    assert_eq!(log.apply(add(2)), Err(repeated));
    assert_eq!(log.image.topic(id).expect("there").partitions.len(), 3);
}

#[test]
fn configuration_changes_one_name_at_a_time_or_as_a_whole() {
    let mut log = Log::new();
    let id = log.create(topic("a", 1)).expect("new");
    let configs = |log: &Log| log.image.topic(id).expect("there").configs.clone();
    let change = |value: &str| ConfigChange::Set(value.into());
    let both = [("retention.ms", change("5")), ("segment.bytes", change("4096"))];
    log.apply(set(1, incremental(&both))).expect("valid");
    assert_eq!(configs(&log), map(&[("retention.ms", "5"), ("segment.bytes", "4096")]));
    let partly_wrong = [("retention.ms", change("6")), ("segment.bytes", change("no"))];
    assert!(log.apply(set(1, incremental(&partly_wrong))).is_err());
    assert_eq!(configs(&log), map(&[("retention.ms", "5"), ("segment.bytes", "4096")]));
    log.apply(set(1, incremental(&[("retention.ms", ConfigChange::Delete)]))).expect("valid");
    assert_eq!(configs(&log), map(&[("segment.bytes", "4096")]));
    let whole = map(&[("cleanup.policy", "compact")]);
    log.apply(set(1, ConfigUpdate::Replace(whole.clone()))).expect("valid");
    assert_eq!(configs(&log), whole);
    assert!(log.apply(set(9, ConfigUpdate::Replace(whole))).is_err());
}

#[test]
fn items_are_added_to_and_taken_from_lists_only() {
    let mut log = Log::new();
    let id = log.create(topic("a", 1)).expect("new");
    let policy = |log: &Log| log.image.topic(id).expect("there").configs["cleanup.policy"].clone();
    let append = ConfigChange::Append("compact".into());
    log.apply(set(1, incremental(&[("cleanup.policy", append)]))).expect("valid");
    assert_eq!(policy(&log), "delete,compact");
    let subtract = ConfigChange::Subtract("delete".into());
    log.apply(set(1, incremental(&[("cleanup.policy", subtract.clone())]))).expect("valid");
    assert_eq!(policy(&log), "compact");
    let refused = log.apply(set(1, incremental(&[("retention.ms", subtract)])));
    let error = ConfigError::NotAList { name: "retention.ms".into() };
    assert_eq!(refused, Err(MetadataError::InvalidConfig(error)));
}

#[test]
fn broker_defaults_reach_the_topics_under_their_own_names() {
    let mut log = Log::new();
    let id = log.create(topic("a", 1)).expect("new");
    let set = |broker, value: &str| Command::SetBrokerConfigs {
        broker,
        update: incremental(&[("log.retention.ms", ConfigChange::Set(value.into()))]),
    };
    log.apply(set(None, "7")).expect("valid");
    log.apply(set(Some(BROKER), "8")).expect("valid");
    let file = BTreeMap::new();
    let retention = |log: &Log, broker| {
        let layers = log.image.config_layers(Some(id), broker, &file);
        layers.effective().expect("valid").retention.expect("limited").as_millis()
    };
    assert_eq!((retention(&log, BROKER), retention(&log, BrokerId(2))), (8, 7));
    assert_eq!(log.image.topic(id).expect("there").configs, map(&[]));
    let update = incremental(&[("retention.ms", ConfigChange::Set("1".into()))]);
    let topic_level = Command::SetBrokerConfigs { broker: None, update };
    assert!(matches!(log.apply(topic_level), Err(MetadataError::InvalidConfig(_))));
}

#[test]
fn producer_ids_are_handed_out_once() {
    let mut log = Log::new();
    for (count, expected) in [
        (1000, Ok(Reply::ProducerIds { first: 0, count: 1000 })),
        (0, Err(MetadataError::InvalidProducerIds)),
        (5, Ok(Reply::ProducerIds { first: 1000, count: 5 })),
    ] {
        assert_eq!(log.apply(Command::AllocateProducerIds { count }), expected);
    }
}

#[test]
fn the_same_commands_give_the_same_image_everywhere() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let (mut live, mut commands) = (Log::new(), vec![register(1, 1), unfence(1, 1)]);
    for _ in 0..2000 {
        let command = random_command(&mut random);
        let _ = live.apply(command.clone());
        commands.push(command);
    }
    assert!(live.image.topic_count() > 3);
    let encoded: Vec<Vec<u8>> =
        commands.iter().map(|command| bincode::serialize(command).expect("encodes")).collect();
    let mut replayed = Image::default();
    for (index, bytes) in encoded.iter().enumerate() {
        let command: Command = bincode::deserialize(bytes).expect("own encoding");
        assert_eq!(command, commands[index]);
        let _ = replayed.apply(MetadataOffset(index as u64 + 1), &command);
    }
    assert_eq!(replayed, live.image);
    assert_eq!(replayed.fingerprint(), live.image.fingerprint());
    let stored = bincode::serialize(&replayed).expect("encodes");
    assert_eq!(bincode::deserialize::<Image>(&stored).expect("own encoding"), replayed);
}

fn random_command(random: &mut ChaCha8Rng) -> Command {
    let id = random.random_range(0..20_u8);
    let name = format!("topic{}", random.random_range(0..20));
    match random.random_range(0..7) {
        0 | 1 => Command::CreateTopics { topics: vec![topic(&name, id)] },
        2 => Command::DeleteTopic { topic: TopicId([id; 16]) },
        3 => Command::CreatePartitions {
            topic: TopicId([id; 16]),
            first: PartitionIndex(random.random_range(0..4)),
            replicas: vec![vec![BROKER]],
        },
        4 => {
            let value = random.random_range(-3..100).to_string();
            set(id, incremental(&[("retention.ms", ConfigChange::Set(value))]))
        }
        5 => Command::AllocateProducerIds { count: random.random_range(0..100) },
        _ => register(random.random_range(2..4), random.random_range(0..5)),
    }
}

#[test]
fn a_feature_has_a_level_that_this_build_knows() {
    let mut log = Log::new();
    let mut update = |name: &str, level| {
        let outcome = log.apply(Command::UpdateFeatures { name: name.into(), level });
        (outcome, log.image.feature(name), log.image.features().count())
    };
    let unsupported = |name: &str, level, highest| {
        Err(MetadataError::UnsupportedFeature { name: name.into(), level, highest })
    };
    assert_eq!(update("metadata.version", 1), (Ok(Reply::Done), 1, 2));
    let refused = unsupported("metadata.version", 2, 1);
    assert_eq!(update("metadata.version", 2), (refused, 1, 2));
    assert_eq!(update("other", 0), (unsupported("other", 0, 0), 0, 2));
    assert_eq!(update("metadata.version", 0), (Ok(Reply::Done), 0, 1));
}

#[test]
fn consumer_groups_are_in_use_until_their_feature_is_set_to_zero() {
    let mut log = Log::new();
    assert_eq!(log.image.feature(GROUP_VERSION), 1);
    for (level, in_use) in [(0, vec![]), (1, vec![(GROUP_VERSION, 1)])] {
        let update = Command::UpdateFeatures { name: GROUP_VERSION.into(), level };
        assert_eq!(log.apply(update), Ok(Reply::Done));
        assert_eq!(log.image.feature(GROUP_VERSION), level);
        assert_eq!(log.image.features().collect::<Vec<_>>(), in_use);
    }
}
