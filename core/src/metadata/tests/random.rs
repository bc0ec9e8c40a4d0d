//! Random commands: what holds after every one of them.

use super::{records::Records, *};
use alloc::collections::BTreeSet;

const PARTITIONS: u32 = 3;

#[test]
fn every_rule_of_the_controller_holds_after_every_one_of_many_random_commands() {
    let mut seen = Seen::default();
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            let command = world.command();
            world.apply(command, &mut seen);
        }
        world.reassign_to_the_end();
    }
    assert!(seen.all(), "the commands hardly do anything: {seen:?}");
}

/// How often the interesting things happened.
#[derive(Debug, Default)]
struct Seen {
    refused: u32,
    isr_changes: u32,
    with_elr: u32,
    leaderless: u32,
    empty_isr: u32,
    reassignments: u32,
    completed: u32,
}

impl Seen {
    fn all(&self) -> bool {
        let Self {
            refused,
            isr_changes,
            with_elr,
            leaderless,
            empty_isr,
            reassignments,
            completed,
        } = *self;
        let all = [refused, isr_changes, with_elr, leaderless, empty_isr, reassignments, completed];
        all.iter().all(|count| *count > 100)
    }
}

struct World {
    random: ChaCha8Rng,
    log: Log,
    brokers: i32,
    incarnations: u128,
    /// For each partition and broker: the highest leader epoch it led, and its broker epoch then.
    led: BTreeMap<(PartitionIndex, BrokerId), (LeaderEpoch, BrokerEpoch)>,
    /// Every broker epoch that was ever granted.
    granted: BTreeSet<BrokerEpoch>,
    records: BTreeMap<PartitionIndex, Records>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let brokers = random.random_range(3..=5);
        let mut log = Log::with_brokers(brokers);
        let replicas = (0..PARTITIONS).map(|_| some_of(&mut random, brokers, 1)).collect();
        let mut configs = BTreeMap::new();
        if random.random_bool(0.5) {
            configs = map(&[("durability", "replicated")]);
        }
        log.create(NewTopic { replicas, configs, ..topic("t", 1) }).expect("new");
        let granted = log.image.brokers().map(|(_, known)| known.epoch).collect();
        let records = (0..PARTITIONS).map(|index| (PartitionIndex(index), Records::default()));
        let (led, records) = (BTreeMap::new(), records.collect());
        Self { random, log, brokers, incarnations: 1, led, granted, records }
    }

    fn command(&mut self) -> Command {
        let broker = BrokerId(self.random.random_range(1..=self.brokers));
        let epoch = self.epoch(broker);
        match self.random.random_range(0..20) {
            0 | 1 => self.restart(broker),
            2..=4 => Command::FenceBroker { broker, epoch },
            5..=8 => Command::UnfenceBroker { broker, epoch },
            9 if self.random.random_bool(0.3) => Command::BeginControlledShutdown { broker, epoch },
            10 => self.election(),
            11 | 12 => self.reassignment(),
            13 => self.config_change(),
            14 if self.random.random_bool(0.3) => {
                let partitions = vec![(TOPIC, self.index())];
                Command::FailReplicas { broker, epoch, partitions }
            }
            _ => self.isr_change(),
        }
    }

    /// Usually the right epoch of a broker.
    fn epoch(&mut self, broker: BrokerId) -> BrokerEpoch {
        let stale = u64::from(self.random.random_bool(0.05));
        BrokerEpoch(self.log.epoch(broker.0).0 - stale)
    }

    fn restart(&mut self, broker: BrokerId) -> Command {
        self.incarnations += 1;
        let previous = self.log.epoch(broker.0);
        let mut command = register(broker.0, self.incarnations);
        let Command::RegisterBroker { clean_shutdown_of, .. } = &mut command else {
            unreachable!("just made")
        };
        *clean_shutdown_of = Some(previous).filter(|_| self.random.random_bool(0.5));
        command
    }

    fn index(&mut self) -> PartitionIndex {
        PartitionIndex(self.random.random_range(0..PARTITIONS))
    }

    fn election(&mut self) -> Command {
        let kind = match self.random.random_range(0..10) {
            0 => ElectionKind::Unclean,
            _ => ElectionKind::Preferred,
        };
        let partitions = Some(vec![(TOPIC, self.index())]);
        Command::ElectLeaders { partitions, kind }
    }

    fn reassignment(&mut self) -> Command {
        let target = some_of(&mut self.random, self.brokers, 1);
        let target = Some(target).filter(|_| self.random.random_bool(0.7));
        Command::AlterReassignments {
            changes: vec![(TOPIC, self.index(), target)],
            force: self.random.random_bool(0.5),
            allow_replication_factor_change: self.random.random_bool(0.8),
        }
    }

    fn config_change(&mut self) -> Command {
        let (name, value) = match self.random.random_range(0..6) {
            0 => ("unclean.leader.election.enable", "true".into()),
            1 | 2 => ("unclean.leader.election.enable", "false".into()),
            _ => ("min.insync.replicas", self.random.random_range(1..=4).to_string()),
        };
        let update = incremental(&[(name, ConfigChange::Set(value))]);
        match self.random.random_bool(0.3) {
            true => Command::SetBrokerConfigs { broker: None, update },
            false => Command::SetTopicConfigs { topic: TOPIC, update },
        }
    }

    /// A leader's proposal, mostly a sensible one.
    fn isr_change(&mut self) -> Command {
        let index = self.index();
        let partition = self.log.image.partition(TOPIC, index).expect("created").clone();
        let broker = partition.leader.unwrap_or(BROKER);
        let mut members = some_of(&mut self.random, self.brokers, 0);
        if self.random.random_bool(0.9) {
            members.retain(|member| partition.replicas.contains(member) && *member != broker);
            members.push(broker);
        }
        if self.random.random_bool(0.7) {
            members.retain(|member| self.log.image.is_active(*member));
        }
        let mut isr: Vec<_> =
            members.into_iter().map(|member| (member, self.epoch(member))).collect();
        // Leaders are honest, though what they knew may be of an earlier life of the follower.
        let records = &self.records[&index];
        isr.retain(|(member, epoch)| {
            *epoch != self.log.epoch(member.0) || records.is_caught_up(*member, broker)
        });
        let stale = u32::from(self.random.random_bool(0.1));
        let change = IsrChange {
            topic: TOPIC,
            index,
            leader_epoch: partition.leader_epoch,
            partition_epoch: PartitionEpoch(partition.partition_epoch.0 + stale),
            isr,
        };
        let broker_epoch = self.epoch(broker);
        Command::AlterPartition { broker, broker_epoch, changes: vec![change] }
    }

    fn apply(&mut self, command: Command, seen: &mut Seen) {
        let before = self.log.image.clone();
        let outcome = self.log.apply(command.clone());
        let is_refused = match &outcome {
            Err(_) => true,
            Ok(Reply::PartitionsAltered(outcomes)) => outcomes[0].is_err(),
            Ok(Reply::ReassignmentsAltered(outcomes)) => outcomes[0].is_err(),
            Ok(Reply::LeadersElected(outcomes)) => outcomes[0].1.is_err(),
            Ok(_) => false,
        };
        if is_refused {
            let unchanged = before.fingerprint_at_zero() == self.log.image.fingerprint_at_zero();
            assert!(unchanged, "refused, but not without a trace: {command:?}");
            seen.refused += 1;
        } else if matches!(command, Command::AlterPartition { .. }) {
            seen.isr_changes += 1;
        }
        self.check_brokers(&before);
        self.check_proposal(&before, &command, is_refused);
        for index in (0..PARTITIONS).map(PartitionIndex) {
            let old = before.partition(TOPIC, index).expect("created");
            let new = &self.log.image.partition(TOPIC, index).expect("created").clone();
            self.check_epochs(index, old, new, &command);
            self.check_shape(index, new, &command);
            self.check_leader(index, new, &command);
            self.check_completion(old, new, &command);
            self.check_unclean(old, new, &command);
            seen.with_elr += u32::from(!new.elr.is_empty());
            seen.leaderless += u32::from(new.leader.is_none());
            seen.empty_isr += u32::from(new.isr.is_empty());
            seen.reassignments += u32::from(new.is_being_reassigned());
            seen.completed += u32::from(old.is_being_reassigned() && !new.is_being_reassigned());
            self.note_leader(index);
            let records = self.records.get_mut(&index).expect("of every partition");
            if let Command::RegisterBroker { broker, clean_shutdown_of: None, .. } = &command
                && self.log.image.durability(TOPIC) == Durability::Replicated
            {
                records.crash(&mut self.random, *broker);
            }
            let is_proposal = matches!(command, Command::AlterPartition { .. });
            records.follow(old, new, is_proposal);
            records.check(new, &command);
            let min_insync = self.log.image.min_insync_replicas(TOPIC, index);
            records.produce(&mut self.random, new, min_insync);
            records.check(new, &command);
        }
    }

    /// M7: a broker epoch is granted once, and later ones are higher.
    fn check_brokers(&mut self, before: &Image) {
        for (broker, known) in self.log.image.brokers() {
            let old = before.broker(broker).expect("nobody is forgotten here").epoch;
            if known.epoch != old {
                assert!(known.epoch > old);
                assert!(self.granted.insert(known.epoch), "{} was granted before", known.epoch);
            }
        }
    }

    /// KIP-497, KIP-841, KIP-903: what an accepted proposal was made from was true.
    fn check_proposal(&self, before: &Image, command: &Command, is_refused: bool) {
        let Command::AlterPartition { changes, .. } = command else { return };
        if is_refused {
            return;
        }
        let partition = before.partition(TOPIC, changes[0].index).expect("created");
        assert_eq!(partition.partition_epoch, changes[0].partition_epoch, "{command:?}");
        for (member, epoch) in &changes[0].isr {
            assert!(self.log.image.is_active(*member), "{command:?}");
            assert_eq!(self.log.epoch(member.0), *epoch, "{command:?}");
        }
    }

    /// M7: every change has a higher partition epoch, every change of leadership a higher leader
    /// epoch, and nothing else has one.
    fn check_epochs(
        &self,
        index: PartitionIndex,
        old: &PartitionRegistration,
        new: &PartitionRegistration,
        command: &Command,
    ) {
        assert!(new.leader_epoch >= old.leader_epoch, "{index} {command:?}");
        if new != old {
            assert_eq!(new.partition_epoch.0, old.partition_epoch.0 + 1, "{index} {command:?}");
        }
        if new.leader != old.leader {
            assert!(new.leader_epoch > old.leader_epoch, "{index} {command:?}");
        }
        if new.replicas.len() < old.replicas.len() {
            assert!(new.leader_epoch > old.leader_epoch, "{index} {command:?}");
        }
    }

    /// R16, M10 and the shape of reassignments.
    fn check_shape(
        &self,
        index: PartitionIndex,
        partition: &PartitionRegistration,
        command: &Command,
    ) {
        let PartitionRegistration { replicas, isr, elr, adding, removing, .. } = partition;
        let told = || format!("{index} {partition:?} after {command:?}");
        let image = &self.log.image;
        assert!(!replicas.is_empty(), "{}", told());
        for list in [replicas, isr, elr, adding, removing] {
            let distinct: BTreeSet<_> = list.iter().collect();
            assert_eq!(distinct.len(), list.len(), "{}", told());
            assert!(list.iter().all(|member| replicas.contains(member)), "{}", told());
        }
        assert!(isr.iter().all(|member| !elr.contains(member)), "{}", told());
        assert!(adding.iter().all(|replica| !removing.contains(replica)), "{}", told());
        let min_insync = image.min_insync_replicas(TOPIC, index) as usize;
        assert!(isr.len() < min_insync || elr.is_empty(), "{}", told());
        let active = isr.iter().filter(|member| image.is_active(**member)).count();
        assert!(active == isr.len() || isr.len() == 1, "an inactive member: {}", told());
        let may_be_empty = image.durability(TOPIC) == Durability::Replicated;
        assert!(!isr.is_empty() || may_be_empty, "{}", told());
        assert!(partition.failed.iter().all(|failed| replicas.contains(failed)), "{}", told());
        let is_complete = partition.target().all(|replica| isr.contains(&replica));
        assert!(!partition.is_being_reassigned() || !is_complete, "{}", told());
    }

    /// KAFKA-15665: no copy is given up before the whole target is in sync.
    fn check_completion(
        &self,
        old: &PartitionRegistration,
        new: &PartitionRegistration,
        command: &Command,
    ) {
        let has_completed = old.is_being_reassigned() && !new.is_being_reassigned();
        if has_completed && !matches!(command, Command::AlterReassignments { .. }) {
            assert_eq!(new.replicas, old.target().collect::<Vec<_>>(), "{command:?}");
            assert_eq!(new.isr, new.replicas, "{command:?}");
        }
    }

    /// Who is not known to have every record comes into the ISR by its leader, as the last known
    /// leader, or where that was allowed.
    fn check_unclean(
        &self,
        old: &PartitionRegistration,
        new: &PartitionRegistration,
        command: &Command,
    ) {
        let name = "unclean.leader.election.enable";
        let (topic, image) = (self.log.image.topic(TOPIC).expect("created"), &self.log.image);
        let set = topic.configs.get(name).or(image.broker_defaults.get(name));
        let kind = ElectionKind::Unclean;
        let counts_no_more = |member: &BrokerId| match command {
            Command::RegisterBroker { broker, .. } => broker == member,
            // KAFKA-16540: it was eligible by the old `min.insync.replicas`.
            _ => matches!(
                command,
                Command::SetTopicConfigs { .. } | Command::SetBrokerConfigs { .. }
            ),
        };
        let is_allowed = set.is_some_and(|value| value == "true")
            || matches!(command, Command::AlterPartition { .. })
            || matches!(command, Command::ElectLeaders { kind: asked, .. } if *asked == kind)
            || old.isr.is_empty() && old.elr.iter().all(counts_no_more);
        let had_all = |member: &BrokerId| old.isr.contains(member) || old.elr.contains(member);
        assert!(is_allowed || new.isr.iter().all(had_all), "{old:?} {new:?} after {command:?}");
    }

    /// R15, M10, and that no broker resumes an epoch that an earlier life of it led.
    fn check_leader(
        &self,
        index: PartitionIndex,
        partition: &PartitionRegistration,
        command: &Command,
    ) {
        let told = || format!("{index} {partition:?} after {command:?}");
        let image = &self.log.image;
        let Some(leader) = partition.leader else {
            assert!(!partition.isr.iter().any(|member| image.is_active(*member)), "{}", told());
            let serves = |replica: &BrokerId| {
                image.is_active(*replica) && !partition.failed.contains(replica)
            };
            assert!(!partition.elr.iter().any(serves), "{}", told());
            let any = partition.replicas.iter().any(serves);
            assert!(!any || !image.allows_unclean_election(TOPIC), "{}", told());
            return;
        };
        assert!(partition.isr.contains(&leader), "{}", told());
        if partition.isr.iter().any(|member| partition.failed.contains(member)) {
            assert_eq!(partition.isr, [leader], "{}", told());
            let others = partition.elr.iter().filter(|member| !partition.failed.contains(member));
            assert!(!others.clone().any(|member| image.is_active(*member)), "{}", told());
        }
        assert!(image.is_active(leader), "{}", told());
        assert_eq!(partition.last_known_leader, None, "{}", told());
        for ((led, broker), (leader_epoch, broker_epoch)) in &self.led {
            let is_another = *broker != leader || *broker_epoch != self.log.epoch(leader.0);
            if *led == index && is_another {
                assert!(partition.leader_epoch > *leader_epoch, "{broker} led: {}", told());
            }
        }
    }

    fn note_leader(&mut self, index: PartitionIndex) {
        let partition = self.log.image.partition(TOPIC, index).expect("created");
        if let Some(leader) = partition.leader {
            let entry = (partition.leader_epoch, self.log.epoch(leader.0));
            self.led.insert((index, leader), entry);
        }
    }

    /// M11: once all brokers live again and the targets catch up, every reassignment completes.
    fn reassign_to_the_end(&mut self) {
        for broker in 1..=self.brokers {
            let command = self.restart(BrokerId(broker));
            self.log.apply(command).expect("registering never fails");
            self.log.unfence(broker);
        }
        for index in (0..PARTITIONS).map(PartitionIndex) {
            let partition = self.log.image.partition(TOPIC, index).expect("created").clone();
            let Some(broker) = partition.leader else {
                // Only where every copy was lost, and nobody allows to do without.
                assert!(partition.isr.is_empty() && partition.elr.is_empty(), "{partition:?}");
                continue;
            };
            let members = partition.replicas.iter();
            let change = IsrChange {
                topic: TOPIC,
                index,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                isr: members.map(|member| (*member, self.log.epoch(member.0))).collect(),
            };
            let (broker_epoch, changes) = (self.log.epoch(broker.0), vec![change]);
            let command = Command::AlterPartition { broker, broker_epoch, changes };
            let epoch = match self.log.apply(command) {
                Ok(Reply::PartitionsAltered(outcomes)) => outcomes[0].clone(),
                other => panic!("unexpected {other:?}"),
            };
            assert!(epoch.is_ok(), "{epoch:?}");
            let after = self.log.image.partition(TOPIC, index).expect("created");
            assert!(!after.is_being_reassigned(), "{after:?}");
            assert_eq!(after.replicas, partition.target().collect::<Vec<_>>());
        }
    }
}

/// At least `least` of the brokers, in random order.
fn some_of(random: &mut ChaCha8Rng, brokers: i32, least: usize) -> Vec<BrokerId> {
    let mut left: Vec<_> = (1..=brokers).map(BrokerId).collect();
    let count = random.random_range(least..=left.len());
    (0..count).map(|_| left.swap_remove(random.random_range(0..left.len()))).collect()
}
