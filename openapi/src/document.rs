//! openapi.json: the endpoints' constants with the words, bodies and statuses of their operations.

use atelier_host::ENDPOINTS;
use indexmap::IndexMap;
use shared::Endpoint;
use shared::endpoint::Method;
use utoipa::openapi::content::{Content as MediaType, ContentBuilder};
use utoipa::openapi::info::{ContactBuilder, InfoBuilder, LicenseBuilder};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, ComponentsBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required};

use crate::body::{Json, add_component};
use crate::headers::{PREFLIGHT, ResponseHeader};
use crate::operations::{self, Content, Operation};
use crate::schemas::constant;
use crate::{contract, headers, parameters, problems};

const DESCRIPTION: &str = "\
The products and carts of a shop.

- A slash at the end of a path makes no difference.
- `HEAD` works for every `GET`: the same headers, and no body.
- `OPTIONS` returns 204 on every path, for requests of other origins (CORS).
- Errors are `application/problem+json` (RFC 9457).
- `skus` is in file order, but JavaScript sorts its keys by number.";

/// The tags, with their descriptions.
const TAGS: [(&str, &str); 4] = [
    ("catalog", "Products. Caches may keep them; each 200 has an `ETag`."),
    ("cart", "The caller's cart. The `Authorization` header identifies it, or else the session cookie."),
    ("health", "Checks for load balancers. Only hosts have them."),
    ("preflight", "The requests that browsers send before a request to another origin."),
];

/// Returns the document.
///
/// # Errors
/// An example is not JSON, which is a bug.
pub fn document() -> Result<String, serde_json::Error> {
    let mut document: Json = serde_json::from_str(&without_examples().to_json()?)?;
    if let Some(Json::Object(components)) = document.member("components") {
        components.insert("examples".to_owned(), Json::Object(examples()?));
    }
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Returns the examples by name. Their members keep their order, which utoipa would not keep.
fn examples() -> Result<IndexMap<String, Json>, serde_json::Error> {
    let mut all = IndexMap::new();
    let mut add = |name: &str, summary: &str, body: &str| -> Result<(), serde_json::Error> {
        let members = [("summary", Json::Text(summary.to_owned())), ("value", serde_json::from_str(body)?)];
        let example = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        all.insert(name.to_owned(), Json::Object(example));
        Ok(())
    };
    for example in operations::contents().flat_map(Content::examples) {
        add(example.name, example.summary, example.body)?;
    }
    for problem in &problems::ALL {
        add(problem.name, problem.description, &problem.example())?;
    }
    Ok(all)
}

fn without_examples() -> OpenApi {
    let mut paths = Paths::new();
    let endpoint = |operation: &Operation| ENDPOINTS.iter().find(|endpoint| endpoint.name == operation.name);
    for (endpoint, operation) in operations::all().filter_map(|of| Some((endpoint(of)?, of))) {
        let method = match endpoint.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
            Method::Put => HttpMethod::Put,
            Method::Delete => HttpMethod::Delete,
        };
        if paths.get_path_item(endpoint.path).is_none() {
            paths.add_path_operation(endpoint.path, vec![HttpMethod::Options], preflight(endpoint));
        }
        paths.add_path_operation(endpoint.path, vec![method], described(endpoint, operation));
    }
    let contact = ContactBuilder::new().name(Some("The Atelier Overview Service authors")).build();
    let licence = LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build();
    let info = InfoBuilder::new()
        .title("Atelier")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .contact(Some(contact))
        .license(Some(licence));
    let tags =
        TAGS.map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build());
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .paths(paths)
        .components(Some(components()))
        .tags(Some(tags))
        .build()
}

fn components() -> Components {
    let mut components = headers::add_components(ComponentsBuilder::new());
    for body in operations::contents().filter_map(Content::json).chain([&problems::BODY]) {
        components = body.add_component(components);
    }
    components = add_component::<contract::Sku>(components); // utoipa does not see it in `schemas::skus`
    for problem in &problems::ALL {
        let content = media_type(problems::BODY.reference(), &[problem.name]);
        let response = response(problem.description, problem.headers).content(problems::MEDIA_TYPE, content);
        components = components.response(problem.name, response);
    }
    components =
        components.response("Preflight", response("The methods and headers of the service.", PREFLIGHT));
    components = parameters::add_components(components);
    let authorization = ApiKeyValue::with_description(
        "Authorization",
        "Any text. There are no accounts. Clients that send the same text share a cart, so it must be hard to guess.",
    );
    let session = ApiKeyValue::with_description(
        "atelier_session",
        "Issued by the first `POST` or `PUT` of a cart without `Authorization`. Over HTTPS its name is `__Host-atelier_session`.",
    );
    components
        .security_scheme("authorization", SecurityScheme::ApiKey(ApiKey::Header(authorization)))
        .security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)))
        .build()
}

/// Returns the operation of an endpoint.
fn described(endpoint: &Endpoint, operation: &Operation) -> OperationBuilder {
    let mut described = OperationBuilder::new()
        .operation_id(Some(endpoint.name))
        .tag(operation.tag)
        .summary(Some(operation.summary))
        .description(Some(operation.description));
    for name in endpoint.parameter().into_iter().chain(endpoint.query.iter().copied()) {
        described = described.parameter_ref(parameters::reference(endpoint, name));
    }
    if let Some(Content::Json(body, examples)) = &operation.request {
        let names: Vec<&str> = examples.iter().map(|example| example.name).collect();
        let request = RequestBodyBuilder::new()
            .content("application/json", media_type(body.reference(), &names))
            .required(Some(Required::True));
        described = described.request_body(Some(request.build()));
    }
    for reply in operation.replies {
        let mut built = response(reply.description, reply.headers);
        match &reply.content {
            Some(Content::Json(body, examples)) => {
                let names: Vec<&str> = examples.iter().map(|example| example.name).collect();
                built = built.content("application/json", media_type(body.reference(), &names));
            }
            Some(Content::Text(text)) => {
                let content =
                    ContentBuilder::new().schema(Some(constant(text))).example(Some((*text).into()));
                built = built.content("text/plain", content);
            }
            None => {}
        }
        described = described.response(reply.status.to_string(), built);
    }
    for problem in operation.problems().filter_map(problems::by_status) {
        described = described.response(problem.status.to_string(), Ref::from_response_name(problem.name));
    }
    described.securities(Some(security(operation)))
}

/// Returns the operation that a browser's request before another request has.
fn preflight(endpoint: &Endpoint) -> OperationBuilder {
    let name = endpoint.path.replace(['/', '{', '}'], " ");
    let id = name.split_whitespace().fold("options".to_owned(), |id, word| id + "-" + word);
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id))
        .tag("preflight")
        .summary(Some("Get the permitted methods"))
        .description(Some("Browsers send it before a request to another origin."))
        .response("204", Ref::from_response_name("Preflight"))
        .securities(Some([]));
    for problem in problems::PREFLIGHT.into_iter().filter_map(problems::by_status) {
        operation = operation.response(problem.status.to_string(), Ref::from_response_name(problem.name));
    }
    if let Some(name) = endpoint.parameter() {
        operation = operation.parameter(parameters::of_preflight(name));
    }
    operation
}

/// Returns the ways to identify a caller: for a cart by the header, by the cookie, or not at all.
fn security(operation: &Operation) -> Vec<SecurityRequirement> {
    if operation.tag != "cart" {
        return Vec::new();
    }
    let by = |scheme: &str| SecurityRequirement::new::<_, [&str; 0], &str>(scheme, []);
    vec![by("authorization"), by("session"), SecurityRequirement::default()]
}

fn response(description: &str, headers: &[ResponseHeader]) -> ResponseBuilder {
    let response = ResponseBuilder::new().description(description);
    headers.iter().fold(response, |response, header| response.header_ref(header.name, header.reference()))
}

fn media_type(schema: Ref, examples: &[&str]) -> MediaType {
    let examples =
        examples.iter().map(|name| (*name, RefOr::Ref(Ref::new(format!("#/components/examples/{name}")))));
    ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn openapi_json_is_the_document_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.json");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, document().unwrap(), "openapi.json is out of date: run `make openapi`");
    }

    /// utoipa does not collect the schema of a type that only a `schema_with` function names.
    #[test]
    fn every_reference_leads_to_a_component_and_every_component_is_referenced() {
        let text = document().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let references: BTreeSet<&str> =
            text.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let missing: Vec<_> =
            references.iter().filter(|reference| document.pointer(reference).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let kinds = document["components"].as_object().unwrap().iter();
        let of_kind = |(kind, components): (&String, &serde_json::Value)| {
            let names = components.as_object().unwrap().keys();
            names.map(|name| format!("/components/{kind}/{name}")).collect::<Vec<_>>()
        };
        let security = |path: &String| path.starts_with("/components/securitySchemes/"); // named without a path
        let unused: Vec<String> = kinds
            .flat_map(of_kind)
            .filter(|path| !security(path) && !references.contains(path.as_str()))
            .collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
