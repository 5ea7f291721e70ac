//! The rows of a batch, read in order and already turned into the JSON they will be part of.

use tokio_postgres::Client;

use super::super::copy_out::{CopyOut, Row};
use super::super::{LARGEST_ANSWER, LoadError, json};

/// What the rows of one parent come to: JSON, the elements joined by commas.
struct Group {
    parent: i32,
    json: std::ops::Range<usize>,
    rows: u64,
}

/// The JSON of a batch's rows, grouped by parent in ascending order.
pub(super) struct Groups {
    json: Vec<u8>,
    groups: Vec<Group>,
}

impl Groups {
    /// Reads rows of `table` whose first column is the parent, a row `of` its kind, and which come in its order;
    /// `element` writes the rest.
    async fn read(
        client: &Client,
        (table, of): (&'static str, &str),
        select: &str,
        element: impl Fn(&mut Vec<u8>, &mut Row) -> Result<(), LoadError>,
    ) -> Result<Self, LoadError> {
        let mut rows = CopyOut::begin(client, select).await?;
        let mut json = Vec::with_capacity(1 << 20);
        let mut groups: Vec<Group> = Vec::new();
        while let Some(mut row) = rows.next().await? {
            let parent = row.integer()?;
            match groups.last_mut() {
                Some(last) if last.parent == parent => {
                    json.push(b',');
                    element(&mut json, &mut row)?;
                    last.json.end = json.len();
                    last.rows += 1;
                    if last.json.len() > LARGEST_ANSWER {
                        return Err(LoadError::TooLarge { table, parent: format!("{of} {parent}") });
                    }
                }
                Some(last) if last.parent > parent => {
                    return Err(LoadError::Inconsistent(format!("rows came out of order: {select}")));
                }
                _ => {
                    let start = json.len();
                    element(&mut json, &mut row)?;
                    groups.push(Group { parent, json: start..json.len(), rows: 1 });
                }
            }
        }
        Ok(Self { json, groups })
    }

    /// The elements of one parent, and how many rows they are.
    pub(super) fn of(&self, parent: i32) -> Option<(&[u8], u64)> {
        let index = self.groups.binary_search_by_key(&parent, |group| group.parent).ok()?;
        let group = &self.groups[index];
        Some((&self.json[group.json.clone()], group.rows))
    }
}

/// A style as far as its own row tells: the JSON up to its photos.
pub(super) struct Style {
    pub(super) product_id: i32,
    pub(super) id: i32,
    pub(super) json: std::ops::Range<usize>,
}

pub(super) async fn features(client: &Client, range: &str) -> Result<Groups, LoadError> {
    let select = format!(
        "select product_id, feature, value from catalog_next.features
         where product_id {range} order by product_id, position"
    );
    Groups::read(client, ("features", "product"), &select, |out, row| {
        out.extend_from_slice(b"{\"feature\":");
        json::string(out, row.text()?)?;
        out.extend_from_slice(b",\"value\":");
        json::optional_string(out, row.bytes()?)?;
        out.push(b'}');
        Ok(())
    })
    .await
}

pub(super) async fn related(client: &Client, range: &str) -> Result<Groups, LoadError> {
    let select = format!(
        "select product_id, related_product_id from catalog_next.related
         where product_id {range} order by product_id, position"
    );
    Groups::read(client, ("related", "product"), &select, |out, row| {
        json::integer(out, row.integer()?);
        Ok(())
    })
    .await
}

pub(super) async fn photos(client: &Client, of_styles: &str) -> Result<Groups, LoadError> {
    let select = format!(
        "select style_id, thumbnail_url, url from catalog_next.photos
         where style_id {of_styles} order by style_id, position"
    );
    Groups::read(client, ("photos", "style"), &select, |out, row| {
        out.extend_from_slice(b"{\"thumbnail_url\":");
        json::string(out, row.text()?)?;
        out.extend_from_slice(b",\"url\":");
        json::string(out, row.text()?)?;
        out.push(b'}');
        Ok(())
    })
    .await
}

pub(super) async fn skus(client: &Client, of_styles: &str) -> Result<Groups, LoadError> {
    let select = format!(
        "select style_id, id, quantity, size from catalog_next.skus
         where style_id {of_styles} order by style_id, position"
    );
    Groups::read(client, ("skus", "style"), &select, |out, row| {
        out.push(b'"');
        json::integer(out, row.integer()?);
        out.extend_from_slice(b"\":{\"quantity\":");
        json::integer(out, row.integer()?);
        out.extend_from_slice(b",\"size\":");
        json::string(out, row.text()?)?;
        out.push(b'}');
        Ok(())
    })
    .await
}

/// The styles of a batch, in order of product and file, with the JSON they point into.
pub(super) async fn styles(client: &Client, range: &str) -> Result<(Vec<Style>, Vec<u8>), LoadError> {
    let select = format!(
        "select product_id, id, name, original_price, sale_price, is_default from catalog_next.styles
         where product_id {range} order by product_id, position"
    );
    let mut rows = CopyOut::begin(client, &select).await?;
    let (mut styles, mut out): (Vec<Style>, Vec<u8>) = (Vec::new(), Vec::new());
    while let Some(mut row) = rows.next().await? {
        let (product_id, id) = (row.integer()?, row.integer()?);
        if styles.last().is_some_and(|last| last.product_id > product_id) {
            return Err(LoadError::Inconsistent(format!("rows came out of order: {select}")));
        }
        let start = out.len();
        out.extend_from_slice(b"{\"style_id\":");
        json::integer(&mut out, id);
        out.extend_from_slice(b",\"name\":");
        json::string(&mut out, row.text()?)?;
        out.extend_from_slice(b",\"original_price\":");
        json::price(&mut out, Some(row.integer()?));
        out.extend_from_slice(b",\"sale_price\":");
        json::price(&mut out, row.optional_integer()?);
        out.extend_from_slice(b",\"default?\":");
        out.extend_from_slice(if row.boolean()? { b"true" } else { b"false" });
        out.extend_from_slice(b",\"photos\":[");
        styles.push(Style { product_id, id, json: start..out.len() });
    }
    Ok((styles, out))
}

/// A condition that finds the rows of these styles, and few others: a range where their ids lie close together, as
/// they do in files sorted by product, else each by itself.
pub(super) fn among(styles: &[Style]) -> String {
    let ids = || styles.iter().map(|style| style.id);
    let (Some(lowest), Some(highest)) = (ids().min(), ids().max()) else {
        return "between 1 and 0".to_owned();
    };
    let span = i64::from(highest) - i64::from(lowest) + 1;
    if usize::try_from(span).is_ok_and(|span| span <= 2 * styles.len()) {
        return format!("between {lowest} and {highest}");
    }
    let ids: Vec<String> = ids().map(|id| id.to_string()).collect();
    format!("in ({})", ids.join(","))
}
