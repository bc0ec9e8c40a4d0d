//! Operations of disks as events.

use super::{
    event::{About, Event, Kind, Lane, Role, Slot},
    message,
};
use std::path::Path;

/// How many lines of what a power cut took are told.
const LINES_TOLD: usize = 6;

/// Bytes were written, or could not be.
#[must_use]
pub fn write(
    lane: Lane,
    (since, at): (u64, u64),
    path: &Path,
    bytes: &[u8],
    failed: bool,
) -> Event {
    let how = if failed { "write fails" } else { "writes" };
    let Some(slot) = slot_of(path).filter(|_| is_log(path)) else {
        let text = format!("{how} {}, {} bytes", short(path), bytes.len());
        return Event::new(at, lane, Kind::Disk, text).since(since);
    };
    let about = message::records(slot, bytes);
    let kind = if failed { Kind::Disk } else { Kind::Write };
    Event::new(at, lane, kind, how).about(about).since(since)
}

/// A file was synced, or could not be for this reason.
#[must_use]
pub fn sync(lane: Lane, (since, at): (u64, u64), path: &Path, failed: Option<&str>) -> Event {
    let what = failed.map_or("fsync".into(), |why| format!("fsync {why}"));
    let Some(slot) = slot_of(path).filter(|_| is_log(path)) else {
        let text = format!("{what}, {}", short(path));
        return Event::new(at, lane, Kind::Disk, text).since(since);
    };
    let kind = if failed.is_some() { Kind::Lost } else { Kind::Sync };
    let about = About::new(slot, Role::Flushed, 0, 0);
    Event::new(at, lane, kind, what).about([about]).since(since)
}

/// Another operation on a file.
#[must_use]
pub fn other(lane: Lane, at: u64, path: &Path, what: &str) -> Event {
    let cuts = slot_of(path).filter(|_| is_log(path));
    let about = cuts.map(|slot| About::new(slot, Role::Cuts, 0, 0));
    Event::new(at, lane, Kind::Disk, format!("{what}, {}", short(path))).about(about)
}

/// A machine lost its power, with these lines of what became of unsynced changes.
#[must_use]
pub fn power_cut(lines: &[String]) -> String {
    // Contents of files; entries of directories have lines of another form.
    let told = |line: &&String| line.contains(", lost ") && line.contains("kept ");
    let all: Vec<String> = lines.iter().filter(told).map(|line| shorten(line)).collect();
    if all.is_empty() {
        return "the power is cut; nothing that was written was unsynced".into();
    }
    let more = match all.len().saturating_sub(LINES_TOLD) {
        0 => String::new(),
        more => format!("; and {more} more files"),
    };
    let some: Vec<&str> = all.iter().take(LINES_TOLD).map(String::as_str).collect();
    format!("the power is cut; of what was not synced: {}{more}", some.join("; "))
}

/// A line with the shorter name of its file.
fn shorten(line: &str) -> String {
    match line.split_once(": ") {
        Some((path, rest)) => format!("{}: {rest}", short(Path::new(path))),
        None => line.to_owned(),
    }
}

/// `<topics>/<name>/<index>.<topic id>/<file>`
fn slot_of(path: &Path) -> Option<Slot> {
    let dir = path.parent()?.file_name()?.to_str()?;
    let (index, id) = dir.split_once('.')?;
    if id.len() != 32 {
        return None;
    }
    let mut topic = [0; 16];
    for (at, byte) in topic.iter_mut().enumerate() {
        *byte = u8::from_str_radix(id.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(Slot { topic, index: index.parse().ok()? })
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// The partition and the file without zeros, or the last two names of another path.
fn short(path: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let file = name(path).unwrap_or_default();
    let dir = path.parent().and_then(name).unwrap_or_default();
    let trimmed = file.trim_start_matches('0');
    let file = if trimmed.starts_with('.') { format!("0{trimmed}") } else { trimmed.to_owned() };
    match (slot_of(path), path.parent().and_then(Path::parent).and_then(name)) {
        (Some(slot), Some(topic)) => format!("{topic}-{} {file}", slot.index),
        _ => format!("{dir}/{file}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "/data/topics/t0/1.2211e1dfd38341158fdeb2fc085bd2a4/00000000000000000174.log";

    #[test]
    fn a_file_of_a_log_is_named_by_its_partition() {
        assert_eq!(short(Path::new(LOG)), "t0-1 174.log");
        assert_eq!(short(Path::new("/data/quorum.log")), "data/quorum.log");
        let first = LOG.replace("174.log", "000.log");
        assert_eq!(short(Path::new(&first)), "t0-1 0.log");
    }

    #[test]
    fn a_sync_of_a_log_is_about_its_partition_and_another_is_not() {
        let of_log = sync(Lane::Broker(1), (1, 2), Path::new(LOG), None);
        assert_eq!((of_log.kind, of_log.about[0].slot.index), (Kind::Sync, 1));
        let other = sync(Lane::Broker(1), (1, 2), Path::new("/data/quorum.log"), None);
        assert_eq!((other.kind, other.about.len()), (Kind::Disk, 0));
    }

    #[test]
    fn a_power_cut_tells_what_it_took() {
        let lines = [format!("{LOG}: LoseAll: kept 0, lost 2, torn 0, 80 bytes gone")];
        assert!(power_cut(&lines).contains("t0-1 174.log: LoseAll: kept 0, lost 2"));
        let entry = "entries lost Unlink { dir: 60, name: \"0.log\" }".to_owned();
        assert!(power_cut(&[entry]).contains("nothing"));
    }
}
