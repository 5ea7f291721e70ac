//! The rows of a batch as JSON fragments of the documents.

use std::ops::Range;

use serde::{Serialize, Serializer};

use super::super::{LoadError, MAX_RESPONSE};
use super::postings::Names;
use super::reading::{Fields, KeySet, RowSink};
use crate::table::{TABLES, Table};

/// A table and the JSON of its rows.
pub(super) struct Source {
    pub(super) table: &'static Table,
    /// The kind of the parent in error messages.
    parent: &'static str,
    /// Appends a row's JSON and returns its key.
    write: fn(&Fields<'_>, &mut Vec<u8>) -> Result<Key, LoadError>,
}

/// The parent and the group of a row.
type Key = (i32, i32);

static PRODUCTS: Source = Source {
    table: &TABLES[0],
    parent: "product",
    write: |row, out| {
        let id = row.integer(0)?;
        let product = Product {
            id,
            name: row.text(1)?,
            slogan: row.text(2)?,
            description: row.text(3)?,
            category: row.text(4)?,
            default_price: InQuotes(row.integer(5)?),
        };
        write_open(out, &product, b",\"features\":[")?;
        Ok((id, id))
    },
};

pub(super) static FEATURES: Source = Source {
    table: &TABLES[1],
    parent: "product",
    write: |row, out| {
        let product_id = row.integer(1)?;
        write_json(out, &Feature { feature: row.text(2)?, value: row.optional_text(3)? })?;
        Ok((product_id, product_id))
    },
};

pub(super) static STYLES: Source = Source {
    table: &TABLES[2],
    parent: "product",
    write: |row, out| {
        let style_id = row.integer(0)?;
        let style = Style {
            style_id,
            name: row.text(2)?,
            original_price: InQuotes(row.integer(4)?),
            sale_price: row.optional_integer(3)?.map(InQuotes),
            is_default: row.boolean(5)?,
        };
        write_open(out, &style, b",\"photos\":[")?;
        Ok((row.integer(1)?, style_id))
    },
};

pub(super) static PHOTOS: Source = Source {
    table: &TABLES[3],
    parent: "style",
    write: |row, out| {
        let style_id = row.integer(1)?;
        write_json(out, &Photo { thumbnail_url: row.text(3)?, url: row.text(2)? })?;
        Ok((style_id, style_id))
    },
};

pub(super) static SKUS: Source = Source {
    table: &TABLES[4],
    parent: "style",
    write: |row, out| {
        let style_id = row.integer(1)?;
        write_json(out, &InQuotes(row.integer(0)?))?;
        out.push(b':');
        write_json(out, &Sku { quantity: row.integer(3)?, size: row.text(2)? })?;
        Ok((style_id, style_id))
    },
};

pub(super) static RELATED: Source = Source {
    table: &TABLES[5],
    parent: "product",
    write: |row, out| {
        let product_id = row.integer(1)?;
        write_json(out, &row.integer(2)?)?;
        Ok((product_id, product_id))
    },
};

/// A product, without its features.
#[derive(Serialize)]
struct Product<'a> {
    id: i32,
    name: &'a str,
    slogan: &'a str,
    description: &'a str,
    category: &'a str,
    default_price: InQuotes,
}

#[derive(Serialize)]
struct Feature<'a> {
    feature: &'a str,
    value: Option<&'a str>,
}

/// A style, without its photos and SKUs.
#[derive(Serialize)]
struct Style<'a> {
    style_id: i32,
    name: &'a str,
    original_price: InQuotes,
    sale_price: Option<InQuotes>,
    #[serde(rename = "default?")]
    is_default: bool,
}

#[derive(Serialize)]
struct Photo<'a> {
    thumbnail_url: &'a str,
    url: &'a str,
}

/// A SKU, without its id, which is its key in the object of a style's SKUs.
#[derive(Serialize)]
struct Sku<'a> {
    quantity: i32,
    size: &'a str,
}

/// A number that the HTTP API returns as a string.
pub(super) struct InQuotes(pub(super) i32);

impl Serialize for InQuotes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(itoa::Buffer::new().format(self.0))
    }
}

/// Appends a value as JSON.
pub(super) fn write_json(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), LoadError> {
    serde_json::to_writer(out, value).map_err(|error| LoadError::Bug(format!("cannot write JSON: {error}")))
}

/// Appends an object as JSON, with a `member` instead of its closing brace.
fn write_open(out: &mut Vec<u8>, object: &impl Serialize, member: &[u8]) -> Result<(), LoadError> {
    write_json(out, object)?;
    out.pop();
    out.extend_from_slice(member);
    Ok(())
}

/// The elements of one parent's list: JSON, separated by commas. A product or a style is a group of its own.
struct Group {
    parent: i32,
    id: i32,
    json: Range<usize>,
    rows: u64,
}

/// A batch's rows of one table in groups, in ascending order of parent.
pub(super) struct Groups {
    pub(super) source: &'static Source,
    json: Vec<u8>,
    groups: Vec<Group>,
    /// The number of rows in all groups that [`Groups::of`] returned, over all batches.
    pub(super) merged: u64,
}

impl RowSink for Groups {
    fn table(&self) -> &'static Table {
        self.source.table
    }

    fn clear(&mut self) {
        self.json.clear();
        self.groups.clear();
    }

    fn add(&mut self, row: &Fields<'_>) -> Result<bool, LoadError> {
        let write = self.source.write;
        self.push(|out| write(row, out))?;
        Ok(!self.is_full())
    }
}

impl Groups {
    pub(super) fn new(source: &'static Source) -> Self {
        Self { source, json: Vec::new(), groups: Vec::new(), merged: 0 }
    }

    /// Moves the rows out.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.source))
    }

    /// Returns whether the rows exceed the limit of a response, which also bounds the memory of a batch.
    pub(super) fn is_full(&self) -> bool {
        self.json.len() > MAX_RESPONSE
    }

    /// Adds a row. A row out of order is an error: it would be missing from its document.
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<Key, LoadError>) -> Result<(), LoadError> {
        let table = self.source.table.name;
        self.json.push(b',');
        let start = self.json.len();
        let (parent, id) = write(&mut self.json)?;
        let end = self.json.len();
        match self.groups.last_mut() {
            Some(last) if last.parent > parent => {
                return Err(LoadError::Bug(format!("{table} are out of order")));
            }
            Some(last) if (last.parent, last.id) == (parent, id) => {
                last.json.end = end;
                last.rows += 1;
                if last.json.len() > MAX_RESPONSE {
                    return Err(LoadError::TooLarge {
                        table,
                        parent: format!("{} {parent}", self.source.parent),
                    });
                }
            }
            _ => self.groups.push(Group { parent, id, json: start..end, rows: 1 }),
        }
        Ok(())
    }

    /// Returns the parent of each group.
    pub(super) fn parents(&self) -> impl Iterator<Item = i32> {
        self.groups.iter().map(|group| group.parent)
    }

    /// Returns the groups of a parent: the id and the JSON of each.
    pub(super) fn of(&mut self, parent: i32) -> impl Iterator<Item = (i32, &[u8])> {
        let start = self.groups.partition_point(|group| group.parent < parent);
        let groups = self.groups[start..].iter().take_while(move |group| group.parent == parent);
        let (json, merged) = (&self.json, &mut self.merged);
        groups.map(move |group| {
            *merged += group.rows;
            (group.id, &json[group.json.clone()])
        })
    }

    /// Returns the keys of the children: a range if the ids are close together, as in files sorted by product, otherwise a
    /// list. The range may include a few other ids.
    pub(super) fn keys_of_children(&self) -> KeySet {
        let ids = || self.groups.iter().map(|group| group.id);
        let (lowest, highest) = (ids().min().unwrap_or(0), ids().max().unwrap_or(0));
        let span = i64::from(highest) - i64::from(lowest);
        match usize::try_from(span).is_ok_and(|span| span <= 2 * self.groups.len()) {
            true => KeySet::Range(lowest, highest),
            false => KeySet::Each(ids().collect()),
        }
    }
}

/// A batch's products as JSON, and what the posting lists need of them.
pub(super) struct Products {
    pub(super) json: Groups,
    pub(super) names: Names,
}

impl Products {
    pub(super) fn new() -> Self {
        Self { json: Groups::new(&PRODUCTS), names: Names::default() }
    }

    /// Moves the rows out.
    pub(super) fn take(&mut self) -> Self {
        Self { json: self.json.take(), names: std::mem::take(&mut self.names) }
    }
}

impl RowSink for Products {
    fn table(&self) -> &'static Table {
        self.json.table()
    }

    fn clear(&mut self) {
        self.json.clear();
        self.names.clear();
    }

    fn add(&mut self, row: &Fields<'_>) -> Result<bool, LoadError> {
        self.names.push(row.integer(0)?, row.text(1)?, row.text(4)?);
        self.json.add(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(groups: &mut Groups, parent: i32, json: &[u8]) -> Result<(), String> {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(json);
            Ok((parent, parent))
        };
        groups.push(write).map_err(|error| error.to_string())
    }

    #[test]
    fn a_row_out_of_order_is_an_error() {
        let mut related = Groups::new(&RELATED);
        for (parent, json) in [(7, b"3"), (7, b"4"), (9, b"5")] {
            push(&mut related, parent, json).unwrap();
        }
        assert!(push(&mut related, 7, b"6").unwrap_err().starts_with("related are out of order"));
        assert!(related.of(7).eq([(7, &b"3,4"[..])]));
        assert!(related.of(9).eq([(9, &b"5"[..])]));
        assert!(related.of(8).next().is_none());
        assert_eq!(related.merged, 3);
    }

    #[test]
    fn a_list_over_the_limit_is_an_error_and_two_lists_only_fill_the_buffer() {
        let most = vec![b'1'; MAX_RESPONSE - 1];
        let mut photos = Groups::new(&PHOTOS);
        push(&mut photos, 3, &most).unwrap();
        assert!(!photos.is_full());
        push(&mut photos, 4, &most).unwrap();
        assert!(photos.is_full());
        assert_eq!(
            push(&mut photos, 4, b"2").unwrap_err(),
            "style 4: photos exceed the limit of 16 MiB of JSON; remove some of these rows"
        );
    }
}
