//! The consensus crate's calls between nodes, as messages of the transport door.

use super::{
    Shared,
    runtime::World,
    snapshots::{Snapshot, SnapshotRecord},
    state_machine::StateMachine,
    storage::Standing,
    types::{Entry, EntryRecord, LogId, Position, Senseless, Types, Vote, VoteRecord},
};
use crate::{
    env::{Transport, TransportError},
    internal::{self, FrameError},
    peer::messages::{PeerReply, PeerRequest},
};
use highwater_core::{
    metadata::{Endpoint, Image},
    sometimes,
    types::BrokerId,
};
use openraft::{
    OptionalSend, Raft, RaftNetworkFactory, RaftNetworkV2,
    async_runtime::{AsyncRuntime, Select2},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

/// How long the first answer to a snapshot is waited for.
const SNAPSHOT_PATIENCE_MIN: Duration = Duration::from_secs(1);

/// A call. The order of variants and fields is its format: append only.
#[derive(Debug, Serialize, Deserialize)]
enum Call {
    Append {
        vote: VoteRecord,
        previous: Option<Position>,
        entries: Vec<EntryRecord>,
        committed: Option<Position>,
    },
    Vote(Candidacy),
    PreVote(Candidacy),
    Snapshot {
        vote: VoteRecord,
        snapshot: SnapshotRecord,
    },
    /// The leader goes and wants `to` to lead, once its log reaches to `last`.
    HandOver {
        vote: VoteRecord,
        to: BrokerId,
        last: Option<Position>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Candidacy {
    vote: VoteRecord,
    last: Option<Position>,
    handed_over: bool,
}

/// The answer to a [`Call`].
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Appended,
    PartlyAppended(Option<Position>),
    Conflict,
    HigherVote(VoteRecord),
    Vote { vote: VoteRecord, granted: bool, last: Option<Position> },
    Snapshot { vote: VoteRecord },
    Failed(String),
    HandedOver,
}

/// Makes the calls of one node.
pub(super) struct Network {
    pub(super) world: Arc<World>,
    pub(super) transport: Arc<dyn Transport>,
    /// Where voters are by the configuration, which goes before what the log says of them.
    pub(super) configured: BTreeMap<BrokerId, Endpoint>,
    /// A follower stores entries before it answers: it has so long at least.
    pub(super) append_timeout: Duration,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: BrokerId, node: &Endpoint) -> Peer {
        let endpoint = self.configured.get(&target).unwrap_or(node);
        self.transport.learn(target, endpoint.clone());
        Peer {
            target,
            world: self.world.clone(),
            transport: self.transport.clone(),
            append_timeout: self.append_timeout,
            snapshot_patience: SNAPSHOT_PATIENCE_MIN,
        }
    }
}

/// Another node.
pub(super) struct Peer {
    target: BrokerId,
    world: Arc<World>,
    transport: Arc<dyn Transport>,
    append_timeout: Duration,
    /// How long the answer to the next snapshot is waited for, unless the crate wants it earlier. It
    /// doubles with each that has none: one that is lost on the way must not keep the node behind for
    /// long, and one that takes its time must arrive at last.
    snapshot_patience: Duration,
}

impl Peer {
    async fn call(&self, call: &Call, limit: Duration) -> Result<Answer, RPCError<Types>> {
        let request = PeerRequest::Raft(internal::encode(0, call).to_vec());
        let deadline = self.world.now().after(limit);
        match self.transport.call(self.target, request, deadline).await {
            Ok(PeerReply::Raft(bytes)) => match internal::decode::<Answer>(&bytes) {
                Ok(frame) => Ok(frame.message),
                Err(error) => Err(NetworkError::new(&error).into()),
            },
            Ok(PeerReply::Unavailable(reason)) => {
                Err(Unreachable::new(&std::io::Error::other(reason)).into())
            }
            Ok(other) => Err(unexpected(&other)),
            Err(error @ TransportError::NoAnswer { .. }) => Err(NetworkError::new(&error).into()),
            Err(error) => Err(Unreachable::new(&error).into()),
        }
    }

    async fn candidacy(
        &self,
        call: impl FnOnce(Candidacy) -> Call,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let candidacy = Candidacy {
            vote: (&request.vote).into(),
            last: request.last_log_id.map(Position::from),
            handed_over: request.leadership_transfer,
        };
        match self.call(&call(candidacy), option.hard_ttl()).await? {
            Answer::Vote { vote, granted, last } => {
                Ok(VoteResponse::new(Vote::from(vote), last.map(LogId::from), granted))
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(answer: &impl std::fmt::Debug) -> RPCError<Types> {
    NetworkError::from_string(format!("an answer to another call: {answer:?}")).into()
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Arc<Image>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let call = Call::Append {
            vote: (&request.vote).into(),
            previous: request.prev_log_id.map(Position::from),
            entries: request.entries.into_iter().map(EntryRecord::from).collect(),
            committed: request.leader_commit.map(Position::from),
        };
        let limit = option.hard_ttl().max(self.append_timeout);
        match self.call(&call, limit).await? {
            Answer::Appended => Ok(AppendEntriesResponse::Success),
            Answer::PartlyAppended(upto) => {
                Ok(AppendEntriesResponse::PartialSuccess(upto.map(LogId::from)))
            }
            Answer::Conflict => Ok(AppendEntriesResponse::Conflict),
            Answer::HigherVote(vote) => Ok(AppendEntriesResponse::HigherVote(vote.into())),
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.candidacy(Call::Vote, request, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.candidacy(Call::PreVote, request, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let call = Call::Snapshot { vote: (&vote).into(), snapshot: (&snapshot).into() };
        let limit = option.hard_ttl().min(self.snapshot_patience);
        let sending = self.call(&call, limit);
        match super::runtime::QuorumRuntime::select2(cancel, sending).await {
            Select2::First(closed) => Err(closed.into()),
            Select2::Second(Err(error)) => {
                // Not where nobody was there to take it.
                if !matches!(error, RPCError::Unreachable(_)) {
                    self.snapshot_patience = limit.saturating_mul(2);
                }
                Err(error.into())
            }
            Select2::Second(Ok(answer)) => match answer {
                Answer::Snapshot { vote } => Ok(SnapshotResponse::new(vote.into())),
                other => Err(unexpected(&other).into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let call = Call::HandOver {
            vote: request.from_leader().into(),
            to: *request.to_node_id(),
            last: request.last_log_id().map(|at| Position::from(*at)),
        };
        match self.call(&call, option.hard_ttl()).await? {
            Answer::HandedOver => Ok(Ok(())),
            other => Err(unexpected(&other)),
        }
    }
}

impl Call {
    /// Whether a node may serve the call at all. One that has lost its log may have promised
    /// something else to the quorum, and no answer of it may count.
    fn is_open_to(&self, standing: Standing, votes: bool) -> bool {
        match (standing, self) {
            (Standing::Full, _) => true,
            (Standing::Outside, _) => false,
            (Standing::LetIn(_), Self::Vote(_) | Self::PreVote(_)) => votes,
            (Standing::LetIn(let_in), Self::Append { vote, .. } | Self::Snapshot { vote, .. }) => {
                vote.term >= let_in.term
            }
            (Standing::LetIn(let_in), Self::HandOver { vote, .. }) => {
                votes && vote.term >= let_in.term
            }
        }
    }
}

/// Serves a call of another node.
pub(super) async fn serve(shared: &Shared, bytes: &[u8]) -> PeerReply {
    let (standing, votes) = (shared.store.standing(), shared.has_vote_again());
    let answer = match internal::decode::<Call>(bytes) {
        Ok(frame) if !frame.message.is_open_to(standing, votes) => {
            return PeerReply::Unavailable("the node's log was empty: it has no vote".into());
        }
        Ok(frame) => {
            match &frame.message {
                Call::Vote(candidacy) | Call::PreVote(candidacy) => {
                    shared.before_vote(candidacy.vote.node).await;
                }
                Call::Append { .. } | Call::Snapshot { .. } | Call::HandOver { .. } => {
                    shared.note_leader_heard();
                }
            }
            answer(&shared.raft, frame.message).await
        }
        Err(error) => Answer::Failed(FrameError::to_string(&error)),
    };
    PeerReply::Raft(internal::encode(0, &answer).to_vec())
}

async fn answer(raft: &Raft<Types, StateMachine>, call: Call) -> Answer {
    let outcome = match call {
        Call::Append { vote, previous, entries, committed } => {
            let entries: Result<Vec<Entry>, Senseless> =
                entries.into_iter().map(EntryRecord::into_entry).collect();
            let entries = match entries {
                Ok(entries) => entries,
                Err(error) => return Answer::Failed(error.to_string()),
            };
            let request = AppendEntriesRequest {
                vote: vote.into(),
                prev_log_id: previous.map(LogId::from),
                entries,
                leader_commit: committed.map(LogId::from),
            };
            raft.append_entries(request).await.map(Answer::from).map_err(|error| error.to_string())
        }
        Call::Vote(candidacy) => {
            raft.vote(candidacy.into()).await.map(Answer::from).map_err(|error| error.to_string())
        }
        Call::PreVote(candidacy) => raft
            .pre_vote(candidacy.into())
            .await
            .map(Answer::from)
            .map_err(|error| error.to_string()),
        Call::Snapshot { vote, snapshot } => match snapshot.try_into() {
            Err(error) => Err(Senseless::to_string(&error)),
            Ok(snapshot) => raft
                .install_full_snapshot(vote.into(), snapshot)
                .await
                .map(|response| Answer::Snapshot { vote: (&response.vote).into() })
                .map_err(|error| error.to_string()),
        },
        Call::HandOver { vote, to, last } => {
            let request = TransferLeaderRequest::new(vote.into(), to, last.map(LogId::from));
            match raft.handle_transfer_leader(request).await {
                Ok(Ok(())) => {
                    sometimes!(LeadershipHandedOver);
                    Ok(Answer::HandedOver)
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        }
    };
    outcome.unwrap_or_else(Answer::Failed)
}

impl From<Candidacy> for VoteRequest<Types> {
    fn from(candidacy: Candidacy) -> Self {
        let last = candidacy.last.map(LogId::from);
        let mut request = Self::new(candidacy.vote.into(), last);
        request.leadership_transfer = candidacy.handed_over;
        request
    }
}

impl From<VoteResponse<Types>> for Answer {
    fn from(response: VoteResponse<Types>) -> Self {
        Self::Vote {
            vote: (&response.vote).into(),
            granted: response.vote_granted,
            last: response.last_log_id.map(Position::from),
        }
    }
}

impl From<AppendEntriesResponse<Types>> for Answer {
    fn from(response: AppendEntriesResponse<Types>) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::Appended,
            AppendEntriesResponse::PartialSuccess(upto) => {
                Self::PartlyAppended(upto.map(Position::from))
            }
            AppendEntriesResponse::Conflict => {
                sometimes!(MetadataConflicts);
                Self::Conflict
            }
            AppendEntriesResponse::HigherVote(vote) => {
                sometimes!(HigherTermMet);
                Self::HigherVote((&vote).into())
            }
        }
    }
}
