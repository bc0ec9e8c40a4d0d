//! The network between brokers, one fault at a time, with a service that only counts.
#![cfg(madsim)]

use highwater_core::{
    metadata::Endpoint,
    time::Instant,
    types::{BrokerEpoch, BrokerId, MetadataOffset},
};
use highwater_node::{
    env::{BoxFuture, Clock, Transport, TransportError},
    peer::{
        PeerService,
        messages::{Heartbeat, HeartbeatReply, PeerReply, PeerRequest},
    },
};
use highwater_sim::{
    clock::SimClock,
    network::{Catch, MessageKind, Network, SimTransport, Wanted, Weather},
    trace::{Effect, Trace},
};
use madsim::{
    runtime::{Handle, NodeHandle, Runtime},
    task, time,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const A: BrokerId = BrokerId(1);
const B: BrokerId = BrokerId(2);
const C: BrokerId = BrokerId(3);
/// How long a call may take, in simulated time.
const PATIENCE: Duration = Duration::from_millis(500);

/// Counts what it serves, in order, and takes its time.
#[derive(Default)]
struct Counter {
    served: AtomicU64,
    order: Mutex<Vec<u64>>,
}

impl PeerService for Counter {
    fn serve(&self, _from: BrokerId, request: PeerRequest) -> BoxFuture<'static, PeerReply> {
        self.served.fetch_add(1, Ordering::Relaxed);
        if let PeerRequest::Heartbeat(heartbeat) = request {
            self.order.lock().unwrap().push(heartbeat.applied.0);
        }
        Box::pin(async {
            time::sleep(Duration::from_millis(5)).await;
            let decided = MetadataOffset(0);
            PeerReply::Heartbeat(HeartbeatReply::Known {
                fenced: false,
                may_shut_down: false,
                decided,
            })
        })
    }
}

/// Three machines; B and C serve, A calls.
struct Bench {
    trace: Trace,
    network: Network,
    nodes: Vec<NodeHandle>,
    services: Vec<Arc<Counter>>,
    clock: SimClock,
}

fn endpoint(broker: BrokerId) -> Endpoint {
    Endpoint { host: format!("10.0.0.{broker}"), port: 9093 }
}

fn heartbeat(number: u64) -> PeerRequest {
    let (broker, epoch) = (A, BrokerEpoch(1));
    let applied = MetadataOffset(number);
    PeerRequest::Heartbeat(Heartbeat { broker, epoch, applied, wants_shutdown: false })
}

impl Bench {
    async fn new(seed: u64) -> Self {
        let trace = Trace::new(true);
        let network = Network::new(seed, trace.clone());
        let clock = SimClock::new(0);
        let mut bench = Self { trace, network, nodes: Vec::new(), services: Vec::new(), clock };
        for broker in [A, B, C] {
            bench.network.join(broker, endpoint(broker));
            bench.nodes.push(Handle::current().create_node().build());
            bench.services.push(Arc::default());
            bench.listen(broker).await;
        }
        bench
    }

    async fn listen(&self, broker: BrokerId) {
        let at = broker.0 as usize - 1;
        let transport = self.network.transport(broker, self.clock.clone());
        let service = self.services[at].clone();
        let node = Handle::current().get_node(self.nodes[at].id()).unwrap();
        node.spawn(async move { transport.listen(service).await }).await.unwrap().unwrap();
    }

    fn transport(&self, broker: BrokerId) -> SimTransport {
        let transport = self.network.transport(broker, self.clock.clone());
        [A, B, C].into_iter().for_each(|other| transport.learn(other, endpoint(other)));
        transport
    }

    fn deadline(&self) -> Instant {
        self.clock.now().monotonic.after(PATIENCE)
    }

    async fn call(&self, from: BrokerId, to: BrokerId) -> Result<PeerReply, TransportError> {
        self.transport(from).call(to, heartbeat(0), self.deadline()).await
    }

    fn served(&self, broker: BrokerId) -> u64 {
        self.services[broker.0 as usize - 1].served.load(Ordering::Relaxed)
    }

    fn effect(&self, effect: Effect) -> u64 {
        self.trace.effect_count(effect)
    }
}

fn run<T>(test: impl AsyncFnOnce(Bench) -> T) -> T {
    Runtime::with_seed_and_config(1, madsim::Config::default())
        .block_on(async { test(Bench::new(1).await).await })
}

/// Whether a call ended without an answer, and no earlier than at its deadline.
async fn is_unanswered(bench: &Bench, from: BrokerId, to: BrokerId) -> bool {
    let before = bench.clock.now().monotonic;
    let answer = bench.call(from, to).await;
    bench.clock.now().monotonic >= before.after(PATIENCE)
        && matches!(answer, Err(TransportError::NoAnswer { .. }))
}

#[test]
fn a_healthy_network_answers_and_serves_once() {
    run(async |bench| {
        for _ in 0..50 {
            assert!(bench.call(A, B).await.is_ok());
        }
        assert_eq!((bench.served(B), bench.served(C)), (50, 0));
        assert!(bench.trace.effects().is_empty());
    });
}

#[test]
fn a_broker_that_was_never_learned_is_unknown() {
    run(async |bench| {
        let transport = bench.network.transport(A, bench.clock.clone());
        let answer = transport.call(B, heartbeat(0), bench.deadline()).await;
        assert_eq!(answer, Err(TransportError::UnknownBroker(B)));
    });
}

#[test]
fn a_cut_request_is_not_served_and_a_cut_reply_is() {
    run(async |bench| {
        bench.network.cut(&[(A, B)]);
        assert!(is_unanswered(&bench, A, B).await);
        assert_eq!(bench.served(B), 0);
        bench.network.mend(&[(A, B)]);
        bench.network.cut(&[(B, A)]);
        assert!(is_unanswered(&bench, A, B).await);
        assert_eq!(bench.served(B), 1);
        bench.network.heal();
        assert!(bench.call(A, B).await.is_ok());
        assert_eq!(bench.effect(Effect::MessageCut), 2);
    });
}

#[test]
fn a_partial_partition_leaves_the_third_machine_in_touch() {
    run(async |bench| {
        bench.network.cut(&[(A, C), (C, A)]);
        assert!(bench.call(A, B).await.is_ok());
        assert!(bench.call(B, C).await.is_ok());
        assert!(is_unanswered(&bench, A, C).await);
    });
}

#[test]
fn a_message_under_way_does_not_survive_a_cut() {
    run(async |bench| {
        let slow = Weather { latency: 100..=100, ..Weather::default() };
        bench.network.set((A, B), Some(slow));
        let (network, cutting) = (bench.network.clone(), time::sleep(Duration::from_millis(50)));
        task::spawn(async move {
            cutting.await;
            network.cut(&[(A, B)]);
        });
        assert!(is_unanswered(&bench, A, B).await);
        assert_eq!(bench.served(B), 0);
    });
}

#[test]
fn a_lost_message_ends_at_the_deadline() {
    run(async |bench| {
        bench.network.set_everywhere(Weather { loss: 1.0, ..Weather::default() });
        assert!(is_unanswered(&bench, A, B).await);
        assert_eq!(bench.effect(Effect::MessageLost), 1);
    });
}

#[test]
fn who_waits_over_a_connection_that_breaks_hears_of_it_and_the_request_arrives() {
    run(async |bench| {
        let resets = |bench: &Bench| bench.effect(Effect::CallReset);
        let network = bench.network.clone();
        let resetting = task::spawn(async move {
            time::sleep(Duration::from_millis(1)).await;
            network.reset(&[(B, A), (A, C)]);
            network.reset(&[(A, B)]);
        });
        let before = bench.clock.now().monotonic;
        assert!(matches!(bench.call(A, B).await, Err(TransportError::NoAnswer { .. })));
        assert!(bench.clock.now().monotonic < before.after(PATIENCE));
        resetting.await.unwrap();
        time::sleep(PATIENCE).await;
        assert_eq!((bench.served(B), resets(&bench)), (1, 1));
        bench.network.reset(&[(A, B)]);
        assert_eq!(resets(&bench), 1, "nobody waits any more");
        bench.network.set_everywhere(Weather { loss: 1.0, ..Weather::default() });
        let (network, before) = (bench.network.clone(), bench.clock.now().monotonic);
        let resetting = task::spawn(async move {
            time::sleep(Duration::from_millis(1)).await;
            network.reset(&[(A, B)]);
        });
        assert!(matches!(bench.call(A, B).await, Err(TransportError::NoAnswer { .. })));
        resetting.await.unwrap();
        let end = bench.clock.now().monotonic;
        assert!(end < before.after(PATIENCE), "also where the request was lost");
    });
}

#[test]
fn a_duplicated_request_is_served_twice_and_answered_once() {
    run(async |bench| {
        bench.network.set((A, B), Some(Weather { duplication: 1.0, ..Weather::default() }));
        assert!(bench.call(A, B).await.is_ok());
        time::sleep(PATIENCE).await;
        assert_eq!(bench.served(B), 2);
        assert_eq!(bench.effect(Effect::MessageDuplicated), 1);
    });
}

#[test]
fn messages_keep_their_order_unless_they_may_overtake_each_other() {
    let order = |reordering| {
        run(async |bench| {
            let weather = Weather { latency: 1..=200, reordering, ..Weather::default() };
            bench.network.set((A, B), Some(weather));
            let mut calls = Vec::new();
            for number in 0..40 {
                let (transport, deadline) = (bench.transport(A), bench.deadline());
                let call = async move { transport.call(B, heartbeat(number), deadline).await };
                calls.push(task::spawn(call));
                // Tasks that are ready together run in any order.
                time::sleep(Duration::from_millis(1)).await;
            }
            for call in calls {
                call.await.unwrap().unwrap();
            }
            bench.services[1].order.lock().unwrap().clone()
        })
    };
    assert_eq!(order(0.0), (0..40).collect::<Vec<_>>());
    assert_ne!(order(0.5), (0..40).collect::<Vec<_>>());
}

#[test]
fn a_held_message_waits_and_everything_behind_it_goes_on() {
    run(async |bench| {
        let wanted = Wanted {
            kind: MessageKind::named("heartbeat").unwrap(),
            from: None,
            to: None,
            command: None,
            partition: None,
            nth: 1,
            count: 1,
        };
        let held = bench.network.trap(wanted, Catch::Hold);
        let first = {
            let (transport, deadline) = (bench.transport(A), bench.deadline());
            task::spawn(async move { transport.call(B, heartbeat(1), deadline).await })
        };
        time::sleep(Duration::from_millis(1)).await;
        let (transport, deadline) = (bench.transport(A), bench.deadline());
        assert!(transport.call(B, heartbeat(2), deadline).await.is_ok());
        assert_eq!(*bench.services[1].order.lock().unwrap(), [2]);
        held.release();
        assert!(first.await.unwrap().is_ok());
        assert_eq!(*bench.services[1].order.lock().unwrap(), [2, 1]);
        assert_eq!(bench.effect(Effect::MessageHeld), 1);
    });
}

#[test]
fn a_dead_process_refuses_and_a_dead_machine_is_silent() {
    run(async |bench| {
        Handle::current().kill(bench.nodes[1].id());
        bench.network.leave(B, false);
        let answer = bench.call(A, B).await;
        assert!(matches!(answer, Err(TransportError::Refused { .. })), "{answer:?}");
        bench.network.leave(B, true);
        assert!(is_unanswered(&bench, A, B).await);
        assert_eq!(bench.effect(Effect::MessageUnheard), 2);
        Handle::current().restart(bench.nodes[1].id());
        bench.listen(B).await;
        assert!(bench.call(A, B).await.is_ok());
    });
}

#[test]
fn a_kill_takes_what_is_being_served_along() {
    run(async |bench| {
        let (node, network) = (bench.nodes[1].id(), bench.network.clone());
        task::spawn(async move {
            time::sleep(Duration::from_millis(5)).await;
            Handle::current().kill(node);
            network.leave(B, true);
        });
        assert!(is_unanswered(&bench, A, B).await);
        assert_eq!(bench.served(B), 1);
    });
}

#[test]
fn a_paused_machine_answers_later() {
    run(async |bench| {
        let node = bench.nodes[1].id();
        Handle::current().pause(node);
        task::spawn(async move {
            time::sleep(Duration::from_millis(200)).await;
            Handle::current().resume(node);
        });
        let before = bench.clock.now().monotonic;
        assert!(bench.call(A, B).await.is_ok());
        assert!(bench.clock.now().monotonic >= before.after(Duration::from_millis(200)));
    });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(async move {
            let bench = Bench::new(seed).await;
            let weather =
                Weather { loss: 0.1, duplication: 0.2, reordering: 0.3, ..Weather::default() };
            bench.network.set_everywhere(weather);
            for _ in 0..40 {
                let _ = bench.call(A, B).await;
            }
            bench.trace.hash()
        })
    };
    assert_eq!(trace(3), trace(3));
    assert_ne!(trace(3), trace(4));
}
