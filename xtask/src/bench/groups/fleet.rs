//! Many members that send heartbeats over a few connections: heartbeats are not parked, so several
//! of them are in flight on each connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::wire::Api;
use crate::bench::kafka::{Answer, Connection};

/// Members that share one connection.
pub trait Share: Send {
    /// Which heartbeat they send.
    const API: Api;

    /// How many they are.
    fn len(&self) -> usize;

    /// The next heartbeat of one of them.
    fn request(&mut self, place: usize) -> Vec<u8>;

    /// The answer to it, behind the correlation id.
    fn answer(&mut self, place: usize, answer: &mut Answer) -> Result<()>;
}

/// All members.
pub struct Fleet<S> {
    shares: Vec<(Connection, S)>,
    /// Requests in flight on each connection.
    in_flight: usize,
}

/// What was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub heartbeats: u64,
    pub elapsed: Duration,
}

impl Answered {
    /// Heartbeats per second.
    pub fn per_second(self) -> f64 {
        self.heartbeats as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl<S: Share> Fleet<S> {
    /// Opens a connection for each share.
    pub fn connect(address: SocketAddr, shares: Vec<S>, in_flight: usize) -> Result<Self> {
        let connect = |share| Ok((Connection::open(address)?, share));
        let shares: Result<Vec<_>> = shares.into_iter().map(connect).collect();
        Ok(Self { shares: shares?, in_flight: in_flight.max(1) })
    }

    /// The members, by their connections.
    pub fn shares(&self) -> impl Iterator<Item = &S> {
        self.shares.iter().map(|(_, share)| share)
    }

    /// Every member sends one heartbeat and is answered.
    pub fn round(&mut self) -> Result<()> {
        self.at_once(|connection, share, in_flight| round(connection, share, in_flight))
    }

    /// Every member sends heartbeat after heartbeat for that long.
    pub fn beat_for(&mut self, duration: Duration) -> Result<Answered> {
        let started = Instant::now();
        let counts = std::sync::atomic::AtomicU64::new(0);
        self.at_once(|connection, share, in_flight| {
            while started.elapsed() < duration && share.len() > 0 {
                round(connection, share, in_flight)?;
                let answered = share.len() as u64;
                counts.fetch_add(answered, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        })?;
        Ok(Answered { heartbeats: counts.into_inner(), elapsed: started.elapsed() })
    }

    fn at_once(
        &mut self,
        work: impl Fn(&mut Connection, &mut S, usize) -> Result<()> + Sync,
    ) -> Result<()> {
        let (work, in_flight) = (&work, self.in_flight);
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .shares
                .iter_mut()
                .map(|(connection, share)| scope.spawn(move || work(connection, share, in_flight)))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| anyhow!("a connection's thread panicked"))?
            })
        })
    }
}

/// One heartbeat of each member of a share.
fn round<S: Share>(connection: &mut Connection, share: &mut S, in_flight: usize) -> Result<()> {
    let count = share.len();
    let receive = |connection: &mut Connection, share: &mut S, place| {
        let mut answer = connection.receive()?;
        answer.i32()?; // correlation id: answers are in order
        share.answer(place, &mut answer)
    };
    for place in 0..count {
        if let Some(oldest) = place.checked_sub(in_flight) {
            receive(connection, share, oldest)?;
        }
        connection.send(S::API, &share.request(place))?;
    }
    (count.saturating_sub(in_flight)..count).try_for_each(|place| receive(connection, share, place))
}

/// Deals what there is to so many connections, nearly evenly and in order.
pub fn deal<T>(all: Vec<T>, connections: usize) -> Vec<Vec<T>> {
    let each = all.len().div_ceil(connections.max(1)).max(1);
    let mut dealt = Vec::new();
    let mut all = all.into_iter().peekable();
    while all.peek().is_some() {
        dealt.push(all.by_ref().take(each).collect());
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fake_broker::FakeBroker;

    /// Notes in which order its members are answered.
    struct Noted {
        members: usize,
        in_flight: usize,
        most_in_flight: usize,
        answered: Vec<usize>,
    }

    impl Share for Noted {
        const API: Api = (12, 3);

        fn len(&self) -> usize {
            self.members
        }

        fn request(&mut self, _place: usize) -> Vec<u8> {
            self.in_flight += 1;
            self.most_in_flight = self.most_in_flight.max(self.in_flight);
            Vec::new()
        }

        fn answer(&mut self, place: usize, _answer: &mut Answer) -> Result<()> {
            self.in_flight -= 1;
            self.answered.push(place);
            Ok(())
        }
    }

    #[test]
    fn a_round_answers_each_member_once_and_keeps_the_window() {
        let broker = FakeBroker::start();
        for (members, in_flight) in [(0, 4), (1, 4), (4, 4), (10, 4), (10, 1)] {
            let share = Noted { members, in_flight: 0, most_in_flight: 0, answered: Vec::new() };
            let mut fleet = Fleet::connect(broker.address, vec![share], in_flight).unwrap();
            fleet.round().unwrap();
            let share = fleet.shares().next().unwrap();
            assert_eq!(share.answered, (0..members).collect::<Vec<_>>());
            assert_eq!(share.most_in_flight, members.min(in_flight));
        }
        assert_eq!(broker.requests(), 25);
    }

    #[test]
    fn members_are_dealt_nearly_evenly() {
        assert_eq!(deal(vec![1, 2, 3, 4, 5], 2), [vec![1, 2, 3], vec![4, 5]]);
        assert_eq!(deal(vec![1], 3), [vec![1]]);
        assert_eq!(deal::<u8>(Vec::new(), 3), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_rate_is_by_the_second() {
        let answered = Answered { heartbeats: 500, elapsed: Duration::from_millis(250) };
        assert_eq!(answered.per_second(), 2000.0);
    }
}
