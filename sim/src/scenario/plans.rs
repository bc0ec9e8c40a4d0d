//! What the table of a fault becomes, and what is refused of it by itself.

use super::{
    Bounds,
    faults::{CLIENTS, FAULT, FaultKind, FaultPlan, KINDS, MOMENTS, Strike, Target, Trigger},
    keys::{Keys, unknown_word},
    source::Mistake,
};
use crate::{
    condition::{Known, parse_brokers, parse_change, parse_condition, parse_partition},
    disk::CutStyle,
    network::{Message, MessageKind},
    trace::Effect,
};
use std::ops::Range;
use toml::de::DeTable;

/// The most milliseconds of a delay. Brokers must start, and answer, within ten seconds when everything
/// is healed, and what was late before may come after that.
const LONGEST_DELAY: i64 = 5_000;

/// The faults of a scenario, in the order of [`FaultKind::ALL`], each with its table.
pub(super) fn plans<'a>(
    (table, at): (DeTable<'a>, Range<usize>),
    (known, text): (&Known, &'a str),
) -> Result<Vec<(FaultPlan, Keys<'a>)>, Mistake> {
    let mut keys = Keys::new(("faults", at), table, KINDS, |_| true, text)?;
    let mut plans = Vec::new();
    for kind in FaultKind::ALL.iter().copied() {
        for (number, table) in keys.tables(kind.name())?.into_iter().enumerate() {
            let at = table.span();
            let path = format!("faults.{}", kind.name());
            let allowed = |key: &str| kind.allows(key);
            let keys = Keys::new((&path, at), table.into_inner(), FAULT, allowed, text)?;
            plans.push((plan((kind, number), &keys, known)?, keys));
        }
    }
    Ok(plans)
}

fn plan(
    (kind, number): (FaultKind, usize),
    keys: &Keys<'_>,
    known: &Known,
) -> Result<FaultPlan, Mistake> {
    let trigger = trigger(keys, known)?;
    let (on, target) = target(kind, keys, known)?;
    let condition = |key: &str| keys.expression(key, |text| parse_condition(text, known));
    let brokers = |key: &str| keys.expression(key, |text| parse_brokers(text, known));
    let style = |key: &str| {
        let styles = [CutStyle::LoseAll, CutStyle::Prefix, CutStyle::Scatter, CutStyle::KeepAll];
        Ok(keys.one(key)?.map(|at| styles[at]))
    };
    let message = message(keys)?;
    let command = keys.one("command")?.map(|at| Message::COMMANDS[at]);
    // A reply knows the command of the proposal that it answers.
    let is_proposal = message.is_some_and(|kind| kind.message == Message::Propose);
    if command.is_some() && !is_proposal {
        return Err(keys.wrong("command", "only a proposal has one; set `message = \"propose\"`"));
    }
    let until = condition("until")?;
    let pause = match keys.optional_bounds("pause")? {
        None if until.is_none() => Some(keys.bounds("pause")?),
        given => given,
    };
    let plan = FaultPlan {
        kind,
        number,
        times: times(keys, &trigger)?,
        ends_in_time: false,
        delay: delay(keys, &trigger)?,
        trigger,
        on,
        contents: style("contents")?,
        entries: style("entries")?,
        clean: keys.fraction("clean")?,
        pause,
        until,
        chance: chance(keys)?,
        millis: millis(kind, keys)?,
        spare: keys.bounds("spare")?,
        files: files(keys)?,
        pace: pace(keys)?,
        target,
        nodes: keys.bounds("nodes")?,
        client: keys.one("client")?.map(|at| CLIENTS[at]).filter(|kind| *kind != "any"),
        direction: keys.one("direction")?.map(|at| FaultPlan::DIRECTIONS[at].1),
        from: brokers("from")?,
        to: brokers("to")?,
        message,
        command,
        partition: keys.expression("partition", |text| parse_partition(text, known))?,
        nth: keys.bounds("nth")?,
        count: keys.bounds("count")?,
        patience: keys.bounds("patience")?,
        effects: effects(kind, keys)?,
    };
    let lasts = kind.keys().contains(&"pause") && !keys.has("pause") && !keys.has("until");
    if lasts && !matches!(plan.trigger, Trigger::Drawn) {
        let trigger = ["at", "when", "after"].into_iter().find(|key| keys.has(key));
        let message = "strikes at a moment that you chose, so say how long it lasts: `pause = 300` \
                       (milliseconds) or `until = \"...\"`";
        return Err(keys.wrong(trigger.unwrap_or("pause"), message));
    }
    Ok(plan)
}

fn trigger(keys: &Keys<'_>, known: &Known) -> Result<Trigger, Mistake> {
    let why = "a fault strikes at one moment";
    keys.not_both("when", "at", why)?;
    keys.not_both("after", "at", why)?;
    keys.not_both("after", "when", why)?;
    if let Some(at) = keys.optional_bounds("at")? {
        return Ok(Trigger::At(at));
    }
    if let Some(when) = keys.expression("when", |text| parse_condition(text, known))? {
        return Ok(Trigger::When(when));
    }
    let after = keys.expression("after", |text| parse_change(text, known))?;
    Ok(after.map_or(Trigger::Drawn, Trigger::After))
}

fn times(keys: &Keys<'_>, trigger: &Trigger) -> Result<Bounds, Mistake> {
    let is_once = match trigger {
        Trigger::Drawn | Trigger::When(_) => false,
        Trigger::At(_) => true,
        Trigger::After(change) => change.nth.is_some(),
    };
    match keys.optional_bounds("times")? {
        Some(times) if *times.end() == 0 => {
            let message = "with 0 it never strikes; leave the fault out, or write `times = [0, 1]`";
            Err(keys.wrong("times", message))
        }
        Some(times) if is_once && times != (1..=1) => {
            let message = "contradicts `at` or the one change in `after`, which come once; leave \
                           `times` out, or write `after = \"every ... change\"`";
            Err(keys.wrong("times", message))
        }
        Some(times) => Ok(times),
        None if *trigger == Trigger::Drawn => keys.bounds("times"),
        None => Ok(1..=1),
    }
}

fn delay(keys: &Keys<'_>, trigger: &Trigger) -> Result<Bounds, Mistake> {
    if keys.has("delay") && matches!(trigger, Trigger::Drawn | Trigger::At(_)) {
        return Err(keys.wrong("delay", "delays nothing without `when` or `after`; add one"));
    }
    keys.bounds("delay")
}

fn target(
    kind: FaultKind,
    keys: &Keys<'_>,
    known: &Known,
) -> Result<(Option<Strike>, Target), Mistake> {
    let strikes = [Strike::AnyTime, Strike::Rename, Strike::Recovery, Strike::DiskOperation];
    let stops = matches!(kind, FaultKind::PowerCut | FaultKind::ProcessKill);
    let on = keys.text("on")?;
    let moment = on.as_ref().and_then(|(on, _)| MOMENTS.iter().position(|moment| moment == on));
    if let Some(at) = moment {
        if !stops {
            let message = "only power cuts and kills wait for the disk; name a target";
            return Err(keys.wrong("on", message));
        }
        return Ok((Some(strikes[at]), named_target("target", keys, known)?));
    }
    keys.not_both("on", "target", "both name whom it strikes")?;
    for key in ["from", "to"] {
        keys.not_both("target", key, "both name an end of the link")?;
        keys.not_both("on", key, "both name an end of the link")?;
    }
    if on.is_some() {
        return Ok((None, named_target("on", keys, known)?));
    }
    Ok((None, named_target("target", keys, known)?))
}

fn named_target(key: &str, keys: &Keys<'_>, known: &Known) -> Result<Target, Mistake> {
    let Some((word, _)) = keys.text(key)? else { return Ok(Target::Any) };
    let target = match word.as_str() {
        "any" => Target::Any,
        "leader" => Target::Leader,
        "controller" => Target::Controller,
        "coordinator" => Target::Coordinator,
        "all" => Target::All,
        _ => {
            let named = keys.expression(key, |text| parse_brokers(text, known))?;
            named.map_or(Target::Any, Target::Named)
        }
    };
    if known.brokers_at_most == 1 && target != Target::Any {
        let message = "there is one broker and no choice; set cluster.brokers to 2 at least, or \
                       leave it out";
        return Err(keys.wrong(key, message));
    }
    if target == Target::All && keys.has("nodes") {
        return Err(keys.wrong("nodes", "contradicts the target `all`; leave one of them out"));
    }
    Ok(target)
}

fn message(keys: &Keys<'_>) -> Result<Option<MessageKind>, Mistake> {
    let Some((text, at)) = keys.text("message")? else { return Ok(None) };
    MessageKind::named(&text).map(Some).ok_or_else(|| {
        let names = Message::NAMES
            .iter()
            .flat_map(|(name, _)| [(*name).to_owned(), format!("{name} reply")]);
        let names: Vec<String> = names.collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        unknown_word(&keys.named("message"), (&text, &at), &names)
    })
}

fn chance(keys: &Keys<'_>) -> Result<f64, Mistake> {
    let chance = keys.fraction("chance")?;
    if chance == 0.0 {
        return Err(keys.wrong("chance", "with 0.0 nothing happens; leave the fault out"));
    }
    Ok(chance)
}

fn millis(kind: FaultKind, keys: &Keys<'_>) -> Result<Bounds, Mistake> {
    let millis = keys.bounds("millis")?;
    let is_of_clocks = matches!(kind, FaultKind::ClockStep | FaultKind::ClockStrobe);
    if *millis.start() < 0 && !is_of_clocks {
        return Err(keys.wrong("millis", "only a clock goes back; it must be 0 at least"));
    }
    if *millis.end() > LONGEST_DELAY && !is_of_clocks {
        let message = format!(
            "only a clock goes so far; what is late for longer than {LONGEST_DELAY} ms keeps a \
             healed cluster from what is checked of it, so write {LONGEST_DELAY} at most"
        );
        return Err(keys.wrong("millis", message));
    }
    if millis == (0..=0) && (is_of_clocks || kind == FaultKind::DelayedMessage) {
        return Err(keys.wrong("millis", "with 0 nothing happens; leave the fault out"));
    }
    Ok(millis)
}

fn pace(keys: &Keys<'_>) -> Result<Bounds, Mistake> {
    let pace = keys.bounds("pace")?;
    if pace == (100..=100) {
        let message = "100 is the pace of every clock; write another, such as `pace = [50, 200]`";
        return Err(keys.wrong("pace", message));
    }
    Ok(pace)
}

fn files(keys: &Keys<'_>) -> Result<Option<String>, Mistake> {
    let files = keys.text("files")?.map(|(files, _)| files);
    if files.as_ref().is_some_and(String::is_empty) {
        let message = "every path contains nothing; write for example `files = \".log\"`, or leave \
                       it out";
        return Err(keys.wrong("files", message));
    }
    Ok(files)
}

fn effects(kind: FaultKind, keys: &Keys<'_>) -> Result<Vec<Effect>, Mistake> {
    let mut effects = kind.effects().to_vec();
    for (name, _) in keys.some("effects")?.unwrap_or_default() {
        effects.extend(Effect::ALL.iter().find(|effect| effect.name() == name));
    }
    Ok(effects)
}
