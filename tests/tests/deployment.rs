//! What is written down in several places must be the same in all: the endpoints' constants, template.yaml, the routes
//! of `cargo lambda watch`, and what is built into a function.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use conformance::lambda::Route;
use serde_json::Value;
use shared::Endpoint;
use shared::endpoint::Method;
use stand::functions::{endpoints, names};
use stand::root;

/// Every library that does not belong into a function, whatever brings it: the ETL's and the host's, a second stack of
/// HTTP or cryptography, and what only programs for a terminal need.
const NOT_IN_FUNCTIONS: [&str; 23] = [
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
    "openssl",
    "openssl-sys",
    "refinery",
    "regex",
    "regex-automata",
    "reqwest",
    "tracing-appender",
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

/// Which function answers a path: its own one for POST where there are two, and the other for every other method.
fn expected_routes() -> BTreeSet<(String, String)> {
    let endpoints: Vec<_> = endpoints().collect();
    let is_shared = |path| endpoints.iter().filter(|endpoint| endpoint.path == path).count() > 1;
    let mut routes = BTreeSet::from([("$default".to_owned(), "not-found".to_owned())]);
    for endpoint in &endpoints {
        let method = if endpoint.method == Method::Post && is_shared(endpoint.path) { "POST" } else { "ANY" };
        for slash in ["", "/"] {
            routes.insert((format!("{method} {}{slash}", endpoint.path), endpoint.name.to_owned()));
        }
    }
    routes
}

#[test]
fn the_template_has_the_routes_of_the_endpoints() {
    let routes = Route::all_of_the_template().into_iter().map(|route| (route.key, route.function));
    assert_eq!(routes.collect::<BTreeSet<_>>(), expected_routes());
}

#[test]
fn cargo_lambda_watch_has_the_routes_of_the_template() {
    let metadata = metadata();
    let router = metadata["metadata"]["lambda"]["watch"]["router"].as_object().unwrap();
    let mut routes = BTreeSet::new();
    let mut methods: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    for (path, functions) in router {
        let path = if path == "/" || path == "/{*path}" { "$default".to_owned() } else { path.clone() };
        if let Some(function) = functions.as_str() {
            let key = if path == "$default" { path.clone() } else { format!("ANY {path}") };
            routes.insert((key, function.to_owned()));
        }
        for function in functions.as_array().into_iter().flatten() {
            let key = (path.clone(), function["function"].as_str().unwrap().to_owned());
            methods.entry(key).or_default().insert(function["method"].as_str().unwrap());
        }
    }
    // There is no word for any method where a path has two functions.
    for ((path, function), methods) in methods {
        let key = match methods.into_iter().collect::<Vec<_>>()[..] {
            ["POST"] => "POST",
            ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"] => "ANY",
            ref others => panic!("{path}: {others:?}"),
        };
        routes.insert((format!("{key} {path}"), function));
    }
    assert_eq!(routes, expected_routes());
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

#[test]
fn make_knows_every_function() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let known = makefile.lines().find_map(|line| line.strip_prefix("FUNCTIONS := ")).unwrap();
    assert_eq!(known.split(' ').collect::<BTreeSet<_>>(), names().collect());
}

#[test]
fn functions_hold_nothing_of_the_loader_or_the_host() {
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

/// What the template makes for an endpoint, with a word in place of each name, path and method.
fn section(template: &str, endpoint: &Endpoint) -> String {
    let words = endpoint.name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
    let resource: String = words.collect();
    let (_, section) = template.split_once(&format!("\n  # {} ---", endpoint.name)).expect(endpoint.name);
    let section = section.split("\n  # ").next().unwrap_or(section);
    let section =
        section.trim_matches(['-', '\n']).replace(endpoint.name, "<name>").replace(&resource, "<name>");
    let section =
        section.replace(&endpoint.name.replace('-', "_"), "<name>").replace(endpoint.path, "<path>");
    ["ANY <", "GET <", "POST <"].iter().fold(section, |section, method| section.replace(method, "<method> <"))
}

#[test]
fn the_template_treats_all_endpoints_alike() {
    let template = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    let logins = std::fs::read_to_string(root().join("functions/logins.sql")).unwrap();
    let first = section(&template, &list_products::ENDPOINT);
    for expected in [
        "postgresql://<name>@${DatabaseHost}",
        "dbuser:${DatabaseResourceId}/<name>",
        "CodeUri: functions/<name>",
        "DATABASE_AUTH: iam",
    ] {
        assert!(first.contains(expected), "{expected} in {first}");
    }
    for endpoint in endpoints() {
        assert_eq!(section(&template, endpoint), first, "{}", endpoint.name);
        let login = format!("('{}', ", endpoint.name.replace('-', "_"));
        assert!(logins.contains(&login), "{login} in functions/logins.sql");
    }
}
