//! Faults and outages as times with a beginning and an end.

use super::event::{Event, Kind, Lane};

/// Something that was wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// Where.
    pub lane: Lane,
    /// What.
    pub sort: Sort,
    /// When it began, in nanoseconds.
    pub from: u64,
    /// When it ended.
    pub to: u64,
    /// In words.
    pub text: String,
}

/// What sort of thing was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The broker's process did not run.
    Down,
    /// The machine stood still.
    Paused,
    /// Its disk or its clocks were ill.
    Ill,
    /// Links were cut, or lost messages.
    Network,
}

impl Sort {
    /// The name in pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Paused => "paused",
            Self::Ill => "ill",
            Self::Network => "network",
        }
    }
}

/// Everything that was wrong, up to the end of the run.
#[must_use]
pub fn bands(events: &[Event]) -> Vec<Band> {
    let end = events.last().map_or(0, |event| event.at);
    let (mut open, mut done): (Vec<Band>, Vec<Band>) = (Vec::new(), Vec::new());
    for event in events.iter().filter(|event| matches!(event.kind, Kind::Fault | Kind::Life)) {
        let ended = open.extract_if(.., |band| ends(band, event));
        done.extend(ended.map(|band| Band { to: event.at, ..band }));
        if let Some(sort) = begins(event) {
            let (lane, text) = (event.lane, event.text.clone());
            open.push(Band { lane, sort, from: event.at, to: end, text });
        }
    }
    done.extend(open);
    done.sort_by_key(|band| band.from);
    done
}

fn begins(event: &Event) -> Option<Sort> {
    let text = event.text.as_str();
    match event.lane {
        _ if text.contains("healthy again") || event.kind != Kind::Fault => None,
        Lane::Network
            if text.contains("cut:") || text.contains("link") && !text.contains("work") =>
        {
            (!text.contains("healed")).then_some(Sort::Network)
        }
        Lane::Broker(_) if is_stop(text) => Some(Sort::Down),
        Lane::Broker(_) if text.contains("stands still") => Some(Sort::Paused),
        Lane::Broker(_) if text.contains("% of") || text.contains("nearly full") => Some(Sort::Ill),
        Lane::Broker(_) if text.contains("clock") && !text.contains("jumps by") => Some(Sort::Ill),
        _ => None,
    }
}

fn is_stop(text: &str) -> bool {
    text.contains("power is cut")
        || text.contains("process is killed")
        || text.contains("disk is lost")
}

fn ends(band: &Band, event: &Event) -> bool {
    if band.lane != event.lane {
        return false;
    }
    let text = event.text.as_str();
    match band.sort {
        Sort::Down => text == "is ready" || is_stop(text),
        Sort::Paused => text.contains("after the pause") || is_stop(text),
        Sort::Ill => {
            let of = if band.text.contains("clock") { "clock" } else { "disk" };
            text == format!("the {of} is healthy again")
        }
        Sort::Network => {
            let what = |text: &str| text.split(": ").nth(1).map(str::to_owned);
            let mended = text.contains("work again") && what(text) == what(&band.text);
            let of = |text: &str| text.split(": ").next().map(str::to_owned);
            let same = text.contains("healthy again") && of(text) == of(&band.text);
            mended || same || text.contains("healed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(at: u64, lane: Lane, text: &str) -> Event {
        Event::new(at, lane, Kind::Fault, text)
    }

    #[test]
    fn a_broker_is_down_until_it_is_ready_again() {
        let lane = Lane::Broker(2);
        let events = [
            fault(1, lane, "the power is cut; nothing"),
            Event::new(3, lane, Kind::Life, "starts"),
            Event::new(5, lane, Kind::Life, "is ready"),
            fault(9, Lane::Broker(1), "the process is killed"),
            fault(12, lane, "50 % of operations take up to 9 ms"),
        ];
        let found: Vec<_> = bands(&events).iter().map(|b| (b.sort, b.from, b.to)).collect();
        assert_eq!(found, [(Sort::Down, 1, 5), (Sort::Down, 9, 12), (Sort::Ill, 12, 12)]);
    }

    #[test]
    fn cuts_end_with_their_mending_and_everything_with_the_healing() {
        let events = [
            fault(1, Lane::Network, "links are cut: 1>2"),
            fault(2, Lane::Network, "links are cut: 2>3"),
            fault(3, Lane::Network, "every link: loses 20 %"),
            fault(4, Lane::Network, "links work again: 1>2"),
            fault(5, Lane::Network, "every link: healthy again"),
            fault(8, Lane::Network, "every link is healed"),
        ];
        let found: Vec<_> = bands(&events).iter().map(|b| (b.from, b.to)).collect();
        assert_eq!(found, [(1, 4), (2, 8), (3, 5)]);
    }
}
