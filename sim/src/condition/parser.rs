//! From text to checked expressions.

use super::{
    Change, Comparison, Expression, FUNCTIONS, Kind, Mistake, Node, PartitionName,
    functions::{Function, Meaning},
    lexer::{Token, split},
};
use crate::scenario::nearest;
use std::ops::Range;

/// What a scenario has in every seed, so that expressions may name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Topics with how many partitions they have, and the key that says so.
    pub topics: Vec<(String, i64, &'static str)>,
    /// Brokers: 1 to this.
    pub brokers: i64,
    /// The most brokers that a seed may have.
    pub brokers_at_most: i64,
    /// Groups.
    pub groups: Vec<String>,
}

/// Parses a condition.
pub fn parse_condition(text: &str, known: &Known) -> Result<Expression, Mistake> {
    let parsed = parse_whole(text, known)?;
    parsed.must_give(&[Kind::Truth], "a condition")?;
    Ok(Expression { text: text.to_owned(), node: parsed.node })
}

/// Parses an expression that names brokers.
pub fn parse_brokers(text: &str, known: &Known) -> Result<Expression, Mistake> {
    let parsed = parse_whole(text, known)?;
    parsed.must_give(&[Kind::Broker, Kind::Brokers], "a target")?;
    Ok(Expression { text: text.to_owned(), node: parsed.node })
}

/// Parses a change: `first leader_epoch change of t0/0`, `every controller change`.
pub fn parse_change(text: &str, known: &Known) -> Result<Change, Mistake> {
    let mut parser = Parser::new(text, known)?;
    let nth = parser.ordinal()?;
    let (name, at) = parser.word("what changes, such as `leader_epoch`")?;
    let function = function_named(&name, &at)?;
    parser.expect_word("change")?;
    let has_subject = parser.take_word("of");
    if function.takes.is_empty() == has_subject {
        let message = match has_subject {
            true => format!("`{name}` is of nothing; write `{name} change` and stop there"),
            false => format!("`{name} change` of what? write `{name} change of t0/0`"),
        };
        return Err(Mistake { at, message });
    }
    let parsed = if has_subject {
        let arguments = vec![parser.argument(function)?];
        parser.apply(function, at, arguments)?
    } else {
        parser.apply(function, at, Vec::new())?
    };
    parser.end()?;
    Ok(Change { text: text.to_owned(), nth, of: parsed.node })
}

/// Parses the name of a partition: `t0/0`.
pub fn parse_partition(text: &str, known: &Known) -> Result<PartitionName, Mistake> {
    let mut parser = Parser::new(text, known)?;
    let name = parser.partition()?;
    parser.end()?;
    Ok(name)
}

/// How deep brackets and `not`s may be in each other. Every level is one of the stack of whoever reads,
/// evaluates or drops the expression.
const DEEPEST: usize = 64;
/// The most words and signs of an expression: a chain of `and`s is as deep as it is long.
const LONGEST: usize = 1_000;

const ORDINALS: [&str; 10] =
    ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];

/// A part that was parsed.
pub(super) struct Parsed {
    pub(super) node: Node,
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
    /// The partition whose broker this is, for `log_end_offset(leader(t0/0))`.
    pub(super) of: Option<PartitionName>,
}

impl Parsed {
    pub(super) fn must_give(&self, kinds: &[Kind], what: &str) -> Result<(), Mistake> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let message =
            format!("{what} must be {}, and this is {}", wanted.join(" or "), self.kind.name());
        Err(Mistake { at: self.at.clone(), message })
    }
}

pub(super) enum Argument {
    Partition(PartitionName),
    Group(String),
    Value(Parsed),
}

pub(super) struct Parser<'a> {
    tokens: Vec<(Token, Range<usize>)>,
    next: usize,
    known: &'a Known,
    /// The partitions that the expression names.
    pub(super) named: Vec<PartitionName>,
    /// How many brackets and `not`s are open.
    depth: usize,
}

fn parse_whole(text: &str, known: &Known) -> Result<Parsed, Mistake> {
    let mut parser = Parser::new(text, known)?;
    if parser.tokens.len() == 1 {
        return Err(Mistake { at: 0..0, message: "there is nothing in it".into() });
    }
    let parsed = parser.either()?;
    parser.end()?;
    Ok(parsed)
}

impl<'a> Parser<'a> {
    fn new(text: &str, known: &'a Known) -> Result<Self, Mistake> {
        let tokens = split(text)?;
        if let Some((_, at)) = tokens.get(LONGEST).filter(|_| tokens.len() > LONGEST + 1) {
            let message = format!(
                "too long: an expression has {LONGEST} words and signs at most; say less, or \
                 spread it over several faults"
            );
            return Err(Mistake { at: at.clone(), message });
        }
        let mut parser = Self { tokens, next: 0, known, named: Vec::new(), depth: 0 };
        // A `leader` without brackets may stand before the partition that it is of.
        for (at, (token, _)) in parser.tokens.iter().enumerate() {
            if let (
                Token::Word(topic),
                Some((Token::Sign("/"), _)),
                Some((Token::Number(index), _)),
            ) = (token, parser.tokens.get(at + 1), parser.tokens.get(at + 2))
            {
                let index = u32::try_from(*index).unwrap_or(u32::MAX);
                let name = PartitionName { topic: topic.clone(), index };
                if !parser.named.contains(&name) {
                    parser.named.push(name);
                }
            }
        }
        Ok(parser)
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn take(&mut self) -> (Token, Range<usize>) {
        let token = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Token::Sign(found) if *found == sign);
        if is_there {
            self.take();
        }
        is_there
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_there = matches!(self.peek(), Token::Word(found) if found == word);
        if is_there {
            self.take();
        }
        is_there
    }

    fn word(&mut self, what: &str) -> Result<(String, Range<usize>), Mistake> {
        match self.take() {
            (Token::Word(word), at) => Ok((word, at)),
            (other, at) => Err(expected(what, &other, at)),
        }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Mistake> {
        if self.take_word(word) {
            return Ok(());
        }
        let (other, at) = self.take();
        Err(expected(&format!("`{word}`"), &other, at))
    }

    fn expect_sign(&mut self, sign: &str) -> Result<Range<usize>, Mistake> {
        match self.take() {
            (Token::Sign(found), at) if found == sign => Ok(at),
            (other, at) => Err(expected(&format!("`{sign}`"), &other, at)),
        }
    }

    fn end(&mut self) -> Result<(), Mistake> {
        match self.take() {
            (Token::End, _) => Ok(()),
            (other, at) => {
                let message = format!(
                    "{} is too much; join conditions with `and` or `or`",
                    other.described()
                );
                Err(Mistake { at, message })
            }
        }
    }

    /// `first`, `3rd`, `every`.
    fn ordinal(&mut self) -> Result<Option<u64>, Mistake> {
        let (token, at) = self.take();
        if let Token::Number(number) = token {
            let (suffix, _) = self.word("`th`, as in `12th`")?;
            if number >= 1 && ["st", "nd", "rd", "th"].contains(&suffix.as_str()) {
                return Ok(Some(number as u64));
            }
        } else if let Token::Word(word) = &token {
            if ["every", "each"].contains(&word.as_str()) {
                return Ok(None);
            }
            if let Some(position) = ORDINALS.iter().position(|known| known == word) {
                return Ok(Some(position as u64 + 1));
            }
        }
        let message = format!(
            "which change? begin with `every`, {}, or `12th`",
            ORDINALS[..3].iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        );
        Err(Mistake { at, message })
    }

    fn either(&mut self) -> Result<Parsed, Mistake> {
        let mut left = self.both()?;
        while self.take_word("or") {
            let right = self.both()?;
            left = join(left, right, "`or`", Node::Or)?;
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Parsed, Mistake> {
        let mut left = self.negation()?;
        while self.take_word("and") {
            let right = self.negation()?;
            left = join(left, right, "`and`", Node::And)?;
        }
        Ok(left)
    }

    /// One level deeper, as long as that is not too deep.
    fn inside<T>(
        &mut self,
        at: &Range<usize>,
        parse: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if self.depth == DEEPEST {
            let message = format!(
                "brackets and `not`s are in each other {DEEPEST} deep at most; leave out those \
                 that change nothing"
            );
            return Err(Mistake { at: at.clone(), message });
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn negation(&mut self) -> Result<Parsed, Mistake> {
        let not_at = self.tokens[self.next].1.clone();
        if !self.take_word("not") {
            return self.comparison();
        }
        let of = self.inside(&not_at, Self::negation)?;
        of.must_give(&[Kind::Truth], "what follows `not`")?;
        let at = not_at.start..of.at.end;
        Ok(Parsed { node: Node::Not(Box::new(of.node)), kind: Kind::Truth, at, of: None })
    }

    fn comparison(&mut self) -> Result<Parsed, Mistake> {
        let left = self.sum()?;
        if self.take_word("in") {
            let right = self.sum()?;
            left.must_give(&[Kind::Broker, Kind::Brokers], "what stands before `in`")?;
            right.must_give(&[Kind::Broker, Kind::Brokers], "what follows `in`")?;
            let at = left.at.start..right.at.end;
            let node = Node::In(Box::new(left.node), Box::new(right.node));
            return Ok(Parsed { node, kind: Kind::Truth, at, of: None });
        }
        let how = match self.peek() {
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign("==") => Comparison::Equal,
            Token::Sign("!=") => Comparison::NotEqual,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            Token::Sign(">") => Comparison::Greater,
            _ => return Ok(left),
        };
        let (_, sign_at) = self.take();
        let right = self.sum()?;
        let are_brokers = is_brokers(left.kind) && is_brokers(right.kind);
        let is_equality = matches!(how, Comparison::Equal | Comparison::NotEqual);
        let fits = left.kind == right.kind && left.kind == Kind::Number
            || is_equality && (are_brokers || left.kind == right.kind);
        if !fits {
            let (one, other) = (left.kind.name(), right.kind.name());
            let message = match are_brokers {
                true => "brokers have no order; compare them with `==`, `!=` or `in`".to_owned(),
                false => format!("{one} and {other} cannot be compared like this"),
            };
            return Err(Mistake { at: sign_at, message });
        }
        let at = left.at.start..right.at.end;
        let node = Node::Compare(how, Box::new(left.node), Box::new(right.node));
        Ok(Parsed { node, kind: Kind::Truth, at, of: None })
    }

    fn sum(&mut self) -> Result<Parsed, Mistake> {
        let mut left = self.primary()?;
        loop {
            let is_plus = matches!(self.peek(), Token::Sign("+"));
            if !is_plus && !matches!(self.peek(), Token::Sign("-")) {
                return Ok(left);
            }
            let (_, sign_at) = self.take();
            let right = self.primary()?;
            let kind = match (left.kind, right.kind) {
                (Kind::Number, Kind::Number) => Kind::Number,
                (one, other) if is_brokers(one) && is_brokers(other) => Kind::Brokers,
                (one, other) => {
                    let (one, other) = (one.name(), other.name());
                    let message = format!("{one} and {other} do not add up");
                    return Err(Mistake { at: sign_at, message });
                }
            };
            let at = left.at.start..right.at.end;
            let (one, other) = (Box::new(left.node), Box::new(right.node));
            let node = if is_plus { Node::Plus(one, other) } else { Node::Minus(one, other) };
            left = Parsed { node, kind, at, of: None };
        }
    }

    fn primary(&mut self) -> Result<Parsed, Mistake> {
        match self.take() {
            (Token::Number(number), at) => {
                Ok(Parsed { node: Node::Number(number), kind: Kind::Number, at, of: None })
            }
            (Token::Sign("("), at) => {
                let inner = self.inside(&at, Self::either)?;
                self.expect_sign(")")?;
                Ok(inner)
            }
            (Token::Word(word), at) if word == "broker" => self.broker(at),
            (Token::Word(word), at) => self.function(&word, at),
            (other, at) => Err(expected("a name or a number", &other, at)),
        }
    }

    /// A word that is none of the language's own, with its arguments.
    fn function(&mut self, word: &str, at: Range<usize>) -> Result<Parsed, Mistake> {
        if matches!(self.peek(), Token::Sign("/")) {
            let message =
                format!("a partition alone is no value; write for example `leader({word}/0)`");
            return Err(Mistake { at, message });
        }
        if self.known.topics.iter().any(|(topic, ..)| topic == word) {
            let message = format!(
                "`{word}` is a topic, and it is asked for a partition; did you mean `{word}/0`?"
            );
            return Err(Mistake { at, message });
        }
        let function = function_named(word, &at)?;
        let (mut arguments, mut end) = (Vec::new(), at.end);
        if self.take_sign("(") {
            while !self.take_sign(")") {
                if !arguments.is_empty() {
                    self.expect_sign(",")?;
                }
                arguments.push(self.inside(&at, |parser| parser.argument(function))?);
                end = self.tokens[self.next].1.end;
            }
        }
        self.apply(function, at.start..end, arguments)
    }

    fn broker(&mut self, at: Range<usize>) -> Result<Parsed, Mistake> {
        let (token, number_at) = self.take();
        let Token::Number(number) = token else {
            return Err(expected("the broker's number, as in `broker 2`", &token, number_at));
        };
        let most = self.known.brokers;
        if number < 1 || number > most {
            let message = format!(
                "there is no broker {number} in every seed: cluster.brokers is {most} at least, so \
                 name one of 1 to {most}, or raise it"
            );
            return Err(Mistake { at: number_at, message });
        }
        let at = at.start..number_at.end;
        Ok(Parsed { node: Node::Broker(number as i32), kind: Kind::Broker, at, of: None })
    }

    fn argument(&mut self, function: &Function) -> Result<Argument, Mistake> {
        if matches!(function.meaning, Meaning::Coordinator | Meaning::Generation) {
            return self.group().map(Argument::Group);
        }
        let is_partition = matches!(
            (self.peek(), &self.tokens.get(self.next + 1)),
            (Token::Word(_), Some((Token::Sign("/"), _)))
        );
        if is_partition {
            return self.partition().map(Argument::Partition);
        }
        self.sum().map(Argument::Value)
    }

    fn group(&mut self) -> Result<String, Mistake> {
        let (mut name, mut at) = self.word("a group, such as `g0`")?;
        if name == "group" {
            (name, at) = self.word("the group's name, such as `g0`")?;
        }
        if self.known.groups.contains(&name) {
            return Ok(name);
        }
        let known: Vec<&str> = self.known.groups.iter().map(String::as_str).collect();
        let remedy = match nearest(&name, &known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if known.is_empty() => "set workload.groups to 1 at least".to_owned(),
            None => format!("there are {}", known.join(", ")),
        };
        let message = format!("there is no group `{name}` in every seed; {remedy}");
        Err(Mistake { at, message })
    }

    fn partition(&mut self) -> Result<PartitionName, Mistake> {
        let (topic, at) = self.word("a topic")?;
        self.expect_sign("/")?;
        let (token, index_at) = self.take();
        let Token::Number(index) = token else {
            return Err(expected("the partition's number", &token, index_at));
        };
        let found = self.known.topics.iter().find(|(name, ..)| *name == topic);
        let Some((_, partitions, key)) = found else {
            let names: Vec<&str> = self.known.topics.iter().map(|(name, ..)| &**name).collect();
            let remedy = match nearest(&topic, &names) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None if names.is_empty() => "set workload.topics to 1 at least".to_owned(),
                None => format!("there are {}", names.join(", ")),
            };
            let message = format!(
                "there is no topic `{topic}` in every seed (workload.topics and \
                 workload.compacted_topics say how many there are); {remedy}"
            );
            return Err(Mistake { at, message });
        };
        if index >= *partitions {
            let message = format!(
                "there is no partition {index} of `{topic}` in every seed: {key} is {partitions} at \
                 least, so name one of 0 to {}, or raise it",
                partitions - 1
            );
            return Err(Mistake { at: index_at, message });
        }
        Ok(PartitionName { topic, index: index as u32 })
    }
}

fn is_brokers(kind: Kind) -> bool {
    matches!(kind, Kind::Broker | Kind::Brokers)
}

fn join(
    left: Parsed,
    right: Parsed,
    word: &str,
    node: fn(Box<Node>, Box<Node>) -> Node,
) -> Result<Parsed, Mistake> {
    left.must_give(&[Kind::Truth], &format!("what stands before {word}"))?;
    right.must_give(&[Kind::Truth], &format!("what follows {word}"))?;
    let at = left.at.start..right.at.end;
    let node = node(Box::new(left.node), Box::new(right.node));
    Ok(Parsed { node, kind: Kind::Truth, at, of: None })
}

fn function_named(name: &str, at: &Range<usize>) -> Result<&'static Function, Mistake> {
    let found = FUNCTIONS.iter().find(|function| function.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
        let remedy = match nearest(name, &names) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "scenarios/README.md lists the words of expressions".to_owned(),
        };
        let message = format!("`{name}` is unknown; {remedy}");
        Mistake { at: at.clone(), message }
    })
}

fn expected(what: &str, found: &Token, at: Range<usize>) -> Mistake {
    Mistake { at, message: format!("expected {what}, found {}", found.described()) }
}
