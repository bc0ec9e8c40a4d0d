//! Rule tests: what the controller proposes and answers, and when.

use super::*;
use crate::{
    metadata::{Endpoint, IsrChange, NewTopic},
    time::Timestamp,
    types::{Incarnation, MetadataOffset, RequestId},
};
use alloc::{vec, vec::Vec};

const TOPIC: TopicId = TopicId([1; 16]);
const SESSION: Duration = Duration::from_secs(9);

/// A controller with its image and clocks. Nothing that it proposes is applied by itself.
struct World {
    controller: Controller,
    image: Image,
    now: Instant,
    requests: u64,
}

impl World {
    /// Brokers 1 to `count` have registered and are alive; the controller does not lead.
    fn new(count: i32) -> Self {
        let rebalance_interval = Some(Duration::from_secs(300));
        let config = ControllerConfig { session_timeout: SESSION, rebalance_interval };
        let (controller, image) = (Controller::new(config), Image::default());
        let mut world = Self { controller, image, now: Instant(1_000_000_000), requests: 0 };
        for broker in 1..=count {
            world.apply(register(broker, 1));
            let epoch = world.epoch(broker);
            world.apply(Command::UnfenceBroker { broker: BrokerId(broker), epoch });
        }
        world
    }

    /// The same, and the controller leads.
    fn leading(count: i32) -> Self {
        let mut world = Self::new(count);
        assert_eq!(world.step(Input::Led), []);
        world
    }

    fn apply(&mut self, command: Command) {
        let at = MetadataOffset(self.image.applied().0 + 1);
        self.image.apply(at, &command).expect("allowed");
    }

    fn create(&mut self, replicas: &[i32]) {
        let replicas = vec![replicas.iter().copied().map(BrokerId).collect()];
        let (id, name, configs) = (TOPIC, "t".into(), BTreeMap::new());
        let topics = vec![NewTopic { id, name, replicas, configs }];
        self.apply(Command::CreateTopics { topics });
    }

    fn epoch(&self, broker: i32) -> BrokerEpoch {
        self.image.broker(BrokerId(broker)).expect("registered").epoch
    }

    fn gone(&mut self, broker: i32, epoch: BrokerEpoch) -> Effects {
        self.step(Input::Gone { broker: BrokerId(broker), epoch })
    }

    fn step(&mut self, input: Input) -> Effects {
        // The wall clock stands still at a wild time: nothing may depend on it.
        let now = Now { monotonic: self.now, wall: Timestamp(i64::MIN) };
        let mut effects = Vec::new();
        self.controller.step(now, &self.image, input, &mut effects);
        if let Some(deadline) = self.controller.next_deadline() {
            assert!(deadline > self.now, "a deadline that is over makes the driver spin");
        }
        effects
    }

    fn tick_after(&mut self, wait: Duration) -> Effects {
        self.now = self.now.after(wait);
        self.step(Input::Tick)
    }

    /// Steps at every deadline until `wait` is over; what was proposed.
    fn run(&mut self, wait: Duration) -> Vec<Command> {
        let end = self.now.after(wait);
        let mut commands = Vec::new();
        while let Some(deadline) = self.controller.next_deadline().filter(|due| *due <= end) {
            self.now = deadline;
            commands.extend(self.step(Input::Tick).into_iter().map(command));
        }
        self.now = end;
        commands
    }

    fn heartbeat_with(
        &mut self,
        broker: i32,
        epoch: BrokerEpoch,
        applied: u64,
        wants_shutdown: bool,
    ) -> (Result<HeartbeatAnswer, HeartbeatError>, Vec<Command>) {
        self.requests += 1;
        let (request, applied) = (RequestId(self.requests), MetadataOffset(applied));
        let broker = BrokerId(broker);
        let input = Input::Heartbeat { request, broker, epoch, applied, wants_shutdown };
        let mut effects = self.step(input).into_iter();
        let Some(Effect::Respond { request: answered, answer }) = effects.next() else {
            panic!("a heartbeat is answered first");
        };
        assert_eq!(answered, request);
        (answer, effects.map(command).collect())
    }

    /// A heartbeat of a broker that knows everything.
    fn heartbeat(&mut self, broker: i32) -> (HeartbeatAnswer, Vec<Command>) {
        let (epoch, applied) = (self.epoch(broker), self.image.applied().0);
        let (answer, commands) = self.heartbeat_with(broker, epoch, applied, false);
        (answer.expect("registered"), commands)
    }

    /// The same of one that wants to stop.
    fn wants_shutdown(&mut self, broker: i32) -> (HeartbeatAnswer, Vec<Command>) {
        let (epoch, applied) = (self.epoch(broker), self.image.applied().0);
        let (answer, commands) = self.heartbeat_with(broker, epoch, applied, true);
        (answer.expect("registered"), commands)
    }

    fn fence(&self, broker: i32) -> Command {
        Command::FenceBroker { broker: BrokerId(broker), epoch: self.epoch(broker) }
    }

    fn unfence(&self, broker: i32) -> Command {
        Command::UnfenceBroker { broker: BrokerId(broker), epoch: self.epoch(broker) }
    }

    fn shutdown(&self, broker: i32) -> Command {
        Command::BeginControlledShutdown { broker: BrokerId(broker), epoch: self.epoch(broker) }
    }
}

fn register(broker: i32, incarnation: u128) -> Command {
    Command::RegisterBroker {
        broker: BrokerId(broker),
        incarnation: Incarnation(incarnation),
        rack: None,
        client_endpoint: Endpoint::default(),
        peer_endpoint: Endpoint::default(),
        directory: crate::types::DirectoryId(0),
        clean_shutdown_of: None,
        at: Timestamp(0),
    }
}

fn command(effect: Effect) -> Command {
    match effect {
        Effect::Propose(command) => command,
        Effect::Respond { .. } => panic!("nothing was asked"),
    }
}

fn answer(fenced: bool, caught_up: bool, may_shut_down: bool) -> HeartbeatAnswer {
    HeartbeatAnswer { fenced, caught_up, may_shut_down }
}

#[test]
fn a_controller_that_does_not_lead_refuses_heartbeats_and_waits_for_nothing() {
    let mut world = World::new(1);
    let epoch = world.epoch(1);
    let refused = (Err(HeartbeatError::NotController), vec![]);
    assert_eq!(world.heartbeat_with(1, epoch, 9, false), refused);
    assert_eq!(world.tick_after(SESSION * 2), []);
    assert_eq!(world.controller.next_deadline(), None);
}

#[test]
fn a_heartbeat_of_another_registration_is_refused() {
    let mut world = World::leading(2);
    let old = world.epoch(1);
    world.apply(register(1, 2));
    let refused = |error| (Err(error), vec![]);
    let stale = refused(HeartbeatError::StaleBrokerEpoch);
    assert_eq!(world.heartbeat_with(1, old, 9, false), stale);
    let unknown = refused(HeartbeatError::NotRegistered);
    assert_eq!(world.heartbeat_with(9, old, 9, false), unknown);
    let newer = BrokerEpoch(world.image.applied().0 + 1);
    let elsewhere = refused(HeartbeatError::NotController);
    assert_eq!(world.heartbeat_with(1, newer, 9, false), elsewhere);
}

#[test]
fn a_silent_broker_is_fenced_when_its_session_is_over_and_not_before() {
    let mut world = World::leading(2);
    assert_eq!(world.tick_after(Duration::from_secs(5)), []);
    assert_eq!(world.heartbeat(1), (answer(false, true, false), vec![]));
    assert_eq!(world.tick_after(Duration::from_nanos(3_999_999_999)), []);
    assert_eq!(world.controller.next_deadline(), Some(world.now.after(Duration::from_nanos(1))));
    let fence = world.fence(2);
    assert_eq!(world.tick_after(Duration::from_nanos(1)), [Effect::Propose(fence)]);
    let fence = world.fence(1);
    assert_eq!(world.tick_after(Duration::from_secs(5)).first(), Some(&Effect::Propose(fence)));
}

#[test]
fn a_new_leader_gives_every_broker_a_full_session() {
    let mut world = World::leading(2);
    world.tick_after(Duration::from_secs(8));
    assert_eq!(world.step(Input::Resigned), []);
    world.now = world.now.after(Duration::from_secs(100));
    assert_eq!(world.step(Input::Led), []);
    assert_eq!(world.tick_after(Duration::from_nanos(8_999_999_999)), []);
    let fences = [world.fence(1), world.fence(2)].map(Effect::Propose);
    assert_eq!(world.tick_after(Duration::from_nanos(1)), fences);
}

#[test]
fn a_broker_that_registers_later_gets_a_session_of_its_own() {
    let mut world = World::leading(1);
    world.tick_after(Duration::from_secs(8));
    world.apply(register(1, 2));
    let unfence = world.unfence(1);
    assert_eq!(world.step(Input::Tick), []);
    assert_eq!(world.heartbeat(1), (answer(true, true, false), vec![unfence.clone()]));
    world.apply(unfence);
    world.tick_after(Duration::from_secs(8));
    assert_eq!(world.heartbeat(1), (answer(false, true, false), vec![]));
}

#[test]
fn a_broker_is_unfenced_once_it_knows_its_registration() {
    let mut world = World::leading(1);
    world.apply(register(2, 1));
    let epoch = world.epoch(2);
    let behind = world.heartbeat_with(2, epoch, epoch.0 - 1, false);
    assert_eq!(behind, (Ok(answer(true, false, false)), vec![]));
    let unfence = world.unfence(2);
    let caught_up = world.heartbeat_with(2, epoch, epoch.0, false);
    assert_eq!(caught_up, (Ok(answer(true, true, false)), vec![unfence.clone()]));
    assert_eq!(world.heartbeat(2), (answer(true, true, false), vec![]), "it is under way");
    world.apply(unfence);
    assert_eq!(world.heartbeat(2), (answer(false, true, false), vec![]));
}

#[test]
fn a_fenced_broker_that_is_silent_is_not_unfenced() {
    let mut world = World::leading(1);
    let fence = world.fence(1);
    assert_eq!(world.run(SESSION), vec![fence.clone()]);
    world.apply(fence);
    assert_eq!(world.run(Duration::from_secs(100)), []);
    let unfence = world.unfence(1);
    assert_eq!(world.heartbeat(1).1, [unfence]);
}

#[test]
fn what_shows_no_effect_is_proposed_again_after_a_while() {
    let mut world = World::leading(1);
    let fence = world.fence(1);
    let three_times = vec![fence; 3];
    assert_eq!(world.run(SESSION + PROPOSAL_RETRY * 2), three_times);
    let lost = world.heartbeat(1);
    assert_eq!(lost, (answer(false, true, false), vec![]), "it lives and was not fenced");
    assert_eq!(world.run(SESSION - Duration::from_nanos(1)), []);
    world.apply(register(2, 1));
    let unfence = world.unfence(2);
    assert_eq!(world.heartbeat(2).1, vec![unfence.clone()]);
    world.heartbeat(1);
    assert_eq!(world.run(PROPOSAL_RETRY), [unfence]);
}

#[test]
fn a_broker_stops_once_it_leads_nothing_and_the_others_know() {
    let mut world = World::leading(2);
    world.create(&[1, 2]);
    world.heartbeat(2);
    let shutdown = world.shutdown(1);
    assert_eq!(world.wants_shutdown(1), (answer(false, true, false), vec![shutdown.clone()]));
    assert_eq!(world.wants_shutdown(1), (answer(false, true, false), vec![]), "it is under way");
    world.apply(shutdown);
    assert!(!world.image.leads_any(BrokerId(1)));
    assert_eq!(world.wants_shutdown(1), (answer(false, true, false), vec![]));
    world.heartbeat(2);
    assert_eq!(world.wants_shutdown(1), (answer(false, true, true), vec![]));
    world.apply(Command::AllocateProducerIds { count: 1 });
    assert_eq!(world.wants_shutdown(1).0, answer(false, true, true), "once and for all");
}

#[test]
fn a_dead_broker_holds_up_no_shutdown_for_longer_than_its_session() {
    let mut world = World::leading(2);
    let shutdown = world.shutdown(1);
    assert_eq!(world.wants_shutdown(1).1, vec![shutdown.clone()]);
    world.apply(shutdown);
    assert_eq!(world.wants_shutdown(1).0, answer(false, true, false));
    world.tick_after(Duration::from_secs(8));
    world.wants_shutdown(1);
    let fence = world.fence(2);
    assert_eq!(world.tick_after(Duration::from_secs(1)), [Effect::Propose(fence.clone())]);
    world.apply(fence);
    assert_eq!(world.wants_shutdown(1).0, answer(false, true, true));
}

#[test]
fn a_fenced_broker_that_wants_to_stop_may_and_is_not_unfenced() {
    let mut world = World::leading(1);
    world.apply(register(1, 2));
    assert_eq!(world.wants_shutdown(1), (answer(true, true, true), vec![]));
}

#[test]
fn preferred_leaders_come_back_at_the_interval() {
    let mut world = World::leading(2);
    world.create(&[1, 2]);
    let fence = world.fence(1);
    world.apply(fence);
    let unfence = world.unfence(1);
    world.apply(unfence);
    let elections = |world: &mut World| {
        for _ in 0..59 {
            world.now = world.now.after(Duration::from_secs(5));
            assert_eq!((world.heartbeat(1).1, world.heartbeat(2).1), (vec![], vec![]));
        }
        world.now = world.now.after(Duration::from_secs(5));
        let (_, commands) = world.heartbeat(1);
        world.heartbeat(2);
        commands
    };
    assert_eq!(elections(&mut world), [], "broker 1 is not in sync");
    let partition = world.image.partition(TOPIC, PartitionIndex(0)).expect("created");
    let change = IsrChange {
        topic: TOPIC,
        index: PartitionIndex(0),
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: [1, 2].map(|broker| (BrokerId(broker), world.epoch(broker))).to_vec(),
    };
    let (broker, broker_epoch) = (BrokerId(2), world.epoch(2));
    world.apply(Command::AlterPartition { broker, broker_epoch, changes: vec![change] });
    let elect = Command::ElectLeaders {
        partitions: Some(vec![(TOPIC, PartitionIndex(0))]),
        kind: ElectionKind::Preferred,
    };
    assert_eq!(elections(&mut world), vec![elect.clone()]);
    world.apply(elect);
    assert_eq!(elections(&mut world), []);
}

#[test]
fn a_controller_that_resigns_forgets_everything() {
    let mut world = World::leading(2);
    world.wants_shutdown(1);
    world.run(SESSION + PROPOSAL_RETRY);
    world.step(Input::Resigned);
    let fresh = Controller::new(world.controller.config);
    assert_eq!(world.controller, fresh);
}

#[test]
fn a_forgotten_broker_has_no_session() {
    let mut world = World::leading(2);
    let fence = world.fence(2);
    world.apply(fence);
    world.apply(Command::UnregisterBroker { broker: BrokerId(2) });
    world.step(Input::Tick);
    let leading = world.controller.leading.as_ref().expect("leads");
    assert_eq!(leading.sessions.keys().copied().collect::<Vec<_>>(), [BrokerId(1)]);
}

#[test]
fn a_broker_whose_process_is_gone_is_fenced_before_its_session_runs_out() {
    let mut world = World::leading(3);
    let (broker, epoch) = (BrokerId(2), world.epoch(2));
    let fence = Effect::Propose(Command::FenceBroker { broker, epoch });
    assert_eq!(world.gone(2, BrokerEpoch(epoch.0 + 1)), [], "that is another process");
    assert_eq!(world.gone(2, epoch), [fence]);
    world.apply(Command::FenceBroker { broker, epoch });
    assert_eq!(world.gone(2, epoch), []);
}
