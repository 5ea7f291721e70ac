//! Answers that were read, kept in memory for as long as there is room.
//!
//! Each is filed under the generation that its own row says it is of, and looked for under the one that is served. So
//! nobody is ever given an answer of a catalog that is gone, whoever wrote what down when; after a rollback what was
//! kept of the catalog before is good again. What has become useless is not asked for, and goes before what is.

use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;

use super::Document;
use crate::database::Edition;

/// What an entry takes beside its bytes: its places in the table, what the allocator adds, and the memory of keys that
/// were pushed out lately. A host with a full cache of answers of 30 bytes was seen to take some 210 for each.
const OVERHEAD_BYTES: u64 = 240;

/// The average answer, with its overhead: how many will fit is a guess that only the first allocations depend on.
const USUAL_BYTES: u64 = 1024;

/// Answers in memory.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Entries<(Edition, Key), Document, Weight>,
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

impl Weighter<(Edition, Key), Document> for Weight {
    fn weight(&self, _: &(Edition, Key), document: &Document) -> u64 {
        document.content.bytes().len() as u64 + OVERHEAD_BYTES
    }
}

impl Cache {
    /// One that holds so many bytes; none for 0.
    pub(crate) fn holding(bytes: u64) -> Option<Self> {
        let usual = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX).max(1);
        (bytes > 0).then(|| Self { entries: Entries::with_weighter(usual, bytes, Weight) })
    }

    pub(crate) fn get(&self, edition: Edition, key: Key) -> Option<Document> {
        self.entries.get(&(edition, key))
    }

    /// Keeps an answer.
    pub(crate) fn keep(&self, edition: Edition, key: Key, document: &Document) {
        self.entries.insert((edition, key), document.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Content;

    fn document(bytes: usize) -> Document {
        Document::new(Content::Plain(vec![b'x'; bytes].into()), 1, Some(7))
    }

    #[test]
    fn an_answer_is_found_under_its_own_edition_and_under_no_other() {
        let cache = Cache::holding(1 << 20).unwrap();
        let [one, other] = [7, 8].map(Edition::of_first_database);
        cache.keep(one, Key::Product(1), &document(10));
        assert!(cache.get(one, Key::Product(1)).is_some());
        assert!(cache.get(other, Key::Product(1)).is_none());
        assert!(cache.get(one, Key::Styles(1)).is_none());
        cache.keep(other, Key::Product(1), &document(10));
        assert!(cache.get(one, Key::Product(1)).is_some(), "a rollback finds it");
    }

    #[test]
    fn it_holds_so_many_bytes_and_no_more() {
        let bytes = 1 << 20;
        let cache = Cache::holding(bytes).unwrap();
        for id in 1..10_000 {
            cache.keep(Edition::of_first_database(7), Key::Styles(id), &document(600));
            assert!(cache.entries.weight() <= bytes);
        }
        assert!(cache.entries.weight() > bytes * 8 / 10, "{}", cache.entries.weight());
        assert!(Cache::holding(0).is_none());
    }

    #[test]
    fn an_answer_that_would_push_out_everything_else_is_not_kept() {
        let cache = Cache::holding(1 << 20).unwrap();
        cache.keep(Edition::of_first_database(7), Key::List { first: 1, last: 1000 }, &document(2 << 20));
        assert_eq!(cache.entries.len(), 0);
    }
}
