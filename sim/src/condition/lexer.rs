//! The words of an expression, each with its place.

use super::Mistake;
use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name: letters, digits and underscores, not beginning with a digit.
    Word(String),
    Number(i64),
    /// One of the signs below.
    Sign(&'static str),
    End,
}

impl Token {
    pub(super) fn described(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Number(number) => format!("`{number}`"),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".into(),
        }
    }
}

/// Longer ones before those they begin with.
const SIGNS: [&str; 12] = ["<=", ">=", "==", "!=", "<", ">", "+", "-", "(", ")", ",", "/"];

/// Splits a text; the last token is [`Token::End`].
pub(super) fn split(text: &str) -> Result<Vec<(Token, Range<usize>)>, Mistake> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let start = at;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let rest = &text[at..];
        let token = if first.is_ascii_digit() {
            let digits = length_while(rest, |c| c.is_ascii_digit());
            at += digits;
            Token::Number(number(&rest[..digits], start..at)?)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let letters = length_while(rest, |c| c.is_ascii_alphanumeric() || c == '_');
            at += letters;
            Token::Word(rest[..letters].to_owned())
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            at += sign.len();
            Token::Sign(sign)
        } else {
            let end = at + first.len_utf8();
            let remedy = match first {
                '=' => "`=` compares nothing; write `==`".to_owned(),
                '&' => "`&` is unknown; write `and`".to_owned(),
                '|' => "`|` is unknown; write `or`".to_owned(),
                '!' => "`!` is unknown; write `not`".to_owned(),
                other => format!("`{other}` is unknown; there are {}", SIGNS.join(" ")),
            };
            return Err(Mistake { at: start..end, message: remedy });
        };
        tokens.push((token, start..at));
    }
    tokens.push((Token::End, text.len()..text.len()));
    Ok(tokens)
}

fn length_while(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

fn number(digits: &str, at: Range<usize>) -> Result<i64, Mistake> {
    digits.parse().map_err(|_| {
        let message = format!("{digits} is too large a number; write {} at most", i64::MAX);
        Mistake { at, message }
    })
}
