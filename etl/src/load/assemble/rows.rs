//! The rows of a batch as JSON fragments of the documents.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::copy_out::Row;
use super::super::{LoadError, MAX_RESPONSE, json};
use super::reading::{KeySet, RowSink};
use crate::table::{TABLES, Table};

/// The rows of one parent: JSON elements, separated by commas.
struct Group {
    parent: i32,
    json: Range<usize>,
    rows: u64,
}

fn out_of_order(table: &Table) -> LoadError {
    LoadError::Bug(format!("{} are out of order", table.name))
}

/// A batch's rows of one kind, grouped by parent in ascending order.
pub(super) struct Groups<E> {
    json: Vec<u8>,
    groups: Vec<Group>,
    element: PhantomData<E>,
}

/// A row of one table as an element of its parent's JSON.
pub(super) trait Element: Send + 'static {
    const TABLE: &'static Table;
    /// The kind of the parent.
    const OF: &'static str;

    /// Writes the row with this id. `row` has the fields after the parent.
    fn write(out: &mut Vec<u8>, id: i32, row: Row<'_>) -> Result<(), LoadError>;
}

impl<E> Default for Groups<E> {
    fn default() -> Self {
        Self { json: Vec::new(), groups: Vec::new(), element: PhantomData }
    }
}

impl<E: Element> RowSink for Groups<E> {
    const TABLE: &'static Table = E::TABLE;

    fn clear(&mut self) {
        self.json.clear();
        self.groups.clear();
    }

    fn push(&mut self, mut row: Row<'_>) -> Result<(), LoadError> {
        let (id, parent) = (row.integer()?, row.integer()?);
        match self.groups.last_mut() {
            Some(last) if last.parent == parent => {
                self.json.push(b',');
                E::write(&mut self.json, id, row)?;
                last.json.end = self.json.len();
                last.rows += 1;
                if last.json.len() > MAX_RESPONSE {
                    let parent = format!("{} {parent}", E::OF);
                    return Err(LoadError::TooLarge { table: E::TABLE.name, parent });
                }
            }
            Some(last) if last.parent > parent => return Err(out_of_order(E::TABLE)),
            _ => {
                let start = self.json.len();
                E::write(&mut self.json, id, row)?;
                self.groups.push(Group { parent, json: start..self.json.len(), rows: 1 });
            }
        }
        Ok(())
    }
}

impl<E> Groups<E> {
    /// Returns the elements of one parent and their number.
    pub(super) fn of(&self, parent: i32) -> Option<(&[u8], u64)> {
        let index = self.groups.binary_search_by_key(&parent, |group| group.parent).ok()?;
        let group = &self.groups[index];
        Some((&self.json[group.json.clone()], group.rows))
    }
}

/// `{"feature":"Fabric","value":"Canvas"}`
pub(super) struct Feature;

impl Element for Feature {
    const TABLE: &'static Table = &TABLES[1];
    const OF: &'static str = "product";

    fn write(out: &mut Vec<u8>, _: i32, mut row: Row<'_>) -> Result<(), LoadError> {
        out.extend_from_slice(b"{\"feature\":");
        json::string(out, row.text()?)?;
        out.extend_from_slice(b",\"value\":");
        json::optional_string(out, row.bytes()?)?;
        out.push(b'}');
        Ok(())
    }
}

/// `12`
pub(super) struct Related;

impl Element for Related {
    const TABLE: &'static Table = &TABLES[5];
    const OF: &'static str = "product";

    fn write(out: &mut Vec<u8>, _: i32, mut row: Row<'_>) -> Result<(), LoadError> {
        json::integer(out, row.integer()?);
        Ok(())
    }
}

/// `{"thumbnail_url":"https://…","url":"https://…"}`
pub(super) struct Photo;

impl Element for Photo {
    const TABLE: &'static Table = &TABLES[3];
    const OF: &'static str = "style";

    fn write(out: &mut Vec<u8>, _: i32, mut row: Row<'_>) -> Result<(), LoadError> {
        let (url, thumbnail_url) = (row.text()?, row.text()?);
        out.extend_from_slice(b"{\"thumbnail_url\":");
        json::string(out, thumbnail_url)?;
        out.extend_from_slice(b",\"url\":");
        json::string(out, url)?;
        out.push(b'}');
        Ok(())
    }
}

/// `"37":{"quantity":8,"size":"XS"}`
pub(super) struct Sku;

impl Element for Sku {
    const TABLE: &'static Table = &TABLES[4];
    const OF: &'static str = "style";

    fn write(out: &mut Vec<u8>, id: i32, mut row: Row<'_>) -> Result<(), LoadError> {
        let (size, quantity) = (row.text()?, row.integer()?);
        out.push(b'"');
        json::integer(out, id);
        out.extend_from_slice(b"\":{\"quantity\":");
        json::integer(out, quantity);
        out.extend_from_slice(b",\"size\":");
        json::string(out, size)?;
        out.push(b'}');
        Ok(())
    }
}

/// A row that has children.
pub(super) struct Parent {
    pub(super) id: i32,
    /// Its own id for a product, otherwise the id of its product.
    pub(super) product_id: i32,
    json: Range<usize>,
}

/// The rows of one kind that have children: the JSON of each up to its first child.
pub(super) struct Parents<O> {
    json: Vec<u8>,
    rows: Vec<Parent>,
    opening: PhantomData<O>,
}

/// The JSON of a row up to its first child.
pub(super) trait Opening: Send + 'static {
    const TABLE: &'static Table;

    /// Writes the row and returns its id and the id of its product.
    fn write(out: &mut Vec<u8>, row: Row<'_>) -> Result<(i32, i32), LoadError>;
}

impl<O> Default for Parents<O> {
    fn default() -> Self {
        Self { json: Vec::new(), rows: Vec::new(), opening: PhantomData }
    }
}

impl<O: Opening> RowSink for Parents<O> {
    const TABLE: &'static Table = O::TABLE;

    fn clear(&mut self) {
        self.json.clear();
        self.rows.clear();
    }

    fn push(&mut self, row: Row<'_>) -> Result<(), LoadError> {
        let start = self.json.len();
        let (id, product_id) = O::write(&mut self.json, row)?;
        if self.rows.last().is_some_and(|last| last.product_id > product_id) {
            return Err(out_of_order(O::TABLE));
        }
        self.rows.push(Parent { id, product_id, json: start..self.json.len() });
        Ok(())
    }
}

impl<O> Parents<O> {
    /// Returns the rows in ascending order of product.
    pub(super) fn rows(&self) -> &[Parent] {
        &self.rows
    }

    /// Returns the JSON of a row up to its first child.
    pub(super) fn opening(&self, of: &Parent) -> &[u8] {
        &self.json[of.json.clone()]
    }

    /// Returns the ids for a search of the children: a range if the ids are close together, as in files sorted by
    /// product, otherwise a list. The range may include a few other ids.
    pub(super) fn ids(&self) -> KeySet {
        let ids = || self.rows.iter().map(|row| row.id);
        let (lowest, highest) = (ids().min().unwrap_or(0), ids().max().unwrap_or(0));
        let span = i64::from(highest) - i64::from(lowest);
        match usize::try_from(span).is_ok_and(|span| span <= 2 * self.rows.len()) {
            true => KeySet::Range(lowest, highest),
            false => KeySet::Each(ids().collect()),
        }
    }
}

/// `{"id":1,"name":"Camo Onesie",…,"features":[`
pub(super) struct Product;

impl Opening for Product {
    const TABLE: &'static Table = &TABLES[0];

    fn write(out: &mut Vec<u8>, mut row: Row<'_>) -> Result<(i32, i32), LoadError> {
        let id = row.integer()?;
        out.extend_from_slice(b"{\"id\":");
        json::integer(out, id);
        for name in ["name", "slogan", "description", "category"] {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            json::string(out, row.text()?)?;
        }
        out.extend_from_slice(b",\"default_price\":");
        json::price(out, Some(row.integer()?));
        out.extend_from_slice(b",\"features\":[");
        Ok((id, id))
    }
}

/// `{"style_id":1,"name":"Forest Green & Black",…,"photos":[`
pub(super) struct Style;

impl Opening for Style {
    const TABLE: &'static Table = &TABLES[2];

    fn write(out: &mut Vec<u8>, mut row: Row<'_>) -> Result<(i32, i32), LoadError> {
        let (id, product_id) = (row.integer()?, row.integer()?);
        let (name, sale_price, original_price) = (row.text()?, row.optional_integer()?, row.integer()?);
        out.extend_from_slice(b"{\"style_id\":");
        json::integer(out, id);
        out.extend_from_slice(b",\"name\":");
        json::string(out, name)?;
        out.extend_from_slice(b",\"original_price\":");
        json::price(out, Some(original_price));
        out.extend_from_slice(b",\"sale_price\":");
        json::price(out, sale_price);
        out.extend_from_slice(b",\"default?\":");
        out.extend_from_slice(if row.boolean()? { b"true" } else { b"false" });
        out.extend_from_slice(b",\"photos\":[");
        Ok((id, product_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a row of numbers in binary format.
    fn fields(numbers: &[i32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| [4_i32, *number]).flat_map(i32::to_be_bytes).collect()
    }

    #[test]
    fn a_row_out_of_order_is_an_error() {
        let mut related = Groups::<Related>::default();
        for (row, expected) in [
            ([1, 7, 3], Ok(())),
            ([2, 7, 4], Ok(())),
            ([3, 9, 5], Ok(())),
            ([4, 7, 6], Err("related are out of order")),
        ] {
            let pushed = related.push(Row::new(&fields(&row)));
            match expected {
                Ok(()) => pushed.unwrap(),
                Err(expected) => assert!(pushed.unwrap_err().to_string().starts_with(expected)),
            }
        }
        assert_eq!(related.of(7), Some((&b"3,4"[..], 2)));
        assert_eq!((related.of(9), related.of(8)), (Some((&b"5"[..], 1)), None));
    }
}
