//! Planted bugs, so that the simulator can show that it would find them.
//!
//! Outside the simulation build [`Mutant::is_planted`] is a constant `false` and the wrong branch
//! is compiled away. In the simulation build a worker process plants at most one, before it starts.

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A bug that can be planted. Its name is what `--mutant NAME` takes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant { $($(#[doc = $doc])+ $variant,)+ }

        impl Mutant {
            /// Every mutant, in the order of declaration.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$variant,)+];

            /// The name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Mutant::$variant => $name,)+ }
            }
        }
    };
}

mutants! {
    /// A produce is answered when it was appended, not when it was flushed.
    AckBeforeFsync = "ack-before-fsync",
    /// Recovery cuts the log's torn tail but leaves the index entries behind it.
    IndexNotTruncated = "index-not-truncated",
    /// A checkpoint is renamed into place without syncing its directory.
    RenameWithoutDirSync = "rename-without-dir-sync",
    /// The recovery point is taken from the log end instead of the flushed offset.
    RecoveryPointAhead = "recovery-point-ahead",
    /// A checkpoint holds the state of producers whose appends are not known to have succeeded.
    ProducerStateBeforeAppend = "producer-state-before-append",
    /// A failed fsync is tried again and its success acknowledged.
    FsyncErrorRetried = "fsync-error-retried",
    /// Readers are served up to the log end instead of the high watermark.
    ReadPastHighWatermark = "read-past-high-watermark",
    /// A retried batch inside the window is appended again.
    DuplicateAppended = "duplicate-appended",
    /// Recovery accepts batches without checking their CRC.
    RecoverySkipsCrc = "recovery-skips-crc",
    /// DeleteRecords is answered before the new log start is durable.
    DeleteRecordsBeforeSync = "delete-records-before-sync",
    /// A metadata command is answered before its log is flushed.
    MetadataBeforeFsync = "metadata-before-fsync",
    /// A vote in the metadata quorum is answered before it is durable.
    VoteNotPersisted = "vote-not-persisted",
    /// Recovery forgets the producers instead of rebuilding their state.
    ProducersNotRecovered = "producers-not-recovered",
    /// Retention deletes a closed segment although its newest record is still young.
    RetentionTooEarly = "retention-too-early",
    /// Retention by size takes a segment more than may go.
    SizeTakesOneMore = "size-takes-one-more",
    /// An active segment stays however old it is.
    LastSegmentStays = "last-segment-stays",
    /// A lookup by timestamp answers one batch too late.
    TimestampLookupLate = "timestamp-lookup-late",
    /// A leader that may have been replaced goes on to append and to judge sequence numbers.
    StaleLeaderDecides = "stale-leader-decides",
    /// A later batch of a producer that is not known is taken although its first one was refused
    /// (KAFKA-14359).
    FirstRefusalForgotten = "first-refusal-forgotten",
    /// A controller answers signs of life without knowing that it leads the quorum still.
    HeartbeatUnconfirmed = "heartbeat-unconfirmed",
    /// A broker that hears the controller believes in what it leads, whatever has been decided since.
    InTouchUnaware = "in-touch-unaware",
    /// A partition that is not told yet that its broker may have been replaced goes on to decide.
    DoubtComesLate = "doubt-comes-late",
    /// A leader says that a sequence number is out of order without knowing that it leads still.
    RefusalUnproven = "refusal-unproven",
    /// A leader says where the log starts after a deletion without knowing that it leads still.
    DeletionUnproven = "deletion-unproven",
    /// A follower goes on with a fetch session though its leader may not have heard its last fetch.
    LostFetchCountsAsTold = "lost-fetch-counts-as-told",
    /// A leader goes on with a follower's fetch session that it does not know.
    UnknownSessionGoesOn = "unknown-session-goes-on",
    /// A follower hears only once where the log starts, though it may have failed to store it.
    LogStartToldOnce = "log-start-told-once",
    /// A follower's fetch does not count for the partitions that it need not name.
    RestCountsForNothing = "rest-counts-for-nothing",
    /// A follower truncates to its own high watermark instead of to where the logs agree (KIP-101).
    TruncatesToHighWatermark = "truncates-to-high-watermark",
    /// A follower raises its high watermark before it has truncated (KAFKA-14704).
    HighWatermarkBeforeTruncation = "high-watermark-before-truncation",
    /// A follower's high watermark is its leader's, though its own log ends below.
    HighWatermarkBeyondLog = "high-watermark-beyond-log",
    /// A follower obeys a fetch answer of an older epoch or log end (KAFKA-18991).
    OldAnswerObeyed = "old-answer-obeyed",
    /// A leader counts the fetch of a follower that knows an older epoch.
    OldFetchCounts = "old-fetch-counts",
    /// A replica joins the ISR below the beginning of the leadership (KAFKA-7128).
    JoinsBelowEpochStart = "joins-below-epoch-start",
    /// A replica joins the ISR by what it received, though it has not flushed it.
    JoinsUnflushed = "joins-unflushed",
    /// The high watermark counts what followers received as if it were flushed.
    ReceivedCountsAsFlushed = "received-counts-as-flushed",
    /// The high watermark is what most of the in-sync replicas have, as in a quorum.
    HighWatermarkOfMajority = "high-watermark-of-majority",
    /// The high watermark does not count a replica whose joining is proposed (KIP-497).
    HighWatermarkIgnoresProposal = "high-watermark-ignores-proposal",
    /// The high watermark moves although too few replicas are in sync (KIP-966).
    HighWatermarkBelowMinInsync = "high-watermark-below-min-insync",
    /// The high watermark is not looked at when the ISR has changed (KAFKA-13091).
    NoAdvanceAfterShrink = "no-advance-after-shrink",
    /// A consumer's fetch that waits is not woken when the high watermark moves.
    FetchNotWoken = "fetch-not-woken",
    /// A follower's fetch that waits is not woken by what its leader appends.
    AppendWakesNoFollower = "append-wakes-no-follower",
    /// A new leader tells the end before it knows what was committed before it led (KIP-207).
    EndToldTooEarly = "end-told-too-early",
    /// The latest offset that a leader tells is its log's end.
    LatestIsLogEnd = "latest-is-log-end",
    /// Whoever reads by another leader epoch is served (KIP-320).
    LeaderEpochNotChecked = "leader-epoch-not-checked",
    /// An ISR proposal that is repeated has lost its members (KAFKA-15353).
    RetriedIsrIsEmpty = "retried-isr-is-empty",
    /// A refused ISR proposal is forgotten although an earlier one may yet be accepted.
    RefusalForgetsTheOthers = "refusal-forgets-the-others",
    /// What a follower had is believed after it was restarted.
    ProgressSurvivesRestart = "progress-survives-restart",
    /// A follower reports flushed offsets of a log that it has yet to truncate.
    ReportsBeforeAgreement = "reports-before-agreement",
    /// A leader does not compare the epoch of a follower's last record.
    NoDivergenceCheck = "no-divergence-check",
    /// A truncation leaves the epochs of what was cut (KAFKA-10706).
    EpochsNotTruncated = "epochs-not-truncated",
    /// A checkpoint has no leader epoch but the newest: what it is asked of older ones it answers wrongly.
    CheckpointForgetsEpochs = "checkpoint-forgets-epochs",
    /// A truncation leaves what is known of the cut batches' producers (KAFKA-12153).
    ProducersNotTruncated = "producers-not-truncated",
    /// A follower judges the sequence numbers of what its leader has appended (KAFKA-6003).
    FollowerChecksSequence = "follower-checks-sequence",
    /// A follower serves consumers what it has received, and does not know to be committed (KIP-392).
    FollowerServesUncommitted = "follower-serves-uncommitted",
    /// A log that starts over knows nothing of the producers whose batches are gone.
    ProducersLeftBehind = "producers-left-behind",
    /// A follower that is ahead of its leader starts over from the leader's log start (KAFKA-2143).
    OutOfRangeResets = "out-of-range-resets",
    /// A change of the metadata forgets the progress of replicas outside of the ISR.
    ReadmissionForgotten = "readmission-forgotten",
    /// `acks=all` is answered when the leader alone has flushed.
    AllMeansLeader = "all-means-leader",
    /// A broker that is fenced is elected (KAFKA-19522).
    ElectsFencedBroker = "elects-fenced-broker",
    /// An ISR is accepted although a member is fenced (KIP-841).
    IsrAcceptsFenced = "isr-accepts-fenced",
    /// A reassignment completes when one target replica is in the ISR (KAFKA-15665).
    ReassignmentCompletesEarly = "reassignment-completes-early",
    /// An ISR is accepted although the partition has changed since it was proposed.
    StalePartitionEpochAccepted = "stale-partition-epoch-accepted",
    /// Eligible leader replicas stay when `min.insync.replicas` changes (KAFKA-16540).
    ElrSurvivesMinInsyncChange = "elr-survives-min-insync-change",
    /// An ISR is accepted although a member has restarted since it was proposed (KIP-903).
    BrokerEpochNotChecked = "broker-epoch-not-checked",
    /// A broker that restarts resumes the leader epoch that it led before.
    RestartResumesLeaderEpoch = "restart-resumes-leader-epoch",
    /// A broker that comes back with an empty disk still counts as having every acknowledged record.
    WipedBrokerStaysEligible = "wiped-broker-stays-eligible",
    /// A replica whose log failed is forgotten where it was the last in the ISR.
    FailedReplicaForgotten = "failed-replica-forgotten",
    /// A broker that crashed still counts as having what it had received of a replicated topic.
    CrashedBrokerStaysEligible = "crashed-broker-stays-eligible",
    /// A follower cuts nothing that it knows to be committed, though an unclean election gave it up.
    KeepsBelowHighWatermark = "keeps-below-high-watermark",
    /// A replica that is elected although it was not in sync gives up what it has.
    LeaderOutOfSyncBeginsEmpty = "leader-out-of-sync-begins-empty",
    /// A replica that is not in sync is elected although the topic does not allow it.
    UncleanAlwaysAllowed = "unclean-always-allowed",
    /// A consumer group gives a partition to a member before another has given it up.
    GrantedBeforeRevoked = "granted-before-revoked",
    /// A member of a consumer group that was fenced cannot join again (KAFKA-19233).
    FencedMemberCannotRejoin = "fenced-member-cannot-rejoin",
    /// A heartbeat of an older member epoch is taken.
    StaleMemberEpochAccepted = "stale-member-epoch-accepted",
    /// A target assignment is computed without what regular expressions match.
    TargetIgnoresExpressions = "target-ignores-expressions",
    /// A member's epoch is bumped although it has partitions to give up.
    MemberEpochBumpedUnrevoked = "member-epoch-bumped-unrevoked",
    /// A static member that comes back has lost its partitions.
    StaticMemberLosesPartitions = "static-member-loses-partitions",
    /// An older member epoch commits offsets of partitions that another member may have by now.
    OldEpochCommitsAnything = "old-epoch-commits-anything",
    /// A member that does not give partitions up in time keeps them.
    LateMemberKeepsPartitions = "late-member-keeps-partitions",
    /// Offsets of a group that has members expire like those of a simple group (KIP-211).
    LiveGroupsOffsetsExpire = "live-groups-offsets-expire",
    /// A group that was loaded gives out the number of a generation again that had no assignment.
    GenerationReused = "generation-reused",
    /// A static member that was replaced goes on as if it were the newest (KIP-345).
    StaticMemberNotFenced = "static-member-not-fenced",
    /// A commit of an older generation is accepted.
    OldGenerationCommits = "old-generation-commits",
    /// Assignments are answered that are not in the log.
    SyncBeforeRecord = "sync-before-record",
    /// A coordinator's answer does not wait for the high watermark.
    AnswerBeforeHighWatermark = "answer-before-high-watermark",
    /// A coordinator that may have been replaced goes on to answer from what it knows.
    StaleCoordinatorAnswers = "stale-coordinator-answers",
    /// A change of a group is decided however many bytes its records take.
    DecisionUnbounded = "decision-unbounded",
    /// A coordinator that loads passes over records that it cannot decode, and serves what was before.
    UndecodablePassedOver = "undecodable-passed-over",
    /// A member whose join is refused is removed from a stable group, without a rebalance.
    RefusedMemberRemoved = "refused-member-removed",
    /// The end of an earlier load of the log ends the present one (KAFKA-18137).
    LateLoadWins = "late-load-wins",
    /// The timer of a pending member goes on after it has joined, and removes it (KIP-394).
    PendingMemberTimerStays = "pending-member-timer-stays",
    /// A member whose join is parked is removed for its silence.
    ParkedJoinExpires = "parked-join-expires",
    /// The timer for syncs of a generation goes on in the next one (KAFKA-9752).
    SyncTimerStays = "sync-timer-stays",
    /// Offsets expire by the wall clock alone.
    OffsetsExpireByWallClock = "offsets-expire-by-wall-clock",
    /// A topic that was created again has the offsets of its predecessor.
    OffsetsOutliveTopic = "offsets-outlive-topic",
    /// Compaction removes tombstones as soon as it comes upon them.
    TombstoneRemovedTooEarly = "tombstone-removed-too-early",
    /// Compaction drops the last batch of a producer with its records (KAFKA-8335).
    CompactionForgetsProducers = "compaction-forgets-producers",
    /// A compacted segment is swapped in before its directory entry is durable.
    SwapWithoutDirSync = "swap-without-dir-sync",
    /// The controller's sessions of brokers go by the wall clock.
    BrokerSessionsByWallClock = "broker-sessions-by-wall-clock",
    /// How long a replica lags goes by the wall clock of its leader.
    IsrLagByWallClock = "isr-lag-by-wall-clock",
    /// The timers of the metadata quorum go by the wall clock.
    ElectionsByWallClock = "elections-by-wall-clock",
    /// The sessions of members of groups go by the wall clock of their coordinator.
    MemberSessionsByWallClock = "member-sessions-by-wall-clock",
    /// More partitions and other configurations are answered before the quorum has agreed on them.
    ChangeAnsweredUnagreed = "change-answered-unagreed",
    /// A node that the leader sends a snapshot goes on with the metadata that it had.
    SnapshotNotApplied = "snapshot-not-applied",
    /// Entries of the metadata log go although the snapshot that holds them is not stored.
    SnapshotBeforeSync = "snapshot-before-sync",
    /// A batch of an older producer epoch is appended.
    StaleProducerEpochAppends = "stale-producer-epoch-appends",
    /// OffsetForLeaderEpoch tells the log's end, whatever epoch is asked for (KIP-320).
    EpochEndIsLogEnd = "epoch-end-is-log-end",
    /// A fetch session forgets a partition once it has served records of it (KIP-227).
    ServedPartitionLeavesSession = "served-partition-leaves-session",
    /// A follower says that an offset is out of range which it does not have yet (KIP-392).
    FollowerOutOfRange = "follower-out-of-range",
    /// A snapshot of the metadata that the leader sent is applied and not stored.
    InstalledSnapshotNotKept = "installed-snapshot-not-kept",
    /// A reassignment that is cancelled leaves the replicas that it had added.
    CancelledMoveKeepsReplicas = "cancelled-move-keeps-replicas",
    /// Compaction drops the records of keys that have no newer record.
    CleanKeysDropped = "clean-keys-dropped",
    /// A leader goes by a min.insync.replicas of 1, whatever the metadata says.
    LeaderIgnoresMinInsync = "leader-ignores-min-insync",
    /// A heartbeat that does not say what its member owns counts as having given everything up (KIP-848).
    SilenceCountsAsRevoked = "silence-counts-as-revoked",
    /// A commit below the committed offset is acknowledged and ignored.
    LowerCommitIgnored = "lower-commit-ignored",
    /// A batch that was sent again is answered at once, though its first copy is not durable yet.
    RetryAnsweredAtOnce = "retry-answered-at-once",
    /// The answer to the present ISR, committed again, counts as one to the withdrawn proposal.
    WithdrawnAnswerTaken = "withdrawn-answer-taken",
    /// A replica joins the ISR though it has not deleted what its leader has.
    JoinsBeforeDeletion = "joins-before-deletion",
    /// A follower's fetch vouches for its leader as of its arrival, however old it is.
    FetchVouchesOnArrival = "fetch-vouches-on-arrival",
    /// A follower cuts where its leader's epoch ends, without looking where its own does (KAFKA-6361).
    LeaderEndAlone = "leader-end-alone",
    /// A controller keeps the session of a broker that has registered again, with its old epoch.
    SessionOutlivesRegistration = "session-outlives-registration",
    /// A reassignment that is given up leaves the replicas that it had added in the ISR.
    RetargetKeepsIsr = "retarget-keeps-isr",
    /// A replica that is removed under its leader begins no new leader epoch.
    ReplicaLeavesInEpoch = "replica-leaves-in-epoch",
    /// A sync is taken to cover what was written while it was under way.
    SyncCoversLaterWrite = "sync-covers-later-write",
    /// Recovery syncs the tail that it has read, and does not write it again.
    RecoveredTailNotRewritten = "recovered-tail-not-rewritten",
    /// Half of the voters, rounded down, is enough to found a quorum.
    FoundsAlone = "founds-alone",
    /// A command whose fate is not known is told as one that is not in the log.
    LostAnswerIsRefusal = "lost-answer-is-refusal",
    /// A coordinator loads its log only as far as it is known to be committed.
    LoadsToHighWatermark = "loads-to-high-watermark",
    /// An image that comes while logs are opened and deleted is passed over until the next one.
    ImageMissed = "image-missed",
    /// A follower that has started over waits until its fetcher looks at everything again.
    StartOverRests = "start-over-rests",
    /// No bug in the broker: the judgement fails every run, to show that failures are reported.
    Canary = "canary",
}

impl Mutant {
    /// The mutant of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }

    /// Whether this bug is planted in this process.
    #[cfg(not(madsim))]
    #[inline(always)]
    #[must_use]
    pub const fn is_planted(self) -> bool {
        false
    }

    /// Whether this bug is planted in this process.
    #[cfg(madsim)]
    #[must_use]
    pub fn is_planted(self) -> bool {
        PLANTED.load(core::sync::atomic::Ordering::Relaxed) == self as usize + 1
    }

    /// Plants this bug in this process, before the simulation starts.
    #[cfg(madsim)]
    pub fn plant(self) {
        PLANTED.store(self as usize + 1, core::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(madsim)]
static PLANTED: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);
