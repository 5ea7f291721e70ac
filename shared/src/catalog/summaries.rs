//! Summaries of products for lists and carts. They consist of parts of the documents, so they are read as they are
//! elsewhere, and a summary of a product comes from one catalog.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::database::Error;

/// The parts of the document of a product that summaries contain.
#[derive(Deserialize)]
struct Product<'a> {
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow)]
    category: &'a RawValue,
    #[serde(borrow)]
    default_price: &'a RawValue,
}

/// The document of a product's styles.
#[derive(Deserialize)]
struct Styles<'a> {
    #[serde(borrow)]
    results: Vec<Style<'a>>,
}

#[derive(Deserialize)]
struct Style<'a> {
    style_id: i32,
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow)]
    original_price: &'a RawValue,
    #[serde(borrow)]
    sale_price: &'a RawValue,
    #[serde(rename = "default?")]
    is_default: bool,
    #[serde(borrow)]
    photos: Vec<Photo<'a>>,
    #[serde(borrow)]
    skus: HashMap<&'a str, Sku<'a>>,
}

#[derive(Deserialize)]
struct Photo<'a> {
    #[serde(borrow)]
    thumbnail_url: &'a RawValue,
}

/// A sku; both members are null in the placeholder of a style without skus.
#[derive(Deserialize)]
struct Sku<'a> {
    quantity: Option<i32>,
    #[serde(borrow)]
    size: &'a RawValue,
}

/// A product as a list with pictures and prices shows it, with its fields in the order of the HTTP contract.
#[derive(Serialize)]
struct Card<'a> {
    id: i32,
    name: &'a RawValue,
    category: &'a RawValue,
    default_price: &'a RawValue,
    original_price: Option<&'a RawValue>,
    sale_price: Option<&'a RawValue>,
    thumbnail_url: Option<&'a RawValue>,
    in_stock: bool,
}

/// A line of a cart with what a page shows of it, with its fields in the order of the HTTP contract.
#[derive(Serialize)]
struct Line<'a> {
    sku_id: i32,
    count: i32,
    product_id: Option<i32>,
    product_name: Option<&'a RawValue>,
    style_id: Option<i32>,
    style_name: Option<&'a RawValue>,
    size: Option<&'a RawValue>,
    original_price: Option<&'a RawValue>,
    sale_price: Option<&'a RawValue>,
    thumbnail_url: Option<&'a RawValue>,
    quantity: Option<i32>,
}

/// A line of a cart whose sku belongs to a style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineOfStyle {
    pub(super) sku_id: i32,
    pub(super) count: i32,
    pub(super) style_id: i32,
}

/// Returns the JSON of a product's card: with the prices and the picture of its default style, else of its first one.
pub(super) fn card(id: i32, product: &[u8], styles: &[u8]) -> Result<String, Error> {
    let product: Product<'_> = parse(product)?;
    let styles: Styles<'_> = parse(styles)?;
    let style = styles.results.iter().find(|style| style.is_default).or(styles.results.first());
    let in_stock =
        |style: &Style<'_>| style.skus.values().any(|sku| sku.quantity.is_some_and(|quantity| quantity > 0));
    write(&Card {
        id,
        name: product.name,
        category: product.category,
        default_price: product.default_price,
        original_price: style.map(|style| style.original_price),
        sale_price: style.map(|style| style.sale_price),
        thumbnail_url: style.and_then(Style::thumbnail_url),
        in_stock: style.is_some_and(in_stock),
    })
}

/// Returns the JSON of lines whose skus belong to this product.
///
/// # Errors
/// [`Error::CHANGED`] if the product lacks one of the skus.
pub(super) fn lines(
    product_id: i32,
    product: &[u8],
    styles: &[u8],
    lines: &[LineOfStyle],
) -> Result<Vec<String>, Error> {
    let product: Product<'_> = parse(product)?;
    let styles: Styles<'_> = parse(styles)?;
    let json = |line: &LineOfStyle| {
        let style = styles.results.iter().find(|style| style.style_id == line.style_id);
        let style = style.ok_or(Error::CHANGED)?;
        let sku = style.skus.get(line.sku_id.to_string().as_str()).ok_or(Error::CHANGED)?;
        write(&Line {
            sku_id: line.sku_id,
            count: line.count,
            product_id: Some(product_id),
            product_name: Some(product.name),
            style_id: Some(line.style_id),
            style_name: Some(style.name),
            size: Some(sku.size),
            original_price: Some(style.original_price),
            sale_price: Some(style.sale_price),
            thumbnail_url: style.thumbnail_url(),
            quantity: sku.quantity,
        })
    };
    lines.iter().map(json).collect()
}

/// Returns the JSON of a line whose sku the catalog lacks.
pub(super) fn line_of_unknown_sku(sku_id: i32, count: i32) -> Result<String, Error> {
    write(&Line {
        sku_id,
        count,
        product_id: None,
        product_name: None,
        style_id: None,
        style_name: None,
        size: None,
        original_price: None,
        sale_price: None,
        thumbnail_url: None,
        quantity: None,
    })
}

impl<'a> Style<'a> {
    fn thumbnail_url(&self) -> Option<&'a RawValue> {
        self.photos.first().map(|photo| photo.thumbnail_url)
    }
}

fn parse<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(document).map_err(Error::internal)
}

fn write(summary: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(summary).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: &[u8] =
        br#"{"id":5,"name":"Camo \"Onesie\"","slogan":"s","description":"d","category":"Jackets","default_price":"140","features":[]}"#;
    const STYLES: &[u8] = br#"{"product_id":"5","results":[
        {"style_id":1,"name":"Blue","original_price":"140","sale_price":"0","default?":false,"photos":[{"thumbnail_url":"https://a/1","url":"https://a/2"}],"skus":{"8":{"quantity":0,"size":"XS"},"7":{"quantity":3,"size":"S"}}},
        {"style_id":2,"name":"Red","original_price":"150","sale_price":null,"default?":true,"photos":[{"thumbnail_url":null,"url":null}],"skus":{"null":{"quantity":null,"size":null}}}]}"#;
    const NO_STYLES: &[u8] = br#"{"product_id":"5","results":[]}"#;

    #[test]
    fn a_card_has_the_prices_and_the_picture_of_the_default_style() {
        let expected = r#"{"id":5,"name":"Camo \"Onesie\"","category":"Jackets","default_price":"140","original_price":"150","sale_price":null,"thumbnail_url":null,"in_stock":false}"#;
        assert_eq!(card(5, PRODUCT, STYLES).unwrap(), expected);
    }

    #[test]
    fn a_card_has_those_of_the_first_style_if_none_is_the_default() {
        let styles = String::from_utf8(STYLES.to_vec()).unwrap().replace("true", "false");
        let card = card(5, PRODUCT, styles.as_bytes()).unwrap();
        let expected =
            r#""original_price":"140","sale_price":"0","thumbnail_url":"https://a/1","in_stock":true}"#;
        assert!(card.ends_with(expected), "{card}");
    }

    #[test]
    fn a_card_of_a_product_without_styles_has_nulls() {
        let card = card(5, PRODUCT, NO_STYLES).unwrap();
        let expected = r#""default_price":"140","original_price":null,"sale_price":null,"thumbnail_url":null,"in_stock":false}"#;
        assert!(card.ends_with(expected), "{card}");
    }

    #[test]
    fn a_line_has_its_product_style_and_stock() {
        let line = LineOfStyle { sku_id: 7, count: 2, style_id: 1 };
        let expected = r#"{"sku_id":7,"count":2,"product_id":5,"product_name":"Camo \"Onesie\"","style_id":1,"style_name":"Blue","size":"S","original_price":"140","sale_price":"0","thumbnail_url":"https://a/1","quantity":3}"#;
        assert_eq!(lines(5, PRODUCT, STYLES, &[line]).unwrap(), [expected]);
    }

    #[test]
    fn a_line_whose_sku_the_product_lacks_means_that_the_catalog_changed() {
        for (sku_id, style_id) in [(9, 1), (7, 2), (7, 3)] {
            let line = LineOfStyle { sku_id, count: 1, style_id };
            let error = lines(5, PRODUCT, STYLES, &[line]).unwrap_err();
            assert_eq!(error.kind(), Error::CHANGED.kind());
        }
    }

    #[test]
    fn a_line_of_an_unknown_sku_has_nulls() {
        let expected = r#"{"sku_id":7,"count":2,"product_id":null,"product_name":null,"style_id":null,"style_name":null,"size":null,"original_price":null,"sale_price":null,"thumbnail_url":null,"quantity":null}"#;
        assert_eq!(line_of_unknown_sku(7, 2).unwrap(), expected);
    }
}
