//! Rule tests: where new replicas go.

use super::*;
use alloc::collections::BTreeSet;

/// Live brokers, one for each rack in the list, numbered from 1.
fn brokers(racks: &[Option<&str>]) -> Log {
    let mut log = Log::with_brokers(0);
    for (broker, name) in (1..).zip(racks) {
        let mut command = register(broker, 1);
        let Command::RegisterBroker { rack, .. } = &mut command else { unreachable!("just made") };
        *rack = name.map(Into::into);
        log.apply(command).expect("registering never fails");
        log.unfence(broker);
    }
    log
}

fn counts(placed: &[Vec<BrokerId>], of: impl Fn(&[BrokerId]) -> &[BrokerId]) -> Vec<usize> {
    let mut counts = BTreeMap::<_, usize>::new();
    for broker in placed.iter().flat_map(|replicas| of(replicas)) {
        *counts.entry(*broker).or_default() += 1;
    }
    counts.into_values().collect()
}

#[test]
fn leaders_and_replicas_are_even_over_brokers_of_one_rack() {
    let log = brokers(&[None; 4]);
    let placed = log.image.place(24, 3, 7).expect("possible");
    assert_eq!(counts(&placed, |replicas| &replicas[..1]), [6; 4]);
    assert_eq!(counts(&placed, |replicas| replicas), [18; 4]);
    let pairs: BTreeSet<_> = placed.iter().map(|replicas| (replicas[0], replicas[1])).collect();
    assert_eq!(pairs.len(), 12, "every broker is followed by every other");
}

#[test]
fn racks_alternate() {
    let racks = [Some("a"), Some("a"), Some("b"), Some("b"), Some("c"), Some("c")];
    let log = brokers(&racks);
    let placed = log.image.place(12, 3, 0).expect("possible");
    for replicas in &placed {
        let used: BTreeSet<_> = replicas.iter().map(|id| racks[id.0 as usize - 1]).collect();
        assert_eq!(used.len(), 3, "{replicas:?}");
    }
    assert_eq!(counts(&placed, |replicas| &replicas[..1]), [2; 6]);
    assert_eq!(counts(&placed, |replicas| replicas), [6; 6]);
    assert_eq!(placed[..3], [ids(&[1, 3, 5]), ids(&[3, 5, 1]), ids(&[5, 1, 3])]);
}

#[test]
fn a_small_rack_takes_what_it_can_and_no_broker_two_replicas() {
    let log = brokers(&[Some("a"), Some("b"), Some("b"), Some("b"), None]);
    for start in 0..100 {
        for replicas in log.image.place(10, 5, start).expect("possible") {
            let distinct: BTreeSet<_> = replicas.iter().collect();
            assert_eq!(distinct.len(), 5, "{replicas:?}");
        }
    }
}

#[test]
fn fenced_brokers_take_replicas_only_where_the_living_do_not_suffice() {
    let mut log = brokers(&[None; 5]);
    log.fence(1);
    log.fence(2);
    let placed = log.image.place(6, 3, u64::MAX).expect("possible");
    assert_eq!(counts(&placed, |replicas| replicas), [6; 3], "brokers 3 to 5");
    let placed = log.image.place(10, 4, 0).expect("possible");
    for replicas in &placed {
        let living = replicas.iter().filter(|broker| broker.0 > 2).count();
        assert_eq!((replicas.len(), living), (4, 3), "{replicas:?}");
    }
    assert_eq!(counts(&placed, |replicas| &replicas[..1]).len(), 5, "all have their turns");

    let replicas = log.image.place(1, 5, 0).expect("possible");
    log.create(NewTopic { replicas, ..topic("t", 1) }).expect("it is created");
    let partition = log.partition();
    let in_sync: BTreeSet<_> = partition.isr.iter().map(|broker| broker.0).collect();
    assert_eq!((partition.replicas.len(), in_sync), (5, [3, 4, 5].into()));
}

#[test]
fn fenced_brokers_of_racks_in_which_nobody_lives_come_first() {
    let mut log = brokers(&[Some("a"), Some("b"), Some("a"), Some("c"), Some("b")]);
    [3, 4, 5].into_iter().for_each(|broker| log.fence(broker));
    for start in 0..10 {
        let placed = log.image.place(1, 3, start).expect("possible");
        let replicas: BTreeSet<i32> = placed[0].iter().map(|broker| broker.0).collect();
        assert_eq!(replicas, [1, 2, 4].into());
    }
    let placed = log.image.place(12, 4, 0).expect("possible");
    assert_eq!(counts(&placed, |replicas| replicas), [12, 12, 6, 12, 6], "3 and 5 take turns");
    // Two racks get two each.
    let mut log = brokers(&[Some("a"), Some("a"), Some("a"), Some("b"), Some("b")]);
    [2, 3, 5].into_iter().for_each(|broker| log.fence(broker));
    for start in 0..10 {
        let placed = log.image.place(1, 4, start).expect("possible");
        assert!(placed[0].contains(&BrokerId(5)), "{placed:?}");
    }
}

#[test]
fn a_broker_on_its_way_down_takes_no_replicas() {
    let mut log = brokers(&[None; 4]);
    log.shut_down(2);
    let placed = log.image.place(4, 3, 0).expect("possible");
    assert_eq!(counts(&placed, |replicas| replicas), [4; 3]);
    for wanted in [0, 4] {
        let error = MetadataError::InvalidReplicationFactor { wanted, possible: 3 };
        assert_eq!(log.image.place(1, wanted, 0), Err(error));
    }
    log.fence(2);
    assert!(log.image.place(1, 4, 0).is_ok(), "it is down, and comes back");
}

#[test]
fn nothing_is_placed_where_no_broker_lives() {
    let error = MetadataError::InvalidReplicationFactor { wanted: 1, possible: 0 };
    assert_eq!(brokers(&[]).image.place(1, 1, 0), Err(error.clone()));
    let mut log = brokers(&[None; 2]);
    log.fence(1);
    log.fence(2);
    assert_eq!(log.image.place(1, 1, 0), Err(error));
}
