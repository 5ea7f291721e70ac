//! The cache of documents: as many as fit into its memory.
//!
//! The key of a document contains the generation that its own row names; a lookup uses the current generation. So a
//! response never comes from a catalog that was replaced, whatever the order of events. After a rollback, cached
//! documents of the previous catalog are valid again. Documents of other catalogs are not looked up any more, so they
//! are evicted first.

use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;

use super::Document;
use crate::database::Edition;

/// The memory of an entry beside its bytes: the table, the allocator, and the keys of recently evicted entries. In a
/// full cache of 30-byte documents, a host was measured to use about 210 bytes per document.
const OVERHEAD_BYTES: u64 = 240;

/// The estimated average size of a document with its overhead. Only the first allocations depend on it.
const AVERAGE_BYTES: u64 = 1024;

/// Cached documents by catalog and key.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Entries<(Edition, Key), Document, Weight>,
}

/// The request that a document is the response to.
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
    /// Creates a cache of this many bytes; returns `None` for 0.
    pub(crate) fn with_capacity(bytes: u64) -> Option<Self> {
        let entries = usize::try_from(bytes / AVERAGE_BYTES).unwrap_or(usize::MAX).max(1);
        (bytes > 0).then(|| Self { entries: Entries::with_weighter(entries, bytes, Weight) })
    }

    pub(crate) fn get(&self, edition: Edition, key: Key) -> Option<Document> {
        self.entries.get(&(edition, key))
    }

    pub(crate) fn insert(&self, edition: Edition, key: Key, document: &Document) {
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
    fn a_document_is_found_only_for_its_own_edition() {
        let cache = Cache::with_capacity(1 << 20).unwrap();
        let [one, other] = [7, 8].map(Edition::of_first_database);
        cache.insert(one, Key::Product(1), &document(10));
        assert!(cache.get(one, Key::Product(1)).is_some());
        assert!(cache.get(other, Key::Product(1)).is_none());
        assert!(cache.get(one, Key::Styles(1)).is_none());
        cache.insert(other, Key::Product(1), &document(10));
        assert!(cache.get(one, Key::Product(1)).is_some(), "a rollback finds it again");
    }

    #[test]
    fn the_cache_fills_its_capacity_and_never_exceeds_it() {
        let bytes = 1 << 20;
        let cache = Cache::with_capacity(bytes).unwrap();
        for id in 1..10_000 {
            cache.insert(Edition::of_first_database(7), Key::Styles(id), &document(600));
            assert!(cache.entries.weight() <= bytes);
        }
        assert!(cache.entries.weight() > bytes * 8 / 10, "{}", cache.entries.weight());
        assert!(Cache::with_capacity(0).is_none());
    }

    #[test]
    fn a_document_larger_than_the_cache_is_not_cached() {
        let cache = Cache::with_capacity(1 << 20).unwrap();
        cache.insert(Edition::of_first_database(7), Key::List { first: 1, last: 1000 }, &document(2 << 20));
        assert_eq!(cache.entries.len(), 0);
    }
}
