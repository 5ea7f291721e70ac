//! Bodies: a contract type as openapi.json needs it, and as a check of a response needs it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;
use utoipa::openapi::{ComponentsBuilder, Ref};

use indexmap::IndexMap;

/// A JSON body of a response or a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    name: fn() -> Cow<'static, str>,
    add_component: fn(ComponentsBuilder) -> ComponentsBuilder,
    rewrite: Rewrite,
}

/// A function that deserializes a body and serializes it again.
type Rewrite = fn(&[u8]) -> serde_json::Result<Vec<u8>>;

/// A JSON value whose members keep their order. `serde_json::Value` sorts them, unless a feature is on that would
/// reach the service in a build of the workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(IndexMap<String, Json>),
}

impl Body {
    /// Returns a body of a response.
    pub(crate) const fn of<T: ToSchema + Serialize + DeserializeOwned>() -> Self {
        Self { rewrite: rewrite::<T>, ..Self::of_request::<T>() }
    }

    /// Returns a body of a request. Nothing is known of its order, and it may have other members.
    pub(crate) const fn of_request<T: ToSchema>() -> Self {
        Self { name: T::name, add_component: add_component::<T>, rewrite: |body| Ok(body.to_vec()) }
    }

    pub(crate) fn reference(&self) -> Ref {
        Ref::from_schema_name((self.name)())
    }

    /// Adds the schemas of the type and of the types within it.
    pub(crate) fn add_component(&self, components: ComponentsBuilder) -> ComponentsBuilder {
        (self.add_component)(components)
    }

    /// Returns the body as the contract type serializes it: the same bytes, if the body keeps to the contract.
    ///
    /// # Errors
    /// The body has another member, lacks one, or has one of another type.
    pub(crate) fn rewrite(&self, body: &[u8]) -> serde_json::Result<Vec<u8>> {
        (self.rewrite)(body)
    }
}

/// Adds the schemas of a type and of the types within it. `ComponentsBuilder::schema_from` would add only its own.
pub(crate) fn add_component<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    components.schemas_from_iter(schemas)
}

fn rewrite<T: Serialize + DeserializeOwned>(body: &[u8]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&serde_json::from_slice::<T>(body)?)
}

impl Json {
    /// Returns the member of an object.
    pub(crate) fn member(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => members.get_mut(name),
            _ => None,
        }
    }
}
