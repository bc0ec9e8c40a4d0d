//! How far a campaign is: one line that is redrawn on a terminal, a line now and then otherwise.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line on a terminal is redrawn.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// How often a plain line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// The width of the bar, in characters.
const BAR_WIDTH: u64 = 30;

/// The progress of one campaign.
pub struct Progress {
    total: u64,
    done: u64,
    failed: u64,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    /// Starts with nothing done of `total` runs.
    #[must_use]
    pub fn start(total: u64) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Self { total, done: 0, failed: 0, started: now, shown: now, terminal }
    }

    /// One more run is done.
    pub fn advance(&mut self, passed: bool) {
        self.done += 1;
        self.failed += u64::from(!passed);
        let every = if self.terminal { REDRAW_EVERY } else { PLAIN_EVERY };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        if self.terminal {
            eprint!("\r{}\x1b[K", self.line());
            let _ = std::io::stderr().flush();
        } else {
            println!("  {}", self.line());
        }
    }

    /// Prints lines above the bar.
    pub fn say(&self, text: &str) {
        self.clear();
        println!("{text}");
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }

    fn line(&self) -> String {
        let elapsed = self.started.elapsed();
        let left = remaining(elapsed, self.done, self.total).as_secs();
        let bar = if self.terminal { bar(self.done, self.total) } else { String::new() };
        format!(
            "{bar}{}/{} runs, {} failed, {:.0}/s, {}:{:02} left",
            self.done,
            self.total,
            self.failed,
            self.done as f64 / elapsed.as_secs_f64().max(0.001),
            left / 60,
            left % 60,
        )
    }
}

fn bar(done: u64, total: u64) -> String {
    let filled = done.min(total) * BAR_WIDTH / total.max(1);
    (0..BAR_WIDTH).map(|at| if at < filled { '█' } else { '░' }).chain([' ']).collect()
}

fn remaining(elapsed: Duration, done: u64, total: u64) -> Duration {
    if done == 0 {
        return Duration::ZERO;
    }
    elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up() {
        assert_eq!(bar(0, 10).matches('█').count(), 0);
        assert_eq!(bar(5, 10).matches('█').count(), 15);
        assert_eq!(bar(10, 10).matches('░').count(), 0);
        assert_eq!(bar(0, 0).matches('█').count(), 0);
    }

    #[test]
    fn the_rest_takes_as_long_as_what_is_done_suggests() {
        assert_eq!(remaining(Duration::from_secs(10), 5, 20), Duration::from_secs(30));
        assert_eq!(remaining(Duration::from_secs(10), 0, 20), Duration::ZERO);
        assert_eq!(remaining(Duration::from_secs(10), 20, 20), Duration::ZERO);
    }
}
