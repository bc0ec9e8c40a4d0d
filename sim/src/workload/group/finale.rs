//! The end of the groups: healthy members join the healed ones and read everything.

use super::{
    GroupPlan, MemberPlan,
    member::{Member, Temper, Watch},
    voice::{Said, Voice},
};
use crate::{
    group::{FinalGroup, Partitions},
    history::Partition,
    recorder::now_nanos,
    workload::{ClientNumber, Clients, Session, Turns},
};
use madsim::{task, time};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long a healed group has to share everything out and to read it, in simulated time.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// How often is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The clients that are members now have numbers that much above those before.
const CLIENTS_BEHIND: u32 = 500;
/// The most members of a group in the end.
const MOST_MEMBERS: usize = 3;
const LATEST: i64 = -1;

/// Lets healthy members read everything and commit it; how far they come is judged by oracles.
pub async fn read_everything(clients: &Clients) {
    for plan in clients.groups.iter().filter(|plan| !plan.members.is_empty()) {
        let watch = Arc::new(Watch::default());
        let members: Vec<_> = plan
            .members
            .iter()
            .take(MOST_MEMBERS)
            .map(|before| {
                let client = ClientNumber(before.client.0 + CLIENTS_BEHIND);
                let fresh = MemberPlan { client, instance: None, ..before.clone() };
                let temper = Temper { unrest: 0.0, until_stopped: false };
                let turns = Turns::aside(clients, &format!("member {}", client.0));
                let mut member = Member::new(clients, &plan.name, &fresh, temper, turns);
                member.watch = watch.clone();
                task::spawn(member.run())
            })
            .collect();
        let last = watch_over(clients, plan, &watch).await;
        clients.recorder.history().final_groups.push(last);
        watch.over.store(true, Ordering::Relaxed);
        for member in members {
            let _ = time::timeout(READ_WITHIN, member).await;
        }
    }
}

/// Waits until everything is shared out and committed, but not for ever; what there is then.
async fn watch_over(clients: &Clients, plan: &GroupPlan, watch: &Watch) -> FinalGroup {
    let client = ClientNumber(plan.members[0].client.0 + 2 * CLIENTS_BEHIND);
    let mut voice = Voice::new(Session::new(clients.clone(), client), &plan.name, None);
    let deadline = now_nanos() + READ_WITHIN.as_nanos() as u64;
    let mut partitions: Partitions = clients.partitions.iter().copied().collect();
    if plan.members.iter().any(|member| member.by_expression) {
        partitions.extend(first_of_every_topic(clients));
    }
    let mut last = FinalGroup { name: plan.name.clone(), ..FinalGroup::default() };
    loop {
        let mut ends = BTreeMap::new();
        for of in &partitions {
            if let Some(Ok((end, _))) = voice.session.list_offset(*of, LATEST).await {
                ends.insert(*of, end);
            }
        }
        if ends.len() == partitions.len() {
            last.ends = ends;
        }
        if let Said::Well(committed) = voice.offsets(-1, partitions.clone()).await {
            last.committed = committed;
        }
        last.members = watch.held();
        if last.is_complete() || now_nanos() > deadline {
            return last;
        }
        time::sleep(LOOK_EVERY).await;
    }
}

/// The first partition of every topic that is there.
fn first_of_every_topic(clients: &Clients) -> Partitions {
    let history = clients.recorder.history();
    let topics = history.topics.iter().enumerate();
    let living = topics.filter(|(_, topic)| !topic.deleted && !topic.compacted);
    living.map(|(topic, _)| Partition { topic, index: 0 }).collect()
}
