//! The parameters of paths and queries, as components of openapi.json.

use shared::Endpoint;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{ComponentsBuilder, Ref, Required};

use crate::schemas::{id, whole_number};

/// A parameter, by its name in an endpoint's constant.
struct Described {
    name: &'static str,
    /// The component, which differs from the name where endpoints differ.
    component: &'static str,
    is_in_path: bool,
    description: &'static str,
    schema: fn() -> ObjectBuilder,
}

const ALL: [Described; 4] = [
    Described {
        name: "product_id",
        component: "product_id",
        is_in_path: true,
        description: "Decimal digits, without sign or leading zeros.",
        schema: id,
    },
    Described {
        name: "sku_id",
        component: "sku_id",
        is_in_path: true,
        description: "Decimal digits, without sign or leading zeros.",
        schema: id,
    },
    Described {
        name: "page",
        component: "page",
        is_in_path: false,
        description: "The number of the page. If it is repeated, the first one counts.",
        schema: || id().default(Some(1.into())),
    },
    Described {
        name: "count",
        component: "count",
        is_in_path: false,
        description: "Products per page. Above 1000 it means 1000. If it is repeated, the first one counts.",
        schema: || whole_number(1).default(Some(5.into())),
    },
];

/// Returns a reference to a parameter of an endpoint.
pub(crate) fn reference(endpoint: &Endpoint, name: &str) -> Ref {
    let component = described(endpoint, name).map_or(name, |parameter| parameter.component);
    Ref::new(format!("#/components/parameters/{component}"))
}

/// Returns the description of a parameter, if there is one.
fn described(_endpoint: &Endpoint, name: &str) -> Option<&'static Described> {
    ALL.iter().find(|parameter| parameter.name == name)
}

/// Adds the component of each parameter.
pub(crate) fn add_components(components: ComponentsBuilder) -> ComponentsBuilder {
    ALL.iter().fold(components, |components, parameter| {
        components.parameter(parameter.component, parameter.build())
    })
}

impl Described {
    fn build(&self) -> Parameter {
        let (place, required) = if self.is_in_path {
            (ParameterIn::Path, Required::True)
        } else {
            (ParameterIn::Query, Required::False)
        };
        ParameterBuilder::new()
            .name(self.name)
            .parameter_in(place)
            .required(required)
            .description(Some(self.description))
            .schema(Some((self.schema)()))
            .build()
    }
}

#[cfg(test)]
mod tests {
    use atelier_host::ENDPOINTS;

    use super::*;

    #[test]
    fn every_parameter_of_an_endpoint_is_described_and_none_is_left_over() {
        let mut unused: Vec<&str> = ALL.iter().map(|parameter| parameter.component).collect();
        for endpoint in ENDPOINTS.iter().copied() {
            for name in endpoint.parameter().into_iter().chain(endpoint.query.iter().copied()) {
                let described = described(endpoint, name).unwrap_or_else(|| panic!("{endpoint:?}: {name}"));
                assert_eq!(described.is_in_path, endpoint.parameter() == Some(name), "{endpoint:?}: {name}");
                unused.retain(|component| *component != described.component);
            }
        }
        assert!(unused.is_empty(), "{unused:?}");
    }
}
