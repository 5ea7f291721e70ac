//! The seven tables of a catalog and the files they come from.

/// What a column of a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from 1 to 2,147,483,647, unique in its file.
    Id,
    /// The id of a row of another file; 0 names no row there.
    Reference(&'static Reference),
    /// A whole number from 0 to 2,147,483,647; a `$` before it is taken off.
    Price,
    /// A price, or a bare `null`.
    OptionalPrice,
    /// A whole number from 0 to 2,147,483,647.
    Count,
    /// 0 or 1.
    Flag,
    /// Text.
    Text,
    /// Text, or a bare `null`.
    OptionalText,
}

/// Where a reference leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference {
    /// The table that must have the row.
    pub table: &'static str,
    /// Why a row is set aside that refers to nothing.
    pub orphan: &'static str,
}

const PRODUCT: Reference = Reference { table: "products", orphan: "no such product" };
const STYLE: Reference = Reference { table: "styles", orphan: "no such style" };

/// A column: its name in the file's header, its name in the table, and what it may hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// As the header has it.
    pub header: &'static str,
    /// As the table has it.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
}

const fn column(header: &'static str, name: &'static str, kind: Kind) -> Column {
    Column { header, name, kind }
}

/// A table of the catalog and the file it is loaded from.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name in the schema.
    pub name: &'static str,
    /// The file's name in a dataset.
    pub file: &'static str,
    /// The file's columns, in the file's order.
    pub columns: &'static [Column],
    /// The column that names the parent row, whose index in file order serves lookups and assembly.
    pub parent: Option<&'static str>,
    /// Whether a dataset is whole without it.
    pub optional: bool,
    /// Its DDL in `catalog_next`, with `{generation}` where the number goes. Autovacuum keeps off it: what there is to
    /// do the loader does, nothing changes it later, and a key would wait for the worker that looks at it.
    pub ddl: &'static str,
}

impl Table {
    /// Whether its rows carry a rank, their place in ascending order of id.
    pub fn is_ranked(&self) -> bool {
        self.name == PRODUCT.table
    }

    /// The column by which its rows are found and put in order: the parent, or the id where there is none.
    pub fn key(&self) -> &'static str {
        self.parent.unwrap_or("id")
    }

    /// The columns that refer to another table, with where they lead.
    pub fn references(&self) -> impl Iterator<Item = (&'static Column, &'static Reference)> + use<> {
        self.columns.iter().filter_map(|column| match column.kind {
            Kind::Reference(to) => Some((column, to)),
            _ => None,
        })
    }

    /// The header line a file of this table begins with.
    pub fn header(&self) -> String {
        self.columns.iter().map(|column| column.header).collect::<Vec<_>>().join(",")
    }

    /// The columns a COPY fills, in the order of [`crate::row::Encoder`].
    pub fn copy_columns(&self) -> String {
        let rank = if self.is_ranked() { ", rank" } else { "" };
        let names: Vec<_> = self.columns.iter().map(|column| column.name).collect();
        format!("position{rank}, {}", names.join(", "))
    }
}

macro_rules! ddl {
    ($table:literal) => {
        include_str!(concat!("../../migrations/catalog/", $table, ".sql"))
    };
}

/// DDL of the read model, which no file is loaded into.
pub const DOCUMENTS_DDL: &str = ddl!("documents");

/// Every table that a file is loaded into, parents before their children.
pub static TABLES: [Table; 7] = [
    Table {
        name: "products",
        file: "product.csv",
        columns: &[
            column("id", "id", Kind::Id),
            column("name", "name", Kind::Text),
            column("slogan", "slogan", Kind::Text),
            column("description", "description", Kind::Text),
            column("category", "category", Kind::Text),
            column("default_price", "default_price", Kind::Price),
        ],
        parent: None,
        optional: false,
        ddl: ddl!("products"),
    },
    Table {
        name: "features",
        file: "features.csv",
        columns: &[
            column("id", "id", Kind::Id),
            column("product_id", "product_id", Kind::Reference(&PRODUCT)),
            column("feature", "feature", Kind::Text),
            column("value", "value", Kind::OptionalText),
        ],
        parent: Some("product_id"),
        optional: false,
        ddl: ddl!("features"),
    },
    Table {
        name: "styles",
        file: "styles.csv",
        columns: &[
            column("id", "id", Kind::Id),
            column("productId", "product_id", Kind::Reference(&PRODUCT)),
            column("name", "name", Kind::Text),
            column("sale_price", "sale_price", Kind::OptionalPrice),
            column("original_price", "original_price", Kind::Price),
            column("default_style", "is_default", Kind::Flag),
        ],
        parent: Some("product_id"),
        optional: false,
        ddl: ddl!("styles"),
    },
    Table {
        name: "photos",
        file: "photos.csv",
        columns: &[
            column("id", "id", Kind::Id),
            column("styleId", "style_id", Kind::Reference(&STYLE)),
            column("url", "url", Kind::Text),
            column("thumbnail_url", "thumbnail_url", Kind::Text),
        ],
        parent: Some("style_id"),
        optional: false,
        ddl: ddl!("photos"),
    },
    Table {
        name: "skus",
        file: "skus.csv",
        columns: &[
            column("id", "id", Kind::Id),
            column("styleId", "style_id", Kind::Reference(&STYLE)),
            column("size", "size", Kind::Text),
            column("quantity", "quantity", Kind::Count),
        ],
        parent: Some("style_id"),
        optional: false,
        ddl: ddl!("skus"),
    },
    Table {
        name: "related",
        file: "related.csv",
        columns: &[
            column("id", "id", Kind::Id),
            column("current_product_id", "product_id", Kind::Reference(&PRODUCT)),
            column("related_product_id", "related_product_id", Kind::Reference(&PRODUCT)),
        ],
        parent: Some("product_id"),
        optional: false,
        ddl: ddl!("related"),
    },
    Table {
        name: "cart",
        file: "cart.csv",
        columns: &[
            column("id", "id", Kind::Id),
            column("user_session", "user_session", Kind::Count),
            column("product_id", "product_id", Kind::Reference(&PRODUCT)),
            column("active", "active", Kind::Flag),
        ],
        parent: None,
        optional: true,
        ddl: ddl!("cart"),
    },
];
