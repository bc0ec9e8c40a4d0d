//! Groups of consumers: members of both protocols that share topics, commit how far they have come,
//! and misbehave at times. Everything they ask and hear is recorded.

mod brief;
mod classic;
mod consumer;
mod finale;
mod loads;
mod member;
mod range;
mod voice;

pub use finale::read_everything;

use super::{ClientNumber, Clients, Session, Turns};
use crate::{
    choices::Choices,
    recorder::now_nanos,
    scenario::{GroupHabit, GroupManners, GroupProtocol, WorkloadShape},
};
use madsim::{runtime::NodeHandle, task::JoinHandle, time};
use member::{Member, Temper};
use std::{sync::Arc, time::Duration};
use voice::{Said, Voice};

/// The numbers of the members' clients begin here: those of the other clients are below.
const FIRST_CLIENT: u32 = 100;
/// Who commits the first offset of each group.
const FOUNDER: ClientNumber = ClientNumber(99);
/// How long that may take, in simulated time, and how long it waits before it tries again.
const FOUNDED_WITHIN: Duration = Duration::from_secs(10);
const FOUND_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// One group of a run.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// Its name.
    pub name: String,
    members: Vec<MemberPlan>,
}

/// One member, and who takes its place.
#[derive(Clone, Debug)]
struct MemberPlan {
    client: ClientNumber,
    protocol: GroupProtocol,
    instance: Option<String>,
    /// Whether it subscribes by regular expressions.
    by_expression: bool,
    manners: Arc<GroupManners>,
}

/// The groups of a run.
#[must_use]
pub fn plans(choices: &mut Choices, shape: &WorkloadShape) -> Vec<GroupPlan> {
    let mut client = FIRST_CLIENT;
    let groups = choices.within("groups", &shape.groups);
    let manners = Arc::new(shape.group_manners.clone());
    let plan = |number| {
        let protocols: Vec<_> =
            shape.group_protocols.iter().map(|of| (name_of(*of), *of)).collect();
        let protocol = choices.named("group_protocol", &protocols);
        let count = choices.within("group_members", &shape.group_members);
        let member = |at: i64| {
            client += 1;
            let protocol = match protocol {
                GroupProtocol::Mixed if choices.chance("is_classic", 0.5) => GroupProtocol::Classic,
                GroupProtocol::Mixed => GroupProtocol::Consumer,
                one => one,
            };
            let is_static = choices.chance("is_static", shape.group_static);
            // Some share an instance id, as one that was started twice.
            let twin = choices.chance("is_twin", 0.2) && at > 0;
            let instance = is_static.then(|| format!("i{}", if twin { at - 1 } else { at }));
            let may_match =
                protocol == GroupProtocol::Consumer && manners.has(GroupHabit::Expressions);
            let by_expression = may_match && choices.chance("by_expression", 0.7);
            let (client, manners) = (ClientNumber(client), manners.clone());
            MemberPlan { client, protocol, instance, by_expression, manners }
        };
        GroupPlan { name: format!("g{number}"), members: (0..count).map(member).collect() }
    };
    (0..groups).map(plan).collect()
}

/// As scenario files have it.
const fn name_of(protocol: GroupProtocol) -> &'static str {
    match protocol {
        GroupProtocol::Classic => "classic",
        GroupProtocol::Consumer => "consumer",
        GroupProtocol::Mixed => "mixed",
    }
}

/// Commits an offset of each group before anybody joins it. A group that has none is removed when its
/// last member is gone, and its successor begins at generation 1 again: no check could tell that from a
/// generation that was reused. The error names the group that could not be begun.
pub async fn found(clients: &Clients) -> Result<(), String> {
    let Some(partition) = clients.partitions.first().copied() else { return Ok(()) };
    for plan in clients.groups.iter() {
        let session = Session::new(clients.clone(), FOUNDER);
        let mut voice = Voice::new(session, &plan.name, None);
        let deadline = now_nanos() + FOUNDED_WITHIN.as_nanos() as u64;
        while !matches!(voice.commit(-1, [(partition, 0)].into()).await, Said::Well(_)) {
            if now_nanos() > deadline {
                return Err(format!("{} could not be founded on a healthy cluster", plan.name));
            }
            time::sleep(FOUND_AGAIN_AFTER).await;
        }
    }
    Ok(())
}

/// Starts the members of all groups on the clients' machine.
#[must_use]
pub fn spawn(clients: &Clients, node: &NodeHandle, shape: &WorkloadShape) -> Vec<JoinHandle<()>> {
    let mut running = Vec::new();
    for plan in clients.groups.iter() {
        for member in &plan.members {
            let name = format!("member {}", member.client.0);
            let Some(turns) = Turns::of(clients, &name) else { continue };
            clients.cluster.client_links.join(&name, member.client.0);
            let temper = Temper { unrest: shape.group_unrest, until_stopped: true };
            let member = Member::new(clients, &plan.name, member, temper, turns);
            running.push(node.spawn(member.run()));
        }
    }
    running
}
