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
    /// A lookup by timestamp answers one batch too late.
    TimestampLookupLate = "timestamp-lookup-late",
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
