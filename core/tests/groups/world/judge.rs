//! Whether what is answered is so.

use super::*;

impl World {
    pub(super) fn on_refusal(&mut self, request: RequestId, error: CoordinatorError) {
        assert_ne!(error, CoordinatorError::Loading, "the log is read at once");
        self.statistics.refusals += 1;
        let judge = self.asked.remove(&request).expect("asked, and not answered");
        let client = match judge {
            Judge::Join(client) | Judge::Sync(client, _) => Some(client),
            Judge::Heartbeat { client, .. } | Judge::Commit { client, .. } => client,
            _ => None,
        };
        if let Some(client) = client {
            let client = &mut self.clients[client];
            client.pending = None;
            client.is_excused = true;
        }
    }

    pub(super) fn on_answer(&mut self, request: RequestId, response: Response) {
        let judge = self.asked.remove(&request).expect("asked, and not answered");
        match (judge, response) {
            (Judge::Join(index), Response::Joined(answer)) => {
                self.clients[index].pending = None;
                self.sleep(index, 2000);
                let now = self.now.monotonic;
                match answer {
                    Ok(joined) => {
                        let group = &self.clients[index].group;
                        let durable = &self.log[..self.high_watermark as usize];
                        let is_so = durable.iter().rev().any(|entry| match &entry.record {
                            Record::Group { group: of, value: Some(value) } => {
                                let mut members = value.members.iter();
                                of == group
                                    && value.generation == joined.generation
                                    && members.any(|member| member.member == joined.member)
                            }
                            _ => false,
                        });
                        assert!(is_so, "the log does not say it: {joined:?}");
                        self.statistics.joined += 1;
                        self.statistics.skipped += u64::from(joined.skip_assignment);
                        self.clients[index].on_joined(joined);
                    }
                    Err(refused) if refused.error == GroupError::MemberIdRequired => {
                        let client = &mut self.clients[index];
                        client.member = refused.member;
                        client.next = now;
                        client.is_excused = false;
                    }
                    Err(refused) => self.clients[index].on_refused(&refused.error, now),
                }
            }
            (Judge::Sync(index, identity), Response::Synced(answer)) => {
                self.clients[index].pending = None;
                let now = self.now.monotonic;
                match answer {
                    Ok(synced) => {
                        let client = &mut self.clients[index];
                        let durable = &self.log[..self.high_watermark as usize];
                        let is_so = durable.iter().rev().any(|entry| match &entry.record {
                            Record::Group { group: of, value: Some(value) } => {
                                let mut members = value.members.iter();
                                *of == client.group
                                    && Some(value.generation) == identity.generation
                                    && value.leader.is_some()
                                    && members.any(|member| {
                                        member.member == identity.member
                                            && member.assignment == synced.assignment
                                    })
                            }
                            _ => false,
                        });
                        assert!(is_so, "the log does not say it: {synced:?} for {identity:?}");
                        client.phase = Phase::Member;
                        client.is_excused = false;
                        self.statistics.synced += 1;
                    }
                    Err(error) => self.clients[index].on_refused(&error, now),
                }
            }
            (Judge::Heartbeat { client, is_member }, Response::Heartbeat(answer)) => {
                assert!(answer.is_err() || is_member, "no member's heartbeat is accepted");
                self.statistics.fenced += u64::from(answer == Err(GroupError::FencedInstanceId));
                self.settle(client, answer);
            }
            (Judge::Commit { client, may, end, key, offset }, Response::Committed(answer)) => {
                let outcome = answer.and_then(|mut outcomes| outcomes.remove(0));
                if outcome.is_ok() {
                    assert!(may, "a commit of no member is accepted: {key:?}");
                    let durable = &self.log[end as usize..self.high_watermark as usize];
                    let is_so = durable.iter().rev().any(|entry| match &entry.record {
                        Record::OffsetCommit { group, topic, value: Some(value), .. } => {
                            (group, topic, value.offset) == (&key.0, &key.1, offset)
                        }
                        _ => false,
                    });
                    assert!(is_so, "the log does not say it: {key:?} {offset}");
                    self.statistics.commits += 1;
                }
                let gone = GroupError::UnknownTopicOrPartition;
                let never = GroupError::GroupIdNotFound;
                match outcome {
                    Err(error) if error == gone => self.settle(client, Ok(())),
                    Err(error) if error == never => {
                        self.settle(client, Err(GroupError::UnknownMemberId));
                    }
                    other => self.settle(client, other),
                }
            }
            (Judge::Fetch { key, expected }, Response::Offsets(Ok(offsets))) => {
                let committed = offsets[0].partitions[0].1.as_ref().expect("stable");
                let committed = committed.as_ref().map(|committed| committed.offset);
                assert_eq!(committed, expected, "{key:?}");
                self.statistics.fetches += u64::from(expected.is_some());
            }
            (Judge::Leave, Response::Left(_))
            | (Judge::DeleteOffsets, Response::OffsetsDeleted(_)) => {}
            (Judge::DeleteGroup(group), Response::GroupDeleted(outcome)) => {
                if outcome.is_ok() {
                    let clients = self.clients.iter_mut();
                    let lost = clients.filter(|client| client.group == group);
                    lost.for_each(|client| client.is_excused = true);
                }
            }
            (_, response) => panic!("answers something else: {response:?}"),
        }
    }

    fn settle(&mut self, client: Option<usize>, answer: Result<(), GroupError>) {
        let Some(index) = client else { return };
        self.clients[index].pending = None;
        if let Err(error) = answer {
            let now = self.now.monotonic;
            self.clients[index].on_refused(&error, now);
            self.sleep(index, 1000);
        }
    }

    /// The log, whole or compacted, leads to what the coordinator knows.
    pub(super) fn check_replay(&mut self) {
        let Some(shard) = self.coordinator.shard() else { return };
        let mut whole = GroupShard::new(&self.config);
        let mut newest = BTreeMap::new();
        for (offset, entry) in (0..).map(Offset).zip(&self.log) {
            whole.replay(offset, &entry.record);
            let key = match &entry.record {
                Record::OffsetCommit { group, topic, partition, .. } => {
                    (group.clone(), Some((topic.clone(), *partition)))
                }
                record => (record.group().clone(), None),
            };
            newest.insert(key, offset);
        }
        assert_eq!(whole.hard_state(), shard.hard_state(), "the whole log");
        let mut compacted = GroupShard::new(&self.config);
        let mut offsets: Vec<Offset> = newest.into_values().collect();
        offsets.sort_unstable();
        for offset in offsets {
            compacted.replay(offset, &self.log[offset.0 as usize].record);
        }
        assert_eq!(compacted.hard_state(), shard.hard_state(), "the compacted log");
        self.statistics.replays += 1;
    }
}
