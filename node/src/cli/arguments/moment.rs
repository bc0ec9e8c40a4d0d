//! Moments and durations as Kafka's programs take them: ISO 8601.

use std::time::Duration;

const DAY_SECONDS: i64 = 86_400;

/// Milliseconds since 1970 of `YYYY-MM-DDTHH:MM[:SS[.FFF]]`, in UTC unless `Z`, `+HH:MM` or `-HH:MM`
/// follows.
///
/// # Errors
/// The text is no such moment, or one before 1970.
pub fn datetime(text: &str) -> Result<i64, String> {
    parse_datetime(text).filter(|millis| *millis >= 0).ok_or_else(|| {
        "write YYYY-MM-DDTHH:MM:SS.FFF, not before 1970; it is UTC unless +HH:MM follows".to_owned()
    })
}

/// The duration `PnDTnHnMnS`, of which any part may be missing, but not all.
///
/// # Errors
/// The text is no such duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write PnDTnHnMnS, as in P7D or PT1H30M".to_owned())
}

fn parse_datetime(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T')?;
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    let mut date = date.split('-');
    let (year, month) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?);
    let day = digits(date.next()?, 2)?;
    let mut time = time.split(':');
    let (hour, minute) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let (second, millis) = match time.next() {
        None => (0, 0),
        Some(second) => {
            let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
            (digits(second, 2)?, millis_of(fraction)?)
        }
    };
    let is_valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_valid || date.next().is_some() || time.next().is_some() {
        return None;
    }
    let seconds =
        days_since_1970(year, month, day) * DAY_SECONDS + hour * 3_600 + minute * 60 + second
            - zone_seconds(zone)?;
    Some(seconds * 1_000 + millis)
}

/// How far a zone is ahead of UTC.
fn zone_seconds(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.chars().next() {
        None => return Some(0),
        Some('Z') => return (zone.len() == 1).then_some(0),
        Some('+') => (1, &zone[1..]),
        Some(_) => (-1, &zone[1..]),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (hours, digits(minutes, 2)?),
        None if rest.len() == 4 => (rest.get(..2)?, digits(rest.get(2..)?, 2)?),
        None => (rest, 0),
    };
    let hours = digits(hours, 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leap_days = |before: i64| before / 4 - before / 100 + before / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    years + months + day - 1
}

fn parse_duration(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = rest.split_once('T').unwrap_or((rest, ""));
    if (days.is_empty() && time.is_empty()) || rest.ends_with('T') {
        return None;
    }
    let mut seconds = match days {
        "" => 0,
        days => any_digits(days.strip_suffix('D')?)?.checked_mul(DAY_SECONDS.unsigned_abs())?,
    };
    let mut time = time;
    for (unit, of_one) in [('H', 3_600), ('M', 60)] {
        if let Some((number, behind)) = time.split_once(unit) {
            seconds = seconds.checked_add(any_digits(number)?.checked_mul(of_one)?)?;
            time = behind;
        }
    }
    let mut millis = 0;
    if !time.is_empty() {
        let time = time.strip_suffix('S')?;
        let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
        seconds = seconds.checked_add(any_digits(whole)?)?;
        millis = millis_of(fraction)?;
    }
    Some(Duration::from_secs(seconds) + Duration::from_millis(millis.unsigned_abs()))
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

fn any_digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Milliseconds of up to nine digits behind a point.
fn millis_of(fraction: &str) -> Option<i64> {
    let is_fraction = (1..=9).contains(&fraction.len());
    let is_number = is_fraction && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("{fraction:0<3}")[..3].parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_utc_unless_a_zone_is_named() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.000", Some(0)),
            ("1970-01-01T00:00", Some(0)),
            ("1970-01-02T03:04:05", Some(97_445_000)),
            ("2026-01-01T00:00:00.000", Some(1_767_225_600_000)),
            ("2000-02-29T23:59:59.9Z", Some(951_868_799_900)),
            ("2024-03-01T00:00:00.123456+01:00", Some(1_709_247_600_123)),
            ("2024-03-01T00:00:00-0530", Some(1_709_271_000_000)),
            ("2024-03-01T00:00:00+01", Some(1_709_247_600_000)),
            ("2100-03-01T00:00:00", Some(4_107_542_400_000)),
            ("1969-12-31T23:59:59", None),
            ("2023-02-29T00:00:00", None),
            ("2100-02-29T00:00:00", None),
            ("2024-13-01T00:00:00", None),
            ("2024-01-01T24:00:00", None),
            ("2024-01-01T00:60:00", None),
            ("2024-01-01 00:00:00", None),
            ("2024-01-01T00:00:00.", None),
            ("2024-01-01T00:00:00Zulu", None),
            ("2024-1-1T00:00:00", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(datetime(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_of_days_hours_minutes_and_seconds() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, expected) in [
            ("P7D", seconds(604_800)),
            ("PT1H30M", seconds(5_400)),
            ("P1DT1S", seconds(86_401)),
            ("PT0S", seconds(0)),
            ("PT1.5S", Some(Duration::from_millis(1_500))),
            ("P0DT0H5M0S", seconds(300)),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("P1W", None),
            ("PT5", None),
            ("PT1M1H", None),
            ("P-1D", None),
            ("7D", None),
            ("P99999999999999999999D", None),
        ] {
            assert_eq!(duration(text).ok(), expected, "{text}");
        }
    }
}
