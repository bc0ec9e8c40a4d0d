//! The snapshot: the whole image in one file, which replaces the entries that made it.

use super::types::{LogId, StoredMembers, StoredMembersRecord, Types};
use crate::{
    env::{Disk, OpenMode},
    internal,
    quorum::OpenError,
};
use highwater_core::{metadata::Image, mutant::Mutant, sometimes};
use openraft::{
    RaftSnapshotBuilder, SnapshotMeta,
    type_config::alias::{SnapshotMetaOf, SnapshotOf},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

const FILE_NAME: &str = "quorum.snapshot";
const NEW_FILE_NAME: &str = "quorum.snapshot.new";

pub(super) type Snapshot = SnapshotOf<Types, Arc<Image>>;

/// A snapshot as it is stored and sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SnapshotRecord {
    /// The last entry in it.
    pub(super) at: Option<super::types::Position>,
    /// Who belonged to the quorum then.
    pub(super) members: StoredMembersRecord,
    /// What the entries add up to.
    pub(super) image: Arc<Image>,
}

impl From<&Snapshot> for SnapshotRecord {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            at: snapshot.meta.last_log_id.map(Into::into),
            members: (&snapshot.meta.last_membership).into(),
            image: snapshot.snapshot.clone(),
        }
    }
}

impl TryFrom<SnapshotRecord> for Snapshot {
    type Error = super::types::Senseless;

    fn try_from(record: SnapshotRecord) -> Result<Self, Self::Error> {
        let last_membership = record.members.try_into()?;
        let meta = SnapshotMeta { last_log_id: record.at.map(LogId::from), last_membership };
        Ok(Self { meta, snapshot: record.image })
    }
}

/// The last snapshot, in memory and in its file.
pub(super) struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Invariant: the file holds it.
    current: Mutex<Option<Snapshot>>,
    /// Held by the one that writes the file: a snapshot may arrive while another is being built.
    writing: tokio::sync::Mutex<()>,
}

impl Snapshots {
    /// Reads the snapshot in `dir`, if there is one.
    pub(super) async fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Arc<Self>, OpenError> {
        let path = dir.join(FILE_NAME);
        let at = |error| OpenError::Disk { path: path.clone(), error };
        let current = match disk.open(&path, OpenMode::Read).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(error)),
            Ok(file) => {
                // The rename may not be durable yet; the contents were before it.
                disk.sync_dir(dir).await.map_err(at)?;
                let size = file.size().await.map_err(at)?;
                let length = usize::try_from(size).unwrap_or(usize::MAX);
                let bytes = file.read_at(0, length).await.map_err(at)?;
                let frame = internal::decode::<SnapshotRecord>(&bytes).map_err(|reason| {
                    OpenError::Corrupt { path: path.clone(), position: 0, reason }
                })?;
                let senseless = |error: super::types::Senseless| OpenError::Inapplicable {
                    path: path.clone(),
                    position: 0,
                    reason: error.to_string(),
                };
                Some(frame.message.try_into().map_err(senseless)?)
            }
        };
        let (current, writing) = (Mutex::new(current), tokio::sync::Mutex::new(()));
        Ok(Arc::new(Self { disk, dir: dir.to_owned(), current, writing }))
    }

    pub(super) fn current(&self) -> Option<Snapshot> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a snapshot durable, unless a later one is there.
    pub(super) async fn store(&self, snapshot: &Snapshot) -> io::Result<()> {
        let _writing = self.writing.lock().await;
        let known = self.current().and_then(|current| current.meta.last_log_id);
        if known >= snapshot.meta.last_log_id {
            return Ok(());
        }
        let frame =
            internal::encode(snapshot.snapshot.applied().0, &SnapshotRecord::from(snapshot));
        let new = self.dir.join(NEW_FILE_NAME);
        let file = self.disk.open(&new, OpenMode::Replace).await?;
        file.write_at(0, vec![frame]).await?;
        if !Mutant::SnapshotBeforeSync.is_planted() {
            file.sync().await?;
        }
        self.disk.rename(&new, &self.dir.join(FILE_NAME)).await?;
        self.disk.sync_dir(&self.dir).await?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
        Ok(())
    }
}

/// Makes a snapshot of one moment.
pub(super) struct Builder {
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) snapshot: Snapshot,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Arc<Image>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        sometimes!(SnapshotTaken);
        self.snapshots.store(&self.snapshot).await?;
        Ok(self.snapshot.clone())
    }
}

pub(super) fn meta(at: Option<LogId>, members: &StoredMembers) -> SnapshotMetaOf<Types> {
    SnapshotMeta { last_log_id: at, last_membership: members.clone() }
}
