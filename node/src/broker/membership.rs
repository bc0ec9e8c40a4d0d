//! This broker in its cluster: it registers, gives signs of life, and leaves in good order.

use super::{ControllerDriver, Shared, touch::Touch};
use crate::{
    config::BrokerConfig,
    env::{Clock, Doors},
    peer::messages::{Heartbeat, HeartbeatReply, PeerReply, PeerRequest},
    quorum::{ProposeError, Quorum},
};
use highwater_core::{
    metadata::{Command, ConfigChange, ConfigUpdate, Endpoint, MetadataError, Reply},
    time::Instant,
    types::{BrokerEpoch, BrokerId, DirectoryId, Incarnation, MetadataOffset},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The pause before a registration or an unfencing is proposed again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long, in sessions, a broker whose id is another's goes on trying: a directory that replaces
/// a lost one may register once the broker of before is fenced. Clocks that are half as fast as
/// others, and a controller that begins sessions anew, are reckoned with.
const SESSIONS_OF_ANOTHER: u32 = 5;
/// How often a broker that cannot register says so.
const REPORT_EVERY: u32 = 50;
/// How long a controlled shutdown may take: then the broker stops all the same, and is fenced.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a broker that wants to stop looks whether there is a quorum that could let it.
const QUORUM_CHECK: Duration = Duration::from_millis(400);
/// So many looks in a row must find none: voters that restart at the same time are back soon.
const QUORUM_CHECKS: u32 = 3;

/// What the metadata log decides by.
const DECIDING_CONFIGS: [&str; 3] =
    ["min.insync.replicas", "default.durability", "unclean.leader.election.enable"];

/// What a broker registers with.
pub struct Registrant {
    /// Its id.
    pub broker: BrokerId,
    /// Its rack.
    pub rack: Option<String>,
    /// Where clients reach it.
    pub client_endpoint: Endpoint,
    /// Where its peers reach it.
    pub peer_endpoint: Endpoint,
    /// Its data directory.
    pub directory: DirectoryId,
    /// The registration that the last clean shutdown ended.
    pub clean_shutdown_of: Option<BrokerEpoch>,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
}

/// Registers this incarnation and waits until the image holds the registration: a new broker
/// epoch, and with it new leader epochs for all that this broker led before.
///
/// # Errors
/// When the quorum refuses the registration or has stopped; while there is no leader it waits. An id
/// that is a living broker's is refused after five of its sessions.
pub async fn register(
    registrant: Registrant,
    doors: &Doors,
    quorum: &dyn Quorum,
) -> Result<(BrokerEpoch, MetadataOffset), ProposeError> {
    let (high, low) = (doors.entropy.next_u64(), doors.entropy.next_u64());
    let command = Command::RegisterBroker {
        broker: registrant.broker,
        incarnation: Incarnation(u128::from(high) << 64 | u128::from(low)),
        rack: registrant.rack,
        client_endpoint: registrant.client_endpoint,
        peer_endpoint: registrant.peer_endpoint,
        directory: registrant.directory,
        clean_shutdown_of: registrant.clean_shutdown_of,
        at: doors.clock.now().wall,
    };
    let patience = registrant.session_timeout * SESSIONS_OF_ANOTHER;
    let (offset, reply) = propose_while_another(command, patience, doors, quorum).await?;
    let Reply::BrokerRegistered { broker_epoch } = reply else {
        unreachable!("a registration was answered with {reply:?}")
    };
    tracing::debug!(%broker_epoch, "registered");
    quorum.changed(MetadataOffset(offset.0.saturating_sub(1))).await;
    Ok((broker_epoch, offset))
}

/// Lets this broker lead: its logs are open and it knows its registration.
///
/// # Errors
/// As [`register`].
pub async fn unfence(
    broker: BrokerId,
    epoch: BrokerEpoch,
    doors: &Doors,
    quorum: &dyn Quorum,
) -> Result<MetadataOffset, ProposeError> {
    let command = Command::UnfenceBroker { broker, epoch };
    let (offset, _) = propose_until_known(command, doors, quorum).await?;
    Ok(offset)
}

/// Makes this broker's own settings of what the metadata log decides by the cluster's defaults,
/// unless the cluster has such a default: every node must come to the same decision.
pub async fn publish_defaults(config: &BrokerConfig, quorum: &dyn Quorum) {
    let image = quorum.image();
    let present = image.broker_configs(None);
    let own = config.static_configs();
    let missing: BTreeMap<String, ConfigChange> = DECIDING_CONFIGS
        .iter()
        .filter(|name| present.is_none_or(|present| !present.contains_key(**name)))
        .filter_map(|name| {
            let value = own.get(*name)?;
            Some(((*name).to_owned(), ConfigChange::Set(value.clone())))
        })
        .collect();
    if missing.is_empty() {
        return;
    }
    let update = ConfigUpdate::Incremental(missing);
    if let Err(error) = quorum.propose(Command::SetBrokerConfigs { broker: None, update }).await {
        tracing::warn!(%error, "this broker's defaults for replication are not the cluster's yet");
    }
}

/// Proposes a registration until its fate is known, and again while the id belongs to another, for
/// so long as that one may be dead.
async fn propose_while_another(
    command: Command,
    patience: Duration,
    doors: &Doors,
    quorum: &dyn Quorum,
) -> Result<(MetadataOffset, Reply), ProposeError> {
    // Counted, so that the time without a quorum, in which nobody is fenced, does not count.
    let mut tries = patience.as_millis() / AGAIN.as_millis();
    loop {
        let proposed = propose_until_known(command.clone(), doors, quorum).await;
        let Err(ProposeError::Refused(MetadataError::DuplicateBroker { .. })) = &proposed else {
            return proposed;
        };
        if tries == 0 {
            return proposed;
        }
        tries -= 1;
        sleep(&*doors.clock, AGAIN).await;
    }
}

/// Proposes a command that may be applied twice until its fate is known.
async fn propose_until_known(
    command: Command,
    doors: &Doors,
    quorum: &dyn Quorum,
) -> Result<(MetadataOffset, Reply), ProposeError> {
    let mut tries = 0_u32;
    loop {
        let error = match quorum.propose(command.clone()).await {
            Err(error @ (ProposeError::NotLeader { .. } | ProposeError::Unknown(_))) => error,
            known => return known,
        };
        if tries % REPORT_EVERY == REPORT_EVERY - 1 {
            tracing::warn!(%error, "still waiting for the metadata quorum");
        }
        tries += 1;
        sleep(&*doors.clock, AGAIN).await;
    }
}

/// Gives signs of life to the controller, for ever.
pub async fn beat(shared: Arc<Shared>, controller: Arc<ControllerDriver>, epoch: BrokerEpoch) {
    let clock = shared.doors.clock.clone();
    let interval = shared.config.broker_heartbeat_interval;
    // A session begins with the sending of what was answered: by the time it ends here it has not
    // yet ended for the controller, which heard that later.
    let session = shared.config.broker_session_timeout;
    let mut touch = Touch::begin(clock.now().monotonic);
    let lease = shared.partitions.lease();
    lease.hold_until(touch.silent_for(session));
    let mut doubted = false;
    loop {
        let now = clock.now().monotonic;
        let next = now.after(interval);
        // An answer that is late is worth no more than the next one.
        let deadline = now.after(interval * 2);
        let heartbeat = Heartbeat {
            broker: shared.config.node_id,
            epoch,
            applied: shared.quorum.image().applied(),
            wants_shutdown: shared.membership.wants_shutdown.load(Ordering::Acquire),
        };
        let asking = ask(&shared, &controller, heartbeat, deadline);
        let until = touch.silent_for(session);
        let reply = doubting_from(&shared, until, &mut doubted, asking).await;
        let known = MetadataOffset(shared.membership.known.load(Ordering::Acquire));
        touch.follows(known);
        if let Some(PeerReply::Heartbeat(reply)) = reply
            && let Some(decided) = take(&shared, reply)
        {
            touch.answered(now, decided, known);
        }
        let until = touch.silent_for(session);
        lease.hold_until(until);
        tell_partitions(&shared, &mut doubted);
        doubting_from(&shared, until, &mut doubted, clock.sleep_until(next)).await;
    }
}

/// Waits for something. When the controller has been silent for a session meanwhile, another broker may
/// have been elected, and producers must not wait for this one: its partitions are told so at once.
async fn doubting_from<T>(
    shared: &Shared,
    until: Instant,
    doubted: &mut bool,
    awaited: impl Future<Output = T>,
) -> T {
    tokio::pin!(awaited);
    if *doubted {
        return awaited.await;
    }
    tokio::select! {
        biased;
        done = &mut awaited => return done,
        () = shared.doors.clock.sleep_until(until) => tell_partitions(shared, doubted),
    }
    awaited.await
}

/// Tells the partitions when the lease has ended, again and again, since what has waited for too long is
/// failed then; and when it holds again.
fn tell_partitions(shared: &Shared, doubted: &mut bool) {
    let has_ended = shared.partitions.lease().doubt().is_some();
    if has_ended || *doubted {
        shared.partitions.open().iter().for_each(|driver| driver.tell_touch());
    }
    *doubted = has_ended;
}

/// Gives a sign of life to whoever leads the quorum as far as this node knows.
async fn ask(
    shared: &Shared,
    controller: &Arc<ControllerDriver>,
    heartbeat: Heartbeat,
    deadline: Instant,
) -> Option<PeerReply> {
    let leader = shared.quorum.leadership().leader?;
    if leader == heartbeat.broker {
        return Some(controller.heartbeat(heartbeat).await);
    }
    let request = PeerRequest::Heartbeat(heartbeat);
    let called = shared.doors.transport.call(leader, request, deadline);
    called.await.inspect_err(|error| tracing::debug!(%error, "heartbeat failed")).ok()
}

/// The partitions have been told of the image at this position.
pub fn knows(shared: &Shared, applied: MetadataOffset) {
    shared.membership.known.fetch_max(applied.0, Ordering::AcqRel);
}

/// Takes over what the controller says; the offset below which what it has decided lies.
fn take(shared: &Shared, reply: HeartbeatReply) -> Option<MetadataOffset> {
    match reply {
        HeartbeatReply::Known { fenced, may_shut_down, decided } => {
            let was_fenced = shared.membership.fenced.swap(fenced, Ordering::AcqRel);
            if fenced && !was_fenced {
                tracing::warn!("this broker is fenced: the controller did not hear it in time");
            }
            if may_shut_down {
                shared.membership.handed_over.notify_one();
            }
            Some(decided)
        }
        HeartbeatReply::Stale => {
            shared.fail(format!(
                "another process has registered as broker {}, or this one was unregistered: give \
                 every node its own node.id",
                shared.config.node_id
            ));
            None
        }
    }
}

/// Hands over what this node leads, the quorum last: it has to agree on the rest. Gives up after
/// [`HAND_OVER_TIMEOUT`], or when there is nobody left to hand anything over to. Whether it leads no
/// partition any more that another broker could lead.
pub async fn hand_over(shared: &Shared) -> bool {
    let partitions = match shared.broker_epoch {
        Some(_) => hand_over_partitions(shared).await,
        None => HandOver::Done,
    };
    if partitions != HandOver::NoQuorum {
        shared.quorum.hand_over().await;
    }
    partitions == HandOver::Done
}

/// What came of handing over the partitions that a broker leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandOver {
    /// The controller has said that the broker may stop.
    Done,
    /// It has not, in time.
    TimedOut,
    /// There is no quorum to agree on it.
    NoQuorum,
}

async fn hand_over_partitions(shared: &Shared) -> HandOver {
    shared.membership.wants_shutdown.store(true, Ordering::Release);
    let until = shared.doors.clock.now().monotonic.after(HAND_OVER_TIMEOUT);
    tokio::select! {
        biased;
        () = shared.membership.handed_over.notified() => HandOver::Done,
        () = quorum_lost(shared) => {
            tracing::warn!("a majority of the voters is not running: nothing can be handed over");
            HandOver::NoQuorum
        }
        () = shared.doors.clock.sleep_until(until) => {
            tracing::warn!("not everything was handed over; the controller will fence this broker");
            HandOver::TimedOut
        }
    }
}

/// Completes when the quorum was found lost several times in a row.
async fn quorum_lost(shared: &Shared) {
    let mut found = 0;
    while found < QUORUM_CHECKS {
        sleep(&*shared.doors.clock, QUORUM_CHECK).await;
        found = if shared.quorum.is_lost().await { found + 1 } else { 0 };
    }
}

async fn sleep(clock: &dyn Clock, duration: Duration) {
    clock.sleep_until(clock.now().monotonic.after(duration)).await;
}
