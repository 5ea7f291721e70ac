//! The cache of whole products and lists: as many as fit into its memory.
//!
//! The key of a document contains the id of its catalog; a lookup uses the id of the current one. So a response never
//! comes from a catalog that was replaced, whatever the order of events. After a rollback, cached documents of the
//! previous catalog are valid again. Documents of other catalogs are not looked up any more, so they are evicted first.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use quick_cache::sync::Cache as Entries;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter};

use crate::database::CatalogId;
use crate::http::Document;

/// The memory of an entry beside its bytes: the table, the allocator, and the keys of recently evicted entries. In a full
/// cache of overviews with 600 to 1,500 bytes, 231 bytes per entry were measured.
const OVERHEAD_BYTES: u64 = 240;

/// The memory that each document of a product needs beside its bytes: its fields, and two allocations. In a full cache of
/// usual products, 107 bytes per document were measured.
const DOCUMENT_BYTES: u64 = 110;

/// The estimated average size of an entry. Only the first allocations depend on it.
const AVERAGE_BYTES: u64 = 2048;

/// Cached entries by catalog and key.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Entries<(CatalogId, Key), Cached, Weight, DefaultHashBuilder, CountEvictions>,
    /// The lookups of each kind of entry.
    lookups: [Lookups; 3],
    evictions: Counter,
}

/// The number of lookups.
#[derive(Debug, Default)]
struct Lookups {
    hits: Counter,
    misses: Counter,
}

/// The state of the cache, for metrics.
#[derive(Debug)]
pub(crate) struct CacheStatistics {
    /// The hits and the misses of each kind of entry, with its name.
    pub(crate) lookups: [(&'static str, u64, u64); 3],
    pub(crate) evictions: u64,
    pub(crate) entries: usize,
    /// The memory of all entries, and its limit.
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
}

/// The key of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Product(i32),
    Overview(i32),
    List(ListKey),
}

/// What a list contains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ListKey {
    /// The products with these ranks by id.
    Products { first: i64, last: i64 },
    /// The products with these ranks among those of a category.
    Category { name: Arc<str>, first: i64, last: i64 },
    /// The products whose names have words with all these prefixes.
    Search(Arc<[String]>),
    /// The categories.
    Categories,
}

/// An entry.
#[derive(Debug, Clone)]
pub(crate) enum Cached {
    /// Of [`Key::Product`].
    Product(Arc<Product>),
    /// Of the other keys. An overview is joined when it is first requested.
    Document(Document),
}

/// The documents of a product, from one row; `None` for those that are large.
#[derive(Debug)]
pub(crate) struct Product {
    /// Their catalog, if it was the current one when they were read.
    pub(crate) catalog: Option<CatalogId>,
    pub(crate) generation: i32,
    pub(crate) product: Option<Document>,
    pub(crate) styles: Option<Document>,
    pub(crate) related: Option<Document>,
}

#[derive(Debug, Clone)]
struct Weight;

/// Counts evictions. Evicted entries are dropped after the cache is unlocked.
#[derive(Debug, Clone)]
struct CountEvictions(Counter);

impl Lifecycle<(CatalogId, Key), Cached> for CountEvictions {
    /// The entries that the current request evicts: two, or seldom more.
    type RequestState = [Option<Cached>; 2];

    fn on_evict(&self, evicted: &mut Self::RequestState, _: (CatalogId, Key), cached: Cached) {
        self.0.inc();
        if let Some(free) = evicted.iter_mut().find(|entry| entry.is_none()) {
            *free = Some(cached);
        }
    }
}

impl Weighter<(CatalogId, Key), Cached> for Weight {
    fn weight(&self, (_, key): &(CatalogId, Key), cached: &Cached) -> u64 {
        let bytes = |document: &Document| document.content.bytes().len() as u64;
        let of_key = match key {
            Key::List(list) => list.bytes() as u64,
            _ => 0,
        };
        OVERHEAD_BYTES
            + of_key
            + match cached {
                Cached::Product(whole) => [&whole.product, &whole.styles, &whole.related]
                    .into_iter()
                    .flatten()
                    .map(|document| bytes(document) + DOCUMENT_BYTES)
                    .sum(),
                Cached::Document(document) => bytes(document),
            }
    }
}

impl ListKey {
    /// Returns the size of its texts.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Category { name, .. } => name.len(),
            Self::Search(prefixes) => prefixes.iter().map(String::len).sum(),
            Self::Products { .. } | Self::Categories => 0,
        }
    }
}

impl Cache {
    /// Creates a cache of this many bytes; returns `None` for 0.
    pub(crate) fn with_capacity(bytes: u64) -> Option<Self> {
        let entries = usize::try_from(bytes / AVERAGE_BYTES).unwrap_or(usize::MAX).max(1);
        let evictions = Counter::default();
        let count = CountEvictions(evictions.clone());
        let hash = DefaultHashBuilder::default();
        (bytes > 0).then(|| Self {
            entries: Entries::with(entries, bytes, Weight, hash, count),
            lookups: Default::default(),
            evictions,
        })
    }

    /// Looks up an entry of the current catalog; without one, every lookup misses.
    pub(crate) fn get(&self, catalog: Option<CatalogId>, key: Key) -> Option<Cached> {
        let [products, overviews, lists] = &self.lookups;
        let lookups = match key {
            Key::Product(_) => products,
            Key::Overview(_) => overviews,
            Key::List(_) => lists,
        };
        let found = catalog.and_then(|catalog| self.entries.get(&(catalog, key)));
        if found.is_some() { &lookups.hits } else { &lookups.misses }.inc();
        found
    }

    pub(crate) fn statistics(&self) -> CacheStatistics {
        let [products, overviews, lists] = &self.lookups;
        let named = [("product", products), ("overview", overviews), ("list", lists)];
        CacheStatistics {
            lookups: named.map(|(kind, lookups)| (kind, lookups.hits.get(), lookups.misses.get())),
            evictions: self.evictions.get(),
            entries: self.entries.len(),
            bytes: self.entries.weight(),
            max_bytes: self.entries.capacity(),
        }
    }

    pub(crate) fn insert(&self, catalog: CatalogId, key: Key, cached: Cached) {
        self.entries.insert((catalog, key), cached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Content;

    fn document(bytes: usize) -> Cached {
        Cached::Document(Document::new(Content::Plain(vec![b'x'; bytes].into()), 1, Some(7)))
    }

    #[test]
    fn a_document_is_found_only_for_its_own_catalog() {
        let cache = Cache::with_capacity(1 << 20).unwrap();
        let [one, other] = [CatalogId(7), CatalogId(8)];
        cache.insert(one, Key::Product(1), document(10));
        assert!(cache.get(Some(one), Key::Product(1)).is_some());
        assert!(cache.get(Some(other), Key::Product(1)).is_none());
        assert!(cache.get(Some(one), Key::Overview(1)).is_none());
        cache.insert(other, Key::Product(1), document(10));
        assert!(cache.get(Some(one), Key::Product(1)).is_some(), "a rollback finds it again");
        assert!(cache.get(None, Key::Product(1)).is_none());
        assert_eq!(cache.statistics().lookups, [("product", 2, 2), ("overview", 0, 1), ("list", 0, 0)]);
    }

    #[test]
    fn the_cache_fills_its_capacity_and_never_exceeds_it() {
        let bytes = 1 << 20;
        let cache = Cache::with_capacity(bytes).unwrap();
        for id in 1..10_000 {
            cache.insert(CatalogId(7), Key::Overview(id), document(600));
            assert!(cache.entries.weight() <= bytes);
        }
        assert!(cache.entries.weight() > bytes * 8 / 10, "{}", cache.entries.weight());
        let statistics = cache.statistics();
        assert_eq!(statistics.evictions, 9_999 - statistics.entries as u64);
        assert!(Cache::with_capacity(0).is_none());
    }

    #[test]
    fn the_texts_of_a_key_count() {
        let cache = Cache::with_capacity(1 << 20).unwrap();
        cache.insert(CatalogId(7), Key::List(ListKey::Search(["x".repeat(1000)].into())), document(10));
        assert_eq!(cache.entries.weight(), OVERHEAD_BYTES + 1010);
    }

    #[test]
    fn a_document_larger_than_the_cache_is_not_cached() {
        let cache = Cache::with_capacity(1 << 20).unwrap();
        cache.insert(CatalogId(7), Key::List(ListKey::Products { first: 1, last: 1000 }), document(2 << 20));
        assert_eq!(cache.entries.len(), 0);
    }
}
