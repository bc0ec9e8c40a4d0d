//! The node's transport door over the links.

use super::{
    message::{Contents, Message, MessageKind},
    trap::{Catch, Gate, Passing, Trap, Trapped, Wanted},
    weather::{Direction, Fate, Links, Weather},
};
use crate::{
    clock::SimClock,
    dice::Dice,
    explain::{Event, EventId, Kind, Lane, message},
    recorder::now_nanos,
    trace::{Effect, Trace},
};
use highwater_core::{metadata::Endpoint, time::Instant, types::BrokerId};
use highwater_node::{
    env::{BoxFuture, Clock, Transport, TransportError},
    peer::{
        PeerService,
        messages::{PeerReply, PeerRequest},
    },
};
use madsim::{
    runtime::{Handle, NodeHandle},
    task::NodeId,
    time,
};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

const NANOS_PER_MILLI: u64 = 1_000_000;
/// With every so many calls it is looked which of them are over.
const WAITING_LOOKED_THROUGH: u64 = 256;

/// The one network of a run. Clones are the same.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    trace: Trace,
    /// Where messages are while they are under way.
    carrier: NodeHandle,
}

struct State {
    links: Links,
    stations: BTreeMap<BrokerId, Station>,
    traps: Vec<Trap>,
    /// How many messages are held at the moment.
    held: u64,
    /// Numbers calls, for the trace.
    calls: u64,
    /// Who waits for an answer, by the number of the call, and over which connection.
    waiting: BTreeMap<u64, (Direction, Slot)>,
}

/// A broker's machine as its peers see it.
struct Station {
    endpoint: Endpoint,
    host: Host,
}

#[derive(Clone)]
enum Host {
    /// Nothing answers.
    Dark,
    /// The machine is up, and nobody listens there.
    Idle,
    /// A process listens.
    Listening(NodeId, Arc<dyn PeerService>),
}

/// Where the one answer of a call goes; whatever comes later is dropped.
type Slot = Arc<Mutex<Option<oneshot::Sender<Result<PeerReply, TransportError>>>>>;

/// One call, as it travels.
#[derive(Clone)]
struct Envelope {
    number: u64,
    from: BrokerId,
    to: BrokerId,
    /// Where the caller believes `to` to be.
    endpoint: Endpoint,
    request: PeerRequest,
    /// What it says of itself.
    contents: Contents,
    /// Whether this is the only copy, so that a refusal means that it was not served.
    is_only: bool,
    /// The event that it was sent with.
    sent: Option<EventId>,
    slot: Slot,
}

impl Network {
    /// A healthy network without machines. Must be called inside of the simulation.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        let state = State {
            links: Links::new(seed, trace.clone()),
            stations: BTreeMap::new(),
            traps: Vec::new(),
            held: 0,
            calls: 0,
            waiting: BTreeMap::new(),
        };
        let carrier = Handle::current().create_node().name("network").build();
        Self(Arc::new(Shared { state: Mutex::new(state), trace, carrier }))
    }

    /// A machine that is there from now on, with nobody listening yet.
    pub fn join(&self, broker: BrokerId, endpoint: Endpoint) {
        let station = Station { endpoint, host: Host::Idle };
        self.state().stations.insert(broker, station);
    }

    /// The transport of one life of one broker's process.
    #[must_use]
    pub fn transport(&self, broker: BrokerId, clock: SimClock) -> SimTransport {
        SimTransport { network: self.clone(), broker, clock, known: Arc::default() }
    }

    /// The broker's process is gone; with `dark` its machine is, too.
    pub fn leave(&self, broker: BrokerId, dark: bool) {
        let host = if dark { Host::Dark } else { Host::Idle };
        if let Some(station) = self.state().stations.get_mut(&broker) {
            station.host = host;
        }
    }

    /// The weather of every link that has none of its own.
    pub fn set_everywhere(&self, weather: Weather) {
        self.event(Lane::Network, Kind::Fault, || format!("every link: {}", weather.in_words()));
        self.state().links.set_everywhere(weather);
    }

    /// The weather of one link, or that of all others again.
    pub fn set(&self, link: Direction, weather: Option<Weather>) {
        self.event(Lane::Network, Kind::Fault, || {
            let words = weather.as_ref().unwrap_or(&Weather::default()).in_words();
            format!("link {}>{}: {words}", link.0, link.1)
        });
        self.state().links.set(link, weather);
    }

    /// Draws from these dice from now on.
    pub fn draw_from(&self, dice: Dice) {
        self.state().links.draw_from(dice);
    }

    /// Cuts links, until they are mended as often.
    pub fn cut(&self, links: &[Direction]) {
        self.note(format_args!("net cut {}", names(links)));
        self.event(Lane::Network, Kind::Fault, || format!("links are cut: {}", names(links)));
        self.state().links.cut(links);
    }

    /// Breaks the connections over which calls go from one machine to another. Who waits for an answer
    /// hears at once that there is none; what is under way may arrive all the same.
    pub fn reset(&self, connections: &[Direction]) {
        self.note(format_args!("net reset {}", names(connections)));
        self.event(Lane::Network, Kind::Fault, || {
            format!("connections break: {}", names(connections))
        });
        let broken: Vec<_> = {
            let waiting = &mut self.state().waiting;
            waiting.extract_if(.., |_, (link, _)| connections.contains(link)).collect()
        };
        for (number, ((from, to), slot)) in broken {
            let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            let reason = "the connection broke".to_owned();
            let unheard = Err(TransportError::NoAnswer { to, reason });
            if taken.is_some_and(|waiting| waiting.send(unheard).is_ok()) {
                self.0.trace.effect(Effect::CallReset, 1);
                self.note(format_args!("net {from}>{to} #{number}: the connection broke"));
            }
        }
    }

    /// Mends links.
    pub fn mend(&self, links: &[Direction]) {
        self.note(format_args!("net mend {}", names(links)));
        self.event(Lane::Network, Kind::Fault, || format!("links work again: {}", names(links)));
        self.state().links.mend(links);
    }

    /// Catches messages from now on, until what this returns is gone.
    #[must_use]
    pub fn trap(&self, wanted: Wanted, catch: Catch) -> Trapped {
        let (trap, trapped) = Trap::set(wanted, catch);
        self.state().traps.push(trap);
        trapped
    }

    /// How many messages a fault holds at the moment.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.state().held
    }

    /// Every link works, and nothing waits for a message to hold.
    pub fn heal(&self) {
        self.event(Lane::Network, Kind::Fault, || "every link is healed".into());
        let mut state = self.state();
        state.links.heal();
        state.traps.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, text: std::fmt::Arguments<'_>) {
        self.0.trace.event(now_nanos(), text);
    }

    fn event(&self, lane: Lane, kind: Kind, text: impl FnOnce() -> String) {
        self.0.trace.events.add(|| Event::new(now_nanos(), lane, kind, text()));
    }

    /// A message leaves `from` for `to`, because of an earlier event if it is an answer.
    fn sent(
        &self,
        (from, to): Direction,
        cause: Option<EventId>,
        said: impl FnOnce() -> message::Said,
    ) -> Option<EventId> {
        self.0.trace.events.add(|| {
            let said = said();
            let text = format!("{} → broker {to}", said.text);
            let event = Event::new(now_nanos(), Lane::Broker(from.0), Kind::Sent, text);
            event.about(said.about).caused_by(cause).with_broker(to.0)
        })
    }

    /// What was sent meets its end: it arrives at `to`, or is lost for this reason.
    fn ended(
        &self,
        (from, to): Direction,
        sent: Option<EventId>,
        lost: Option<&str>,
    ) -> Option<EventId> {
        let sent = sent?;
        self.0.trace.events.add(|| {
            let (kind, text) = match lost {
                None => (Kind::Arrived, format!("received from broker {from}")),
                Some(why) => (Kind::Lost, format!("from broker {from} to broker {to}: {why}")),
            };
            let event = Event::new(now_nanos(), Lane::Broker(to.0), kind, text);
            event.caused_by([sent]).with_broker(from.0)
        })
    }

    /// A call leaves its sender.
    fn send_request(
        &self,
        from: BrokerId,
        to: BrokerId,
        endpoint: Endpoint,
        request: PeerRequest,
    ) -> Answered {
        let kind = MessageKind { message: Message::of(&request), is_reply: false };
        let (answer, answered) = oneshot::channel();
        let slot: Slot = Arc::new(Mutex::new(Some(answer)));
        let sent = self.sent((from, to), None, || message::of_request(&request));
        let (number, fate) = {
            let mut state = self.state();
            state.calls += 1;
            let number = state.calls;
            if number.is_multiple_of(WAITING_LOOKED_THROUGH) {
                state.waiting.retain(|_, (_, slot)| is_waited_for(slot));
            }
            state.waiting.insert(number, ((from, to), slot.clone()));
            (number, state.links.send((from, to), now_nanos()))
        };
        let contents = Contents::of(&request);
        let arrivals = match fate {
            Fate::Lost(why) => {
                self.note(format_args!("net {from}>{to} #{number} {kind}: {why}"));
                self.ended((from, to), sent, Some(why));
                Vec::new()
            }
            Fate::Arrives(arrivals) => {
                let passing = Passing { from, to, kind, contents: contents.clone() };
                self.pass_traps(&passing, arrivals)
            }
        };
        let is_only = arrivals.len() == 1;
        for arrival in arrivals {
            let copy = Envelope {
                number,
                from,
                to,
                endpoint: endpoint.clone(),
                request: request.clone(),
                contents: contents.clone(),
                is_only,
                sent,
                slot: slot.clone(),
            };
            let network = self.clone();
            self.carry(arrival, async move { network.arrive(copy, kind) });
        }
        answered
    }

    /// What becomes of a message at the traps that are set: when it arrives, and what it waits for.
    fn pass_traps(&self, passing: &Passing, arrivals: Vec<u64>) -> Vec<(u64, Option<Gate>)> {
        let mut passed = Vec::new();
        for at in arrivals {
            let caught = {
                let traps = &mut self.state().traps;
                traps.retain(|trap| !trap.is_done());
                traps.iter_mut().find_map(|trap| trap.offer(passing))
            };
            let Some((catch, gate)) = caught else {
                passed.push((at, None));
                continue;
            };
            let (kind, trace) = (passing.kind, &self.0.trace);
            self.event(Lane::Network, Kind::Fault, || format!("a {kind} is caught: {catch:?}"));
            match catch {
                Catch::Hold => {
                    self.note(format_args!("net holds a {kind}"));
                    trace.effect(Effect::MessageHeld, 1);
                    self.state().held += 1;
                    passed.push((at, Some(gate)));
                }
                Catch::Drop => {
                    self.note(format_args!("net drops a {kind}"));
                    trace.effect(Effect::MessageLost, 1);
                }
                Catch::Duplicate(millis) => {
                    self.note(format_args!("net repeats a {kind}"));
                    trace.effect(Effect::MessageDuplicated, 1);
                    passed.extend([(at, None), (at + millis * NANOS_PER_MILLI, None)]);
                }
                Catch::Delay(millis) => {
                    self.note(format_args!("net delays a {kind}"));
                    trace.effect(Effect::MessageDelayed, 1);
                    passed.push((at + millis * NANOS_PER_MILLI, None));
                }
            }
        }
        passed
    }

    /// Lets something happen when a message arrives, or when it is released if it is held.
    fn carry(
        &self,
        (at, gate): (u64, Option<Gate>),
        arrive: impl Future<Output = ()> + Send + 'static,
    ) {
        let network = self.clone();
        self.0.carrier.spawn(async move {
            time::sleep(Duration::from_nanos(at.saturating_sub(now_nanos()))).await;
            if let Some(mut gate) = gate {
                // Released, or the one who held it is gone.
                let _ = gate.wait_for(|released| *released).await;
                network.state().held -= 1;
            }
            arrive.await;
        });
    }

    /// A request reaches its machine, if the link is still there.
    fn arrive(&self, call: Envelope, kind: MessageKind) {
        let Envelope { number, from, to, .. } = call;
        if self.is_cut_under_way((from, to), number, kind) {
            self.ended((from, to), call.sent, Some("the link was cut under way"));
            return;
        }
        match self.host(to, &call.endpoint) {
            Host::Dark => {
                self.0.trace.effect(Effect::MessageUnheard, 1);
                self.note(format_args!("net {from}>{to} #{number} {kind}: the machine is down"));
                self.ended((from, to), call.sent, Some("the machine is down"));
            }
            Host::Idle => {
                self.0.trace.effect(Effect::MessageUnheard, 1);
                self.note(format_args!("net {from}>{to} #{number} {kind}: nobody listens"));
                let lost = self.ended((from, to), call.sent, Some("nobody listens"));
                if call.is_only {
                    let address = format!("{}:{}", call.endpoint.host, call.endpoint.port);
                    let refused = TransportError::Refused { to, address };
                    let about = (kind.message, &call.contents);
                    self.send_reply(&call.slot, (number, lost), (to, from), about, Err(refused));
                }
            }
            Host::Listening(node, service) => {
                self.note(format_args!("net {from}>{to} #{number} {kind}"));
                let arrived = self.ended((from, to), call.sent, None);
                let network = self.clone();
                let node = Handle::current().get_node(node).expect("a machine stays for ever");
                node.spawn(async move {
                    let reply = service.serve(from, call.request).await;
                    let about = (kind.message, &call.contents);
                    let call_of = (number, arrived);
                    network.send_reply(&call.slot, call_of, (to, from), about, Ok(reply));
                });
            }
        }
    }

    /// An answer leaves the machine that served the request.
    fn send_reply(
        &self,
        slot: &Slot,
        (number, cause): (u64, Option<EventId>),
        link: Direction,
        (message, asked): (Message, &Contents),
        reply: Result<PeerReply, TransportError>,
    ) {
        let kind = MessageKind { message, is_reply: true };
        let sent = self.sent(link, cause, || match &reply {
            Ok(reply) => message::of_reply(reply),
            Err(refused) => message::Said { text: refused.to_string(), ..Default::default() },
        });
        let fate = self.state().links.send(link, now_nanos());
        let (from, to) = link;
        let arrivals = match fate {
            Fate::Lost(why) => {
                self.ended(link, sent, Some(why));
                return self.note(format_args!("net {from}>{to} #{number} {kind}: {why}"));
            }
            Fate::Arrives(arrivals) => arrivals,
        };
        let contents = asked.of_reply(reply.as_ref().ok());
        let passing = Passing { from, to, kind, contents };
        for arrival in self.pass_traps(&passing, arrivals) {
            let (network, slot, reply) = (self.clone(), slot.clone(), reply.clone());
            self.carry(arrival, async move {
                if network.is_cut_under_way(link, number, kind) {
                    network.ended(link, sent, Some("the link was cut under way"));
                    return;
                }
                // Before the receiver can act on it.
                network.ended(link, sent, None);
                let waiting = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                let late = waiting.is_none_or(|waiting| waiting.send(reply).is_err());
                let suffix = if late { ": nobody waits for it" } else { "" };
                network.note(format_args!("net {from}>{to} #{number} {kind}{suffix}"));
            });
        }
    }

    fn is_cut_under_way(&self, (from, to): Direction, number: u64, kind: MessageKind) -> bool {
        let cut = self.state().links.is_cut((from, to));
        if cut {
            self.0.trace.effect(Effect::MessageCut, 1);
            self.note(format_args!("net {from}>{to} #{number} {kind}: cut under way"));
        }
        cut
    }

    /// Who is where the caller believes `to` to be.
    fn host(&self, to: BrokerId, endpoint: &Endpoint) -> Host {
        let state = self.state();
        let station = state.stations.get(&to).filter(|station| station.endpoint == *endpoint);
        station.map_or(Host::Dark, |station| station.host.clone())
    }
}

fn is_waited_for(slot: &Slot) -> bool {
    let waiting = slot.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.as_ref().is_some_and(|waiting| !waiting.is_closed())
}

type Answered = oneshot::Receiver<Result<PeerReply, TransportError>>;

/// One life of one broker on the network.
#[derive(Clone)]
pub struct SimTransport {
    network: Network,
    broker: BrokerId,
    clock: SimClock,
    known: Arc<Mutex<BTreeMap<BrokerId, Endpoint>>>,
}

impl SimTransport {
    fn known(&self) -> MutexGuard<'_, BTreeMap<BrokerId, Endpoint>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for SimTransport {
    fn call(
        &self,
        to: BrokerId,
        request: PeerRequest,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<PeerReply, TransportError>> {
        let (network, from, clock) = (self.network.clone(), self.broker, self.clock.clone());
        let endpoint = self.known().get(&to).cloned();
        Box::pin(async move {
            let endpoint = endpoint.ok_or(TransportError::UnknownBroker(to))?;
            let answered = network.send_request(from, to, endpoint, request);
            let answer = async move {
                match answered.await {
                    Ok(answer) => answer,
                    // Every copy is lost, which nobody can tell the caller.
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = answer => answer,
                () = clock.sleep_until(deadline) => {
                    let reason = "none within the time it was given".to_owned();
                    Err(TransportError::NoAnswer { to, reason })
                }
            }
        })
    }

    fn learn(&self, broker: BrokerId, endpoint: Endpoint) {
        self.known().insert(broker, endpoint);
    }

    fn listen(&self, service: Arc<dyn PeerService>) -> BoxFuture<'static, io::Result<()>> {
        let (network, broker) = (self.network.clone(), self.broker);
        Box::pin(async move {
            let node = madsim::plugin::node();
            match network.state().stations.get_mut(&broker) {
                Some(station) => station.host = Host::Listening(node, service),
                None => return Err(io::Error::other("this machine has no place on the network")),
            }
            network.note(format_args!("net {broker} listens"));
            Ok(())
        })
    }
}

fn names(links: &[Direction]) -> String {
    let names: Vec<String> = links.iter().map(|(from, to)| format!("{from}>{to}")).collect();
    names.join(" ")
}
