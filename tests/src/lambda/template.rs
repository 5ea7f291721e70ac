//! The part of template.yaml that the suite needs: the routes and their functions.

mod expand;

use std::path::Path;

use http::Method;
use yaml_rust2::{Yaml, YamlLoader};

/// Returns the template in this file, with its loops expanded.
pub fn read_template(path: &Path) -> Yaml {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    expand::expand(&YamlLoader::load_from_str(&text).unwrap().remove(0))
}

/// A route of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// `ANY /products/{product_id}`, or `$default`.
    pub key: String,
    /// The name of the route's function: `get-product`.
    pub function: String,
}

impl Route {
    /// Returns the routes of template.yaml, with the loops expanded.
    pub fn from_template() -> Vec<Self> {
        let template = read_template(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml"));
        let resources = &template["Resources"];
        let of_type = |resource: &&Yaml| resource["Type"].as_str() == Some("AWS::ApiGatewayV2::Route");
        resources
            .as_hash()
            .unwrap()
            .values()
            .filter(of_type)
            .map(|route| Self::read(route, resources))
            .collect()
    }

    /// Reads a route. A route targets an integration, and the integration targets the alias `live` of a function. The
    /// function's name is the name of its build folder. The parser discards tags such as `!Sub`.
    fn read(route: &Yaml, resources: &Yaml) -> Self {
        let text =
            |value: &Yaml| value.as_str().unwrap_or_else(|| panic!("{value:?} in {route:?}")).to_owned();
        let properties = &route["Properties"];
        let target = text(&properties["Target"]);
        let integration = target.strip_prefix("integrations/").expect("integrations/ and the id of one");
        let alias = text(&resources[integration]["Properties"]["IntegrationUri"]);
        let function = &resources[alias.strip_suffix("Aliaslive").expect("an alias that SAM makes")];
        let binary = &function["Metadata"]["BuildProperties"]["Binary"];
        Self { key: text(&properties["RouteKey"]), function: text(binary) }
    }

    /// Returns whether the route matches requests that no other route matches.
    pub fn is_default(&self) -> bool {
        self.key == "$default"
    }

    /// Returns whether the route matches any method.
    pub fn is_for_any_method(&self) -> bool {
        self.key.starts_with("ANY ")
    }

    /// Returns the values of the route's parameters in this path, encoded, or `None` if the request does not match.
    pub fn parameters(&self, method: &Method, path: &str) -> Option<Vec<(String, String)>> {
        if self.is_default() {
            return Some(Vec::new());
        }
        let (key_method, template) = self.key.split_once(' ')?;
        if !self.is_for_any_method() && key_method != method.as_str() {
            return None;
        }
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        if template.len() != path.len() {
            return None;
        }
        let mut parameters = Vec::new();
        for (expected, segment) in template.into_iter().zip(path) {
            match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) if !segment.is_empty() => parameters.push((name.to_owned(), segment.to_owned())),
                None if expected == segment => {}
                _ => return None,
            }
        }
        Some(parameters)
    }
}
