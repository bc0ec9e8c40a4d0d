//! Expiry of offsets and of groups (KIP-211).

use super::*;

const RETENTION: Duration = Duration::from_hours(24 * 7);
/// How late a check may notice what has expired.
const CHECK: Duration = Duration::from_mins(10);

/// The session timeout of a member that sends a heartbeat every half hour.
const PATIENCE: Duration = Duration::from_mins(31);

impl Fixture {
    /// A second before the retention is over for what was done just now.
    fn almost_expire(&mut self) {
        self.pass(RETENTION - seconds(1));
    }

    /// The check after that.
    fn expire(&mut self) {
        self.pass(CHECK + seconds(1));
    }

    /// Lets time pass while a member sends heartbeats.
    fn pass_alive(&mut self, duration: Duration, member: &str, generation: u32) {
        let beats = duration.as_secs() / 1800;
        for _ in 0..beats {
            self.pass(seconds(1800));
            assert_eq!(self.heartbeat(member, generation), Ok(()));
        }
    }

    /// A member with long sessions, which subscribes to `topics`.
    fn patient(&mut self, name: &str, protocol_type: &str, topics: &[&str]) {
        // A heartbeat that comes exactly when the session ends comes too late.
        self.config.max_session_timeout = PATIENCE;
        self.reload();
        let join = self.join(Join {
            session_timeout: PATIENCE,
            protocol_type: protocol_type.into(),
            ..subscribing(first_join(name), topics)
        });
        self.pass(seconds(3));
        let generation = self.joined(join).generation;
        self.assign(generation, &[name]);
    }
}

#[test]
fn offsets_of_a_simple_group_expire_when_they_were_not_committed_for_the_retention() {
    let mut fixture = Fixture::new();
    fixture.commit(nobody(), 5).expect("a simple group");
    fixture.pass(days(1));
    fixture.commit_for(nobody(), OTHER_TOPIC, 6).expect("a simple group");
    fixture.pass(days(6) - seconds(1));
    assert_eq!(fixture.committed(TOPIC), Some(5));
    fixture.expire();
    assert_eq!((fixture.committed(TOPIC), fixture.committed(OTHER_TOPIC)), (None, Some(6)));
    fixture.pass(days(1));
    assert_eq!(fixture.state(), GroupState::Dead);
}

#[test]
fn a_commit_refreshes() {
    let mut fixture = Fixture::new();
    for offset in 0..3 {
        fixture.commit(nobody(), offset).expect("a simple group");
        fixture.almost_expire();
        assert_eq!(fixture.committed(TOPIC), Some(offset));
    }
    fixture.expire();
    assert_eq!(fixture.committed(TOPIC), None);
}

#[test]
fn offsets_of_a_group_with_members_do_not_expire() {
    let mut fixture = Fixture::new();
    fixture.patient("a", "consumer", &[TOPIC]);
    fixture.commit(identity("a", 1), 5).expect("a member");
    fixture.pass_alive(days(15), "a", 1);
    assert_eq!(fixture.committed(TOPIC), Some(5));
}

#[test]
fn offsets_of_members_that_are_no_consumers_do_not_expire() {
    let mut fixture = Fixture::new();
    fixture.patient("a", "connect", &[OTHER_TOPIC]);
    fixture.commit(identity("a", 1), 5).expect("a member");
    fixture.pass_alive(days(15), "a", 1);
    assert_eq!(fixture.committed(TOPIC), Some(5));
}

#[test]
fn offsets_of_consumers_whose_topics_are_not_known_do_not_expire() {
    let mut fixture = Fixture::new();
    fixture.patient("a", "consumer", &[TOPIC]);
    let garbage = vec![("range".into(), Bytes::from_static(b"?"))];
    let join = fixture.join(Join { protocols: garbage, session_timeout: PATIENCE, ..again("a") });
    fixture.joined(join);
    fixture.assign(2, &["a"]);
    fixture.commit(identity("a", 2), 5).expect("a member");
    fixture.pass_alive(days(15), "a", 2);
    assert_eq!(fixture.committed(TOPIC), Some(5));
}

#[test]
fn offsets_expire_when_their_group_was_empty_for_the_retention() {
    let mut fixture = Fixture::new();
    fixture.patient("a", "consumer", &[TOPIC]);
    fixture.commit(identity("a", 1), 5).expect("a member");
    fixture.pass_alive(days(5), "a", 1);
    fixture.leave(vec![leaver("a")]);
    fixture.almost_expire();
    assert_eq!(fixture.committed(TOPIC), Some(5), "twelve days after the commit");
    fixture.expire();
    assert_eq!(fixture.committed(TOPIC), None);
    assert_eq!(fixture.state(), GroupState::Dead, "nothing is left of it");
    assert_eq!(fixture.log.last(), Some(&Record::Group { group: GROUP.into(), value: None }));
}

#[test]
fn a_commit_to_an_empty_group_refreshes_what_it_commits() {
    let mut fixture = Fixture::new();
    fixture.patient("a", "consumer", &[TOPIC]);
    fixture.commit(identity("a", 1), 5).expect("a member");
    fixture.commit_for(identity("a", 1), OTHER_TOPIC, 6).expect("a member");
    fixture.leave(vec![leaver("a")]);
    fixture.pass(days(3));
    fixture.commit(nobody(), 7).expect("nobody is a member");
    fixture.pass(days(4) + CHECK);
    assert_eq!((fixture.committed(TOPIC), fixture.committed(OTHER_TOPIC)), (Some(7), None));
    fixture.pass(days(3));
    assert_eq!(fixture.committed(TOPIC), None);
}

#[test]
fn offsets_of_topics_that_no_consumer_subscribes_to_any_more_expire() {
    let mut fixture = Fixture::new();
    fixture.patient("a", "consumer", &[TOPIC, OTHER_TOPIC]);
    fixture.commit(identity("a", 1), 5).expect("a member");
    fixture.commit_for(identity("a", 1), OTHER_TOPIC, 6).expect("a member");
    fixture.pass_alive(days(8), "a", 1);
    let other = Join { session_timeout: PATIENCE, ..subscribing(again("a"), &[OTHER_TOPIC]) };
    let join = fixture.join(other);
    assert_eq!(fixture.joined(join).generation, 2);
    fixture.assign(2, &["a"]);
    fixture.pass_alive(RETENTION - seconds(1800), "a", 2);
    assert_eq!(fixture.committed(TOPIC), Some(5), "it was in use until then");
    fixture.pass_alive(seconds(3600), "a", 2);
    assert_eq!((fixture.committed(TOPIC), fixture.committed(OTHER_TOPIC)), (None, Some(6)));
}

#[test]
fn nothing_expires_while_a_group_rebalances() {
    let mut fixture = Fixture::new();
    fixture.patient("a", "consumer", &[OTHER_TOPIC]);
    fixture.commit(identity("a", 1), 5).expect("a member");
    fixture.pass_alive(RETENTION - seconds(600), "a", 1);
    fixture.join(Join {
        must_know_its_id: true,
        session_timeout: seconds(1800),
        ..first_join("b")
    });
    let rejoin = subscribing(again("a"), &[OTHER_TOPIC]);
    fixture.join(Join { session_timeout: PATIENCE, rebalance_timeout: PATIENCE, ..rejoin });
    fixture.pass(seconds(601));
    let records = fixture.pass(seconds(599));
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    assert_eq!((records, fixture.committed(TOPIC)), (vec![], Some(5)));
}

#[test]
fn a_retention_that_a_commit_asks_for_is_kept_to() {
    let mut fixture = Fixture::new();
    let commit = |topic: &str, retention| CommitOffsets {
        group: GROUP.into(),
        identity: nobody(),
        retention: Some(retention),
        offsets: vec![to_commit(topic, 5)],
    };
    fixture.send_commit(commit(TOPIC, days(2))).expect("a simple group");
    fixture.send_commit(commit(OTHER_TOPIC, days(20))).expect("a simple group");
    fixture.pass(days(2) - seconds(1));
    assert_eq!(fixture.committed(TOPIC), Some(5));
    fixture.expire();
    assert_eq!((fixture.committed(TOPIC), fixture.committed(OTHER_TOPIC)), (None, Some(5)));
    fixture.pass(days(18) - CHECK - seconds(1));
    assert_eq!(fixture.committed(OTHER_TOPIC), Some(5), "the group's retention is over");
    fixture.expire();
    assert_eq!(fixture.committed(OTHER_TOPIC), None);
}

#[test]
fn a_wall_clock_that_jumps_ahead_expires_nothing() {
    let mut fixture = Fixture::new();
    fixture.commit(nobody(), 5).expect("a simple group");
    fixture.pass(days(1));
    fixture.now.wall.0 += 1000 * 24 * 3600 * 1000;
    fixture.pass(days(6) - seconds(1));
    assert_eq!(fixture.committed(TOPIC), Some(5));
    fixture.expire();
    assert_eq!(fixture.committed(TOPIC), None, "in time");
}

#[test]
fn a_wall_clock_that_goes_back_delays() {
    let mut fixture = Fixture::new();
    fixture.commit(nobody(), 5).expect("a simple group");
    fixture.now.wall.0 -= days(3).as_millis() as i64;
    fixture.pass(RETENTION + days(2));
    assert_eq!(fixture.committed(TOPIC), Some(5));
    fixture.pass(days(1) + CHECK);
    assert_eq!(fixture.committed(TOPIC), None);
}

#[test]
fn a_move_of_the_coordinator_delays_and_never_hastens() {
    let mut fixture = Fixture::new();
    fixture.commit(nobody(), 5).expect("a simple group");
    fixture.almost_expire();
    fixture.now.wall.0 += days(1000).as_millis() as i64;
    fixture.reload();
    fixture.almost_expire();
    assert_eq!(fixture.committed(TOPIC), Some(5), "the new one has not watched for long enough");
    fixture.expire();
    assert_eq!(fixture.committed(TOPIC), None);
}

#[test]
fn a_stamp_of_the_future_counts_as_the_time_of_loading() {
    let mut fixture = Fixture::new();
    fixture.now.wall.0 += days(1000).as_millis() as i64;
    fixture.commit(nobody(), 5).expect("a simple group");
    fixture.now.wall.0 -= days(1000).as_millis() as i64;
    fixture.reload();
    fixture.almost_expire();
    assert_eq!(fixture.committed(TOPIC), Some(5));
    fixture.expire();
    assert_eq!(fixture.committed(TOPIC), None);
}

#[test]
fn an_empty_group_without_offsets_goes_with_the_next_check() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.leave(vec![leaver("a")]);
    let records = fixture.pass(CHECK);
    assert_eq!(records, [Record::Group { group: GROUP.into(), value: None }]);
    assert_eq!(fixture.state(), GroupState::Dead);
}

#[test]
fn an_empty_group_with_pending_ids_stays() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.leave(vec![leaver("a")]);
    fixture.pass(CHECK - seconds(10));
    fixture.join(Join { must_know_its_id: true, session_timeout: seconds(60), ..first_join("b") });
    assert_eq!(fixture.pass(seconds(5)), []);
    let join = fixture.join(again("b"));
    fixture.pass(seconds(3));
    assert_eq!(fixture.joined(join).generation, 3);
}

#[test]
fn many_offsets_expire_in_pieces() {
    let mut fixture = Fixture::new();
    let count = MAX_TOMBSTONES + 1;
    for index in 0..count {
        let group = format!("g{index:05}").as_str().into();
        let offsets = vec![to_commit(TOPIC, 5)];
        let commit = CommitOffsets { group, identity: nobody(), retention: None, offsets };
        fixture.send_commit(commit).expect("a simple group");
    }
    fixture.almost_expire();
    fixture.pass_to(fixture.now.monotonic.after(CHECK + seconds(1)));
    assert_eq!(fixture.tick().len(), MAX_TOMBSTONES);
    assert!(fixture.shard.next_deadline().is_some_and(|due| due <= fixture.now.monotonic));
    assert_eq!(fixture.tick().len(), 1);
    assert_eq!(fixture.tick(), []);
    assert!(fixture.shard.next_deadline().is_some_and(|due| due > fixture.now.monotonic));
}
