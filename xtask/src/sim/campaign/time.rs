//! How long a campaign may take, as it is written on the command line.

use std::time::Duration;

/// The units, the largest first, with their seconds.
const UNITS: [(char, u64); 3] = [('h', 3_600), ('m', 60), ('s', 1)];

/// Reads a length of time such as `90s`, `10m`, `2h` or `1h30m`: whole numbers with a unit, the
/// larger unit first, each unit once. It is more than nothing.
pub fn parse(text: &str) -> Result<Duration, String> {
    let shape =
        || format!("`{text}` is not a length of time; write 90s, 10m, 2h or 1h30m, for example");
    let mut seconds = 0_u64;
    let mut allowed = &UNITS[..];
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(shape)?;
        let number: u64 = rest[..end].parse().map_err(|_| shape())?;
        let unit = rest[end..].chars().next().ok_or_else(shape)?;
        let place = allowed.iter().position(|(name, _)| *name == unit).ok_or_else(shape)?;
        let part = number.checked_mul(allowed[place].1);
        seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(shape)?;
        allowed = &allowed[place + 1..];
        rest = &rest[end + unit.len_utf8()..];
    }
    if seconds == 0 {
        return Err(if text.trim().is_empty() {
            shape()
        } else {
            format!("`{text}` is no time at all")
        });
    }
    Ok(Duration::from_secs(seconds))
}

/// The same for people: `1:02:03` or `2:03`.
#[must_use]
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_numbers_with_units_the_larger_first() {
        let lengths = [("90s", 90), ("10m", 600), ("2h", 7_200), ("1h30m", 5_400), ("1m1s", 61)];
        for (text, seconds) in lengths {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_refused_with_an_example() {
        let wrong = ["", "10", "m", "10 m", "1.5h", "-1s", "5d", "1s1m", "1m1m", "10ms", "9é"];
        for text in wrong.into_iter().chain(["99999999999999999999s", "9999999999999999999h"]) {
            assert!(parse(text).unwrap_err().contains("1h30m"), "{text}");
        }
        assert!(parse("0s").unwrap_err().contains("no time"));
    }

    #[test]
    fn times_are_shown_as_a_clock_shows_them() {
        let shown = [(0, "0:00"), (61, "1:01"), (3_599, "59:59"), (3_661, "1:01:01")];
        for (seconds, text) in shown {
            assert_eq!(clock(Duration::from_secs(seconds)), text);
        }
    }
}
