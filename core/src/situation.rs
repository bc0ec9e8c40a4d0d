//! Situations worth reaching: the ones in which bugs of such systems have been found, most of them
//! two things at a time.
//!
//! [`sometimes!`](crate::sometimes) marks where one has come about. In the simulation build it is
//! counted, and a run tells which ones it has reached; a campaign that never reaches one does not
//! test what its name promises. Outside the simulation build a mark is nothing at all: its condition is
//! not even evaluated.
//!
//! A mark must not influence the run: its condition has no effect, and nothing may read the counts
//! before the run is over.

/// Whether marks are counted: in the simulation build only.
pub const IS_COUNTED: bool = cfg!(madsim);

/// Marks that a [`Situation`](crate::situation::Situation) has come about, or has if a condition
/// holds. `sometimes!(TornTail)`, `sometimes!(TornTail, cut_bytes > 0)`.
#[macro_export]
macro_rules! sometimes {
    ($situation:ident) => {
        $crate::sometimes!($situation, true)
    };
    ($situation:ident, $condition:expr $(,)?) => {
        if $crate::situation::IS_COUNTED && $condition {
            $crate::situation::Situation::$situation.reach();
        }
    };
}

macro_rules! situations {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A situation worth reaching.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Situation { $($(#[doc = $doc])+ $variant,)+ }

        impl Situation {
            /// Every situation, in the order of declaration.
            pub const ALL: &'static [Situation] = &[$(Situation::$variant,)+];

            /// What a report calls it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Situation::$variant => $name,)+ }
            }

            /// Why it is worth reaching, in one sentence.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Situation::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

situations! {
    // A leadership begins and ends.
    /// A leader is elected that does not know how much of its log is committed: it must neither
    /// give that up nor tell it too early (KIP-207).
    HighWatermarkStaleAtElection = "high-watermark-stale-at-election",
    /// A leader is elected before it has flushed its own log: until then it may count less than it
    /// has.
    ElectedBeforeItsFlush = "elected-before-its-flush",
    /// A leader is elected whose log has nothing of the leadership before: such an epoch leaves no
    /// trace to compare (KAFKA-10706).
    PredecessorLeftNothing = "predecessor-left-nothing",
    /// A leader is replaced between its append and the first fetch of it: the records must go, and
    /// nobody may count on them.
    DeposedBeforeFirstFetch = "deposed-before-first-fetch",
    /// A leader is replaced while producers wait for replicas: they try again elsewhere what may
    /// have been committed.
    DeposedWithParkedProduces = "deposed-with-parked-produces",
    /// A leader is replaced while its change of the ISR is on the way: the change must not count
    /// for its successor.
    DeposedWithUndecidedIsr = "deposed-with-undecided-isr",
    /// A leader is replaced while a deletion waits for replicas: the records may come back with its
    /// successor.
    DeposedWithParkedDeletions = "deposed-with-parked-deletions",
    /// A leader is replaced while a refusal of a sequence number waits for proof: uttered, it would
    /// have been final and wrong.
    DeposedWithUnprovenRefusal = "deposed-with-unproven-refusal",
    /// A leader that is out of touch refuses to decide: another one may have been elected.
    LeaderDoubtsItself = "leader-doubts-itself",
    /// Followers vouched for a leader that is out of touch before it stood still, which counts for nothing.
    VouchedBeforeItStoodStill = "vouched-before-it-stood-still",
    /// A leader that is out of touch goes on, because its followers vouch for it: without
    /// controllers there is no other one.
    OutOfTouchButFollowed = "out-of-touch-but-followed",
    /// A leader hears of the controller again and was not replaced: what it refused meanwhile must
    /// be taken again.
    BackInTouchUnreplaced = "back-in-touch-unreplaced",
    /// A coordinator does not know whether its broker leads still: groups are not told what another
    /// may have decided otherwise.
    CoordinatorDoubtsItself = "coordinator-doubts-itself",
    /// A sequence number is out of order, and the leader may not say so yet: its successor may know
    /// better.
    RefusalAwaitsProof = "refusal-awaits-proof",
    /// A refusal has waited for its proof and is uttered: the other end of the wait.
    RefusalProven = "refusal-proven",

    // Leaders, followers and the ISR.
    /// A follower fetches in an epoch that is over: its position speaks of another log.
    OlderEpochFetchFenced = "older-epoch-fetch-fenced",
    /// A follower knows of an epoch that its leader has not heard of yet: the leader must not count
    /// it.
    FollowerKnowsNewerEpoch = "follower-knows-newer-epoch",
    /// A fetch of a process that was replaced arrives late: what it says it has may be lost
    /// (KIP-903).
    OldRegistrationFetches = "old-registration-fetches",
    /// A broker fetches that is no replica any more, or not yet as far as its leader knows.
    FormerReplicaFetches = "former-replica-fetches",
    /// A follower wants what its leader has deleted: its whole log has to go.
    FollowerBelowLogStart = "follower-below-log-start",
    /// A follower's log is longer than its leader's: it may have to be cut, and must not be taken
    /// for in sync (KAFKA-2143).
    FollowerAheadOfLeader = "follower-ahead-of-leader",
    /// A follower's log parts from its leader's where the leader's is committed already.
    DivergenceBelowHighWatermark = "divergence-below-high-watermark",
    /// A flushed offset is reported in an epoch or by a process that is over: the log may have been
    /// cut since.
    FlushReportOfAnotherLife = "flush-report-of-another-life",
    /// A follower comes back as another process under the same leader: what it had received and not
    /// flushed is gone.
    FollowerRestartedUnderLeader = "follower-restarted-under-leader",
    /// The answer to a change of the ISR finds another leadership: it decides nothing there.
    IsrAnswerToDeposed = "isr-answer-to-deposed",
    /// A change of the ISR is refused, and no other one is on its way.
    IsrProposalRefused = "isr-proposal-refused",
    /// A change of the ISR is proposed again because no answer came: both may be applied (KIP-497).
    IsrProposalRepeated = "isr-proposal-repeated",
    /// A change of the ISR is refused while an earlier copy may yet be accepted: its members must
    /// go on counting.
    IsrProposalWithdrawn = "isr-proposal-withdrawn",
    /// An answer comes for a change of the ISR that was withdrawn: which copy it is for is not
    /// known.
    WithdrawnIsrAnswered = "withdrawn-isr-answered",
    /// Nobody can say what became of a change of the ISR: both ISRs count.
    IsrFateUnknown = "isr-fate-unknown",
    /// The metadata brings another ISR than the leader has proposed, and takes the place of the
    /// proposal.
    MetadataChangesUnderProposal = "metadata-changes-under-proposal",
    /// A leader drops its last follower from the ISR: from now on its own disk decides.
    LeaderAlone = "leader-alone",
    /// One replica has to leave the ISR while another may join it: the two must not undo each
    /// other.
    ShrinkAndJoinAtOnce = "shrink-and-join-at-once",
    /// Another ISR commits records by itself: whoever waited for the slow replica is answered
    /// (KAFKA-13091).
    NewIsrCommits = "new-isr-commits",
    /// The high watermark waits for a replica that is about to join: a record must not be committed
    /// without it.
    JoinerHoldsHighWatermark = "joiner-holds-high-watermark",
    /// The high watermark waits for a replica that may be in the ISR without the leader knowing
    /// (KIP-497).
    ProposedMemberHoldsHighWatermark = "proposed-member-holds-high-watermark",
    /// Replicas make progress while too few are in sync: nothing may be committed by it (KIP-966).
    ProgressUnderMinInsync = "progress-under-min-insync",
    /// Every follower has flushed more than its leader: the leader's own disk holds the high
    /// watermark.
    LeaderDiskSlowest = "leader-disk-slowest",
    /// Records were appended, and then too few replicas are in sync: their producers hear that they
    /// may yet be committed.
    AppendedThenTooFew = "appended-then-too-few",
    /// A produce with `acks=all` is refused because too few replicas are in sync: the producer's
    /// next one may not be.
    RefusedBelowMinInsync = "refused-below-min-insync",
    /// A replica has everything that its leader knows to be committed, but not all that may be: it
    /// must not join (KAFKA-7128).
    JoinBelowEpochStart = "join-below-epoch-start",
    /// A replica may not join before it has deleted what its leader has: elected, it would bring
    /// that back.
    JoinWaitsForDeletion = "join-waits-for-deletion",
    /// A replica would join by what it had before it registered again: it may have lost that.
    JoinOfOldRegistration = "join-of-old-registration",
    /// Records are deleted at the leader and not at every replica yet: the answer has to wait.
    DeletionWaitsForFollower = "deletion-waits-for-follower",
    /// A deletion is done everywhere, and the leader may not say so yet: its successor may have
    /// deleted more.
    DeletionAwaitsProof = "deletion-awaits-proof",
    /// A deletion waits because too few replicas are in sync: one that left would bring the records
    /// back.
    DeletionWaitsUnderMinInsync = "deletion-waits-under-min-insync",
    /// Records are to be deleted that are committed and not flushed: the log must not begin behind
    /// its end.
    DeletionBeyondFlushed = "deletion-beyond-flushed",
    /// The disk refuses a new log start: the deletion failed, and the log goes on.
    DeletionNotStored = "deletion-not-stored",
    /// A segment's newest timestamp lies in the future and says nothing of its age (KAFKA-18929).
    FutureTimestampIgnored = "future-timestamp-ignored",
    /// All of a log has expired, the active segment too: it is closed so that it can go.
    LastSegmentExpired = "last-segment-expired",
    /// A log is compacted while a replica is out of sync: tombstones that it has not seen have to
    /// stay.
    TombstonesWaitForReplica = "tombstones-wait-for-replica",

    // Followers cut their logs.
    /// A fetch is answered after another epoch has begun: the answer is of another leader
    /// (KAFKA-18991).
    AnswerOfOlderEpoch = "answer-of-older-epoch",
    /// A follower cuts what it has flushed and reported: durable is not committed.
    FlushedRecordsCut = "flushed-records-cut",
    /// A follower cuts what it knew to be committed: an unclean election has given that up.
    CommittedRecordsCut = "committed-records-cut",
    /// A broker comes back with records that nobody else has, and gives them up: its predecessor
    /// died before they were fetched.
    RecoveredTailCut = "recovered-tail-cut",
    /// A follower's log ends below its leader's start: it starts over.
    StartsOverBelowLeader = "starts-over-below-leader",
    /// A log that starts over has to begin in the middle of a batch: it begins where the batch
    /// does.
    EmptyLogBeginsInBatch = "empty-log-begins-in-batch",
    /// A follower copies a log with a gap that compaction has made.
    CompactedGapCopied = "compacted-gap-copied",
    /// The first batches of an epoch are compacted away before a follower copies it: the epoch
    /// begins with the gap.
    EpochBeginsInGap = "epoch-begins-in-gap",
    /// A truncation takes all that is known of a producer, which will send its batches again.
    ProducerForgottenByCut = "producer-forgotten-by-cut",

    // Producers and consumers.
    /// A batch is sent again while its first copy is not committed: both wait for the same record.
    RetryOfUncommitted = "retry-of-uncommitted",
    /// A batch is sent again to another leader than the one that appended it: only the log can tell
    /// that.
    RetryAtNextLeader = "retry-at-next-leader",
    /// A batch is sent again whose record is deleted already: it must not be appended anew.
    RetryOfDeleted = "retry-of-deleted",
    /// A produce is told that it took too long, while its records stay in the log.
    ProduceTimedOut = "produce-timed-out",
    /// A consumer reads at a follower that does not know yet that this is committed (KIP-392).
    FollowerReadBeyondCommit = "follower-read-beyond-commit",
    /// A consumer is further than the follower that it reads from: it must not take that for the
    /// log's end.
    ConsumerAheadOfFollower = "consumer-ahead-of-follower",
    /// A new leader is asked for an end of the log that it cannot know: a lower answer than before
    /// would be wrong (KIP-207).
    EndNotKnownYet = "end-not-known-yet",
    /// A consumer wants what is deleted, and has to be told where the log starts.
    ConsumerBelowLogStart = "consumer-below-log-start",
    /// A log fails while produces wait for it: whether their records are durable is not known.
    LogFailsUnderProduces = "log-fails-under-produces",

    // The metadata.
    /// A leader proposes an ISR with a broker that is fenced by now (KIP-841).
    FencedMemberProposed = "fenced-member-proposed",
    /// A leader proposes an ISR with a broker that has registered again meanwhile, and may have
    /// lost records (KIP-903).
    RestartedMemberProposed = "restarted-member-proposed",
    /// A leader changes the ISR of a partition that another one leads by now.
    DeposedLeaderProposes = "deposed-leader-proposes",
    /// A leader changes an ISR that has changed since: it would undo what it does not know of.
    StaleIsrProposed = "stale-isr-proposed",
    /// A leader commits its present ISR again, to make a proposal of unknown fate too old.
    IsrCommittedAgain = "isr-committed-again",
    /// Nobody in the ISR can lead, and a replica is elected that left it below
    /// `min.insync.replicas` (KIP-966).
    EligibleReplicaElected = "eligible-replica-elected",
    /// Everybody crashed who had every acknowledged record of a replicated topic, and the last
    /// leader leads again with what it has left (KIP-966).
    LastKnownLeaderElected = "last-known-leader-elected",
    /// A replica is elected that is not known to have every acknowledged record: what it lacks is
    /// given up.
    UncleanLeaderElected = "unclean-leader-elected",
    /// A broker comes back from a crash and was the last in sync, or eligible, in a replicated
    /// topic: what it had in memory only may be gone, so that others have more.
    CrashCostsEligibility = "crash-costs-eligibility",
    /// A partition loses its leader and has no other: everybody has to wait, and nothing may be
    /// lost.
    PartitionWithoutLeader = "partition-without-leader",
    /// A partition without a leader gets one again.
    LeaderlessPartitionRevives = "leaderless-partition-revives",
    /// The last member of an ISR goes and stays its member: only it has every acknowledged record.
    LastInSyncGone = "last-in-sync-gone",
    /// A replica leaves the ISR below `min.insync.replicas` and stays eligible (KIP-966).
    ReplicaStaysEligible = "replica-stays-eligible",
    /// A broker asks for its registration again, because the answer was lost: there must be one
    /// only.
    RegistrationRepeated = "registration-repeated",
    /// A broker comes back with an empty disk: it has no acknowledged record any more (KIP-858).
    DirectoryReplaced = "directory-replaced",
    /// The registration that is to be fenced is replaced by another one: the new process must not
    /// suffer for the old.
    FencingOvertaken = "fencing-overtaken",
    /// A replica is removed while the leader stays: what the removed one still fetches is fenced
    /// off by a new epoch.
    ReplicaRemovedUnderLeader = "replica-removed-under-leader",
    /// A reassignment completes and the leader is not in its target: the last step of a move is an
    /// election.
    ReassignmentMovesLeader = "reassignment-moves-leader",
    /// A reassignment gets another target while it is under way: what it has added may have to go.
    ReassignmentReplaced = "reassignment-replaced",
    /// A reassignment is cancelled while it is under way.
    ReassignmentCancelled = "reassignment-cancelled",
    /// A leader's log has failed, and it gives its leadership up while its process goes on.
    FailedReplicaLed = "failed-replica-led",
    /// A leader's log has failed while nobody else was in sync, and one that has everything, or may
    /// lead without, takes over.
    FailedLeaderReplaced = "failed-leader-replaced",
    /// A broker registers with another data directory while its id belongs to a living one.
    DuplicateRefused = "duplicate-refused",
    /// A topic is created while a broker that is to hold it is away.
    CreatedWithDeadReplica = "created-with-dead-replica",

    /// A snapshot of the metadata is taken: what is in it goes from the log.
    SnapshotTaken = "snapshot-taken",
    /// Entries of the metadata log are gone, and whoever needs them must be sent a snapshot.
    MetadataLogPurged = "metadata-log-purged",
    /// The file of the metadata log is replaced by one without what a snapshot holds.
    QuorumLogRewritten = "quorum-log-rewritten",
    /// A node that runs gets a snapshot from the leader, because the log does not reach back to it.
    SnapshotInstalled = "snapshot-installed",
    /// A node starts from a snapshot, and applies what is behind it.
    StartsFromSnapshot = "starts-from-snapshot",
    /// A node starts with a snapshot that is ahead of all its log: a crash came before the log had
    /// followed.
    SnapshotAheadOfLog = "snapshot-ahead-of-log",

    // The controller.
    /// A follower goes on with a fetch session that its leader does not know: it has to begin
    /// another, and must not be taken to be where the leader knows nothing of.
    ReplicaSessionLost = "replica-session-lost",
    /// A fetch of a session has no answer: nobody knows whether the leader has heard what it told.
    ReplicaFetchUnanswered = "replica-fetch-unanswered",
    /// Whether a leader was replaced is asked while its ISR is under `min.insync.replicas`: an eligible
    /// replica may have been elected without the knowing of all who are in it.
    NobodyProvesUnderMinInsync = "nobody-proves-under-min-insync",
    /// A log is cut inside of a batch that was settled: two leaders were elected uncleanly.
    SettledBatchCut = "settled-batch-cut",
    /// A follower has received more than its disk takes, and fetches no more until that is written.
    FollowerWaitsForItsDisk = "follower-waits-for-its-disk",
    /// A follower has heard where the log starts and is not there yet: it hears of it again.
    LogStartToldAgain = "log-start-told-again",
    /// A follower begins a fetch session while a fetch of the one before is served.
    ReplicaSessionReplaced = "replica-session-replaced",
    /// A broker is silent for its whole session and is fenced, though it may be alive.
    SessionRunsOut = "session-runs-out",
    /// A broker's process is found not to run: it is fenced before its session is over.
    BrokerFoundGone = "broker-found-gone",
    /// The controller proposes again what shows no effect: both may be applied.
    ProposalWithoutEffect = "proposal-without-effect",
    /// A broker has handed its leaderships over, and not everybody knows: it must not stop yet.
    HandOverNotYetKnown = "hand-over-not-yet-known",

    // Coordinators.
    /// A coordinator loses its partition while it loads it.
    ResignedWhileLoading = "resigned-while-loading",
    /// A coordinator loses its partition while its answers wait to be committed: they may be or
    /// not.
    ResignedWithAnswersDeferred = "resigned-with-answers-deferred",
    /// A coordinator loses its partition while members wait for their group: they have to look for
    /// another one.
    ResignedWithParkedMembers = "resigned-with-parked-members",
    /// A coordinator is asked before it knows what the log says.
    AskedWhileLoading = "asked-while-loading",
    /// A coordinator's append is refused, and it reads the log again: what it had decided is void.
    RefusedAppendReloads = "refused-append-reloads",
    /// A coordinator reads its log again while earlier answers wait to be committed.
    ReloadWithAnswersDeferred = "reload-with-answers-deferred",
    /// An append of offsets is refused, and the groups stay as they are: committing must not cost
    /// everybody a load.
    CommitRefusedAlone = "commit-refused-alone",
    /// An answer is not committed in time and refused: what it tells may hold all the same.
    AnswerNotCommittedInTime = "answer-not-committed-in-time",
    /// A coordinator has loaded what is not known to be committed: it may answer nothing from it
    /// yet.
    LoadedBeyondCommit = "loaded-beyond-commit",
    /// A load is asked for soon after another: refused appends must not read the log again and
    /// again.
    LoadPostponed = "load-postponed",

    // Groups of the classic protocol.
    /// A rebalance begins while the leader of the last one is assigning: its assignment is void.
    JoinInterruptsAssignment = "join-interrupts-assignment",
    /// A member does not join in time and is left behind; it may be alive.
    MemberMissesRebalance = "member-misses-rebalance",
    /// The leader of a group does not join in time: another one has to assign.
    LeaderMissesRebalance = "leader-misses-rebalance",
    /// Nobody joined in time but static members stay, which may be restarting (KIP-345).
    OnlyStaticMembersLeft = "only-static-members-left",
    /// Members keep coming while the first rebalance of a group waits for them (KIP-134).
    InitialDelayProlonged = "initial-delay-prolonged",
    /// A member was given an id and never came back with it (KIP-394): the rebalance goes on
    /// without it.
    PendingMemberForgotten = "pending-member-forgotten",
    /// A member's session ends while its group waits for joins.
    MemberSilentDuringRebalance = "member-silent-during-rebalance",
    /// The leader of a group joins and never assigns: the others must not wait for ever
    /// (KAFKA-9752).
    GroupLeaderNeverAssigns = "group-leader-never-assigns",
    /// A member joins again while its join waits: only one of the two may be answered.
    JoinSuperseded = "join-superseded",
    /// A member joins again as it did: it has missed its answer, and nobody has to rebalance for
    /// it.
    JoinAnswerLost = "join-answer-lost",
    /// A static member restarts in a group that is at rest and goes on without a rebalance
    /// (KIP-345).
    StaticMemberBackStable = "static-member-back-stable",
    /// A static member restarts while its leader assigns to its predecessor.
    StaticMemberBackWhileAssigning = "static-member-back-while-assigning",
    /// A static member restarts while its group waits for joins.
    StaticMemberBackWhileJoining = "static-member-back-while-joining",
    /// A static member that was replaced is alive and goes on: it is fenced (KIP-345).
    OldStaticMemberFenced = "old-static-member-fenced",
    /// A member commits offsets of a generation that is over: somebody else may have the partition.
    CommitOfOldGeneration = "commit-of-old-generation",
    /// A coordinator loads a generation that was begun and never assigned: its number is used up.
    MovedBeforeAssignment = "moved-before-assignment",

    // Groups of the consumer protocol.
    /// A member goes on in the epoch before, because it has missed the answer that told it of the
    /// new one.
    LostHeartbeatAnswer = "lost-heartbeat-answer",
    /// A member goes on in an epoch that is over, and has to begin anew.
    ConsumerFenced = "consumer-fenced",
    /// A static member comes back while its predecessor is still there.
    InstanceNotReleased = "instance-not-released",
    /// A static member comes back within its session after it had left for a while.
    AwayMemberReplaced = "away-member-replaced",
    /// A static member comes back and speaks the consumer protocol instead of the classic one.
    ClassicInstanceReplaced = "classic-instance-replaced",
    /// A static member leaves for a while with partitions to give up: by leaving it has.
    LeavesWhileRevoking = "leaves-while-revoking",
    /// A member waits for partitions that others have not given up yet.
    WaitsForOthers = "waits-for-others",
    /// The target changes while a member waits for partitions of the last one.
    TargetMovesWhileWaiting = "target-moves-while-waiting",
    /// A member does not give partitions up in time and is removed with them; it may be alive.
    RevocationTooSlow = "revocation-too-slow",
    /// A timer ends for something that the member does not have to do any more.
    TimerOutlivesDuty = "timer-outlives-duty",
    /// A classic group becomes a consumer group while its members wait for a rebalance.
    UpgradeDuringRebalance = "upgrade-during-rebalance",
    /// A consumer group becomes a classic one as its last consumer goes.
    DowngradedByLeave = "downgraded-by-leave",
    /// A consumer group becomes a classic one as a static member comes back with the older
    /// protocol.
    DowngradedByReplacement = "downgraded-by-replacement",
    /// A classic member of a consumer group is told to join again.
    ClassicMemberToldToJoin = "classic-member-told-to-join",
    /// A member commits in an older epoch for partitions that it has held since (KIP-1251).
    OlderEpochCommits = "older-epoch-commits",
    /// A member commits in an epoch that is over for partitions that others may have.
    StaleMemberCommits = "stale-member-commits",
    /// A coordinator loads a member that has partitions to give up: its time for that begins anew.
    MovedWhileRevoking = "moved-while-revoking",
    /// The metadata alone changes what a group is assigned by (KIP-1101).
    EpochBumpedByMetadata = "epoch-bumped-by-metadata",
    /// A topic is deleted that a member holds partitions of.
    AssignedTopicDeleted = "assigned-topic-deleted",

    // Committed offsets.
    /// Offsets go because their topic is deleted.
    OffsetsOfDeletedTopic = "offsets-of-deleted-topic",
    /// An offset was committed for an earlier topic of the same name: nobody may inherit it.
    OffsetOfPredecessor = "offset-of-predecessor",
    /// A new coordinator does not know a topic that its predecessor knew: it may not be deleted,
    /// only late.
    TopicUnknownAfterLoad = "topic-unknown-after-load",
    /// By the wall clock an offset has expired, and this coordinator has not watched for as long.
    WallClockAheadOfExpiry = "wall-clock-ahead-of-expiry",

    // The log.
    /// Recovery cuts the torn end of a log: what was acknowledged must not be in it.
    TornTail = "torn-tail",
    /// A crash came while old segments were being removed, and recovery finishes that.
    RemovalFinishedAtRecovery = "removal-finished-at-recovery",
    /// A crash came between the swap of a compacted segment and the removal of what it replaces, or
    /// before the swap.
    ReplacedSegmentFound = "replaced-segment-found",
    /// A crash came while compaction was writing.
    UnfinishedRewriteFound = "unfinished-rewrite-found",
    /// A write fails: the log ends, and what was written before must still become durable.
    WriteFailed = "write-failed",
    /// A sync fails: nothing tells what is on the device, and nothing may be acknowledged by it.
    SyncFailed = "sync-failed",
    /// The disk is full: the log ends at a batch boundary.
    DiskFull = "disk-full",
    /// A cut is asked for while what it drops is being written.
    WriteOvertakenByCut = "write-overtaken-by-cut",
    /// A cut reaches into a closed segment, which becomes the active one again.
    CutReopensSegment = "cut-reopens-segment",
    /// A checkpoint cannot be stored: which one is on the disk is not known.
    CheckpointFailed = "checkpoint-failed",
    /// A log is cut under a read.
    ReadOvertakenByCut = "read-overtaken-by-cut",
    /// A log is deleted while its writer works.
    DeletedWhileWriting = "deleted-while-writing",

    // Compaction.
    /// A tombstone is old enough to go and stays, because a replica may not have it.
    TombstoneKeptForReplica = "tombstone-kept-for-replica",
    /// A tombstone goes: the deleted value must not come back.
    TombstoneRemoved = "tombstone-removed",

    // The quorum.
    /// The quorum has another leader while the answer of the last one is waited for: the outcome is
    /// not known.
    LeaderReplacedUnderProposal = "leader-replaced-under-proposal",
    /// A leader of the quorum hears of a higher term.
    HigherTermMet = "higher-term-met",
    /// A follower's metadata log does not continue its leader's: it has entries that were never
    /// committed, or lacks some.
    MetadataConflicts = "metadata-conflicts",
    /// Entries of the metadata log are cut that were never committed.
    UncommittedMetadataCut = "uncommitted-metadata-cut",
    /// A leader of the quorum goes and names its successor.
    LeadershipHandedOver = "leadership-handed-over",
    /// A leader of the quorum is found gone, and a voter stands for election without waiting.
    LeaderSucceededAtOnce = "leader-succeeded-at-once",
    /// A voter lets its vote go although the lease of a leader binds it, which is found gone.
    LeaseOfGoneLeaderEnded = "lease-of-gone-leader-ended",
    /// A torn end is cut off the metadata log: no vote that was given may be in it.
    QuorumLogTorn = "quorum-log-torn",
    /// A node cannot write its metadata log and takes no part any more.
    QuorumLogStopped = "quorum-log-stopped",
    /// A voter comes back without its log: its old vote is taken away before it is let in.
    VoterLostLog = "voter-lost-log",
    /// A voter that had lost its log has caught up and votes again.
    VoteGivenBack = "vote-given-back",
    /// A voter with an empty log finds that there is a quorum already.
    FoundingFindsQuorum = "founding-finds-quorum",

    // Brokers.
    /// A broker cannot tell the metadata that its logs have failed.
    FailedReplicasNotToldYet = "failed-replicas-not-told-yet",
    /// A broker starts and cannot open a partition: the others have to go on without it.
    PartitionOffline = "partition-offline",
    /// A checkpoint is due while another one is written.
    CheckpointAskedMeanwhile = "checkpoint-asked-meanwhile",
    /// A replica leaves this broker while its topic stays.
    ReplicaMovedAway = "replica-moved-away",
}

impl Situation {
    /// The situation of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|situation| situation.name() == name)
    }

    /// Counts that the situation has come about. Called by [`sometimes!`](crate::sometimes).
    #[cfg(madsim)]
    pub fn reach(self) {
        REACHED[self as usize].fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    }

    /// Nothing is counted.
    #[cfg(not(madsim))]
    #[inline(always)]
    pub const fn reach(self) {}

    /// How many times this process has reached the situation.
    #[cfg(madsim)]
    #[must_use]
    pub fn times_reached(self) -> usize {
        REACHED[self as usize].load(core::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(madsim)]
static REACHED: [core::sync::atomic::AtomicUsize; Situation::ALL.len()] =
    [const { core::sync::atomic::AtomicUsize::new(0) }; Situation::ALL.len()];

#[cfg(test)]
mod tests;
