//! The posting lists in memory, until they are written.

use std::collections::{BTreeMap, HashMap};

use shared::catalog::{MAX_WORD, MIN_WORD, words};

/// The max bytes of words in memory, and of categories. A block with thousands of words needs a tenth; a few categories
/// with four million products need all.
const MAX_BYTES: usize = 32 << 20;

/// The bytes of a key and its list in a map, without the text and the ids.
const KEY_BYTES: usize = 150;

/// The bytes of an id in a list that has space for as many again.
const ID_BYTES: usize = 8;

/// Lists of product ids by word or by category.
type Lists = HashMap<String, Vec<i32>>;

/// A word or a category, and the ids of its products in ascending order.
pub(super) type PostingList = (String, Vec<i32>);

/// A collector of posting lists. The batches may come in any order.
pub(super) struct Collector {
    batches_per_block: usize,
    /// The blocks that lack a batch, by their number.
    blocks: BTreeMap<i32, Block>,
    /// None if they need too much memory.
    categories: Option<Lists>,
    categories_bytes: usize,
}

#[derive(Default)]
struct Block {
    batches: usize,
    words: Lists,
    bytes: usize,
}

impl Collector {
    pub(super) fn new(batches_per_block: usize) -> Self {
        let categories = Some(Lists::new());
        Self { batches_per_block, blocks: BTreeMap::new(), categories, categories_bytes: 0 }
    }

    /// Adds a product of a block. The products of a batch are in ascending order of id.
    pub(super) fn add(&mut self, block: i32, id: i32, name: &str, category: &str) {
        let block = self.blocks.entry(block).or_default();
        for mut word in words(name) {
            if word.chars().nth(MIN_WORD - 1).is_none() {
                continue;
            }
            if word.len() > MAX_WORD
                && let Some((end, _)) = word.char_indices().nth(MAX_WORD)
            {
                word.truncate(end);
            }
            block.bytes += add_to(&mut block.words, &word, id);
        }
        if let Some(categories) = &mut self.categories {
            self.categories_bytes += add_to(categories, category, id);
            if self.categories_bytes > MAX_BYTES {
                self.categories = None;
            }
        }
    }

    /// Returns whether [`Collector::take_all`] is due: before the next product, whose name may have many words.
    pub(super) fn is_full(&self) -> bool {
        self.blocks.values().map(|block| block.bytes).sum::<usize>() > MAX_BYTES
    }

    /// Ends a batch of a block. After the last one, returns the words of the block.
    pub(super) fn end_batch(&mut self, number: i32) -> Option<impl Iterator<Item = PostingList> + use<>> {
        let block = self.blocks.entry(number).or_default();
        block.batches += 1;
        let is_complete = block.batches == self.batches_per_block;
        is_complete.then(|| sorted(self.blocks.remove(&number).unwrap_or_default().words))
    }

    /// Returns the words of all blocks, which may lack batches: a word of a block can then be returned again.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = (i32, PostingList)> + use<> {
        let take = |(number, block): (&i32, &mut Block)| {
            block.bytes = 0;
            (*number, std::mem::take(&mut block.words))
        };
        let blocks: Vec<_> = self.blocks.iter_mut().map(take).collect();
        blocks.into_iter().flat_map(|(number, words)| sorted(words).map(move |list| (number, list)))
    }

    /// Returns the categories; none if they needed too much memory.
    pub(super) fn into_categories(self) -> Option<impl Iterator<Item = PostingList>> {
        self.categories.map(sorted)
    }
}

/// Adds a product to a list, once, and returns the bytes that it takes.
fn add_to(lists: &mut Lists, key: &str, id: i32) -> usize {
    let Some(ids) = lists.get_mut(key) else {
        lists.insert(key.to_owned(), vec![id]);
        return KEY_BYTES + key.len() + ID_BYTES;
    };
    if ids.last() == Some(&id) {
        return 0;
    }
    ids.push(id);
    ID_BYTES
}

/// Sorts lists by key, and the ids of each. The ids of a batch ascend already.
fn sorted(lists: Lists) -> impl Iterator<Item = PostingList> {
    let mut lists: Vec<_> = lists.into_iter().collect();
    lists.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    lists.into_iter().map(|(key, mut ids)| {
        ids.sort(); // finds ascending runs
        (key, ids)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(found: impl Iterator<Item = PostingList>) -> Vec<String> {
        found.map(|(key, ids)| format!("{key} {ids:?}")).collect()
    }

    fn words_of(found: impl Iterator<Item = (i32, PostingList)>) -> Vec<String> {
        found.map(|(block, (word, ids))| format!("{block} {word} {ids:?}")).collect()
    }

    #[test]
    fn a_word_lists_each_product_once_in_ascending_order_of_id() {
        let mut collector = Collector::new(2);
        collector.add(0, 7, "Brisk Brisk Boots", "Boots");
        collector.add(0, 9, "The Boots' Own", "Boots");
        assert!(collector.end_batch(0).is_none());
        collector.add(0, 2, "Canal BOOTS", "Heels");
        collector.add(0, 3, "Of T-Boots", "Boots");
        let found = lists(collector.end_batch(0).unwrap());
        assert_eq!(found, ["boots [2, 3, 7, 9]", "brisk [7]", "canal [2]", "own [9]", "the [9]"]);
        assert!(collector.take_all().next().is_none());
        assert_eq!(lists(collector.into_categories().unwrap()), ["Boots [3, 7, 9]", "Heels [2]"]);
    }

    #[test]
    fn a_block_is_complete_after_its_last_batch_and_the_last_block_at_the_end() {
        let mut collector = Collector::new(2);
        collector.add(1, 30, "Hat", "Hats");
        assert!(collector.end_batch(1).is_none());
        collector.add(0, 10, "Hat", "Hats");
        assert!(collector.end_batch(0).is_none());
        collector.add(0, 20, "Cap", "Hats");
        assert_eq!(lists(collector.end_batch(0).unwrap()), ["cap [20]", "hat [10]"]);
        assert_eq!(words_of(collector.take_all()), ["1 hat [30]"]);
    }

    #[test]
    fn of_a_long_word_the_first_64_characters_are_kept() {
        let mut collector = Collector::new(1);
        collector.add(0, 1, &"ß".repeat(65), "");
        collector.add(0, 2, &"ß".repeat(64), "");
        assert_eq!(words_of(collector.take_all()), [format!("0 {} [1, 2]", "ß".repeat(64))]);
        assert_eq!(lists(collector.into_categories().unwrap()), [" [1, 2]"]);
    }

    #[test]
    fn a_full_collector_returns_its_words_and_still_knows_which_blocks_are_complete() {
        let mut collector = Collector::new(2);
        let mut taken = 0;
        for id in 0..15_000 {
            let name: String = (0..20).map(|nth| format!("{id}w{nth} ")).collect();
            collector.add(id % 2, id, &name, "one");
            if collector.is_full() {
                taken += collector.take_all().count();
                assert!(!collector.is_full());
            }
        }
        assert!(taken > 0);
        assert!(collector.end_batch(0).is_none());
        let rest = collector.end_batch(0).unwrap().count();
        assert_eq!(taken + rest + collector.take_all().count(), 15_000 * 20);
        assert_eq!(lists(collector.into_categories().unwrap()).len(), 1);
    }

    #[test]
    fn too_many_categories_are_not_kept() {
        let mut collector = Collector::new(1);
        for id in 0..100_000 {
            collector.add(0, id, "", &format!("category {}", id % 50_000));
        }
        let mut collector_of_more = Collector::new(1);
        for id in 0..250_000 {
            collector_of_more.add(0, id, "", &format!("category {id}"));
        }
        assert_eq!(collector.into_categories().unwrap().count(), 50_000);
        assert!(collector_of_more.into_categories().is_none());
    }
}
