//! The endpoints' constants, template.yaml, the routes of `cargo lambda watch` and the functions' dependencies agree.
//! `every_place_that_lists_endpoints_has_them_all` names each
//! place that lacks an endpoint.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use conformance::lambda::Route;
use serde_json::Value;
use shared::Endpoint;
use shared::endpoint::{ALLOW_GET, Method};
use support::functions::{endpoints, names};
use support::root;
use support::template::{read, texts};
use yaml_rust2::{Yaml, YamlLoader};

/// The libraries that no function may contain, directly or indirectly: those of the etl and of the host, a second HTTP
/// or cryptography stack, and those of terminal programs.
const NOT_IN_FUNCTIONS: [&str; 25] = [
    "etl",
    "local",
    "atelier-host",
    "aws-config",
    "aws-lc-rs",
    "aws-lc-sys",
    "aws-sdk-s3",
    "aws-smithy-runtime",
    "chrono",
    "clap",
    "csv-core",
    "hyper-rustls",
    "indicatif",
    "lambda-extension",
    "matchers",
    "native-tls",
    "openapi",
    "openssl",
    "openssl-sys",
    "refinery",
    "regex",
    "regex-automata",
    "reqwest",
    "tracing-appender",
    "utoipa",
];

fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO")).args(arguments).arg("--locked").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The methods that an HTTP API passes to a function.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Returns the method of an endpoint. An endpoint for GET is also for HEAD.
fn method_of(endpoint: &Endpoint) -> &'static str {
    endpoint.method.name()
}

/// Returns the routes to each function. An endpoint alone on its path has a route for any method. Where endpoints share
/// a path, the one for GET has all methods that belong to no other; without one for GET, the one for DELETE has them.
fn expected_routes() -> BTreeSet<(String, String)> {
    let endpoints: Vec<_> = endpoints().collect();
    let beside = |path| endpoints.iter().filter(move |endpoint| endpoint.path == path);
    let mut routes = BTreeSet::from([("$default".to_owned(), "not-found".to_owned())]);
    for endpoint in &endpoints {
        let has_get = beside(endpoint.path).any(|endpoint| endpoint.method == Method::Get);
        let takes_any = match endpoint.method {
            Method::Get => true,
            Method::Delete if !has_get => true,
            _ => beside(endpoint.path).count() == 1,
        };
        let method = if takes_any { "ANY" } else { method_of(endpoint) };
        for slash in ["", "/"] {
            routes.insert((format!("{method} {}{slash}", endpoint.path), endpoint.name.to_owned()));
        }
    }
    routes
}

/// Returns the routes of `cargo lambda watch`: a path, a method, and the function. Where a path has several functions,
/// each method is listed, because cargo-lambda has no wildcard for methods.
fn expected_router() -> BTreeSet<(String, String, String)> {
    let routes = expected_routes();
    let mut router = BTreeSet::new();
    for (key, function) in &routes {
        let mut add = |path: &str, method: &str| {
            router.insert((path.to_owned(), method.to_owned(), function.clone()));
        };
        match key.split_once(' ') {
            None => ["/", "/{*path}"].into_iter().for_each(|path| add(path, "ANY")),
            Some(("ANY", path)) => {
                let keys = routes.iter().filter_map(|(key, _)| key.split_once(' '));
                let others: BTreeSet<_> = keys
                    .filter(|(method, of)| *of == path && *method != "ANY")
                    .map(|(method, _)| method)
                    .collect();
                if others.is_empty() {
                    add(path, "ANY");
                } else {
                    let remaining = METHODS.into_iter().filter(|method| !others.contains(method));
                    remaining.for_each(|method| add(path, method));
                }
            }
            Some((method, path)) => add(path, method),
        }
    }
    router
}

#[test]
fn the_template_has_the_routes_of_the_endpoints() {
    let routes = Route::from_template().into_iter().map(|route| (route.key, route.function));
    assert_eq!(routes.collect::<BTreeSet<_>>(), expected_routes());
}

/// Returns the router of `cargo lambda watch` in Cargo.toml: paths, methods and functions.
fn router() -> BTreeSet<(String, String, String)> {
    let metadata = metadata();
    let router = metadata["metadata"]["lambda"]["watch"]["router"].as_object().unwrap();
    let mut routes = BTreeSet::new();
    for (path, functions) in router {
        let mut add = |method: &Value, function: &Value| {
            let [method, function] = [method, function].map(|text| text.as_str().unwrap().to_owned());
            assert!(routes.insert((path.clone(), method, function)), "{path} is listed twice");
        };
        match functions.as_array() {
            None => add(&Value::from("ANY"), functions),
            Some(functions) => functions.iter().for_each(|entry| add(&entry["method"], &entry["function"])),
        }
    }
    routes
}

#[test]
fn cargo_lambda_watch_has_the_routes_of_the_template() {
    assert_eq!(router(), expected_router());
}

#[test]
fn each_path_allows_the_methods_of_all_its_endpoints() {
    for endpoint in atelier_host::ENDPOINTS.iter().copied() {
        let same_path = atelier_host::ENDPOINTS.iter().copied().filter(|other| other.path == endpoint.path);
        let taken: BTreeSet<_> = same_path.map(method_of).collect();
        let is_allowed = |method: &str| match method {
            "OPTIONS" => true,
            "HEAD" => taken.contains("GET"),
            other => taken.contains(other),
        };
        let all = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
        let expected: Vec<_> = all.into_iter().filter(|method| is_allowed(method)).collect();
        assert_eq!(endpoint.allow, expected.join(", "), "{}", endpoint.name);
    }
}

#[test]
fn every_endpoint_is_a_package_and_a_program_of_its_name() {
    let metadata = metadata();
    for name in names() {
        let package =
            metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == name).unwrap();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        assert!(manifest.ends_with(format!("functions/{name}/Cargo.toml")), "{}", manifest.display());
        let mut targets = package["targets"].as_array().unwrap().iter();
        assert!(targets.any(|target| target["kind"][0] == "bin" && target["name"] == name), "{name}");
    }
}

/// The Makefile uses the folders of `functions/` with a main.rs as the functions.
#[test]
fn every_folder_with_a_program_is_a_function() {
    let folders = std::fs::read_dir(root().join("functions")).unwrap().map(|folder| folder.unwrap().path());
    let programs = folders.filter(|folder| folder.join("src/main.rs").is_file());
    let found: BTreeSet<String> =
        programs.map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(found, names().map(str::to_owned).collect());
}

#[test]
fn functions_contain_no_library_of_the_loader_or_the_host() {
    for name in names() {
        let tree =
            cargo(&["tree", "--package", name, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
        let within: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(within.contains("lambda_runtime"), "{tree}");
        for library in NOT_IN_FUNCTIONS {
            assert!(!within.contains(library), "{name} holds {library}");
        }
    }
}

#[test]
fn the_loader_does_not_depend_on_the_functions_adapter() {
    let tree =
        cargo(&["tree", "--package", "etl", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    assert!(tree.starts_with("etl ") && !tree.contains("lambda-adapter "), "{tree}");
}

/// The suffixes of the resources that the template makes for an endpoint.
const OF_AN_ENDPOINT: [&str; 10] =
    ["", "Log", "Role", "Permission", "Integration", "Route", "SlashRoute", "Errors", "Throttles", "Latency"];

/// Returns the name of an endpoint's function in the template: `GetProduct`.
fn resource(endpoint: &Endpoint) -> String {
    endpoint.name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// Returns the name of an endpoint's database login: `get_product`.
fn login(endpoint: &Endpoint) -> String {
    endpoint.name.replace('-', "_")
}

/// Returns what the template makes for an endpoint, with a placeholder for each name, path and method.
fn made_for(endpoint: &Endpoint, template: &Yaml) -> String {
    let name = resource(endpoint);
    let made = OF_AN_ENDPOINT.map(|part| {
        let part = format!("{name}{part}");
        let made = &template["Resources"][part.as_str()];
        assert!(!made.is_badvalue(), "template.yaml has no {part}");
        format!("{made:?}")
    });
    let made = made.join("\n").replace(endpoint.name, "<name>").replace(&name, "<name>");
    let made = made.replace(&login(endpoint), "<name>").replace(endpoint.path, "<path>");
    let methods = ["ANY <", "GET <", "POST <", "PUT <", "DELETE <"];
    methods.iter().fold(made, |made, method| made.replace(method, "<method> <"))
}

#[test]
fn the_template_treats_all_endpoints_alike() {
    let template = read("template.yaml");
    let first = made_for(&list_products::ENDPOINT, &template);
    let key_of = |endpoint: &Endpoint| {
        &template["Resources"][resource(endpoint).as_str()]["Properties"]["Environment"]["Variables"]["CART_KEY"]
            [1]
    };
    for expected in [
        "postgresql://<name>@${DatabaseHost}",
        "dbuser:${DatabaseResourceId}/<name>",
        "\"functions/<name>\"",
        "/aws/lambda/${AWS::StackName}-<name>",
    ] {
        assert!(first.contains(expected), "{expected} in {first}");
    }
    for endpoint in endpoints() {
        let made = made_for(endpoint, &template);
        // Only the functions of carts get the key: the second value.
        let key = key_of(endpoint);
        assert_eq!(key[0].as_i64(), Some(i64::from(endpoint.path.starts_with("/cart"))), "{}", endpoint.name);
        let made = made.replace(&format!("{key:?}"), &format!("{:?}", key_of(&list_products::ENDPOINT)));
        assert_eq!(made, first, "{}", endpoint.name);
    }
    // SAM 1.170 looks for the loop's variable here, but not among the values of a `!Sub`. It would deploy the program
    // of the first endpoint for all endpoints.
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    assert!(text.contains(" CodeUri: !Join [/, [functions, !FindInMap [Functions, !Ref Endpoint, Name]]] "));
}

/// Returns whether a text has a word. `_` and `-` are parts of words.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|char: char| !char.is_alphanumeric() && !"_-".contains(char)).any(|found| found == word)
}

/// Returns the statement of docs/deploy-lambda.md with this beginning.
fn statement<'a>(docs: &'a str, beginning: &str) -> &'a str {
    let (_, statement) =
        docs.split_once(beginning).unwrap_or_else(|| panic!("{beginning} in docs/deploy-lambda.md"));
    statement.split([';', '`']).next().unwrap()
}

/// Returns whether a check of the suite sends a request to an endpoint: whether a line has an example of its path in a
/// string and, for methods other than GET, the method. A line with another method is not a GET request.
fn is_in_suite(endpoint: &Endpoint, suite: &str) -> bool {
    let method = method_of(endpoint).to_lowercase();
    let others = ["post", "delete", "put", "patch"];
    let has_method = |line: &str| match endpoint.method {
        Method::Get => !others.iter().any(|other| line.to_lowercase().contains(other)),
        _ => line.contains(&method),
    };
    let paths = ["1", "2", "{id}"].map(|value| format!("\"{}", endpoint.path_with(value)));
    let has_path = |line: &str| {
        paths.iter().any(|path| line.split(path).skip(1).any(|rest| rest.starts_with(['"', '?'])))
    };
    let code = suite.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    code.into_iter().any(|line| has_method(line) && has_path(line))
}

#[test]
fn every_check_is_in_the_suite() {
    let file = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let suite = file("tests/src/lib.rs");
    for checks in "caching cards cart cart_lines catalog methods pages problems refusals".split(' ') {
        for function in file(&format!("tests/src/{checks}.rs")).split("\npub async fn ").skip(1) {
            let (name, rest) = function.split_once('(').unwrap();
            let is_check = rest.starts_with("service: &impl Transport)");
            assert!(!is_check || suite.contains(&format!(" {name},\n")), "{name} is not in `suite!`");
        }
    }
}

/// These places list endpoints, besides an endpoint's crate and its line in host/src/lib.rs. `make test-stack` sends a
/// request on every route, and reports a route without one.
#[test]
fn every_place_that_lists_endpoints_has_them_all() {
    let file = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let mut missing = Vec::new();
    let mut need = |is_there: bool, place: &str, what: &str| {
        if !is_there {
            missing.push(format!("{place}: add {what}"));
        }
    };

    // The source text is checked: without the entry, a loop would make nothing that other tests could read.
    let template = YamlLoader::load_from_str(&file("template.yaml")).unwrap().remove(0);
    let docs = file("docs/deploy-lambda.md");
    let picture = docs.split("```").nth(1).unwrap();
    let (nginx, routes) = (file("deploy/nginx/nginx.conf.template"), expected_routes());
    let suite = ["cart", "cart_lines", "cards", "catalog"]
        .map(|checks| file(&format!("tests/src/{checks}.rs")))
        .concat();
    let (revoked, dropped) = (statement(&docs, "`revoke rds_iam from "), statement(&docs, "\ndrop role "));
    for endpoint in endpoints() {
        let (name, login, resource) = (endpoint.name, login(endpoint), resource(endpoint));
        let entry = &template["Mappings"]["Functions"][resource.as_str()];
        let entry = [&entry["Name"], &entry["Login"]].map(Yaml::as_str);
        let what = format!("{resource}: {{ Name: {name}, Login: {login}, Route: … }}");
        need(entry == [Some(name), Some(login.as_str())], "template.yaml, Mappings, Functions", &what);
        for of in ["Fn::ForEach::Endpoints", "Fn::ForEach::BehindTheApi"] {
            let list = texts(&template["Resources"][of][1]);
            need(list.contains(resource.as_str()), &format!("template.yaml, the list of {of}"), &resource);
        }
        for (place, what) in [
            ("functions/logins.sql", format!("('{login}', ")),
            ("tests/tests/privileges.rs", format!("(\"{login}\", ")),
            ("tests/tests/cargo_lambda.rs", format!("(\"{name}\", ")),
            ("tests/tests/cargo_lambda.rs", format!("(\"{name}-url\", ")),
            ("bench/src/functions.rs", format!("(\"{name}\", ")),
            ("docs/deploy-lambda.md, step 3", format!("`{login}`")),
        ] {
            let text = file(place.split(',').next().unwrap());
            need(text.contains(&what), place, &what);
        }
        for table in ["README.md", "docs/http-api.md"] {
            let entry = format!("`{} {}", method_of(endpoint), endpoint.path);
            let text = file(table);
            let mut rows = text.lines().filter(|line| line.starts_with("| "));
            let has = |row: &str| ["`", "?"].iter().any(|end| row.contains(&format!("{entry}{end}")));
            need(rows.any(has), table, &entry);
        }
        need(has_word(picture, name), "docs/deploy-lambda.md, the picture", name);
        need(has_word(revoked, &login), "docs/deploy-lambda.md, `revoke rds_iam`", &login);
        need(has_word(dropped, &login), "docs/deploy-lambda.md, `drop role`", &login);
        need(
            is_in_suite(endpoint, &suite),
            "tests/src/, in catalog.rs, cards.rs, cart.rs or cart_lines.rs, and the list in lib.rs",
            "a check of the suite",
        );
        let of_nginx = format!("\"~^405:{}/?(", endpoint.path_with("[^/?]+"));
        need(
            endpoint.allow == ALLOW_GET || nginx.contains(&of_nginx),
            "deploy/nginx/nginx.conf.template, the map of 405",
            &format!("{of_nginx}…"),
        );
        for (key, function) in &routes {
            let is_write = function == name && endpoint.method != Method::Get;
            let stage = &template["Resources"]["ApiStage"]["Properties"]["RouteSettings"][key.as_str()];
            need(!is_write || !stage.is_badvalue(), "template.yaml, ApiStage, RouteSettings", key);
        }
        for event in [format!("events/{name}.json"), format!("events/{name}-url.json")] {
            need(root().join(&event).is_file(), &event, "this event");
        }
    }
    let router = router();
    for (path, method, function) in expected_router() {
        let what = format!("{path:?}, {method}: {function:?}");
        let is_there = router.contains(&(path, method, function));
        need(is_there, "Cargo.toml, [workspace.metadata.lambda.watch.router]", &what);
    }
    assert!(missing.is_empty(), "an endpoint is not everywhere yet:\n{}", missing.join("\n"));
}

#[test]
fn the_loader_is_a_program_of_its_package() {
    let metadata = metadata();
    let package =
        metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == "etl").unwrap();
    let mut targets = package["targets"].as_array().unwrap().iter();
    assert!(targets.any(|target| target["kind"][0] == "bin" && target["name"] == "etl"), "no program etl");
}
