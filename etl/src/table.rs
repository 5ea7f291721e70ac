//! The seven tables of a catalog and the files they come from.

/// The type of a column in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// A whole number from 1 to 2,147,483,647, unique in its file.
    Id,
    /// The id of a row in another file; 0 is never an id.
    Reference(&'static Reference),
    /// A whole number from 0 to 2,147,483,647; the loader removes a leading `$`.
    Price,
    /// A price or NULL.
    OptionalPrice,
    /// A whole number from 0 to 2,147,483,647; the loader makes a negative one 0.
    Count,
    /// 0 or 1, or a spelling of false or true.
    Flag,
    /// Text.
    Text,
    /// Text or NULL.
    OptionalText,
}

impl ColumnType {
    /// Returns whether its values are texts.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::OptionalText)
    }
}

/// The target of a reference.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference {
    /// The referenced table.
    pub table: &'static str,
    /// The reason for rejecting a row whose reference does not exist.
    pub orphan: &'static str,
}

const PRODUCT: Reference = Reference { table: "products", orphan: "no such product" };
const STYLE: Reference = Reference { table: "styles", orphan: "no such style" };

/// A column of a file and of its table.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in the file's header.
    pub header: &'static str,
    /// Its name in the table.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnType,
}

const fn column(header: &'static str, name: &'static str, kind: ColumnType) -> Column {
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
    /// Whether a dataset is complete without it.
    pub optional: bool,
    /// Its DDL in `catalog_next`, with the placeholder `{generation}`. Autovacuum is off: the loader vacuums, nothing
    /// changes the table later, and adding a key would wait for an autovacuum worker.
    pub ddl: &'static str,
}

impl Table {
    /// Returns the names that its file can have in a dataset: plain, and compressed with gzip.
    pub fn files(&self) -> [String; 2] {
        [self.file.to_owned(), format!("{}.gz", self.file)]
    }

    /// Returns the table of a file with this name.
    pub fn of_file(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| name.strip_suffix(".gz").unwrap_or(name) == table.file)
    }

    /// Returns whether its rows have a rank: their position in ascending order of id.
    pub fn is_ranked(&self) -> bool {
        self.name == PRODUCT.table
    }

    /// Returns the column for lookups and for the order of rows: the parent, or the id of a table without parent.
    pub fn key(&self) -> &'static str {
        self.parent.unwrap_or("id")
    }

    /// Returns the columns that refer to another table, with the target of each.
    pub fn references(&self) -> impl Iterator<Item = (&'static Column, &'static Reference)> + use<> {
        self.columns.iter().filter_map(|column| match column.kind {
            ColumnType::Reference(to) => Some((column, to)),
            _ => None,
        })
    }

    /// Returns the header line of the file.
    pub fn header(&self) -> String {
        self.columns.iter().map(|column| column.header).collect::<Vec<_>>().join(",")
    }

    /// Returns the columns that COPY fills, in the order of [`crate::row::Encoder`].
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

/// DDL of the read model's documents. No table of the read model has a file of its own.
pub const DOCUMENTS_DDL: &str = ddl!("documents");
/// DDL of the posting lists of categories.
pub const CATEGORIES_DDL: &str = ddl!("categories");
/// DDL of the posting lists of words.
pub const WORDS_DDL: &str = ddl!("words");

/// Every table that has a file, parents before their children.
pub static TABLES: [Table; 7] = [
    Table {
        name: "products",
        file: "product.csv",
        columns: &[
            column("id", "id", ColumnType::Id),
            column("name", "name", ColumnType::Text),
            column("slogan", "slogan", ColumnType::Text),
            column("description", "description", ColumnType::Text),
            column("category", "category", ColumnType::Text),
            column("default_price", "default_price", ColumnType::Price),
        ],
        parent: None,
        optional: false,
        ddl: ddl!("products"),
    },
    Table {
        name: "features",
        file: "features.csv",
        columns: &[
            column("id", "id", ColumnType::Id),
            column("product_id", "product_id", ColumnType::Reference(&PRODUCT)),
            column("feature", "feature", ColumnType::Text),
            column("value", "value", ColumnType::OptionalText),
        ],
        parent: Some("product_id"),
        optional: false,
        ddl: ddl!("features"),
    },
    Table {
        name: "styles",
        file: "styles.csv",
        columns: &[
            column("id", "id", ColumnType::Id),
            column("productId", "product_id", ColumnType::Reference(&PRODUCT)),
            column("name", "name", ColumnType::Text),
            column("sale_price", "sale_price", ColumnType::OptionalPrice),
            column("original_price", "original_price", ColumnType::Price),
            column("default_style", "is_default", ColumnType::Flag),
        ],
        parent: Some("product_id"),
        optional: false,
        ddl: ddl!("styles"),
    },
    Table {
        name: "photos",
        file: "photos.csv",
        columns: &[
            column("id", "id", ColumnType::Id),
            column("styleId", "style_id", ColumnType::Reference(&STYLE)),
            column("url", "url", ColumnType::Text),
            column("thumbnail_url", "thumbnail_url", ColumnType::Text),
        ],
        parent: Some("style_id"),
        optional: false,
        ddl: ddl!("photos"),
    },
    Table {
        name: "skus",
        file: "skus.csv",
        columns: &[
            column("id", "id", ColumnType::Id),
            column("styleId", "style_id", ColumnType::Reference(&STYLE)),
            column("size", "size", ColumnType::Text),
            column("quantity", "quantity", ColumnType::Count),
        ],
        parent: Some("style_id"),
        optional: false,
        ddl: ddl!("skus"),
    },
    Table {
        name: "related",
        file: "related.csv",
        columns: &[
            column("id", "id", ColumnType::Id),
            column("current_product_id", "product_id", ColumnType::Reference(&PRODUCT)),
            column("related_product_id", "related_product_id", ColumnType::Reference(&PRODUCT)),
        ],
        parent: Some("product_id"),
        optional: false,
        ddl: ddl!("related"),
    },
    Table {
        name: "cart",
        file: "cart.csv",
        columns: &[
            column("id", "id", ColumnType::Id),
            column("user_session", "user_session", ColumnType::Text),
            column("product_id", "product_id", ColumnType::Reference(&PRODUCT)),
            column("active", "active", ColumnType::Flag),
        ],
        parent: None,
        optional: true,
        ddl: ddl!("cart"),
    },
];
