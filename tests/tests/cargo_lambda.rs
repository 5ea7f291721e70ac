//! The commands that developers run: `cargo lambda watch`, requests to it, `cargo lambda invoke` with each file in
//! `events/`, and the commands in README.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use aws_lambda_events::s3::S3Event;
use aws_lambda_events::sqs::SqsEvent;
use bytes::Bytes;
use conformance::lambda::{Matched, Outcome, Source};
use conformance::s3::Bucket;
use conformance::{Transport as _, golden, small_dataset};
use http::Request;
use local::{SupervisedChild, Supervision, free_address};
use serde_json::Value;
use support::functions::names;
use support::incoming::files;
use support::serving::Socket;
use support::{root, small};
use tokio::net::TcpStream;

/// `watch` compiles the functions, unless they are built already.
const START_TIMEOUT: Duration = Duration::from_secs(600);

/// The status of the response to each file in `events/`, and the path whose golden body it has, if any.
const EXPECTED: &[(&str, u16, Option<&str>)] = &[
    ("add-to-cart-url", 201, None),
    ("add-to-cart", 201, None),
    ("add-to-cart-anonymous", 201, None),
    ("add-to-cart-base64", 201, None),
    ("add-to-cart-rest", 201, None),
    ("clear-cart-url", 204, None),
    ("clear-cart", 204, None),
    ("get-cart-url", 200, None),
    ("get-cart", 200, None),
    ("get-cart-cookie", 200, None),
    ("get-cart-lines-url", 200, None),
    ("get-cart-lines", 200, None),
    ("get-cart-not-allowed", 405, None),
    ("get-catalog-url", 200, None),
    ("get-catalog", 200, None),
    ("get-overview-url", 200, Some("/products/1/overview")),
    ("get-overview", 200, Some("/products/1/overview")),
    ("get-product-url", 200, Some("/products/1")),
    ("get-product", 200, Some("/products/1")),
    ("get-product-alb", 200, Some("/products/1")),
    ("get-product-console", 200, Some("/products/1")),
    ("get-product-format-1", 200, Some("/products/1")),
    ("get-product-head", 200, None),
    ("get-product-if-none-match", 304, None),
    ("get-product-lattice", 200, Some("/products/1")),
    ("get-product-rest", 200, Some("/products/1")),
    ("get-product-rest-proxy", 200, Some("/products/1")),
    ("get-product-stage", 200, Some("/products/1")),
    ("get-product-unknown", 404, None),
    ("get-related-url", 200, Some("/products/1/related")),
    ("get-related", 200, Some("/products/1/related")),
    ("get-styles-url", 200, Some("/products/1/styles")),
    ("get-styles", 200, Some("/products/1/styles")),
    ("get-styles-gzip", 200, Some("/products/1/styles")),
    ("get-styles-preflight", 204, None),
    ("hostile-body-not-base64", 400, None),
    ("hostile-forwarded-proto", 200, Some("/products/1")),
    ("hostile-headers", 400, None),
    ("hostile-host-bad", 200, Some("/products/1")),
    ("hostile-host-empty", 200, Some("/products/1")),
    ("hostile-id-injection", 400, None),
    ("hostile-id-of-400-digits", 400, None),
    ("hostile-no-request-context", 400, None),
    ("hostile-nulls", 200, Some("/products/1")),
    ("hostile-path-confusion", 404, None),
    ("hostile-path-encoded-slash-url", 400, None),
    ("hostile-path-encoded-slash", 400, None),
    ("hostile-path-without-slash", 200, Some("/products/1")),
    ("hostile-query-angle-bracket", 200, Some("/products/1")),
    ("hostile-query-space", 200, Some("/products/1")),
    ("list-cards-url", 200, None),
    ("list-cards", 200, None),
    ("list-categories-url", 200, None),
    ("list-categories", 200, None),
    ("list-products-url", 200, None),
    ("list-products", 200, None),
    ("list-products-category", 200, None),
    ("list-products-rest", 200, None),
    ("list-products-search", 200, None),
    ("list-products-slash", 200, Some("/products")),
    ("not-found-url", 404, None),
    ("not-found", 404, None),
    ("not-found-preflight", 204, None),
    ("remove-from-cart-url", 204, None),
    ("remove-from-cart", 204, None),
    ("remove-from-cart-bad-id", 400, None),
    ("set-cart-line-url", 200, None),
    ("set-cart-line", 200, None),
];

/// The response of the function etl to each of its events: its reply, or the beginning of its error. The first one
/// publishes the dataset, which the others name again.
const LOADS: [(&str, &str); 20] = [
    ("etl", "{}"),
    ("etl-s3", "{}"),
    ("etl-s3-encoded-key", "{}"),
    ("etl-s3-many", "{}"),
    ("etl-s3-removed", "{}"),
    ("etl-s3-test", "{}"),
    ("etl-sqs", r#"{"batchItemFailures":[]}"#),
    ("etl-sqs-many", r#"{"batchItemFailures":[]}"#),
    ("etl-sqs-test", r#"{"batchItemFailures":[]}"#),
    ("etl-sns", "{}"),
    ("etl-sqs-sns", r#"{"batchItemFailures":[]}"#),
    ("etl-sqs-sns-test", r#"{"batchItemFailures":[]}"#),
    ("etl-eventbridge", "{}"),
    ("etl-sqs-eventbridge", r#"{"batchItemFailures":[]}"#),
    ("etl-minio", "{}"),
    ("etl-scheduled", "{}"),
    ("etl-prune", "{}"),
    ("etl-hostile-not-json-body", r#"{"batchItemFailures":[]}"#),
    (
        "etl-hostile-no-key",
        "invalid event: expected an event of S3 or EventBridge, also wrapped by SNS or SQS: missing field `key`",
    ),
    ("etl-hostile-other-source", "invalid event source \"aws:dynamodb\": expected aws:s3, aws:sqs"),
];

/// Returns a command of cargo-lambda, which `make tools` installs into `.venv`.
fn cargo_lambda(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo-lambda");
    command.arg("lambda").args(arguments).current_dir(root());
    command
}

/// A running `cargo lambda watch` over the hand-made dataset.
struct Watching {
    address: SocketAddr,
    emulator: SupervisedChild,
}

impl Watching {
    async fn start(bucket: &Bucket) -> Self {
        let address = free_address().unwrap();
        let mut command = cargo_lambda(&["watch", "--disable-cors", "--ignore-changes"]);
        command.args(["--invoke-address", "127.0.0.1", "--invoke-port", &address.port().to_string()]);
        command.env("DATABASE_URL", small().await.database.url());
        command.envs(bucket.variables()).env("REJECTS_URL", bucket.url("rejects/"));
        let log = tempfile::NamedTempFile::new().unwrap();
        let name = "cargo lambda watch, which `make tools` installs,";
        let watch = Supervision { log: Some(log.path()), ..Supervision::new(name) };
        let mut emulator = SupervisedChild::spawn(&command, watch).unwrap();
        let listens = || async { TcpStream::connect(address).await.is_ok() };
        emulator.wait_until_ready(START_TIMEOUT, listens).await.unwrap_or_else(|error| panic!("{error}"));
        Self { address, emulator }
    }

    /// Returns the output of `cargo lambda invoke`.
    async fn invoke(&self, function: &str, event: &str) -> Outcome {
        let output = self.run(function, event).await;
        assert!(output.status.success(), "{event}: {}", String::from_utf8_lossy(&output.stderr));
        Outcome::Reply(output.stdout.into())
    }

    async fn run(&self, function: &str, event: &str) -> std::process::Output {
        let file = format!("events/{event}.json");
        let mut command = cargo_lambda(&["invoke", function, "--data-file", &file]);
        command.args(["--invoke-address", "127.0.0.1", "--invoke-port", &self.address.port().to_string()]);
        tokio::process::Command::from(command).output().await.unwrap()
    }
}

/// Returns the function that an event's name starts with. The hostile events name none.
fn function_of(event: &str) -> &str {
    let function = names().filter(|name| event.starts_with(name)).max_by_key(|name| name.len());
    function.unwrap_or(if event == "hostile-body-not-base64" { "add-to-cart" } else { "get-product" })
}

/// Returns the service that an event's name ends with.
fn source_of(event: &str) -> Source {
    let in_format_1 = ["-rest", "-format-1", "-console"].iter().any(|family| event.contains(family));
    match event {
        _ if in_format_1 => Source::RestApi(Matched::by_default("", Vec::new())),
        _ if event.ends_with("-alb") => Source::Alb,
        _ if event.ends_with("-lattice") => Source::Lattice,
        _ => Source::Url,
    }
}

#[tokio::test]
async fn every_event_file_can_be_invoked_and_every_path_requested() {
    let bucket = Bucket::named("atelier-datasets").await;
    for (file, content) in files(&small_dataset()) {
        bucket.put(&format!("incoming/spring/{file}"), content).await;
    }
    let watching = Watching::start(&bucket).await;
    every_event_for_the_load_can_be_invoked(&watching).await;
    let mut expected: BTreeMap<&str, (u16, Option<&str>)> =
        EXPECTED.iter().map(|&(event, status, path)| (event, (status, path))).collect();
    for file in std::fs::read_dir(root().join("events")).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let event = file.strip_suffix(".json").unwrap();
        if LOADS.iter().any(|(load, _)| *load == event) {
            continue;
        }
        let (status, path) =
            expected.remove(event).unwrap_or_else(|| panic!("no expected response for {event}"));
        let outcome = watching.invoke(function_of(event), event).await;
        let answer = source_of(event).response(&outcome);
        assert_eq!(answer.status(), status, "{event}: {outcome:?}");
        if let Some(path) = path {
            let is_gzipped = answer.headers().contains_key("content-encoding");
            assert_eq!(is_gzipped, event.contains("gzip"), "{event}");
            let body = if is_gzipped { conformance::gunzip(answer.body()) } else { answer.body().to_vec() };
            assert_eq!(String::from_utf8(body).unwrap(), golden(path), "{event}");
        }
    }
    assert!(expected.is_empty(), "no event for {expected:?}");
    every_path_has_its_function(Socket(watching.address)).await;
    watching.emulator.stop().await.unwrap();
}

async fn every_event_for_the_load_can_be_invoked(watching: &Watching) {
    let client = small().await.database.connect().await.unwrap();
    let published = async || -> i64 {
        client.query_one("select count(*) from etl.publication", &[]).await.unwrap().get(0)
    };
    for (event, answer) in LOADS {
        let before = published().await;
        let output = watching.run("etl", event).await;
        if output.status.success() {
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), answer, "{event}");
        } else {
            // cargo-lambda wraps lines and puts a bar before those that follow.
            let error = String::from_utf8_lossy(&output.stderr).replace('│', " ");
            let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(event.contains("hostile") && error.contains(answer), "{event}: {error}");
        }
        assert_eq!(published().await - before, i64::from(event == "etl"), "{event}");
    }
}

async fn every_path_has_its_function(watching: Socket) {
    for path in
        ["/products", "/products/1", "/products/1/styles", "/products/1/related", "/products/1/overview"]
    {
        for slash in ["", "/"] {
            let all = format!("{path}{slash}?count=1000"); // only lists read the query
            let answer = watching.call(Request::get(&all).body(Bytes::new()).unwrap()).await;
            assert_eq!((answer.status().as_u16(), answer.body()), (200, &golden(path).into()), "{all}");
        }
    }
    for (method, path, status) in [
        ("GET", "/cart", 200),
        ("HEAD", "/cart/", 200),
        ("POST", "/cart", 415),
        ("DELETE", "/cart", 204),
        ("DELETE", "/cart/", 204),
        ("PATCH", "/cart", 405),
        ("OPTIONS", "/cart", 204),
        ("DELETE", "/cart/1", 204),
        ("DELETE", "/cart/1/", 204),
        ("DELETE", "/cart/abc", 400),
        ("GET", "/cart/1", 405),
        ("OPTIONS", "/cart/1", 204),
        ("OPTIONS", "/products/1", 204),
        ("PUT", "/products/1/styles", 405),
        ("GET", "/products/abc", 400),
        ("GET", "/nothing/here", 404),
        ("GET", "/", 404),
    ] {
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        let answer = watching.call(request).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*", "{method} {path}");
    }
}

/// Runs the first command, waits until port 9000 of the loopback interface listens, and runs the second command.
const AS_TYPED: &str = r#"
ip link set lo up
$1 >&2 &
watch=$!
trap 'kill $watch; wait' EXIT
until (exec 3<>/dev/tcp/::1/9000) 2>/dev/null; do
    kill -0 $watch # or the wait never ends
    sleep 0.05
done
$2
"#;

/// The commands run in a separate network namespace, where cargo-lambda's default port is free.
#[tokio::test]
async fn watch_and_invoke_work_as_the_readme_shows_them() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let typed = |beginning: &str| -> String {
        let line = readme.lines().find(|line| line.starts_with(beginning)).expect(beginning);
        line.split('#').next().unwrap().trim().to_owned()
    };
    let commands = [typed("cargo lambda watch"), typed("cargo lambda invoke")];
    assert_eq!(
        commands,
        ["cargo lambda watch", "cargo lambda invoke get-product --data-file events/get-product.json"]
    );
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    // `watch` exits with the test, however the test ends.
    command.args(["--net", "--pid", "--fork", "--kill-child"]);
    command.args(["bash", "-euc", AS_TYPED, "bash"]).args(commands).current_dir(root());
    command.env("DATABASE_URL", small().await.database.url());
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(START_TIMEOUT, output).await.expect("no response");
    let output = output.expect("this test needs `unshare` and `ip` of Linux, and root or a user namespace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = Source::Url.response(&Outcome::Reply(output.stdout.into()));
    assert_eq!(answer.body(), &golden("/products/1"));
}

/// The example events for the etl function have the form that the AWS libraries expect.
#[test]
fn events_for_the_load_are_what_s3_and_sqs_send() {
    let read = |name: &str| std::fs::read(root().join(format!("events/{name}.json"))).unwrap();
    let keys = |event: S3Event| -> Vec<String> {
        event.records.into_iter().map(|record| record.s3.object.key.unwrap()).collect()
    };
    let s3 = |name: &str| keys(serde_json::from_slice(&read(name)).unwrap());
    assert_eq!(s3("etl-s3"), ["incoming/spring/product.csv"]);
    let encoded = ["incoming/spring+sale+%28%C3%BCber%29/product.csv", "incoming/100%25/photos.csv"];
    assert_eq!(s3("etl-s3-encoded-key"), encoded);
    let wrapped = |name: &str| -> String {
        let event: SqsEvent = serde_json::from_slice(&read(name)).unwrap();
        event.records[0].body.clone().unwrap()
    };
    assert_eq!(keys(serde_json::from_str(&wrapped("etl-sqs")).unwrap()), s3("etl-s3"));
    for test in [
        serde_json::from_slice::<Value>(&read("etl-s3-test")),
        serde_json::from_str(&wrapped("etl-sqs-test")),
    ] {
        assert_eq!(test.unwrap()["Event"], "s3:TestEvent");
    }
}
