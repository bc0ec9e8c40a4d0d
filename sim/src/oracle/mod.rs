//! The oracles: one property per file, judged after the run from its [`History`] alone. Each has a
//! hand-written history that breaks it and a clean one that does not.
//!
//! The ids are those of the project's list of invariants: L for one partition's log, I for the
//! idempotent producer, C for compaction, G for groups and O for their offsets, LV for what must happen in the end,
//! R for replicas, M for the metadata, K for clocks, J for the anomalies of Jepsen's Kafka
//! tests, of which L3 is `inconsistent-offsets`, L6 `nonmonotonic-send` and L7 `G1a`, too.

use crate::history::History;
pub use given_up::{GivenUp, Losses, given_up};
use index::Index;
use violation::violated;
pub use violation::{Evidence, Verdict, Violation};

mod changes;
#[cfg(test)]
mod example;
mod given_up;
mod groups;
mod index;
mod told;
mod violation;

macro_rules! checks {
    ($($module:ident,)+) => {
        $(mod $module;)+

        /// Every check, in the order in which a run is judged.
        pub const CHECKS: &[Check] = &[$($module::CHECK,)+];
    };
}

checks! {
    l01_dense,
    l02_epoch_order,
    l02_epoch_cache,
    l03_immutable,
    l04_read_bound,
    l05_read_exact,
    l06_append_linearizable,
    l07_crash_prefix,
    l08_no_resurrection,
    l09_index_equals_scan,
    l10_checkpoints,
    l11_fsync_failure,
    l12_failed_append,
    l13_corruption_detected,
    l14_misdirection,
    l15_start_offset,
    l16_idempotent_recovery,
    l17_known_leadership,
    l18_in_range,
    i1_no_duplicate,
    i2_no_gap,
    i3_epoch_fence,
    i4_state_follows_log,
    i5_expiry_is_safe,
    i6_order_per_producer,
    i7_pid_unique,
    i8_honest_refusals,
    rt3_retention_not_early,
    rt4_retention_comes,
    m1_one_leader,
    m2_metadata_durable,
    m6_metadata_matching,
    m7_epochs,
    m8_only_the_living,
    m9_eligible_replicas,
    m10_reassignments,
    m11_only_brokers,
    r16_shape,
    m12_configs_durable,
    m13_moves_durable,
    k4_nobody_fenced,
    k3_isr_stays,
    k2_no_elections,
    k5_done_in_time,
    m14_handed_over,
    j1_lost_write,
    j2_duplicate,
    j3_poll_skip,
    r01_on_every_disk,
    r2_acknowledged_is_kept,
    r6_log_matching,
    r05_counted_in_sync,
    r09_valid_high_watermark,
    r17_replica_bounds,
    r11_offsets_told,
    r12_epoch_ends,
    r18_single_writer,
    r19_convergence,
    g01_exclusive,
    g02_generation,
    g03_static,
    g04_one_assignment,
    g05_members_stay,
    g06_as_subscribed,
    g07_one_owner,
    g08_member_epoch,
    g09_given_up_in_time,
    g10_goes_on,
    g12_static_keeps,
    g13_replaced_is_silent,
    o1_commit_survives,
    o2_last_commit,
    o3_no_regress,
    o4_late_commits,
    o6_at_least_once,
    lv1_answered_in_time,
    lv4_groups_converge,
    lv6_groups_read_all,
    lv8_sessions_serve,
    c1_latest_survives,
    c3_offsets_stay,
    c8_replicas_agree,
}

/// The checks of compacted topics. All others judge a history without the logs of those.
const OF_COMPACTION: &[&str] =
    &[c1_latest_survives::CHECK.name, c3_offsets_stay::CHECK.name, c8_replicas_agree::CHECK.name];

/// The checks of what administrators were told. They judge the whole history, and none of its eras.
const OF_CHANGES: &[&str] = &[
    m2_metadata_durable::CHECK.name,
    m12_configs_durable::CHECK.name,
    m13_moves_durable::CHECK.name,
];

/// What holds even when faults exceed what the cluster promises to survive.
const WHATEVER_HAPPENS: &[&str] = &[
    l01_dense::CHECK.name,
    l02_epoch_order::CHECK.name,
    l05_read_exact::CHECK.name,
    l12_failed_append::CHECK.name,
    l14_misdirection::CHECK.name,
    j3_poll_skip::CHECK.name,
];

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its id and name.
    pub name: &'static str,
    /// What must hold, in one sentence.
    pub claim: &'static str,
    /// Judges a history; the error says what was found, where, and in what.
    pub judge: fn(&Index<'_>) -> Verdict,
}

/// The first check that a history breaks, with what was found.
#[must_use]
pub fn first_violation(history: &History) -> Option<(&'static Check, Violation)> {
    let has_compacted = history.topics.iter().any(|topic| topic.compacted);
    let others = has_compacted.then(|| history.without_compacted());
    let others = others.as_ref().unwrap_or(history);
    let eras = given_up::eras(others);
    let (last, earlier) = eras.as_deref().and_then(<[History]>::split_first).unzip();
    let (index, of_others) = (Index::new(history), Index::new(last.unwrap_or(others)));
    let earlier: Vec<Index<'_>> = earlier.into_iter().flatten().map(Index::new).collect();
    let judged = CHECKS
        .iter()
        .filter(|check| !history.promise.unlimited || WHATEVER_HAPPENS.contains(&check.name));
    judged.into_iter().find_map(|check| {
        let is_of_all = [OF_COMPACTION, OF_CHANGES].iter().any(|all| all.contains(&check.name));
        let judged = if is_of_all { &index } else { &of_others };
        let earlier = earlier.iter().filter(|_| !is_of_all);
        let found = [judged].into_iter().chain(earlier).find_map(|era| (check.judge)(era).err());
        Some((check, found?))
    })
}
