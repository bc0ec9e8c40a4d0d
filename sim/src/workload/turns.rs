//! The operations of one client, one behind the other. Each has a number and choices of its own, and
//! none begins earlier than the script says: one that is left out moves no other.

use super::{Clients, Session};
use crate::{choices::Choices, recorder::now_nanos};
use madsim::time;
use std::time::Duration;

/// Whose turn it is.
pub struct Turns {
    /// What the client is like.
    pub client: Choices,
    name: String,
    last: Option<u32>,
}

impl Turns {
    /// Of the client of that name, unless the script leaves it out.
    #[must_use]
    pub fn of(clients: &Clients, name: &str) -> Option<Self> {
        let client = clients.recorder.journal.client(name)?;
        Some(Self { client, name: name.to_owned(), last: None })
    }

    /// Of a client that is no part of any script.
    #[must_use]
    pub fn aside(clients: &Clients, name: &str) -> Self {
        let client = clients.recorder.journal.aside(clients.seed, name);
        Self { client, name: name.to_owned(), last: None }
    }

    /// The choices of the next operation, when its time has come. `None` when there is no other, or
    /// everybody shall come to an end.
    pub async fn next(&mut self, session: &mut Session) -> Option<Choices> {
        let journal = session.clients.recorder.journal.clone();
        if session.clients.is_stopping() {
            return None;
        }
        let (number, at) = journal.next_operation(&self.name, self.last)?;
        self.last = Some(number);
        let wait = at.saturating_sub(now_nanos());
        if wait > 0 {
            time::sleep(Duration::from_nanos(wait)).await;
            if session.clients.is_stopping() {
                return None;
            }
        }
        session.begin(&self.name, number);
        // A sleep may end a little later than it is to: what was waited for is what is written down.
        let began = if wait > 0 { at } else { now_nanos() };
        Some(journal.operation(&self.name, number, began))
    }

    /// The choices of the next operation of a client that is no part of any script.
    #[must_use]
    pub fn next_aside(&mut self, session: &mut Session) -> Choices {
        let number = self.last.map_or(0, |last| last + 1);
        self.last = Some(number);
        session.begin(&self.name, number);
        session
            .clients
            .recorder
            .journal
            .aside(session.clients.seed, &format!("{} op {number}", self.name))
    }
}
