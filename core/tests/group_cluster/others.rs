//! Clients that are no members: some commit offsets on their own, administrators look and delete.

use crate::clients::{Common, Context, commit, fetch};
use highwater_core::{
    group::{Identity, Leaver, MemberId, Request},
    types::PartitionIndex,
};
use rand::RngExt;
use std::sync::Arc;

/// Commits and fetches offsets without being a member.
pub struct Committer;

impl Committer {
    pub fn act(&mut self, common: &mut Common, context: &mut Context<'_>) -> Request {
        if context.is_calm || context.random.random_bool(0.6) {
            return fetch(common, context, None);
        }
        let identity = Identity { member: MemberId::from(""), instance: None, generation: None };
        let some: Vec<(Arc<str>, u32)> = context
            .image
            .topics()
            .filter(|_| context.random.random_bool(0.5))
            .map(|topic| (Arc::from(topic.name.as_str()), topic.partitions.len() as u32 - 1))
            .collect();
        commit(common, context, identity, some.into_iter())
    }
}

/// Looks at groups, and takes them away.
pub struct Administrator;

impl Administrator {
    pub fn act(&mut self, common: &mut Common, context: &mut Context<'_>) -> Request {
        let group = match context.random.random_range(0..4) {
            0 => "simple".into(),
            1 => "blue".into(),
            _ => common.group.clone(),
        };
        match context.random.random_range(0..100) {
            0..25 => Request::Describe { group },
            25..50 => Request::DescribeConsumer { group },
            50..70 => Request::List { states: Vec::new(), types: Vec::new() },
            70..85 => {
                let topics = context.image.topics().map(|topic| {
                    let partitions = vec![PartitionIndex(0), PartitionIndex(1)];
                    (Arc::from(topic.name.as_str()), partitions)
                });
                Request::DeleteOffsets { group, topics: topics.collect() }
            }
            85..98 => Request::DeleteGroup { group },
            _ => {
                common.removed.insert((group.clone(), MemberId::from("")));
                let number = context.random.random_range(0..4);
                let instance = Some(format!("{group}-{number}").into());
                let leaver = Leaver { member: MemberId::from(""), instance, reason: None };
                Request::Leave { group, members: vec![leaver] }
            }
        }
    }
}
