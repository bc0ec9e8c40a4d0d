//! Connections to the brokers of one cluster, opened when they are needed.

use super::{ClientError, Connection, InFlight, PartitionRef};
use crate::{
    env::Clock,
    wire::{Request, Str, generated::metadata::MetadataResponse},
};
use std::{collections::BTreeMap, sync::Arc};

/// A cluster as a client knows it: its brokers and the leaders of the partitions it asked about.
///
/// It never retries what a broker may have carried out; whoever calls does that after
/// [`Cluster::metadata`] has told the leaders anew.
pub struct Cluster {
    client_id: String,
    clock: Arc<dyn Clock>,
    /// Where to begin, in the order given.
    bootstrap: Vec<String>,
    /// Where the brokers say that they are.
    brokers: BTreeMap<i32, String>,
    controller: i32,
    leaders: BTreeMap<(Str, i32), i32>,
    connections: BTreeMap<String, Connection>,
}

impl Cluster {
    /// Connects to the first of these brokers (`HOST:PORT`, separated by commas) that answers.
    ///
    /// # Errors
    /// None of them answers; the error is that of the last one.
    pub async fn connect(
        addresses: &str,
        client_id: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let bootstrap = addresses.split(',').map(|address| address.trim().to_owned()).collect();
        let mut cluster = Self {
            client_id: client_id.to_owned(),
            clock,
            bootstrap,
            brokers: BTreeMap::new(),
            controller: -1,
            leaders: BTreeMap::new(),
            connections: BTreeMap::new(),
        };
        cluster.any().await?;
        Ok(cluster)
    }

    /// A connection to any broker, to one that is connected already if there is one.
    ///
    /// # Errors
    /// No broker can be reached; the error is that of the last one tried.
    pub async fn any(&mut self) -> Result<&mut Connection, ClientError> {
        self.connections.retain(|_, connection| connection.is_usable());
        let connected = self.connections.keys().next().cloned();
        let others = self.bootstrap.iter().chain(self.brokers.values()).cloned();
        let mut failed = None;
        for address in connected.into_iter().chain(others).collect::<Vec<_>>() {
            match self.to(&address).await {
                Ok(_) => return self.to(&address).await,
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("there is an address to begin with"))
    }

    /// A connection to a broker.
    ///
    /// # Errors
    /// It cannot be reached, or no metadata has named it.
    pub async fn broker(&mut self, id: i32) -> Result<&mut Connection, ClientError> {
        let address = self.brokers.get(&id).cloned();
        let address = address.ok_or(ClientError::UnknownBroker { id })?;
        self.to(&address).await
    }

    /// A connection to the broker that the metadata names as the controller.
    ///
    /// # Errors
    /// As [`Cluster::broker`].
    pub async fn controller(&mut self) -> Result<&mut Connection, ClientError> {
        self.broker(self.controller).await
    }

    /// The controller's id as of the last metadata; -1 if it names none.
    #[must_use]
    pub fn controller_id(&self) -> i32 {
        self.controller
    }

    /// The leader of a partition as of the last metadata about its topic; `None` if it has none.
    #[must_use]
    pub fn leader_of(&self, partition: &PartitionRef) -> Option<i32> {
        let index = i32::try_from(partition.index.0).ok()?;
        self.leaders.get(&(partition.topic.clone(), index)).copied()
    }

    /// Asks any broker.
    ///
    /// # Errors
    /// No broker can be reached, or the answer did not come.
    pub async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        self.any().await?.call(request).await
    }

    /// Waits for the answer to what was submitted on [`Cluster::broker`]'s connection. It never
    /// connects again: the answer would not come on another connection.
    ///
    /// # Errors
    /// The answer did not come.
    pub async fn receive<R: Request>(
        &mut self,
        broker: i32,
        submitted: InFlight<R>,
    ) -> Result<R::Response, ClientError> {
        let address = self.brokers.get(&broker).ok_or(ClientError::UnknownBroker { id: broker })?;
        match self.connections.get_mut(address) {
            Some(connection) => connection.receive(submitted).await,
            None => Err(ClientError::Unusable { address: address.clone() }),
        }
    }

    /// The metadata of these topics, or of all with `None`; it also says where the brokers are and
    /// who leads. Asks one broker after the other until one answers.
    ///
    /// # Errors
    /// None answers; the error is that of the last one tried.
    pub async fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<MetadataResponse, ClientError> {
        let tries = 1 + self.bootstrap.len() + self.brokers.len();
        let mut asked = Err(ClientError::UnknownBroker { id: -1 });
        for _ in 0..tries {
            // One that does not answer is unusable from then on, so that the next one has its turn.
            asked = self.any().await?.metadata(topics, create).await;
            if asked.is_ok() {
                break;
            }
        }
        let metadata = asked?;
        self.learn(&metadata);
        Ok(metadata)
    }

    fn learn(&mut self, metadata: &MetadataResponse) {
        let address = |host: &Str, port| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        self.controller = metadata.controller_id;
        let brokers = metadata.brokers.iter();
        self.brokers =
            brokers.map(|broker| (broker.node_id, address(&broker.host, broker.port))).collect();
        for topic in &metadata.topics {
            let Some(name) = &topic.name else { continue };
            for partition in &topic.partitions {
                let key = (name.clone(), partition.partition_index);
                match partition.leader_id {
                    -1 => self.leaders.remove(&key),
                    leader => self.leaders.insert(key, leader),
                };
            }
        }
    }

    /// Closes every connection, and with them gives up every answer that is still due. Another
    /// broker is asked first from now on: the one before may have lost touch with the others.
    pub fn disconnect(&mut self) {
        self.connections.clear();
        self.bootstrap.rotate_left(1);
    }

    async fn to(&mut self, address: &str) -> Result<&mut Connection, ClientError> {
        if !self.connections.get(address).is_some_and(Connection::is_usable) {
            let connecting = Connection::connect(address, &self.client_id, self.clock.clone());
            self.connections.insert(address.to_owned(), connecting.await?);
        }
        Ok(self.connections.get_mut(address).expect("just connected"))
    }
}
