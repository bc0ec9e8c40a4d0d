//! How long a group coordinator thinks: about the assignment of a large consumer group (KIP-848),
//! and about the heartbeat of a member of a large classic group.
//!
//! `cargo run --release -p highwater-core --example group_bench -- MEMBERS PARTITIONS`
//!
//! Prints one line of JSON for each measure, its durations in microseconds.
#![allow(clippy::disallowed_methods, reason = "a measurement looks at the clock")]

use highwater_core::{
    coordinator::{Decision, Shard},
    group::{
        ClassicGroupValue, ClassicMemberValue, ConsumerHeartbeat, ConsumerMemberValue, GroupConfig,
        GroupShard, Identity, MemberEpoch, MemberId, Record, Request, Response,
    },
    metadata::{Command, Image, NewTopic},
    time::{Instant, Now, Timestamp},
    types::{BrokerId, Incarnation, MetadataOffset, Offset, RequestId, TopicId},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Topics that the partitions are spread over.
const TOPICS: usize = 100;

/// How often each assignment is measured; the median counts.
const ATTEMPTS: usize = 7;

/// Heartbeats that are measured together.
const HEARTBEATS: usize = 20_000;

const NOW: Now = Now { monotonic: Instant(1_000_000), wall: Timestamp(1_000) };

fn main() {
    let numbers: Vec<usize> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [members, partitions] = numbers[..] else {
        eprintln!("usage: group_bench MEMBERS PARTITIONS");
        std::process::exit(2);
    };
    let image = image(partitions.div_ceil(TOPICS));
    for assignor in ["uniform", "range"] {
        for (subscriptions, is_mixed) in [("homogeneous", false), ("heterogeneous", true)] {
            let world = World { image: &image, assignor, is_mixed };
            let (mut rebalances, mut joins) = (Vec::new(), Vec::new());
            for _ in 0..ATTEMPTS {
                // Everybody is there and nothing assigned, until the last one joins.
                let mut shard = world.shard(members - 1);
                rebalances.push(world.join(&mut shard, members - 1));
                joins.push(world.join(&mut shard, members));
            }
            report("rebalance", assignor, subscriptions, rebalances);
            report("join", assignor, subscriptions, joins);
        }
    }
    report("classic heartbeat", "", "", vec![classic_heartbeat(&image, members)]);
}

fn report(measure: &str, assignor: &str, subscriptions: &str, mut durations: Vec<Duration>) {
    durations.sort_unstable();
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    println!(
        "{{\"measure\":\"{measure}\",\"assignor\":\"{assignor}\",\
         \"subscriptions\":\"{subscriptions}\",\"median_us\":{:.3},\"max_us\":{:.3}}}",
        micros(durations[durations.len() / 2]),
        micros(durations[durations.len() - 1]),
    );
}

fn topic_name(number: usize) -> String {
    format!("topic-{number:03}")
}

/// Three brokers in racks of their own, and topics with a replica on each.
fn image(partitions_per_topic: usize) -> Image {
    let mut image = Image::default();
    let mut offset = 0;
    let mut apply = |image: &mut Image, command: Command| {
        offset += 1;
        image.apply(MetadataOffset(offset), &command).expect("the command is carried out");
    };
    for id in 1..=3 {
        apply(
            &mut image,
            Command::RegisterBroker {
                broker: BrokerId(id),
                incarnation: Incarnation(id.unsigned_abs().into()),
                rack: Some(format!("rack-{id}")),
                client_endpoint: Default::default(),
                peer_endpoint: Default::default(),
                directory: Default::default(),
                clean_shutdown_of: None,
                at: Timestamp(0),
            },
        );
        let epoch = image.broker(BrokerId(id)).expect("it is registered").epoch;
        apply(&mut image, Command::UnfenceBroker { broker: BrokerId(id), epoch });
    }
    for number in 0..TOPICS {
        let replicas = vec![vec![BrokerId(1), BrokerId(2), BrokerId(3)]; partitions_per_topic];
        let id = TopicId([u8::try_from(number + 1).expect("few topics"); 16]);
        let topic = NewTopic { id, name: topic_name(number), replicas, configs: BTreeMap::new() };
        apply(&mut image, Command::CreateTopics { topics: vec![topic] });
    }
    image
}

/// What a consumer group is measured in.
struct World<'a> {
    image: &'a Image,
    assignor: &'a str,
    /// Whether members subscribe to different topics.
    is_mixed: bool,
}

impl World<'_> {
    /// A group of so many members that have nothing yet.
    fn shard(&self, members: usize) -> GroupShard {
        let mut shard = GroupShard::new(&GroupConfig::default());
        for (offset, number) in (0..).zip(0..members) {
            let value = ConsumerMemberValue {
                topics: self.topics(number),
                rebalance_timeout: Duration::from_secs(60),
                assignor: Some(self.assignor.to_owned()),
                ..Default::default()
            };
            let (group, member) = (Arc::from("group"), member_id(number));
            let value = Some(value);
            shard.replay(Offset(offset), &Record::ConsumerMember { group, member, value });
        }
        shard.loaded(NOW, self.image);
        shard
    }

    /// All topics, or every member another half of them.
    fn topics(&self, number: usize) -> Vec<Arc<str>> {
        let is_chosen = |topic: &usize| !self.is_mixed || (topic + number) % TOPICS < TOPICS / 2;
        (0..TOPICS).filter(is_chosen).map(|topic| Arc::from(topic_name(topic))).collect()
    }

    /// A member joins: how long the coordinator takes to decide, without the log.
    fn join(&self, shard: &mut GroupShard, number: usize) -> Duration {
        let body = Request::ConsumerHeartbeat(ConsumerHeartbeat {
            group: Arc::from("group"),
            member: member_id(number),
            fresh_member: Arc::from("fresh"),
            epoch: MemberEpoch::Join,
            instance: None,
            rack: None,
            client_id: "bench".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            rebalance_timeout: Some(Duration::from_secs(60)),
            topics: Some(self.topics(number)),
            regular_expression: None,
            assignor: Some(self.assignor.to_owned()),
            owned: Some(BTreeMap::new()),
        });
        let mut decision = Decision::default();
        let started = std::time::Instant::now();
        shard.handle(NOW, self.image, RequestId(1), body, &mut decision);
        let took = started.elapsed();
        assert!(matches!(
            &decision.answers[..],
            [(_, Response::ConsumerHeartbeat(Ok(answer)))] if answer.assignment.is_some()
        ));
        for (offset, record) in (1_000_000..).zip(&decision.records) {
            shard.replay(Offset(offset), record);
        }
        took
    }
}

fn member_id(number: usize) -> MemberId {
    Arc::from(format!("member-{number:05}-8d1f2b7c-5f0e-4a6e-9a53"))
}

/// What one heartbeat takes on average, in a group of so many members that all send them.
fn classic_heartbeat(image: &Image, members: usize) -> Duration {
    let mut shard = GroupShard::new(&GroupConfig::default());
    let member = |number| ClassicMemberValue {
        member: member_id(number),
        instance: None,
        client_id: "bench".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout: Duration::from_secs(60),
        session_timeout: Duration::from_secs(45),
        subscription: Default::default(),
        assignment: Default::default(),
    };
    let value = ClassicGroupValue {
        protocol_type: "consumer".to_owned(),
        generation: 1,
        protocol: Some("range".to_owned()),
        leader: Some(member_id(0)),
        state_since: Some(NOW.wall),
        members: (0..members).map(member).collect(),
    };
    shard.replay(Offset(0), &Record::Group { group: Arc::from("group"), value: Some(value) });
    shard.loaded(NOW, image);
    let started = std::time::Instant::now();
    let mut now = NOW;
    for beat in 0..HEARTBEATS {
        let group = Arc::from("group");
        now.monotonic = now.monotonic.after(Duration::from_millis(1));
        let identity =
            Identity { member: member_id(beat % members), instance: None, generation: Some(1) };
        let mut decision = Decision::default();
        let body = Request::Heartbeat { group, identity };
        shard.handle(now, image, RequestId(1), body, &mut decision);
        assert!(matches!(decision.answers[..], [(_, Response::Heartbeat(Ok(())))]));
    }
    started.elapsed() / u32::try_from(HEARTBEATS).expect("a small number")
}
