//! What is kept on a device, and what has to go when something else is to come.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tantivy::index::SegmentId;

/// The rows of one field in one segment, or its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub segment: SegmentId,
    /// The field's number.
    pub field: u32,
    /// CRC-32 of the rows.
    pub checksum: u32,
    /// Whether it is the inverted file that is meant, and not the rows.
    pub lists: bool,
}

/// A block with what is known about it.
pub(super) struct BlockEntry<T> {
    pub block: T,
    pub bytes: u64,
    pub rows: usize,
    /// No row is longer.
    pub longest: f32,
    /// Who uses it.
    pub token: u64,
    used: Instant,
}

/// The blocks on a device, within a limit of bytes.
pub(super) struct Blocks<T> {
    kept: HashMap<Key, BlockEntry<T>>,
    bytes: u64,
    limit: u64,
    /// A block that was used within so long is not evicted: two segments that do not fit together would otherwise be
    /// copied anew for every query.
    keep: Duration,
    evicted: u64,
}

impl<T> Blocks<T> {
    pub(super) fn new(limit: u64, keep: Duration) -> Blocks<T> {
        Blocks { kept: HashMap::new(), bytes: 0, limit, keep, evicted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.kept.contains_key(key)
    }

    /// A block that is about to be used by the holder of `token`.
    pub(super) fn touch(&mut self, key: &Key, token: u64) -> Option<&BlockEntry<T>> {
        let kept = self.kept.get_mut(key)?;
        kept.used = Instant::now();
        kept.token = token;
        Some(kept)
    }

    pub(super) fn insert(&mut self, key: Key, block: T, bytes: u64, (rows, longest): (usize, f32), token: u64) {
        let before = self.kept.insert(key, BlockEntry { block, bytes, rows, longest, token, used: Instant::now() });
        self.bytes += bytes;
        self.bytes -= before.map_or(0, |before| before.bytes);
    }

    /// Lets go of a block, unless somebody else uses it by now.
    pub(super) fn release(&mut self, key: &Key, token: u64) {
        if self.kept.get(key).is_some_and(|kept| kept.token == token) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &Key) {
        self.bytes -= self.kept.remove(key).map_or(0, |kept| kept.bytes);
    }

    /// Makes room for a block of `bytes`, at the expense of those unused for longest; or says why there is none.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > self.limit {
            return Err(format!("its {bytes} bytes are more than the {} that blocks may take there", self.limit));
        }
        let idle: u64 = self.idle().map(|(_, kept)| kept.bytes).sum();
        if (self.bytes - idle).saturating_add(bytes) > self.limit {
            let (taken, limit) = (self.bytes, self.limit);
            return Err(format!(
                "its {bytes} bytes do not fit beside the {taken} in use there, of {limit} that blocks may take"
            ));
        }
        while self.bytes.saturating_add(bytes) > self.limit && self.evict_one(None) {}
        Ok(())
    }

    /// Evicts the block that was unused for longest, but not that of `except`; whether there was one.
    pub(super) fn evict_one(&mut self, except: Option<&Key>) -> bool {
        let others = self.idle().filter(|(key, _)| Some(*key) != except);
        let Some(key) = others.min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key) else { return false };
        self.remove(&key);
        self.evicted += 1;
        true
    }

    fn idle(&self) -> impl Iterator<Item = (&Key, &BlockEntry<T>)> {
        self.kept.iter().filter(|(_, kept)| kept.used.elapsed() >= self.keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(field: u32) -> Key {
        Key { segment: SegmentId::generate_random(), field, checksum: 0, lists: false }
    }

    #[test]
    fn the_block_unused_for_longest_goes_first() {
        let mut blocks = Blocks::new(100, Duration::ZERO);
        let [a, b, c] = [key(0), key(1), key(2)];
        for key in [a, b] {
            blocks.make_room(40).unwrap();
            blocks.insert(key, (), 40, (1, 1.0), 7);
        }
        assert!(blocks.touch(&a, 7).is_some());
        blocks.make_room(30).unwrap();
        blocks.insert(c, (), 30, (1, 1.0), 7);
        assert!(blocks.contains(&a) && !blocks.contains(&b) && blocks.contains(&c));
        assert_eq!((blocks.bytes(), blocks.len(), blocks.evicted()), (70, 2, 1));
        let error = blocks.make_room(101).unwrap_err();
        assert!(error.contains("101 bytes are more than the 100"), "{error}");
        assert_eq!(blocks.len(), 2, "what cannot fit evicts nothing");
        // Two have to go for one.
        blocks.make_room(100).unwrap();
        assert_eq!((blocks.bytes(), blocks.len(), blocks.evicted()), (0, 0, 3));
    }

    #[test]
    fn a_block_in_use_stays() {
        let mut blocks = Blocks::new(100, Duration::from_secs(3600));
        let a = key(0);
        blocks.insert(a, (), 60, (1, 1.0), 7);
        let error = blocks.make_room(50).unwrap_err();
        assert!(error.contains("do not fit beside the 60"), "{error}");
        blocks.make_room(40).unwrap();
        assert!(blocks.contains(&a) && !blocks.evict_one(None));
    }

    #[test]
    fn only_the_last_user_lets_a_block_go() {
        let mut blocks = Blocks::new(100, Duration::ZERO);
        let a = key(0);
        blocks.insert(a, (), 60, (1, 1.0), 7);
        assert!(blocks.touch(&a, 8).is_some());
        blocks.release(&a, 7);
        assert!(blocks.contains(&a));
        blocks.release(&a, 8);
        assert_eq!((blocks.len(), blocks.bytes()), (0, 0));
    }
}
