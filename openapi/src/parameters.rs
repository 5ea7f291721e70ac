//! The parameters of paths and queries, as components of openapi.json.

use serde_json::Value;
use shared::Endpoint;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{ComponentsBuilder, Ref, Required};

use crate::schemas::{id, pattern, text, whole_number};

/// A parameter, by its name in an endpoint's constant.
struct Described {
    name: &'static str,
    /// The only endpoint with this description; `None` if it is the description for all others.
    endpoint: Option<&'static str>,
    is_in_path: bool,
    description: &'static str,
    schema: fn() -> ObjectBuilder,
    /// Whether an empty value has a meaning of its own.
    may_be_empty: bool,
    example: &'static str,
}

static ALL: [Described; 8] = [
    Described {
        name: "product_id",
        endpoint: None,
        is_in_path: true,
        description: "Decimal digits, without sign or leading zeros.",
        schema: id,
        may_be_empty: false,
        example: "2",
    },
    Described {
        name: "sku_id",
        endpoint: None,
        is_in_path: true,
        description: "Decimal digits, without sign or leading zeros.",
        schema: id,
        may_be_empty: false,
        example: "2",
    },
    Described {
        name: "page",
        endpoint: None,
        is_in_path: false,
        description: "The number of the page. An empty one has the default. If it is repeated, the first one counts.",
        schema: || id().default(Some(1.into())),
        may_be_empty: true,
        example: "2",
    },
    Described {
        name: "count",
        endpoint: None,
        is_in_path: false,
        description: "Products per page. Above 1000 it means 1000. An empty one has the default. If it is repeated, the first one \
                      counts.",
        schema: || whole_number(1).default(Some(5.into())),
        may_be_empty: true,
        example: "3",
    },
    Described {
        name: "count",
        endpoint: Some("list-cards"),
        is_in_path: false,
        description: "Products per page. Above 100 it means 100. An empty one has the default. If it is repeated, the first one \
                      counts.",
        schema: || whole_number(1).default(Some(5.into())),
        may_be_empty: true,
        example: "3",
    },
    Described {
        name: "ids",
        endpoint: None,
        is_in_path: false,
        description: "1 to 100 product ids with commas between them.",
        schema: || pattern("^[1-9][0-9]{0,9}(,[1-9][0-9]{0,9}){0,99}$"),
        may_be_empty: false,
        example: "9,2",
    },
    Described {
        name: "category",
        endpoint: None,
        is_in_path: false,
        description: "The whole category, as products have it. An unknown one has no products, and an empty one is ignored.",
        schema: text,
        may_be_empty: true,
        example: "Boots",
    },
    Described {
        name: "q",
        endpoint: None,
        is_in_path: false,
        description: "1 to 4 words of 3 to 64 letters or digits. Each is the beginning of a word of the name, in any order and \
                      case. An empty one is ignored.",
        schema: text,
        may_be_empty: true,
        example: "rain thi",
    },
];

/// Returns a reference to a parameter of an endpoint.
pub(crate) fn reference(endpoint: &Endpoint, name: &str) -> Ref {
    let component = described(endpoint, name).map(Described::component);
    Ref::new(format!("#/components/parameters/{}", component.unwrap_or_else(|| name.to_owned())))
}

/// Returns the parameter of a path as a request with `OPTIONS` may have it: any text.
pub(crate) fn of_preflight(name: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("Any text."))
        .schema(Some(text().min_length(Some(1))))
        .build()
}

fn described(endpoint: &Endpoint, name: &str) -> Option<&'static Described> {
    let of = |only| ALL.iter().find(|parameter| parameter.name == name && parameter.endpoint == only);
    of(Some(endpoint.name)).or_else(|| of(None))
}

/// Adds the component of each parameter.
pub(crate) fn add_components(components: ComponentsBuilder) -> ComponentsBuilder {
    ALL.iter().fold(components, |components, parameter| {
        components.parameter(parameter.component(), parameter.build())
    })
}

impl Described {
    /// Returns the name of the component.
    fn component(&self) -> String {
        self.endpoint.map_or_else(|| self.name.to_owned(), |endpoint| format!("{endpoint}-{}", self.name))
    }

    fn build(&self) -> Parameter {
        let parameter = if self.is_in_path {
            ParameterBuilder::new().parameter_in(ParameterIn::Path).required(Required::True)
        } else {
            // utoipa has no field for it, and an extension is serialized as it is.
            let may_be_empty: Option<Extensions> =
                self.may_be_empty.then(|| [("allowEmptyValue", true)].into_iter().collect());
            let parameter = ParameterBuilder::new().parameter_in(ParameterIn::Query);
            parameter.required(Required::False).extensions(may_be_empty)
        };
        parameter
            .name(self.name)
            .description(Some(self.description))
            .schema(Some((self.schema)()))
            .example(Some(self.example.parse::<i32>().map_or_else(|_| self.example.into(), Value::from)))
            .build()
    }
}

#[cfg(test)]
mod tests {
    use atelier_host::ENDPOINTS;

    use super::*;

    #[test]
    fn every_parameter_of_an_endpoint_is_described_and_none_is_left_over() {
        let mut unused: Vec<String> = ALL.iter().map(Described::component).collect();
        for endpoint in ENDPOINTS.iter().copied() {
            for name in endpoint.parameter().into_iter().chain(endpoint.query.iter().copied()) {
                let described = described(endpoint, name).unwrap_or_else(|| panic!("{endpoint:?}: {name}"));
                assert_eq!(described.is_in_path, endpoint.parameter() == Some(name), "{endpoint:?}: {name}");
                unused.retain(|component| *component != described.component());
            }
        }
        assert!(unused.is_empty(), "{unused:?}");
    }
}
