//! Schemas with rules that an attribute of a contract type cannot state. They have a description of their own: utoipa
//! drops the doc comment of a member with `schema_with`.

use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{KnownFormat, Ref, SchemaFormat, Type};

/// A whole number from 1, without sign or leading zeros. The range is that of an `i32`, which a pattern cannot state.
const ID: &str = "^[1-9][0-9]{0,9}$";

/// An id of a request, which the client sends or the service generates.
pub(crate) const REQUEST_ID: &str = "^[A-Za-z0-9._-]{1,64}$";

pub(crate) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(crate) fn pattern(pattern: &str) -> ObjectBuilder {
    text().pattern(Some(pattern))
}

/// The only value of a text. An `enum` of one, because utoipa has no `const`.
pub(crate) fn constant(value: &str) -> ObjectBuilder {
    text().enum_values(Some([value]))
}

/// A whole number from `min`, of any number of digits.
pub(crate) fn whole_number(min: i32) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(min))
}

pub(crate) fn integer(min: i32, max: i32) -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int32);
    whole_number(min).format(Some(format)).maximum(Some(max))
}

pub(crate) fn id() -> ObjectBuilder {
    integer(1, i32::MAX)
}

/// The skus of a style by their ids, or by `null` in the placeholder.
pub(crate) fn skus() -> Schema {
    let sku = Ref::from_schema_name("Sku");
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "The skus in file order, by sku id. Without skus, one with the key `null`, whose members are null.",
        ))
        .additional_properties(Some(AdditionalProperties::RefOr(sku.into())))
        .property_names(Some(Schema::from(pattern("^(null|[1-9][0-9]{0,9})$"))))
        .min_properties(Some(1))
        .into()
}

pub(crate) fn alive() -> Schema {
    constant("alive").description(Some("Always `alive`.")).into()
}

pub(crate) fn ready() -> Schema {
    constant("ready").description(Some("Always `ready`.")).into()
}

pub(crate) fn about_blank() -> Schema {
    constant("about:blank").description(Some("Always `about:blank`: the status says the type.")).into()
}

pub(crate) fn id_or_text() -> Schema {
    let description = "The sku: a whole number, or a string of one.";
    AnyOfBuilder::new().item(id()).item(pattern(ID)).description(Some(description)).into()
}

/// The count of `POST /cart`. The default is not in the schema: generated clients would require the member.
pub(crate) fn added_count() -> Schema {
    AnyOfBuilder::new()
        .item(integer(1, 99))
        .item(pattern("^[1-9][0-9]?$"))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some("The number of pieces, 1 if absent or null: a whole number, or a string of one."))
        .into()
}

pub(crate) fn set_count() -> Schema {
    AnyOfBuilder::new()
        .item(integer(0, 9999))
        .item(pattern("^(0|[1-9][0-9]{0,3})$"))
        .description(Some(
            "The number of pieces, of which 0 removes the line: a whole number, or a string of one.",
        ))
        .into()
}
