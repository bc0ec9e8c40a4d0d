//! The types that a setting may have, and how its text becomes a value.

/// A value as a file has it, before its key is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A bare number, as TOML writes it.
    Number(String),
    /// A bare `true` or `false`.
    Boolean(bool),
    /// A string; everything in a properties file and on the command line is one.
    Text(String),
    /// An array of strings, read as a list.
    List(Vec<String>),
    /// Something that no key takes (a date, an array of tables): its TOML type.
    Other(&'static str),
}

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number within its kind's bounds.
    Int(i64),
    /// A flag.
    Bool(bool),
    /// A text; of the choices when the kind has choices.
    Text(String),
}

/// The type of a setting with its bounds, all inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain number.
    Int {
        /// The smallest value allowed.
        min: i64,
        /// The largest value allowed.
        max: i64,
    },
    /// A number of bytes; a string may carry a unit: `"24 MiB"`.
    Bytes {
        /// The smallest value allowed; -1 where the key has a meaning for "no bound".
        min: i64,
        /// The largest value allowed.
        max: i64,
    },
    /// A number of milliseconds; a string may carry a unit: `"7d"`.
    Millis {
        /// The smallest value allowed; -1 where the key has a meaning for "no bound".
        min: i64,
        /// The largest value allowed.
        max: i64,
    },
    /// `true` or `false`.
    Bool,
    /// Any text without line breaks.
    Text,
    /// Several texts, separated by commas.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Checks a value. The error is what was expected, to stand behind "expected".
    pub fn check(self, raw: &Raw) -> Result<Value, String> {
        let value = match (self, raw) {
            (Kind::Bool, Raw::Boolean(flag)) => Some(Value::Bool(*flag)),
            (Kind::Bool, Raw::Text(text)) => text.trim().parse().ok().map(Value::Bool),
            (Kind::Text, Raw::Text(text)) => single_line(text).map(Value::Text),
            (Kind::Text, Raw::Number(text)) => Some(Value::Text(text.clone())),
            (Kind::List, Raw::Text(text)) => single_line(text).map(Value::Text),
            (Kind::List, Raw::List(items)) => single_line(&items.join(",")).map(Value::Text),
            (Kind::Choice(choices), Raw::Text(text)) => chosen(choices, text),
            (_, Raw::Number(text)) => self.number(text),
            (_, Raw::Text(text)) => self.number(text),
            _ => None,
        };
        value.ok_or_else(|| self.expected())
    }

    /// What a right value looks like, for a message and for the documentation.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Kind::Int { min, max } => format!("a number{}", bounds(min, max)),
            Kind::Bytes { min, max } => {
                format!("bytes as a number{} or as text such as \"24 MiB\"", bounds(min, max))
            }
            Kind::Millis { min, max } => {
                format!("milliseconds as a number{} or as text such as \"7d\"", bounds(min, max))
            }
            Kind::Bool => "true or false".to_owned(),
            Kind::Text => "a text in quotes, on one line".to_owned(),
            Kind::List => "texts separated by commas".to_owned(),
            Kind::Choice(choices) => format!("one of {}", choices.join(", ")),
        }
    }

    fn number(self, text: &str) -> Option<Value> {
        let (min, max, units): (i64, i64, &[(&str, i64)]) = match self {
            Kind::Int { min, max } => (min, max, &[]),
            Kind::Bytes { min, max } => (min, max, BYTE_UNITS),
            Kind::Millis { min, max } => (min, max, TIME_UNITS),
            Kind::Bool | Kind::Text | Kind::List | Kind::Choice(_) => return None,
        };
        let number = with_unit(text, units)?;
        (min..=max).contains(&number).then_some(Value::Int(number))
    }
}

impl Value {
    /// The value as Kafka's tools print it.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Value::Int(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Text(text) => text.clone(),
        }
    }

    /// The number. Panics for another type: the key table pairs each kind with its use.
    #[must_use]
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(number) => *number,
            other => panic!("a number was expected where the key table has {other:?}"),
        }
    }

    /// The flag. Panics for another type, as [`Value::int`] does.
    #[must_use]
    pub fn bool(&self) -> bool {
        match self {
            Value::Bool(flag) => *flag,
            other => panic!("a flag was expected where the key table has {other:?}"),
        }
    }

    /// The text. Panics for another type, as [`Value::int`] does.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            other => panic!("a text was expected where the key table has {other:?}"),
        }
    }
}

impl Raw {
    /// The value as it was written, for a message.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Raw::Number(text) => text.clone(),
            Raw::Boolean(flag) => flag.to_string(),
            Raw::Text(text) => format!("{text:?}"),
            Raw::List(items) => format!("{items:?}"),
            Raw::Other(kind) => format!("a TOML {kind}"),
        }
    }
}

const BYTE_UNITS: &[(&str, i64)] =
    &[("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30), ("tib", 1 << 40), ("b", 1)];
const TIME_UNITS: &[(&str, i64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn with_unit(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let text = text.trim().replace('_', "");
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.trim().parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn bounds(min: i64, max: i64) -> String {
    match (min, max) {
        (i64::MIN, i64::MAX) => String::new(),
        (min, i64::MAX) => format!(" of at least {min}"),
        (min, max) => format!(" from {min} to {max}"),
    }
}

fn single_line(text: &str) -> Option<String> {
    (!text.contains(['\n', '\r', '\0'])).then(|| text.trim().to_owned())
}

fn chosen(choices: &[&str], text: &str) -> Option<Value> {
    let text = text.trim();
    let choice = choices.iter().find(|choice| choice.eq_ignore_ascii_case(text))?;
    Some(Value::Text((*choice).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn numbers_take_units_only_as_text() {
        let bytes = Kind::Bytes { min: 1, max: i64::MAX };
        assert_eq!(bytes.check(&text("24 MiB")), Ok(Value::Int(24 << 20)));
        assert_eq!(bytes.check(&text("1GiB")), Ok(Value::Int(1 << 30)));
        assert_eq!(bytes.check(&Raw::Number("1_000".into())), Ok(Value::Int(1000)));
        let millis = Kind::Millis { min: -1, max: i64::MAX };
        assert_eq!(millis.check(&text("7d")), Ok(Value::Int(604_800_000)));
        assert_eq!(millis.check(&text("-1")), Ok(Value::Int(-1)));
        assert!(millis.check(&text("7 MiB")).is_err());
        assert!(bytes.check(&text("99999999999 TiB")).is_err(), "overflow is not a value");
    }

    #[test]
    fn a_wrong_type_says_what_is_expected() {
        let port = Kind::Int { min: 0, max: 65_535 };
        assert_eq!(
            port.check(&Raw::Boolean(true)),
            Err("a number from 0 to 65535".to_owned()),
            "a flag is no number"
        );
        assert_eq!(Kind::Bool.check(&text("yes")), Err("true or false".to_owned()));
        let choice = Kind::Choice(&["human", "json"]);
        assert_eq!(choice.check(&text("JSON")), Ok(Value::Text("json".into())));
        assert_eq!(choice.check(&text("xml")), Err("one of human, json".to_owned()));
        assert!(Kind::Text.check(&text("two\nlines")).is_err());
        assert!(Kind::Int { min: 0, max: 9 }.check(&Raw::Other("datetime")).is_err());
    }
}
