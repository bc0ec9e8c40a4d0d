//! How many checks passed and failed: the last line of every command that judges.

use std::fmt;
use std::ops::AddAssign;

/// A number of checks that passed and a number that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
}

impl Counts {
    /// One check with the given outcome.
    #[must_use]
    pub fn one(passed: bool) -> Self {
        if passed { Self { passed: 1, failed: 0 } } else { Self { passed: 0, failed: 1 } }
    }

    /// Whether nothing failed and at least one check ran: a run that checks nothing proves nothing.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// Reads the result line of one libtest binary:
    /// `test result: ok. 12 passed; 0 failed; 0 ignored; ...`.
    #[must_use]
    pub fn from_test_result(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let number = |word: &str| {
            counts.split(';').find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
        };
        Some(Self { passed: number(" passed")?, failed: number(" failed")? })
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// The caller asked for something that does not exist: exit status 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Somebody stopped the command before its end, and nothing had failed until then: exit status 130.
#[derive(Debug)]
pub struct Interrupted(pub Counts);

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "interrupted; {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_of_libtest_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; \
                    1 filtered out; finished in 0.02s";
        assert_eq!(Counts::from_test_result(line), Some(Counts { passed: 12, failed: 3 }));
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in ["test record::parses ... ok", "test result: nonsense", "", "running 3 tests"] {
            assert_eq!(Counts::from_test_result(line), None, "{line}");
        }
    }

    #[test]
    fn the_last_line_has_the_agreed_form() {
        let mut counts = Counts::one(true);
        counts += Counts { passed: 6, failed: 2 };
        assert_eq!(counts.to_string(), "7 passed, 2 failed");
        assert!(!counts.is_success());
    }

    #[test]
    fn nothing_run_is_no_success() {
        assert!(!Counts::default().is_success());
        assert!(Counts::one(true).is_success());
    }
}
