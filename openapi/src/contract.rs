//! The contract types: each body of the service, as clients read it.
//!
//! The service does not write its bodies with these types. They are a second description, made to be compared:
//! serializing what was deserialized gives the same bytes, so a type holds the names, their order, the types, null, and
//! the absence of anything else. Doc comments become the descriptions in openapi.json.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schemas;

/// A product, without its features.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListedProduct {
    /// The product's id.
    #[schema(minimum = 1)]
    pub id: i32,
    /// The product's name.
    pub name: String,
    /// One sentence.
    pub slogan: String,
    /// A paragraph.
    pub description: String,
    /// The name of the category.
    pub category: String,
    /// A whole number in a string.
    #[schema(pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub default_price: String,
}

/// A page of products in ascending id; empty past the end.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(max_items = 1000)]
pub struct ProductList(pub Vec<ListedProduct>);

/// A product with its features.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// The product's id.
    #[schema(minimum = 1)]
    pub id: i32,
    /// The product's name.
    pub name: String,
    /// One sentence.
    pub slogan: String,
    /// A paragraph.
    pub description: String,
    /// The name of the category.
    pub category: String,
    /// A whole number in a string.
    #[schema(pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub default_price: String,
    /// In file order; can be empty.
    pub features: Vec<Feature>,
}

/// A feature of a product.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// The feature's name.
    pub feature: String,
    /// The feature's value, if it has one.
    #[schema(required)]
    pub value: Option<String>,
}

/// The styles of a product.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Styles {
    /// The product's id. Only here it is a string.
    #[schema(pattern = "^[1-9][0-9]{0,9}$")]
    pub product_id: String,
    /// In file order; can be empty.
    pub results: Vec<Style>,
}

/// A style of a product.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Style {
    /// The style's id.
    #[schema(minimum = 1)]
    pub style_id: i32,
    /// The style's name.
    pub name: String,
    /// A whole number in a string.
    #[schema(pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub original_price: String,
    /// A whole number in a string, or null without a sale. `"0"` is a price.
    #[schema(required, pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub sale_price: Option<String>,
    /// Whether this is the default style. A product can have none.
    #[serde(rename = "default?")]
    pub is_default: bool,
    /// In file order. Without photos, one whose addresses are null.
    #[schema(min_items = 1)]
    pub photos: Vec<Photo>,
    /// The skus in file order, by sku id. Without skus, one with the key `null`, whose members are null.
    #[schema(schema_with = schemas::skus)]
    pub skus: IndexMap<String, Sku>,
}

/// A photo of a style.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Photo {
    /// The address of a small version. Null only in the placeholder of a style without photos.
    #[schema(required)]
    pub thumbnail_url: Option<String>,
    /// The address of the photo. Null only in the placeholder.
    #[schema(required)]
    pub url: Option<String>,
}

/// A size of a style, in stock or not.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sku {
    /// The number of pieces in stock. Null only in the placeholder of a style without skus.
    #[schema(required, minimum = 0)]
    pub quantity: Option<i32>,
    /// The size, which can repeat in a style. Null only in the placeholder.
    #[schema(required)]
    pub size: Option<String>,
}

/// The ids of related products in file order. They can repeat, and include the product itself.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RelatedIds(pub Vec<i32>);

/// A product, its styles and its related ids, each equal to the response of its own endpoint.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Overview {
    /// As `/products/{product_id}`.
    pub product: Product,
    /// As `/products/{product_id}/styles`.
    pub styles: Styles,
    /// As `/products/{product_id}/related`.
    pub related: RelatedIds,
}

/// A category.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// The category's name, as products have it.
    pub category: String,
    /// The number of its products.
    #[schema(minimum = 1)]
    pub products: i32,
}

/// All categories.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CategoryList(pub Vec<Category>);

/// The catalog that is served.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The number of the load that made it.
    #[schema(minimum = 1)]
    pub generation: i32,
    /// The time of its publication (RFC 3339, UTC).
    #[schema(format = DateTime)]
    pub published_at: String,
    /// The number of its products.
    #[schema(minimum = 0)]
    pub products: i32,
}

/// A product as a list or a row of related products shows it: with the price and the picture of its default style, or
/// else of its first one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The product's id.
    #[schema(minimum = 1)]
    pub id: i32,
    /// The product's name.
    pub name: String,
    /// The name of the category.
    pub category: String,
    /// A whole number in a string.
    #[schema(pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub default_price: String,
    /// The style's price; null without a style.
    #[schema(required, pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub original_price: Option<String>,
    /// The style's price on sale; null without a style or a sale.
    #[schema(required, pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub sale_price: Option<String>,
    /// The style's first photo; null if there is none.
    #[schema(required)]
    pub thumbnail_url: Option<String>,
    /// Whether the style has a piece in stock.
    pub in_stock: bool,
}

/// Cards: in the order of `ids`, or a page in ascending id.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(max_items = 100)]
pub struct CardList(pub Vec<Card>);

/// A line of a cart.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CartLine {
    /// The sku. A later catalog may lack it.
    #[schema(minimum = 1)]
    pub sku_id: i32,
    /// The number of pieces.
    #[schema(minimum = 1, maximum = 9999)]
    pub count: i32,
}

/// The lines of a cart, in order of first adding.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(max_items = 1000)]
pub struct Cart(pub Vec<CartLine>);

/// A line of a cart with its product. All members but the first two are null if the catalog lacks the sku.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CartLineDetails {
    /// The sku. A later catalog may lack it.
    #[schema(minimum = 1)]
    pub sku_id: i32,
    /// The number of pieces.
    #[schema(minimum = 1, maximum = 9999)]
    pub count: i32,
    /// The product's id.
    #[schema(required, minimum = 1)]
    pub product_id: Option<i32>,
    /// The product's name.
    #[schema(required)]
    pub product_name: Option<String>,
    /// The style's id.
    #[schema(required, minimum = 1)]
    pub style_id: Option<i32>,
    /// The style's name.
    #[schema(required)]
    pub style_name: Option<String>,
    /// The sku's size.
    #[schema(required)]
    pub size: Option<String>,
    /// The style's original price.
    #[schema(required, pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub original_price: Option<String>,
    /// The style's price on sale; null without a sale.
    #[schema(required, pattern = "^(0|[1-9][0-9]{0,9})$")]
    pub sale_price: Option<String>,
    /// The style's first photo; null if there is none.
    #[schema(required)]
    pub thumbnail_url: Option<String>,
    /// The number of pieces in stock.
    #[schema(required, minimum = 0)]
    pub quantity: Option<i32>,
}

/// The lines of a cart with their products, in order of first adding.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(max_items = 1000)]
pub struct CartDetails(pub Vec<CartLineDetails>);

/// What to add to a cart. Other members are ignored.
#[derive(Debug, ToSchema)]
pub struct AddToCart {
    /// The sku: a whole number, or a string of one.
    #[schema(schema_with = schemas::id_or_text)]
    pub sku_id: i32,
    /// The number of pieces, 1 if absent or null: a whole number, or a string of one.
    #[schema(schema_with = schemas::added_count)]
    pub count: Option<i32>,
}

/// The count to which a line of a cart is set. Other members are ignored.
#[derive(Debug, ToSchema)]
pub struct SetCartLine {
    /// The number of pieces, of which 0 removes the line: a whole number, or a string of one.
    #[schema(schema_with = schemas::set_count)]
    pub count: i32,
}

/// The host's process can respond.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Alive {
    /// Always `alive`.
    #[schema(schema_with = schemas::alive)]
    pub status: AliveStatus,
}

/// The only status of a process that responds.
#[derive(Debug, Serialize, Deserialize)]
pub enum AliveStatus {
    /// `alive`.
    #[serde(rename = "alive")]
    Alive,
}

/// The host can serve the catalog.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Always `ready`.
    #[schema(schema_with = schemas::ready)]
    pub status: ReadyStatus,
    /// The generation of the catalog that it serves.
    #[schema(minimum = 1)]
    pub generation: i32,
}

/// The only status of a host that is ready.
#[derive(Debug, Serialize, Deserialize)]
pub enum ReadyStatus {
    /// `ready`.
    #[serde(rename = "ready")]
    Ready,
}

/// An error (RFC 9457).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// Always `about:blank`: the status says the type.
    #[schema(schema_with = schemas::about_blank)]
    pub r#type: ProblemType,
    /// The name of the status.
    pub title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// The cause, for people.
    pub detail: String,
    /// As the header `X-Request-Id`.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub request_id: String,
}

/// The only type of a problem: its status says the rest.
#[derive(Debug, Serialize, Deserialize)]
pub enum ProblemType {
    /// `about:blank`.
    #[serde(rename = "about:blank")]
    AboutBlank,
}
