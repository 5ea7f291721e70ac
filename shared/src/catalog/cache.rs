//! Answers that were read, kept in memory for as long as there is room.
//!
//! Each is filed under the generation that its own row says it is of, and looked for under the one that is served. So
//! nobody is ever given an answer of a catalog that is gone, whoever wrote what down when; after a rollback what was
//! kept of the catalog before is good again. What has become useless goes first, since nobody asks for it.

use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;

use super::Document;

/// What an entry takes beside its bytes: its places in the table, what the allocator adds, and the memory of keys that
/// were pushed out lately. A host with a full cache of answers of 30 bytes was seen to take some 210 for each.
const OVERHEAD_BYTES: u64 = 240;

/// The average answer, with its overhead: how many will fit is a guess that only the first allocations depend on.
const USUAL_BYTES: u64 = 1024;

/// Answers in memory.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Entries<(i32, Key), Document, Weight>,
}

/// What an answer is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Product(i32),
    Styles(i32),
    Related(i32),
    Overview(i32),
    List { first: i64, last: i64 },
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<(i32, Key), Document> for Weight {
    fn weight(&self, _: &(i32, Key), document: &Document) -> u64 {
        document.content.bytes().len() as u64 + OVERHEAD_BYTES
    }
}

impl Cache {
    /// One that holds so many bytes; none for 0.
    pub(crate) fn holding(bytes: u64) -> Option<Self> {
        let usual = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX).max(1);
        (bytes > 0).then(|| Self { entries: Entries::with_weighter(usual, bytes, Weight) })
    }

    pub(crate) fn get(&self, generation: i32, key: Key) -> Option<Document> {
        self.entries.get(&(generation, key))
    }

    /// Keeps an answer, if it came of a row.
    pub(crate) fn keep(&self, key: Key, document: &Document) {
        if let Some(generation) = document.generation {
            self.entries.insert((generation, key), document.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Content;

    fn document(generation: i32, bytes: usize) -> Document {
        Document::new(Content::Plain(vec![b'x'; bytes].into()), 1, Some(generation))
    }

    #[test]
    fn an_answer_is_found_under_its_own_generation_and_under_no_other() {
        let cache = Cache::holding(1 << 20).unwrap();
        cache.keep(Key::Product(1), &document(7, 10));
        assert!(cache.get(7, Key::Product(1)).is_some());
        assert!(cache.get(8, Key::Product(1)).is_none());
        assert!(cache.get(7, Key::Styles(1)).is_none());
        cache.keep(Key::Product(1), &document(8, 10));
        assert!(cache.get(7, Key::Product(1)).is_some(), "a rollback finds it");
    }

    #[test]
    fn an_answer_without_a_row_is_not_kept() {
        let cache = Cache::holding(1 << 20).unwrap();
        let empty = Document { generation: None, ..document(7, 2) };
        cache.keep(Key::List { first: 9, last: 10 }, &empty);
        assert_eq!(cache.entries.len(), 0);
    }

    #[test]
    fn it_holds_so_many_bytes_and_no_more() {
        let bytes = 1 << 20;
        let cache = Cache::holding(bytes).unwrap();
        for id in 1..10_000 {
            cache.keep(Key::Styles(id), &document(7, 600));
            assert!(cache.entries.weight() <= bytes);
        }
        assert!(cache.entries.weight() > bytes * 8 / 10, "{}", cache.entries.weight());
        assert!(Cache::holding(0).is_none());
    }

    #[test]
    fn an_answer_that_would_push_out_everything_else_is_not_kept() {
        let cache = Cache::holding(1 << 20).unwrap();
        cache.keep(Key::List { first: 1, last: 1000 }, &document(7, 2 << 20));
        assert_eq!(cache.entries.len(), 0);
    }
}
