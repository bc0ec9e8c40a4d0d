//! Golden bytes: the format of the metadata log.

use super::*;

#[test]
fn the_encoded_commands_have_the_golden_bytes() {
    let mut new = topic("t", 7);
    new.replicas.truncate(1);
    for (command, golden) in [
        (
            Command::CreateTopics { topics: vec![new] },
            "0000000001000000000000000707070707070707070707070707070701000000000000007401000000\
             000000000100000000000000010000000000000000000000",
        ),
        (
            Command::DeleteTopic { topic: TopicId([7; 16]) },
            "0100000007070707070707070707070707070707",
        ),
        (
            Command::CreatePartitions {
                topic: TopicId([7; 16]),
                first: PartitionIndex(1),
                replicas: vec![],
            },
            "0200000007070707070707070707070707070707010000000000000000000000",
        ),
        (
            set(7, incremental(&[("a", ConfigChange::Delete)])),
            "030000000707070707070707070707070707070701000000010000000000000001000000000000006101\
             000000",
        ),
        (
            Command::SetBrokerConfigs { broker: None, update: ConfigUpdate::Replace(map(&[])) },
            "0400000000000000000000000000000000",
        ),
        (Command::AllocateProducerIds { count: 1000 }, "05000000e8030000"),
        (
            register(1, 2),
            "060000000100000002000000000000000000000000000000000100000000000000618423\
             010000000000000061852300000000000000000000000000000000000500000000000000",
        ),
        (
            Command::FenceBroker { broker: BROKER, epoch: BrokerEpoch(2) },
            "07000000010000000200000000000000",
        ),
        (unfence(1, 2), "08000000010000000200000000000000"),
        (
            Command::BeginControlledShutdown { broker: BROKER, epoch: BrokerEpoch(2) },
            "09000000010000000200000000000000",
        ),
        (Command::UnregisterBroker { broker: BROKER }, "0a00000001000000"),
        (
            Command::AlterPartition {
                broker: BROKER,
                broker_epoch: BrokerEpoch(2),
                changes: vec![IsrChange {
                    topic: TopicId([7; 16]),
                    index: PartitionIndex(3),
                    leader_epoch: LeaderEpoch(4),
                    partition_epoch: PartitionEpoch(5),
                    isr: vec![(BROKER, BrokerEpoch(2))],
                }],
            },
            "0b00000001000000020000000000000001000000000000000707070707070707070707070707\
             07070300000004000000050000000100000000000000010000000200000000000000",
        ),
        (
            Command::ElectLeaders {
                partitions: Some(vec![(TopicId([7; 16]), PartitionIndex(3))]),
                kind: ElectionKind::Unclean,
            },
            "0c000000010100000000000000070707070707070707070707070707070300000001000000",
        ),
        (
            Command::AlterReassignments {
                changes: vec![(TopicId([7; 16]), PartitionIndex(3), Some(ids(&[1])))],
                force: false,
                allow_replication_factor_change: true,
            },
            "0d00000001000000000000000707070707070707070707070707070703000000010100000000\
             000000010000000001",
        ),
        (Command::UpdateFeatures { name: "f".into(), level: 1 }, "0e0000000100000000000000660100"),
    ] {
        let bytes = bincode::serialize(&command).expect("encodes");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden, "{command:?}");
    }
}
