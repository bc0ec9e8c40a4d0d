//! The newest offset of each key, in bounded memory.
//!
//! Keys are kept as 128-bit SipHash under a key of this process: nobody can find two keys that share
//! one, and by chance none of the keys that fit into a machine do.

use highwater_core::types::Offset;
use siphasher::sip128::SipHasher24;

/// Bytes of an entry: the two halves of the hash, and the offset plus one, 0 in a free slot.
const ENTRY_BYTES: u64 = 24;
/// Of ten slots, how many are used at most.
const USED_OF_TEN: u64 = 8;
/// Where a map begins to grow.
const LEAST_SLOTS: usize = 1024;

/// An open-addressing table from hashes to offsets.
pub(super) struct OffsetMap {
    hasher: SipHasher24,
    slots: Vec<[u64; 3]>,
    used: u64,
    /// Keys that may be in it before it counts as full.
    capacity: u64,
}

impl OffsetMap {
    /// An empty map of at most about `bytes`.
    pub(super) fn new(bytes: u64, hash_key: &[u8; 16]) -> Self {
        let capacity = (bytes / ENTRY_BYTES * USED_OF_TEN / 10).max(1);
        let hasher = SipHasher24::new_with_key(hash_key);
        Self { hasher, slots: vec![[0; 3]; LEAST_SLOTS], used: 0, capacity }
    }

    /// Whether that many more keys have room. An empty map takes any number: a batch must never be
    /// too large to be compacted.
    pub(super) fn has_room_for(&self, keys: u64) -> bool {
        self.used == 0 || self.used + keys <= self.capacity
    }

    /// Notes a record; the newest one of a key stays.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) {
        if self.used * 10 >= self.slots.len() as u64 * USED_OF_TEN {
            self.grow();
        }
        let hash = self.hash(key);
        let at = self.find(hash);
        let slot = &mut self.slots[at];
        self.used += u64::from(slot[2] == 0);
        *slot = [hash[0], hash[1], slot[2].max(offset.0 + 1)];
    }

    /// The newest offset of the key, if it was noted.
    pub(super) fn get(&self, key: &[u8]) -> Option<Offset> {
        self.slots[self.find(self.hash(key))][2].checked_sub(1).map(Offset)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let hash = self.hasher.hash(key);
        [hash.h1, hash.h2]
    }

    /// The slot of that hash, or the free one where it belongs.
    fn find(&self, hash: [u64; 2]) -> usize {
        let slots = self.slots.len();
        let mut at = (hash[0] % slots as u64) as usize;
        while self.slots[at][2] != 0 && self.slots[at][..2] != hash {
            at = (at + 1) % slots;
        }
        at
    }

    /// Twice the slots, but not more than a full map needs while it is not overfull.
    fn grow(&mut self) {
        let doubled = self.slots.len() * 2;
        let enough = usize::try_from(self.capacity * 10 / USED_OF_TEN + 2).unwrap_or(usize::MAX);
        let slots = if enough > self.slots.len() { doubled.min(enough) } else { doubled };
        for entry in std::mem::replace(&mut self.slots, vec![[0; 3]; slots]) {
            if entry[2] != 0 {
                let at = self.find([entry[0], entry[1]]);
                self.slots[at] = entry;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_answers_as_a_plain_map_does_however_much_it_grows() {
        let mut map = OffsetMap::new(24 * 3000, &[7; 16]);
        let mut plain = BTreeMap::new();
        for offset in 0..20_000_u64 {
            let key = (offset * 7919 % 6000).to_be_bytes();
            map.put(&key, Offset(offset));
            plain.insert(key, Offset(offset));
        }
        for number in 0..7000_u64 {
            let key = number.to_be_bytes();
            assert_eq!(map.get(&key), plain.get(&key).copied(), "key {number}");
        }
        assert_eq!(map.used, plain.len() as u64);
    }

    #[test]
    fn an_older_offset_never_replaces_a_newer_one() {
        let mut map = OffsetMap::new(1024, &[0; 16]);
        map.put(b"key", Offset(5));
        map.put(b"key", Offset(3));
        assert_eq!((map.get(b"key"), map.get(b"other")), (Some(Offset(5)), None));
    }

    #[test]
    fn it_is_full_at_its_bound_and_takes_any_batch_while_it_is_empty() {
        let mut map = OffsetMap::new(24 * 10, &[0; 16]);
        assert!(map.has_room_for(1_000_000), "an empty map");
        for key in 0..8_u8 {
            assert!(map.has_room_for(1), "key {key}");
            map.put(&[key], Offset(key.into()));
        }
        assert!(!map.has_room_for(1));
    }
}
