//! Rule tests: when a coordinator appends, replays, answers and refuses.

use super::*;
use crate::time::Timestamp;
use alloc::{vec, vec::Vec};

/// A sum. Adding is durable, parking waits for the next tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    total: u64,
    replayed: Vec<u64>,
    parked: Vec<RequestId>,
    tick_adds: Option<u64>,
    is_loaded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Add(u64),
    /// Adds, and nothing else follows from it.
    JustAdd(u64),
    AddTwice(u64),
    Read,
    Park,
    AddAtTick(u64),
}

impl Shard for Sum {
    type Config = ();
    type Request = Ask;
    type Response = u64;
    type Record = u64;

    fn new((): &()) -> Self {
        Self::default()
    }

    fn handle(
        &mut self,
        _now: Now,
        _image: &Image,
        request: RequestId,
        body: Ask,
        decision: &mut Decision<u64, u64>,
    ) {
        match body {
            Ask::Add(amount) => {
                decision.record(amount);
                decision.answer(request, self.total + amount);
            }
            Ask::JustAdd(amount) => {
                decision.record(amount);
                decision.answer(request, self.total + amount);
                decision.stands_alone = true;
            }
            Ask::AddTwice(amount) => {
                decision.record(amount);
                decision.record(amount);
                decision.answer(request, self.total + 2 * amount);
            }
            Ask::Read => decision.answer(request, self.total),
            Ask::Park => self.parked.push(request),
            Ask::AddAtTick(amount) => {
                self.tick_adds = Some(amount);
                decision.answer(request, self.total);
            }
        }
    }

    fn tick(&mut self, _now: Now, _image: &Image, decision: &mut Decision<u64, u64>) {
        decision.records.extend(self.tick_adds.take());
        for request in self.parked.drain(..) {
            decision.answer(request, self.total);
        }
    }

    fn loaded(&mut self, _now: Now, _image: &Image) {
        self.is_loaded = true;
    }

    fn replay(&mut self, offset: Offset, record: &u64) {
        self.replayed.push(offset.0);
        self.total += record;
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.tick_adds.map(|_| Instant(7))
    }

    fn waiting(&mut self) -> Vec<RequestId> {
        core::mem::take(&mut self.parked)
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);

struct World {
    coordinator: Coordinator<Sum>,
    now: Instant,
}

impl World {
    fn resigned() -> Self {
        Self { coordinator: Coordinator::new((), TIMEOUT), now: Instant(1) }
    }

    /// Loaded in epoch 3: two records, both durable.
    fn active() -> Self {
        let mut world = Self::resigned();
        assert_eq!(world.elect(3), [load(3, 1)]);
        assert_eq!(world.loaded(1, &[(0, 10), (1, 20)], 2), []);
        assert_eq!(world.load_ended(1, 2, 2), []);
        world
    }

    fn step(&mut self, input: Input<Sum>) -> Effects<Sum> {
        let mut effects = Effects::new();
        let now = Now { monotonic: self.now, wall: Timestamp(0) };
        self.coordinator.step(now, &Image::default(), input, &mut effects);
        effects
    }

    fn elect(&mut self, epoch: u32) -> Effects<Sum> {
        self.step(Input::Elected { epoch: LeaderEpoch(epoch) })
    }

    fn resign(&mut self, epoch: u32) -> Effects<Sum> {
        self.step(Input::Resigned { epoch: LeaderEpoch(epoch) })
    }

    fn loaded(&mut self, attempt: u64, records: &[(u64, u64)], end: u64) -> Effects<Sum> {
        let records = records.iter().map(|(offset, record)| (Offset(*offset), *record)).collect();
        self.step(Input::Loaded { attempt: WriteId(attempt), records, end: Offset(end) })
    }

    fn load_ended(&mut self, attempt: u64, end: u64, high_watermark: u64) -> Effects<Sum> {
        let (end, high_watermark) = (Offset(end), Offset(high_watermark));
        self.step(Input::LoadEnded { attempt: WriteId(attempt), end, high_watermark })
    }

    fn ask(&mut self, request: u64, body: Ask) -> Effects<Sum> {
        self.step(Input::Request { request: RequestId(request), body })
    }

    /// Carries out the append that is the only effect.
    fn appended(&mut self, effects: &Effects<Sum>, base: u64) -> Effects<Sum> {
        let [Effect::Append { write, records, .. }] = &effects[..] else {
            panic!("an append was expected: {effects:?}");
        };
        let end = Offset(base + records.len() as u64);
        self.step(Input::Appended { write: *write, base_offset: Offset(base), end })
    }

    fn add(&mut self, request: u64, amount: u64, base: u64) -> Effects<Sum> {
        let effects = self.ask(request, Ask::Add(amount));
        self.appended(&effects, base)
    }

    fn high_watermark(&mut self, epoch: u32, to: u64) -> Effects<Sum> {
        let (epoch, to) = (LeaderEpoch(epoch), Offset(to));
        self.step(Input::HighWatermarkAdvanced { epoch, to })
    }

    fn total(&self) -> Option<u64> {
        self.coordinator.shard().map(|shard| shard.total)
    }
}

fn load(epoch: u32, attempt: u64) -> Effect<Sum> {
    Effect::Load { epoch: LeaderEpoch(epoch), attempt: WriteId(attempt) }
}

fn respond(request: u64, response: u64) -> Effect<Sum> {
    Effect::Respond { request: RequestId(request), response }
}

fn refuse(request: u64, error: CoordinatorError) -> Effect<Sum> {
    Effect::Refuse { request: RequestId(request), error }
}

#[test]
fn a_broker_that_does_not_lead_sends_its_clients_away() {
    let mut world = World::resigned();
    assert_eq!(world.ask(1, Ask::Read), [refuse(1, CoordinatorError::NotCoordinator)]);
}

#[test]
fn nobody_is_answered_while_the_log_is_read() {
    let mut world = World::resigned();
    world.elect(3);
    world.loaded(1, &[(0, 10)], 1);
    assert_eq!(world.ask(1, Ask::Read), [refuse(1, CoordinatorError::Loading)]);
    assert_eq!(world.total(), None);
}

#[test]
fn a_load_replays_the_log_in_order_over_its_gaps() {
    let mut world = World::resigned();
    world.elect(3);
    world.loaded(1, &[(4, 10), (7, 20)], 9);
    world.loaded(1, &[(12, 1)], 13);
    world.load_ended(1, 15, 15);
    let shard = world.coordinator.shard().expect("it is loaded");
    assert_eq!((shard.total, &shard.replayed[..]), (31, &[4, 7, 12][..]));
    assert!(shard.is_loaded);
}

#[test]
fn an_answer_waits_until_its_records_are_durable() {
    let mut world = World::active();
    assert_eq!(world.add(1, 5, 2), []);
    assert_eq!(world.total(), Some(35), "replayed at once");
    assert_eq!(world.high_watermark(3, 2), []);
    assert_eq!(world.high_watermark(3, 3), [respond(1, 35)]);
    assert_eq!(world.coordinator.deferred_answers(), 0);
}

#[test]
fn an_append_names_the_epoch_in_which_the_shard_was_loaded() {
    let mut world = World::active();
    let effects = world.ask(1, Ask::AddTwice(5));
    let (epoch, write) = (LeaderEpoch(3), WriteId(2));
    assert_eq!(effects, [Effect::Append { epoch, write, records: vec![5, 5] }]);
    assert_eq!(world.total(), Some(30), "nothing is replayed before it is appended");
}

#[test]
fn a_question_about_what_is_not_durable_waits_too() {
    let mut world = World::active();
    world.add(1, 5, 2);
    assert_eq!(world.ask(2, Ask::Read), []);
    assert_eq!(world.high_watermark(3, 3), [respond(1, 35), respond(2, 35)]);
    assert_eq!(world.ask(3, Ask::Read), [respond(3, 35)]);
}

#[test]
fn what_was_loaded_but_is_not_durable_is_told_to_nobody() {
    let mut world = World::resigned();
    world.elect(3);
    world.loaded(1, &[(0, 10), (1, 20)], 2);
    world.load_ended(1, 2, 1);
    assert_eq!(world.ask(1, Ask::Read), []);
    assert_eq!(world.high_watermark(3, 2), [respond(1, 30)]);
}

#[test]
fn a_refused_append_drops_the_shard_and_loads_it_again() {
    let mut world = World::active();
    world.ask(9, Ask::Park);
    world.add(1, 5, 2);
    world.ask(2, Ask::Add(6));
    let failed = world.step(Input::AppendFailed { write: WriteId(4) });
    let error = CoordinatorError::NotAvailable;
    assert_eq!(failed, [refuse(1, error), refuse(2, error), refuse(9, error), load(3, 5)]);
    assert_eq!(world.ask(3, Ask::Read), [refuse(3, CoordinatorError::Loading)]);
    world.loaded(5, &[(0, 10), (1, 20), (2, 5)], 3);
    world.load_ended(5, 3, 3);
    assert_eq!(world.total(), Some(35), "what the log says");
}

#[test]
fn a_refused_append_that_nothing_follows_from_is_all_that_is_refused() {
    let mut world = World::active();
    world.ask(9, Ask::Park);
    world.add(1, 5, 2);
    world.ask(2, Ask::JustAdd(6));
    let failed = world.step(Input::AppendFailed { write: WriteId(4) });
    assert_eq!(failed, [refuse(2, CoordinatorError::NotAvailable)]);
    assert_eq!(world.total(), Some(35));
    assert_eq!(world.add(3, 1, 3), []);
    assert_eq!(world.high_watermark(3, 4), [respond(1, 35), respond(3, 36)]);
}

#[test]
fn a_resignation_refuses_everything_that_waits() {
    let mut world = World::active();
    world.ask(9, Ask::Park);
    world.add(1, 5, 2);
    let error = CoordinatorError::NotCoordinator;
    assert_eq!(world.resign(4), [refuse(1, error), refuse(9, error)]);
    assert_eq!(world.high_watermark(3, 3), []);
    assert_eq!(world.ask(2, Ask::Read), [refuse(2, error)]);
}

fn doubted(world: &mut World, epoch: u32) -> Effects<Sum> {
    world.step(Input::Doubted { epoch: LeaderEpoch(epoch) })
}

fn confirmed(world: &mut World, epoch: u32) -> Effects<Sum> {
    world.step(Input::Confirmed { epoch: LeaderEpoch(epoch) })
}

#[test]
fn a_coordinator_that_may_have_been_replaced_answers_nothing() {
    let mut world = World::active();
    world.ask(9, Ask::Park);
    world.add(1, 5, 2);
    let error = CoordinatorError::NotCoordinator;
    assert_eq!(doubted(&mut world, 3), [refuse(1, error), refuse(9, error)]);
    assert_eq!(world.ask(2, Ask::Read), [refuse(2, error)], "not from what is committed either");
    assert_eq!(world.ask(3, Ask::Add(1)), [refuse(3, error)]);
    assert_eq!(world.high_watermark(3, 3), []);
    assert_eq!((world.total(), world.coordinator.next_deadline()), (None, None));
    assert_eq!(doubted(&mut world, 3), []);
}

#[test]
fn a_coordinator_that_was_not_replaced_loads_again() {
    let mut world = World::active();
    world.add(1, 5, 2);
    doubted(&mut world, 3);
    assert_eq!(confirmed(&mut world, 3), [load(3, 3)]);
    assert_eq!(confirmed(&mut world, 3), [], "it does already");
    world.loaded(3, &[(0, 10), (1, 20), (2, 5)], 3);
    world.load_ended(3, 3, 3);
    assert_eq!(world.ask(2, Ask::Read), [respond(2, 35)]);
}

#[test]
fn a_load_that_ends_in_doubt_is_dropped() {
    let mut world = World::resigned();
    world.elect(3);
    world.loaded(1, &[(0, 10)], 1);
    assert_eq!(doubted(&mut world, 3), []);
    world.load_ended(1, 1, 1);
    assert_eq!(world.total(), None);
    confirmed(&mut world, 3);
    world.load_ended(1, 1, 1);
    assert_eq!(world.total(), None, "it is of an earlier attempt");
}

#[test]
fn who_was_replaced_is_in_no_doubt_about_another_epoch() {
    let mut world = World::active();
    assert_eq!(doubted(&mut world, 2), []);
    assert_eq!(world.total(), Some(30));
    doubted(&mut world, 3);
    assert_eq!(world.elect(5), [load(5, 2)]);
    assert_eq!(confirmed(&mut world, 3), []);
    doubted(&mut world, 5);
    assert_eq!(world.resign(6), []);
    assert_eq!(confirmed(&mut world, 5), []);
    assert_eq!(world.ask(1, Ask::Read), [refuse(1, CoordinatorError::NotCoordinator)]);
}

#[test]
fn a_load_that_ends_after_the_resignation_is_dropped() {
    let mut world = World::resigned();
    world.elect(3);
    world.loaded(1, &[(0, 10)], 1);
    world.resign(4);
    world.loaded(1, &[(1, 20)], 2);
    world.load_ended(1, 2, 2);
    assert_eq!(world.total(), None);
    assert_eq!(world.ask(1, Ask::Read), [refuse(1, CoordinatorError::NotCoordinator)]);
}

#[test]
fn a_load_of_an_older_epoch_does_not_end_a_newer_one() {
    let mut world = World::resigned();
    world.elect(3);
    assert_eq!(world.elect(5), [load(5, 2)]);
    world.loaded(1, &[(0, 10)], 1);
    world.load_ended(1, 1, 1);
    assert_eq!(world.total(), None);
    world.loaded(2, &[(0, 10), (1, 7)], 2);
    world.load_ended(2, 2, 2);
    assert_eq!(world.total(), Some(17));
}

#[test]
fn an_election_that_is_already_known_changes_nothing() {
    let mut world = World::active();
    assert_eq!(world.elect(3), []);
    assert_eq!(world.resign(3), []);
    assert_eq!(world.total(), Some(30));
}

#[test]
fn the_next_election_begins_with_an_empty_shard() {
    let mut world = World::active();
    world.add(1, 5, 2);
    let effects = world.elect(6);
    assert_eq!(effects, [refuse(1, CoordinatorError::NotCoordinator), load(6, 3)]);
    world.loaded(3, &[(0, 1)], 1);
    world.load_ended(3, 1, 1);
    assert_eq!(world.total(), Some(1));
}

#[test]
fn a_high_watermark_of_another_epoch_answers_nobody() {
    let mut world = World::active();
    world.elect(5);
    world.loaded(2, &[(0, 10), (1, 20)], 2);
    world.load_ended(2, 2, 0);
    world.ask(1, Ask::Read);
    assert_eq!(world.high_watermark(3, 99), []);
    assert_eq!(world.high_watermark(5, 2), [respond(1, 30)]);
}

#[test]
fn an_answer_that_waits_for_too_long_is_refused() {
    let mut world = World::active();
    world.add(1, 5, 2);
    let deadline = world.now.after(TIMEOUT);
    assert_eq!(world.coordinator.next_deadline(), Some(deadline));
    assert_eq!(world.step(Input::Tick), []);
    world.now = deadline;
    assert_eq!(world.step(Input::Tick), [refuse(1, CoordinatorError::NotAvailable)]);
    assert_eq!(world.high_watermark(3, 3), []);
    assert_eq!(world.total(), Some(35), "its record may become durable all the same");
}

#[test]
fn a_tick_decides_as_a_request_does() {
    let mut world = World::active();
    assert_eq!(world.ask(1, Ask::AddAtTick(4)), [respond(1, 30)]);
    assert_eq!(world.coordinator.next_deadline(), Some(Instant(7)));
    world.ask(2, Ask::Park);
    let effects = world.step(Input::Tick);
    assert_eq!(world.appended(&effects, 2), []);
    assert_eq!(world.high_watermark(3, 3), [respond(2, 30)], "as it was decided");
    assert_eq!(world.total(), Some(34));
}

#[test]
fn of_a_log_that_cannot_be_loaded_nothing_is_served_until_the_next_election() {
    let mut world = World::resigned();
    world.elect(3);
    world.loaded(1, &[(0, 10)], 1);
    world.step(Input::LoadFailed { attempt: WriteId(1) });
    assert_eq!(world.total(), None, "not what it had come to");
    assert_eq!(world.ask(1, Ask::Read), [refuse(1, CoordinatorError::NotCoordinator)]);
    assert_eq!(world.load_ended(1, 2, 2), []);
    assert_eq!(world.ask(2, Ask::Add(1)), [refuse(2, CoordinatorError::NotCoordinator)]);
    assert_eq!(world.elect(4), [load(4, 2)]);
}

#[test]
fn the_answer_to_an_append_of_a_dropped_shard_is_passed_over() {
    let mut world = World::active();
    world.ask(1, Ask::Add(5));
    world.resign(4);
    let late = Input::Appended { write: WriteId(2), base_offset: Offset(2), end: Offset(3) };
    assert_eq!(world.step(late), []);
    assert_eq!(world.total(), None);
}
