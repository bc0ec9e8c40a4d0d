//! Members of consumer groups (KIP-848): they do what they are told with the answers to their
//! heartbeats, as fast as these come.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::fleet::Share;
use super::wire::{self, Api, Beaten, Partitions};
use crate::bench::kafka::Answer;

/// A member of a consumer group.
#[derive(Clone, Debug, Default)]
pub struct Member {
    group: String,
    id: String,
    topic: String,
    /// Zero before it has joined.
    epoch: i32,
    owned: Partitions,
    /// Whether the coordinator has yet to hear what it owns.
    tells: bool,
}

impl Member {
    /// A member that has not joined.
    pub fn new(group: String, number: usize, topic: &str) -> Self {
        // Ids are as long as those of real clients, which are UUIDs (KIP-1082).
        let id = format!("{number:08x}-0000-4000-8000-000000000000");
        Self { group, id, topic: topic.to_owned(), ..Self::default() }
    }

    fn request(&mut self) -> Vec<u8> {
        let joins = self.epoch == 0;
        let owned = (joins || self.tells).then_some(&self.owned);
        let topic = joins.then_some(&*self.topic);
        self.tells = false;
        wire::consumer_heartbeat(&self.group, &self.id, self.epoch, topic, owned)
    }

    fn take(&mut self, beaten: Beaten) -> Result<()> {
        match beaten.error {
            wire::NO_ERROR => {
                self.epoch = beaten.epoch;
                if let Some(assignment) = beaten.assignment
                    && assignment != self.owned
                {
                    self.owned = assignment;
                    self.tells = true;
                }
            }
            wire::FENCED_MEMBER_EPOCH | wire::UNKNOWN_MEMBER_ID => {
                self.epoch = 0;
                self.owned.clear();
            }
            // What it told may not have been heard.
            error if wire::is_passing(error) => self.tells = true,
            error => bail!("a heartbeat of a consumer group: error code {error}"),
        }
        Ok(())
    }

    fn partitions(&self) -> usize {
        self.owned.iter().map(|(_, partitions)| partitions.len()).sum()
    }
}

/// Members that share one connection.
pub struct Members(pub Vec<Member>);

impl Share for Members {
    const API: Api = wire::CONSUMER_GROUP_HEARTBEAT;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn request(&mut self, place: usize) -> Vec<u8> {
        self.0[place].request()
    }

    fn answer(&mut self, place: usize, answer: &mut Answer) -> Result<()> {
        self.0[place].take(wire::consumer_beaten(answer)?)
    }
}

/// Whether every member of every group is stable at its group's epoch: all are in the same one, and
/// together they own each partition. A member that has yet to give something up is in an older
/// epoch, and one that waits for others lacks partitions.
pub fn have_converged<'a>(members: impl Iterator<Item = &'a Member>, partitions: usize) -> bool {
    let mut groups: BTreeMap<&str, (i32, usize)> = BTreeMap::new();
    for member in members {
        if member.epoch == 0 || member.tells {
            return false;
        }
        let (epoch, owned) = groups.entry(&member.group).or_insert((member.epoch, 0));
        if *epoch != member.epoch {
            return false;
        }
        *owned += member.partitions();
    }
    groups.values().all(|(_, owned)| *owned == partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beaten(epoch: i32, assigned: Option<&[i32]>) -> Beaten {
        let assignment = assigned.map(|partitions| match partitions {
            [] => Vec::new(),
            some => vec![([1; 16], some.to_vec())],
        });
        Beaten { error: 0, epoch, assignment }
    }

    #[test]
    fn a_member_tells_what_it_owns_once_when_that_has_changed() {
        let mut member = Member::new("g".to_owned(), 1, "t");
        let join = member.request();
        member.take(beaten(1, Some(&[0, 1]))).unwrap();
        let told = member.request();
        let owned = vec![([1; 16], vec![0, 1])];
        assert_eq!(told, wire::consumer_heartbeat("g", &member.id, 1, None, Some(&owned)));
        member.take(beaten(1, Some(&[0, 1]))).unwrap();
        let silent = member.request();
        assert_eq!(silent, wire::consumer_heartbeat("g", &member.id, 1, None, None));
        assert!(join.len() > silent.len());
    }

    #[test]
    fn a_fenced_member_joins_again_with_nothing() {
        let mut member = Member::new("g".to_owned(), 1, "t");
        let join = member.request();
        member.take(beaten(3, Some(&[0]))).unwrap();
        let fenced = Beaten { error: wire::FENCED_MEMBER_EPOCH, ..Beaten::default() };
        member.take(fenced).unwrap();
        assert_eq!(member.request(), join);
        assert!(member.take(Beaten { error: 42, ..Beaten::default() }).is_err());
    }

    #[test]
    fn a_group_has_converged_in_one_epoch_with_all_partitions() {
        let member = |group: &str, epoch, partitions: &[i32]| Member {
            group: group.to_owned(),
            epoch,
            owned: vec![([1; 16], partitions.to_vec())],
            ..Member::default()
        };
        let converged = |members: &[Member]| have_converged(members.iter(), 2);
        assert!(converged(&[member("a", 2, &[0]), member("a", 2, &[1])]));
        assert!(converged(&[member("a", 2, &[0, 1]), member("b", 1, &[0, 1])]));
        assert!(!converged(&[member("a", 2, &[0]), member("a", 1, &[1])]), "two epochs");
        assert!(!converged(&[member("a", 2, &[0]), member("a", 2, &[])]), "one waits");
        assert!(!converged(&[member("a", 0, &[0, 1])]), "not joined");
        let tells = Member { tells: true, ..member("a", 2, &[0, 1]) };
        assert!(!converged(&[tells]), "the coordinator has to hear of it");
    }
}
