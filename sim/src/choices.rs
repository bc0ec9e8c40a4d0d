//! The choices of a run, each with a name: of the run as a whole, of every strike of a fault, of
//! every client and of each of its operations. All of them are written down. A run that follows a
//! script takes them from there.
//!
//! Each strike and operation draws from dice of its own, which follow from the seed and its name:
//! leaving one out changes nothing that another draws.

use crate::{
    dice::Dice,
    scenario::{Spread, limits},
    trace::Trace,
};
use highwater_script::{Decisions, Drawn, Value, decisions::kind_of};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// From which number on the strikes are named that a run draws behind the point at which it leaves its
/// script.
const FREE: u32 = 1_000;

/// Where the choices of a run are written down. Clones are the same.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seed: u64,
    trace: Trace,
    /// The script that the run follows.
    given: Option<Decisions>,
    /// From when on it chooses on its own.
    branch: Option<Branch>,
    written: Mutex<Written>,
}

/// The point from which on a run that follows a script makes other choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Simulated nanoseconds since the start of the run.
    pub nanos: u64,
    /// From which it draws then.
    pub seed: u64,
}

#[derive(Debug, Default)]
struct Written {
    taken: Decisions,
    misfit: Option<Misfit>,
}

/// A decision of a script that does not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// How many events the trace had when it showed.
    pub event: u64,
    /// Which one, and why.
    pub message: String,
}

#[derive(Clone, Debug)]
enum Place {
    Run,
    Strike(String),
    Client(String),
    Operation(String, u32),
    /// Nothing is written down.
    Aside,
}

/// What one strike, client or operation draws.
#[derive(Clone, Debug)]
pub struct Choices {
    journal: Journal,
    place: Place,
    dice: Dice,
    given: Drawn,
    is_free: bool,
    /// How often each name was drawn.
    counts: BTreeMap<&'static str, usize>,
}

impl Journal {
    /// Of a run that draws everything from its seed.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        Self::following(seed, None, None, trace)
    }

    /// Of a run that takes what these decisions say, up to a point in time if one is given.
    #[must_use]
    pub fn following(
        seed: u64,
        given: Option<Decisions>,
        branch: Option<Branch>,
        trace: Trace,
    ) -> Self {
        Self(Arc::new(Shared { seed, trace, given, branch, written: Mutex::default() }))
    }

    /// The choices of the run as a whole.
    #[must_use]
    pub fn run(&self) -> Choices {
        let given = self.0.given.as_ref().map(|given| given.run.clone());
        self.choices("run", Place::Run, given, false)
    }

    /// The choices of the end of the run, which are written down with those of the run.
    #[must_use]
    pub fn ending(&self) -> Choices {
        let given = self.0.given.as_ref().map(|given| given.run.clone());
        self.choices("ending", Place::Run, given, self.0.branch.is_some())
    }

    /// When the run leaves its script.
    #[must_use]
    pub fn branch(&self) -> Option<Branch> {
        self.0.branch
    }

    /// The names of the strikes of one kind of fault when it is to strike so often.
    #[must_use]
    pub fn strikes(&self, kind: &str, times: u32) -> Vec<String> {
        let fresh = |from: u32| (from..from + times).map(|number| format!("{kind}#{number}"));
        let Some(given) = &self.0.given else { return fresh(0).collect() };
        let of_kind = given.strikes.keys().filter(|name| kind_of(name) == kind);
        match self.0.branch {
            None => of_kind.cloned().collect(),
            Some(branch) => {
                let before = of_kind.filter(|name| is_before(&given.strikes[*name], branch));
                before.cloned().chain(fresh(FREE)).collect()
            }
        }
    }

    /// The choices of one strike. One that belongs behind the point at which the run branches off
    /// draws its own.
    #[must_use]
    pub fn strike(&self, name: &str) -> Choices {
        let given = self.0.given.as_ref().and_then(|given| given.strikes.get(name)).cloned();
        let is_free = self.0.branch.is_some() && given.is_none();
        self.choices(name, Place::Strike(name.to_owned()), given, is_free)
    }

    /// The choices of one strike of a fault that waits for something which has come so often before,
    /// unless the script leaves it out.
    #[must_use]
    pub fn triggered(&self, kind: &str, number: u32) -> Option<Choices> {
        let name = format!("{kind}#{number}");
        match (&self.0.given, self.branch_now()) {
            (Some(_), Some(_)) => Some(self.strike(&format!("{kind}#{}", FREE + number))),
            (Some(given), None) if !given.strikes.contains_key(&name) => None,
            _ => Some(self.strike(&name)),
        }
    }

    /// Takes back that there was such a strike.
    pub fn forget_strike(&self, name: &str) {
        self.written().taken.strikes.remove(name);
    }

    /// Whether one call of a client is cut, which is a strike of its own.
    #[must_use]
    pub fn cut(&self, name: &str, chance: f64) -> Option<Choices> {
        let of_seed = |seed| Dice::new(seed, &format!("whether {name}")).chance(chance);
        let is_cut = match (&self.0.given, self.branch_now()) {
            (_, Some(branch)) => of_seed(branch.seed),
            (Some(given), None) => given.strikes.contains_key(name),
            (None, None) => of_seed(self.0.seed),
        };
        is_cut.then(|| self.strike(name))
    }

    /// The choices of one client, unless the script leaves it out.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<Choices> {
        let given = match &self.0.given {
            Some(given) => Some(given.clients.get(name)?.drawn.clone()),
            None => None,
        };
        self.written().taken.clients.entry(name.to_owned()).or_default();
        Some(self.choices(name, Place::Client(name.to_owned()), given, false))
    }

    /// The number of the next operation of a client, and when it is to begin at the earliest, in
    /// simulated nanoseconds.
    #[must_use]
    pub fn next_operation(&self, client: &str, last: Option<u32>) -> Option<(u32, u64)> {
        let next = last.map_or(0, |last| last + 1);
        if self.branch_now().is_some() {
            return Some((next, 0));
        }
        let Some(given) = &self.0.given else { return Some((next, 0)) };
        let (number, drawn) = given.clients.get(client)?.operations.range(next..).next()?;
        Some((*number, u64::try_from(drawn.number("at").unwrap_or(0)).unwrap_or(0)))
    }

    /// The choices of one operation of a client that begins now, in simulated nanoseconds.
    #[must_use]
    pub fn operation(&self, client: &str, number: u32, now: u64) -> Choices {
        let given = self.0.given.as_ref().and_then(|given| given.clients.get(client));
        let given = given.and_then(|client| client.operations.get(&number)).cloned();
        let is_free = self.0.branch.is_some_and(|branch| now >= branch.nanos);
        let place = Place::Operation(client.to_owned(), number);
        let name = format!("{client} op {number}");
        let mut choices = self.choices(&name, place, given, is_free);
        choices.note("at", now);
        choices
    }

    /// Choices that are nobody's business.
    #[must_use]
    pub fn aside(&self, seed: u64, name: &str) -> Choices {
        let dice = Dice::new(seed, name);
        let (journal, counts) = (self.clone(), BTreeMap::new());
        let (place, given) = (Place::Aside, Drawn::default());
        Choices { journal, place, dice, given, is_free: true, counts }
    }

    /// Everything that was chosen so far.
    #[must_use]
    pub fn taken(&self) -> Decisions {
        self.written().taken.clone()
    }

    /// The first decision of the script that did not apply.
    #[must_use]
    pub fn misfit(&self) -> Option<Misfit> {
        self.written().misfit.clone()
    }

    /// Notes that a decision of the script does not apply.
    pub fn complain(&self, message: String) {
        let event = self.0.trace.count();
        self.written().misfit.get_or_insert(Misfit { event, message });
    }

    /// When the run leaves its script, in simulated milliseconds.
    #[must_use]
    pub fn branch_millis(&self) -> Option<u64> {
        self.0.branch.map(|branch| branch.nanos / 1_000_000)
    }

    /// Complains when the script has strikes of other kinds than these.
    pub fn expect_kinds(&self, kinds: &[String]) {
        let strikes = self.0.given.iter().flat_map(|given| given.strikes.keys());
        for name in strikes.filter(|name| kinds.iter().all(|kind| kind != kind_of(name))) {
            self.complain(format!("`{name}`: the run has no fault `{}`", kind_of(name)));
        }
    }

    /// Complains when the script has clients of which nobody asked for the choices.
    pub fn expect_no_other_clients(&self) {
        let Some(given) = &self.0.given else { return };
        let here = self.taken();
        for name in given.clients.keys().filter(|name| !here.clients.contains_key(*name)) {
            self.complain(format!("`{name}`: the run has no such client"));
        }
    }

    /// Complains when the script has strikes that never came, in a run that is over.
    pub fn expect_no_other_strikes(&self) {
        let Some(given) = self.0.given.as_ref().filter(|_| self.0.branch.is_none()) else { return };
        let taken = self.taken();
        if let Some(name) = given.strikes.keys().find(|name| !taken.strikes.contains_key(*name)) {
            self.complain(format!("`{name}`: what it waits for did not come"));
        }
    }

    fn choices(&self, name: &str, place: Place, given: Option<Drawn>, is_free: bool) -> Choices {
        let seed = match self.0.branch.filter(|_| is_free) {
            Some(branch) => branch.seed,
            None => self.0.seed,
        };
        let given = given.filter(|_| !is_free).unwrap_or_default();
        let (journal, counts) = (self.clone(), BTreeMap::new());
        let dice = Dice::new(seed, name);
        let choices = Choices { journal, place, dice, given, is_free, counts };
        choices.enter();
        choices
    }

    fn branch_now(&self) -> Option<Branch> {
        self.0.branch.filter(|branch| self.0.trace.last_nanos() >= branch.nanos)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_before(strike: &Drawn, branch: Branch) -> bool {
    strike.number("at").is_some_and(|millis| (millis as u64) < branch.nanos / 1_000_000)
}

impl Choices {
    /// The name of whose choices these are.
    #[must_use]
    pub fn owner(&self) -> String {
        match &self.place {
            Place::Run => "run".to_owned(),
            Place::Strike(name) | Place::Client(name) => name.clone(),
            Place::Operation(client, number) => format!("{client} op {number}"),
            Place::Aside => "aside".to_owned(),
        }
    }

    /// Whether they are drawn although the run follows a script.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.is_free
    }

    /// Dice for what has no name: it follows from the seed and the owner's name.
    #[must_use]
    pub fn fork(&mut self) -> Dice {
        Dice::new(self.dice.bits(), "fork")
    }

    /// Writes down what was not drawn.
    pub fn note(&mut self, name: &'static str, value: u64) {
        self.write(name, Value::Number(value as i64));
    }

    /// True with this probability, 0.0 to 1.0.
    pub fn chance(&mut self, name: &'static str, probability: f64) -> bool {
        let drawn = Value::Number(i64::from(self.dice.chance(probability)));
        self.number(name, drawn, |number| matches!(number, 0 | 1)) == 1
    }

    /// A number of the range, both ends included.
    pub fn between(&mut self, name: &'static str, range: RangeInclusive<u64>) -> u64 {
        let drawn = Value::Number(self.dice.between(range.clone()) as i64);
        let fits = |number: i64| u64::try_from(number).is_ok_and(|number| range.contains(&number));
        self.number(name, drawn, fits) as u64
    }

    /// A number of the bounds of the scenario, both ends included. A script may exceed them as far as
    /// the language of scenarios goes.
    pub fn within(&mut self, name: &'static str, bounds: &RangeInclusive<i64>) -> i64 {
        let drawn = Value::Number(self.dice.within(bounds));
        let fitting = match &self.place {
            Place::Run => limits::of_run(name, bounds),
            Place::Strike(_) => limits::of_strike(name, bounds),
            Place::Client(_) | Place::Operation(..) | Place::Aside => {
                limits::of_client(name, bounds)
            }
        };
        self.number(name, drawn, |number| fitting.contains(&number))
    }

    /// The position of one of so many things, of which there must be one.
    pub fn spread(&mut self, name: &'static str, spread: Spread, count: usize) -> usize {
        let drawn = Value::Number(spread.index(&mut self.dice, count) as i64);
        let fits = |number: i64| usize::try_from(number).is_ok_and(|at| at < count);
        self.number(name, drawn, fits) as usize
    }

    /// One of the choices, of which there must be one; its position is written down.
    pub fn pick<'a, T>(&mut self, name: &'static str, choices: &'a [T]) -> &'a T {
        let drawn = Value::Number(self.dice.index(choices.len()) as i64);
        let fits = |number: i64| usize::try_from(number).is_ok_and(|at| at < choices.len());
        &choices[self.number(name, drawn, fits) as usize]
    }

    /// One of the choices, of which there must be one; its name is written down.
    pub fn named<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> T {
        let drawn = choices[self.dice.index(choices.len())].0.to_owned();
        let known = |text: &str| choices.iter().find(|(name, _)| *name == text);
        let text = self.text(name, |_| drawn, |text| known(text).is_some());
        known(&text).expect("it was drawn from them, or found to be one").1
    }

    /// One of the choices, each as likely as its weight; its name is written down.
    pub fn weighted<T: Copy>(&mut self, name: &'static str, choices: &[(u32, &str, T)]) -> T {
        let all = choices.iter().flat_map(|(weight, name, choice)| {
            std::iter::repeat_n((*name, *choice), *weight as usize)
        });
        self.named(name, &all.collect::<Vec<_>>())
    }

    /// A text that is drawn as told, and taken from the script when it fits.
    pub fn text(
        &mut self,
        name: &'static str,
        draw: impl FnOnce(&mut Dice) -> String,
        fits: impl FnOnce(&str) -> bool,
    ) -> String {
        let drawn = draw(&mut self.dice);
        let given = match self.given(name) {
            Some(Value::Text(text)) if fits(&text) => Some(text),
            Some(other) => {
                self.complain(name, &other);
                None
            }
            None => None,
        };
        let text = given.unwrap_or(drawn);
        self.write(name, Value::Text(text.clone()));
        text
    }

    fn number(&mut self, name: &'static str, drawn: Value, fits: impl FnOnce(i64) -> bool) -> i64 {
        let given = match self.given(name) {
            Some(Value::Number(number)) if fits(number) => Some(number),
            Some(other) => {
                self.complain(name, &other);
                None
            }
            None => None,
        };
        let number = match (given, drawn) {
            (Some(number), _) | (None, Value::Number(number)) => number,
            (None, Value::Text(_)) => unreachable!("a number was drawn"),
        };
        self.write(name, Value::Number(number));
        number
    }

    fn given(&mut self, name: &'static str) -> Option<Value> {
        let count = self.counts.entry(name).or_default();
        *count += 1;
        self.given.get(name, *count - 1).cloned()
    }

    fn complain(&self, name: &str, value: &Value) {
        self.journal.complain(format!(
            "`{}`: its {name} is {value}, which is not possible here",
            self.owner()
        ));
    }

    /// A strike or an operation that draws nothing is one nevertheless.
    fn enter(&self) {
        self.with_drawn(|_| {});
    }

    fn write(&mut self, name: &str, value: Value) {
        self.with_drawn(|drawn| drawn.push(name, value));
    }

    fn with_drawn(&self, change: impl FnOnce(&mut Drawn)) {
        let mut written = self.journal.written();
        let taken = &mut written.taken;
        match &self.place {
            Place::Run => change(&mut taken.run),
            Place::Strike(name) => match taken.strikes.get_mut(name) {
                Some(drawn) => change(drawn),
                None => change(taken.strikes.entry(name.clone()).or_default()),
            },
            Place::Client(name) => match taken.clients.get_mut(name) {
                Some(client) => change(&mut client.drawn),
                None => change(&mut taken.clients.entry(name.clone()).or_default().drawn),
            },
            Place::Operation(client, number) => match taken.clients.get_mut(client) {
                Some(client) => change(client.operations.entry(*number).or_default()),
                None => {
                    let client = taken.clients.entry(client.clone()).or_default();
                    change(client.operations.entry(*number).or_default());
                }
            },
            Place::Aside => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(given: Option<Decisions>, branch: Option<Branch>) -> Journal {
        Journal::following(7, given, branch, Trace::new(false))
    }

    /// Two strikes and two operations of a client.
    fn play(journal: &Journal) -> Vec<u64> {
        let mut drawn = Vec::new();
        for name in journal.strikes("power-cut", 2) {
            let mut strike = journal.strike(&name);
            drawn.push(strike.between("at", 0..=1_000));
            drawn.push(*strike.pick("victim", &[10, 20, 30]));
        }
        let Some(_client) = journal.client("producer 2") else { return drawn };
        let mut last = None;
        while let Some((number, _)) = journal.next_operation("producer 2", last) {
            if number > 1 {
                break;
            }
            last = Some(number);
            let mut operation = journal.operation("producer 2", number, 5);
            drawn.push(operation.named("kind", &[("send", 1), ("repeat", 2)]));
            drawn.extend((0..3).map(|_| operation.between("records", 1..=8)));
        }
        drawn
    }

    #[test]
    fn a_script_of_everything_that_was_chosen_gives_the_same_again() {
        let first = journal(None, None);
        let drawn = play(&first);
        let second = journal(Some(first.taken()), None);
        assert_eq!(play(&second), drawn);
        assert_eq!((second.taken(), second.misfit()), (first.taken(), None));
    }

    #[test]
    fn what_is_left_out_changes_nothing_else() {
        let first = journal(None, None);
        let drawn = play(&first);
        let mut decisions = first.taken();
        decisions.strikes.remove("power-cut#0");
        decisions.clients.get_mut("producer 2").unwrap().operations.remove(&0);
        let second = journal(Some(decisions), None);
        assert_eq!(play(&second), [&drawn[2..4], &drawn[8..]].concat());
    }

    #[test]
    fn a_value_that_was_left_out_is_drawn_as_before() {
        let first = journal(None, None);
        let drawn = play(&first);
        let mut decisions = first.taken();
        decisions.strikes.get_mut("power-cut#1").unwrap().set("at", Vec::new());
        assert_eq!(play(&journal(Some(decisions), None)), drawn);
    }

    #[test]
    fn a_value_that_cannot_be_is_reported_and_drawn_anew() {
        let first = journal(None, None);
        let drawn = play(&first);
        let mut decisions = first.taken();
        let strike = decisions.strikes.get_mut("power-cut#1").unwrap();
        strike.set("victim", vec![Value::Number(3)]);
        let second = journal(Some(decisions), None);
        assert_eq!(play(&second), drawn);
        let message = second.misfit().unwrap().message;
        assert_eq!(message, "`power-cut#1`: its victim is 3, which is not possible here");
    }

    #[test]
    fn names_that_the_run_does_not_know_are_reported() {
        let mut decisions = Decisions::default();
        decisions.strikes.insert("flood#0".into(), Drawn::default());
        let second = journal(Some(decisions.clone()), None);
        second.expect_kinds(&["power-cut".into()]);
        assert!(second.misfit().unwrap().message.contains("no fault `flood`"));
        decisions.strikes.clear();
        decisions.clients.insert("producer 9".into(), highwater_script::Client::default());
        let third = journal(Some(decisions), None);
        third.expect_no_other_clients();
        assert!(third.misfit().unwrap().message.contains("producer 9"));
    }

    #[test]
    fn a_strike_that_waits_has_its_turn_whether_others_are_left_out_or_not() {
        let first = journal(None, None);
        (0..2).for_each(|number| drop(first.triggered("isolation 2", number)));
        let mut decisions = first.taken();
        decisions.strikes.remove("isolation 2#0");
        let second = journal(Some(decisions), None);
        assert!(second.triggered("isolation 2", 0).is_none());
        second.expect_no_other_strikes();
        let message = second.misfit().unwrap().message;
        assert_eq!(message, "`isolation 2#1`: what it waits for did not come");
        assert!(second.triggered("isolation 2", 1).is_some());
    }

    #[test]
    fn behind_the_branch_everything_is_drawn_from_another_seed() {
        let first = journal(None, None);
        let drawn = play(&first);
        let given = first.taken();
        let at_the_start = Branch { nanos: 0, seed: 8 };
        assert_ne!(play(&journal(Some(given.clone()), Some(at_the_start))), drawn);
        let never = Branch { nanos: u64::MAX, seed: 8 };
        let kept = play(&journal(Some(given), Some(never)));
        // Two more strikes behind the point, which whoever strikes takes back when they are not.
        assert_eq!([&kept[..4], &kept[8..]].concat(), drawn);
    }
}
