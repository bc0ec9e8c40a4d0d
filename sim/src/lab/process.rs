//! What one process of an application has of the world: nothing else would be the same in the next
//! run of the same seed.

use super::{CallError, Client};
use crate::{cluster::client_address, dice::Dice, recorder::now_nanos, workload::Clients};
use std::time::Duration;

/// One process of an application.
pub struct Process {
    clients: Clients,
    name: String,
    number: u32,
    dice: Dice,
}

impl Process {
    /// A process of the application of this name, with its number among those.
    pub(crate) fn new(clients: Clients, seed: u64, name: &str, number: u32) -> Self {
        let dice = Dice::new(seed, &format!("process {name} {number}"));
        Self { clients, name: name.to_owned(), number, dice }
    }

    /// Its number among the processes of its application, from 0 up.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The one source of chance.
    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// Simulated time since the beginning of the run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(now_nanos())
    }

    /// Sleeps in simulated time.
    pub async fn sleep(&self, duration: Duration) {
        madsim::time::sleep(duration).await;
    }

    /// Whether the time under faults is over and the process shall come to an end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.clients.is_stopping()
    }

    /// Where the brokers listen for clients, as `HOST:PORT`: for a client library of your own, built
    /// on `madsim-tokio`.
    #[must_use]
    pub fn brokers(&self) -> Vec<String> {
        (1..=self.clients.brokers()).map(client_address).collect()
    }

    /// A client of the cluster.
    ///
    /// # Errors
    /// No broker can be reached now.
    pub async fn client(&self) -> Result<Client, CallError> {
        Client::connect(&self.brokers(), &format!("{}-{}", self.name, self.number)).await
    }

    /// Writes down something that the application saw or promised, for the checks to judge:
    /// [`crate::history::Observation`] has the application's name, the process and the moment.
    pub fn observe(&self, what: &str, value: impl ToString) {
        self.clients.recorder.observe(&self.name, self.number, what, value.to_string());
    }
}
