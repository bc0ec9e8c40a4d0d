//! A quorum of one: the metadata log is a local file.
//!
//! A command is applied to a copy of the image first, then its frame is written and synced, and
//! only then is the new image published and the proposer answered. One task does all of it, so a
//! proposer that goes away never leaves a command half done. At start the file is replayed and
//! replaced by a snapshot of the image.

use super::{
    ChangeError, Leadership, PeerProgress, ProposeError, Quorum, QuorumStatus, watch::Watch,
};
use crate::{
    env::{BoxFuture, Disk, DiskFile, OpenMode},
    internal::{self, FrameError},
    tasks::Tasks,
};
use bytes::Bytes;
use highwater_core::{
    metadata::{Command, Endpoint, Image, Reply},
    mutant::Mutant,
    types::{BrokerId, MetadataOffset},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{mpsc, oneshot};

const FILE_NAME: &str = "metadata.log";
const NEW_FILE_NAME: &str = "metadata.log.new";
/// Proposals waiting for the log's one task; a proposer beyond them waits.
const PROPOSALS_MAX: usize = 64;

/// What one frame of the file holds.
#[derive(Serialize, Deserialize)]
enum Entry {
    /// The whole image; only ever the first frame.
    Snapshot(Image),
    /// One command.
    Command(Command),
}

/// Why the metadata log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("metadata log {path}: {error}")]
    Disk { path: PathBuf, error: io::Error },
    /// Bytes that were durable have changed.
    #[error(
        "metadata log {path} is damaged at byte {position}: {reason}; restore the file from a \
         backup, since what topics exist is not known without it"
    )]
    Corrupt { path: PathBuf, position: usize, reason: FrameError },
    /// A stored command does not apply: the file belongs to another build or was tampered with.
    #[error("metadata log {path}: the command at byte {position} does not apply: {reason}")]
    Inapplicable { path: PathBuf, position: usize, reason: String },
    /// The file is another cluster's or another node's.
    #[error("metadata log {path} belongs to {found}, not to {expected}")]
    Foreign { path: PathBuf, found: String, expected: String },
    /// The quorum's settings contradict each other.
    #[error("settings of the metadata quorum: {0}")]
    Settings(String),
    /// The quorum stopped while it was starting.
    #[error("the metadata quorum did not start: {0}")]
    Stopped(String),
}

/// A quorum whose only voter is this broker.
pub struct LocalQuorum {
    node: BrokerId,
    image: Arc<Watch<Image>>,
    proposals: mpsc::Sender<Proposal>,
}

struct Proposal {
    command: Command,
    answer: oneshot::Sender<Result<(MetadataOffset, Reply), ProposeError>>,
}

impl LocalQuorum {
    /// Opens the metadata log in `dir`, creating both when missing, and replays it.
    pub async fn open(
        node: BrokerId,
        disk: Arc<dyn Disk>,
        tasks: &Tasks,
        dir: &Path,
    ) -> Result<Self, OpenError> {
        let path = dir.join(FILE_NAME);
        let at = |error| OpenError::Disk { path: path.clone(), error };
        disk.create_dir(dir).await.map_err(at)?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent).await.map_err(at)?;
        }
        let mut file = open_or_create(&*disk, dir, &path).await.map_err(at)?;
        let replayed = replay(&path, &*file).await?;
        let mut end = replayed.end;
        if replayed.torn {
            tracing::warn!(path = %path.display(), at = end, "cut a torn tail off the metadata log");
            file.truncate(end).await.map_err(at)?;
            file.sync().await.map_err(at)?;
        }
        // What was read may be in the page cache only: after a sync that failed in an earlier life
        // no later sync of that file would store it. A new file is stored whole.
        if replayed.frames > 0 {
            (file, end) = write_snapshot(&*disk, dir, &replayed.image).await.map_err(at)?;
        }
        let image = Arc::new(Watch::new(replayed.image.applied().0, replayed.image));
        let (proposals, incoming) = mpsc::channel(PROPOSALS_MAX);
        let writer = Writer { path, file, end, image: image.clone(), stopped: false };
        tasks.spawn("metadata-log", writer.run(incoming));
        Ok(Self { node, image, proposals })
    }

    fn is_alone(&self) -> ChangeError {
        ChangeError::Refused(format!(
            "broker {} was started on its own and keeps the metadata in a local file; set \
             controller.quorum.voters and start with empty directories to replicate it",
            self.node
        ))
    }
}

impl Quorum for LocalQuorum {
    fn propose(
        &self,
        command: Command,
    ) -> BoxFuture<'static, Result<(MetadataOffset, Reply), ProposeError>> {
        let proposals = self.proposals.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let proposal = Proposal { command, answer };
            proposals.send(proposal).await.map_err(|_| ProposeError::Stopped)?;
            answered
                .await
                .unwrap_or_else(|_| Err(ProposeError::Unknown("the broker is stopping".into())))
        })
    }

    fn image(&self) -> Arc<Image> {
        self.image.value()
    }

    fn changed(&self, after: MetadataOffset) -> BoxFuture<'static, ()> {
        self.image.changed(after.0)
    }

    fn leadership(&self) -> Leadership {
        Leadership { term: 1, leader: Some(self.node) }
    }

    fn leadership_changed(&self, _known: Leadership) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn read_barrier(&self) -> BoxFuture<'static, Result<MetadataOffset, ProposeError>> {
        Box::pin(std::future::ready(Ok(self.image().applied())))
    }

    fn status(&self) -> QuorumStatus {
        let end = self.image().applied();
        QuorumStatus {
            seen_by: self.node,
            leadership: self.leadership(),
            voters: BTreeMap::from([(self.node, Endpoint::default())]),
            learners: BTreeMap::new(),
            last_log_offset: end,
            committed_offset: end,
            peers: BTreeMap::from([(self.node, PeerProgress { matched: end, last_contact: None })]),
        }
    }

    fn status_of_leader(&self) -> BoxFuture<'static, QuorumStatus> {
        Box::pin(std::future::ready(self.status()))
    }

    fn add_voter(
        &self,
        _node: BrokerId,
        _endpoint: Endpoint,
    ) -> BoxFuture<'static, Result<(), ChangeError>> {
        Box::pin(std::future::ready(Err(self.is_alone())))
    }

    fn remove_voter(&self, _node: BrokerId) -> BoxFuture<'static, Result<(), ChangeError>> {
        Box::pin(std::future::ready(Err(self.is_alone())))
    }

    fn hand_over(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn is_lost(&self) -> BoxFuture<'static, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// The task that owns the file.
struct Writer {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Invariant: the file is a run of whole frames up to here, all of them synced.
    end: u64,
    image: Arc<Watch<Image>>,
    stopped: bool,
}

impl Writer {
    async fn run(mut self, mut incoming: mpsc::Receiver<Proposal>) {
        while let Some(Proposal { command, answer }) = incoming.recv().await {
            let outcome = self.commit(command).await;
            // A proposer that has gone away reads the image instead.
            let _ = answer.send(outcome);
        }
    }

    async fn commit(&mut self, command: Command) -> Result<(MetadataOffset, Reply), ProposeError> {
        if self.stopped {
            return Err(ProposeError::Stopped);
        }
        let mut image = (*self.image.value()).clone();
        let at = next(&image);
        let reply = image.apply(at, &command).map_err(ProposeError::Refused)?;
        if let Reply::TopicsCreated(outcomes) = &reply
            && outcomes.iter().all(Result::is_err)
        {
            // Nothing changed, so there is nothing to remember.
            return Ok((self.image.value().applied(), reply));
        }
        self.store(internal::encode(at.0, &Entry::Command(command))).await?;
        let offset = image.applied();
        self.image.publish(offset.0, image);
        Ok((offset, reply))
    }

    async fn store(&mut self, frame: Bytes) -> Result<(), ProposeError> {
        let length = frame.len() as u64;
        if let Err(error) = self.file.write_at(self.end, vec![frame]).await {
            return Err(self.take_back(error).await);
        }
        if Mutant::MetadataBeforeFsync.is_planted() {
            self.end += length;
            return Ok(());
        }
        if let Err(error) = self.file.sync().await {
            self.stop(&error);
            return Err(ProposeError::Unknown(error.to_string()));
        }
        self.end += length;
        Ok(())
    }

    /// Cuts a frame that was not written whole; a log whose end is not known takes no more.
    async fn take_back(&mut self, error: io::Error) -> ProposeError {
        if let Err(cut) = self.file.truncate(self.end).await {
            self.stop(&cut);
            return ProposeError::Unknown(error.to_string());
        }
        tracing::error!(path = %self.path.display(), %error, "metadata command not stored");
        ProposeError::NotStored(error.to_string())
    }

    fn stop(&mut self, error: &io::Error) {
        self.stopped = true;
        tracing::error!(
            path = %self.path.display(), %error,
            "the metadata log has stopped: topics can be used but not changed until a restart"
        );
    }
}

struct Replayed {
    image: Image,
    frames: usize,
    end: u64,
    torn: bool,
}

async fn open_or_create(disk: &dyn Disk, dir: &Path, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    match disk.open(path, OpenMode::Write).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = disk.open(path, OpenMode::CreateNew).await?;
            disk.sync_dir(dir).await?;
            Ok(file)
        }
        opened => {
            // An entry that is seen here may not be durable yet.
            disk.sync_dir(dir).await?;
            opened
        }
    }
}

/// The position of the command that follows an image.
fn next(image: &Image) -> MetadataOffset {
    MetadataOffset(image.applied().0 + 1)
}

async fn replay(path: &Path, file: &dyn DiskFile) -> Result<Replayed, OpenError> {
    let at = |error| OpenError::Disk { path: path.to_owned(), error };
    let size = file.size().await.map_err(at)?;
    let bytes = file.read_at(0, usize::try_from(size).unwrap_or(usize::MAX)).await.map_err(at)?;
    let mut replayed = Replayed { image: Image::default(), frames: 0, end: 0, torn: false };
    let mut position = 0;
    while position < bytes.len() {
        let rest = &bytes[position..];
        let expected = next(&replayed.image).0;
        let frame = match internal::decode::<Entry>(rest) {
            Ok(frame) => frame,
            Err(FrameError::Short | FrameError::Corrupt)
                if internal::later_frame_in(rest, expected - 1).is_none() =>
            {
                replayed.torn = true;
                break;
            }
            Err(reason) => {
                return Err(OpenError::Corrupt { path: path.to_owned(), position, reason });
            }
        };
        let inapplicable =
            |reason| OpenError::Inapplicable { path: path.to_owned(), position, reason };
        match frame.message {
            Entry::Snapshot(image) if position == 0 => replayed.image = image,
            Entry::Snapshot(_) => {
                return Err(inapplicable("a snapshot behind the first frame".into()));
            }
            Entry::Command(_) if frame.position != expected => {
                return Err(inapplicable(format!(
                    "it is command {} where {expected} belongs",
                    frame.position
                )));
            }
            Entry::Command(command) => {
                replayed
                    .image
                    .apply(MetadataOffset(expected), &command)
                    .map_err(|error| inapplicable(error.to_string()))?;
            }
        }
        replayed.frames += 1;
        position += frame.size;
        replayed.end = position as u64;
    }
    Ok(replayed)
}

async fn write_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    image: &Image,
) -> io::Result<(Arc<dyn DiskFile>, u64)> {
    let frame = internal::encode(image.applied().0, &Entry::Snapshot(image.clone()));
    let length = frame.len() as u64;
    let new = dir.join(NEW_FILE_NAME);
    let file = disk.open(&new, OpenMode::Replace).await?;
    file.write_at(0, vec![frame]).await?;
    file.sync().await?;
    disk.rename(&new, &dir.join(FILE_NAME)).await?;
    disk.sync_dir(dir).await?;
    Ok((file, length))
}
