//! How far a campaign is: a few lines that are redrawn on a terminal, one line now and then
//! otherwise.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::campaign::ledger::Ledger;
use super::campaign::time::clock;

/// How often the lines on a terminal are redrawn.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// How often a plain line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// The width of the bar, in characters.
const BAR_WIDTH: f64 = 30.0;

/// When there is nothing left to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Goal {
    /// After this many runs.
    pub runs: Option<u64>,
    /// After this much time.
    pub time: Option<Duration>,
    /// How many situations there are.
    pub situations: usize,
}

/// The progress of one campaign.
pub struct Progress {
    goal: Goal,
    pace: Pace,
    failed: u64,
    started: Instant,
    shown: Instant,
    terminal: bool,
    /// How many lines are on the terminal now.
    drawn: usize,
}

/// How many runs are done, and in which time.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// In all sittings.
    done: u64,
    /// Of these, before this sitting.
    done_before: u64,
    /// How long the earlier sittings took.
    elapsed_before: Duration,
}

impl Progress {
    /// Starts with nothing done.
    #[must_use]
    pub fn start(goal: Goal) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        let pace = Pace::default();
        Self { goal, pace, failed: 0, started: now, shown: now, terminal, drawn: 0 }
    }

    /// The same after earlier sittings.
    #[must_use]
    pub fn after(mut self, done: u64, elapsed: Duration) -> Self {
        self.pace = Pace { done, done_before: done, elapsed_before: elapsed };
        self
    }

    /// One more run is done.
    pub fn advance(&mut self, passed: bool) {
        self.count(passed);
        if self.due() {
            let words = format!("{} failed", self.failed);
            self.show(&[self.line(), words]);
        }
    }

    /// One more run is done, and this is what all add up to.
    pub fn advance_with(&mut self, ledger: &Ledger, simulated_before: f64) {
        self.count(true);
        if self.due() {
            let simulated = ledger.total.simulated_seconds - simulated_before;
            let minutes = self.started.elapsed().as_secs_f64().max(0.001) / 60.0;
            let first =
                format!("{}, {:.1} simulated h/min", self.line(), simulated / 3_600.0 / minutes);
            self.show(&[first, found(ledger, self.goal.situations)]);
        }
    }

    /// Prints lines above the moving ones.
    pub fn say(&mut self, text: &str) {
        self.clear();
        println!("{text}");
    }

    /// Takes the moving lines away.
    pub fn clear(&mut self) {
        if self.drawn > 0 {
            eprint!("\x1b[{}F\x1b[J", self.drawn);
            let _ = std::io::stderr().flush();
            self.drawn = 0;
        }
    }

    fn count(&mut self, passed: bool) {
        self.pace.done += 1;
        self.failed += u64::from(!passed);
    }

    fn due(&self) -> bool {
        self.shown.elapsed() >= if self.terminal { REDRAW_EVERY } else { PLAIN_EVERY }
    }

    fn show(&mut self, lines: &[String]) {
        self.shown = Instant::now();
        if !self.terminal {
            println!("  {}", lines.join("; "));
            return;
        }
        let back = if self.drawn > 0 { format!("\x1b[{}F", self.drawn) } else { String::new() };
        // Lines that are too long for the terminal are cut, not wrapped: they would not be found
        // again.
        let lines: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
        eprint!("{back}\x1b[?7l{lines}\x1b[?7h");
        let _ = std::io::stderr().flush();
        self.drawn = lines.matches('\n').count();
    }

    fn line(&self) -> String {
        let line = self.goal.line(self.pace, self.started.elapsed());
        if self.terminal {
            format!("{}{line}", bar(self.goal.fraction(self.pace, self.started.elapsed())))
        } else {
            line
        }
    }
}

impl Goal {
    /// Runs, speed and what is left, after so much time in this sitting.
    fn line(self, pace: Pace, elapsed: Duration) -> String {
        let of = self.runs.map_or(String::new(), |runs| format!("/{runs}"));
        let per_second = (pace.done - pace.done_before) as f64 / elapsed.as_secs_f64().max(0.001);
        let left = match self.left(pace, elapsed) {
            Some(left) => format!(", {} left", clock(left)),
            None => String::new(),
        };
        format!("{}{of} runs, {per_second:.1} seeds/s{left}", pace.done)
    }

    /// How much is done, from 0 to 1: of the runs or of the time, whichever ends first.
    fn fraction(self, pace: Pace, elapsed: Duration) -> f64 {
        let of_runs = self.runs.map_or(0.0, |runs| pace.done as f64 / runs.max(1) as f64);
        let spent = (pace.elapsed_before + elapsed).as_secs_f64();
        let of_time = self.time.map_or(0.0, |time| spent / time.as_secs_f64().max(0.001));
        of_runs.max(of_time).min(1.0)
    }

    /// How long it still takes, as far as anybody knows.
    fn left(self, pace: Pace, elapsed: Duration) -> Option<Duration> {
        let new = pace.done - pace.done_before;
        let by_runs = self
            .runs
            .filter(|_| new > 0)
            .map(|runs| elapsed.mul_f64(runs.saturating_sub(pace.done) as f64 / new as f64));
        let by_time = self.time.map(|time| time.saturating_sub(pace.elapsed_before + elapsed));
        by_runs.into_iter().chain(by_time).min()
    }
}

/// What the runs have shown: faults, situations, failures.
fn found(ledger: &Ledger, situations: usize) -> String {
    let faults: Vec<u64> = ledger.total.seen_effects().map(|(_, count)| count).collect();
    let mut text = format!("{} kinds of faults took effect {} times", faults.len(), sum(&faults));
    if situations > 0 {
        text.push_str(&format!("; {} of {situations} situations seen", ledger.situations.len()));
    }
    let failures = ledger.failures_by_check();
    if failures.is_empty() {
        return text + "; no failure";
    }
    let failures: Vec<String> =
        failures.iter().map(|(check, count)| format!("{check} {count}")).collect();
    format!("{text}; failures: {}", failures.join(", "))
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

fn bar(fraction: f64) -> String {
    let filled = (fraction * BAR_WIDTH) as usize;
    (0..BAR_WIDTH as usize).map(|at| if at < filled { '█' } else { '░' }).chain([' ']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::worker::{Failure, Report};

    const TEN: Duration = Duration::from_secs(10);

    fn pace(done: u64, done_before: u64) -> Pace {
        Pace { done, done_before, elapsed_before: Duration::ZERO }
    }

    #[test]
    fn the_bar_fills_up() {
        for (fraction, filled) in [(0.0, 0), (0.5, 15), (1.0, 30)] {
            assert_eq!(bar(fraction).matches('█').count(), filled);
        }
    }

    #[test]
    fn the_rest_takes_as_long_as_what_is_done_suggests() {
        let goal = Goal { runs: Some(20), ..Goal::default() };
        assert_eq!(goal.left(pace(5, 0), TEN), Some(Duration::from_secs(30)));
        assert_eq!(goal.left(pace(20, 0), TEN), Some(Duration::ZERO));
        assert_eq!(goal.left(pace(0, 0), TEN), None);
        assert_eq!(goal.left(pace(15, 10), TEN), Some(TEN));
        assert_eq!(goal.line(pace(15, 10), TEN), "15/20 runs, 0.5 seeds/s, 0:10 left");
    }

    #[test]
    fn a_campaign_with_a_limit_of_time_is_as_far_as_its_time_or_its_runs() {
        let time = Some(Duration::from_secs(40));
        let open = Goal { time, ..Goal::default() };
        assert_eq!(open.left(pace(5, 0), TEN), Some(Duration::from_secs(30)));
        assert!((open.fraction(pace(5, 0), TEN) - 0.25).abs() < 1e-9);
        let later = Pace { elapsed_before: Duration::from_secs(25), ..pace(5, 0) };
        assert_eq!(open.line(later, TEN), "5 runs, 0.5 seeds/s, 0:05 left");
        let both = Goal { runs: Some(6), ..open };
        assert_eq!(both.left(pace(5, 0), TEN), Some(Duration::from_secs(2)));
        assert!((both.fraction(pace(3, 0), TEN) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn faults_situations_and_failures_by_check_are_told() {
        let mut ledger = Ledger::new(None);
        let effects = [("power_cuts".to_owned(), 3), ("torn".to_owned(), 0)].into();
        let situations = [("odd".to_owned(), 1)].into();
        ledger.add(&Report { passed: true, effects, situations, ..Report::default() });
        let quiet = "1 kinds of faults took effect 3 times; 1 of 4 situations seen; no failure";
        assert_eq!(found(&ledger, 4), quiet);
        let failure = Some(Failure { check: "L7".into(), message: String::new() });
        ledger.add(&Report { failure, ..Report::default() });
        let red = "1 kinds of faults took effect 3 times; failures: L7 1";
        assert_eq!(found(&ledger, 0), red);
    }
}
