//! The life cycle of a function's process: start, log, freeze and thaw, deadline, shutdown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::process::Stdio;
use std::time::Duration;

use conformance::golden;
use conformance::lambda::{Function, Outcome, Source, response};
use http::Request;
use local::signal;
use rig::{Database, until};
use serde_json::{Value, json};
use support::functions::{event, function, get, logging_function, names};
use support::small;
use tokio_postgres::Client;

/// The time limit of every wait.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The connections of this file's functions.
const CONNECTIONS: &str = "from pg_stat_activity where datname = current_database()
    and usename in ('get_product', 'add_to_cart', 'list_products')";

async fn connections(client: &Client, further: &str) -> i64 {
    client.query_one(&format!("select count(*) {CONNECTIONS} {further}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn connections_lost_between_invocations_are_detected() {
    let database = load_small().await;
    let read = function("get-product", &database, &[("DATABASE_PROBE_AFTER", "10ms")]).await;
    let write = function("add-to-cart", &database, &[("DATABASE_PROBE_AFTER", "10ms")]).await;
    let add =
        Request::post("/cart").header("authorization", "frozen").header("content-type", "application/json");
    let add = Source::Url.event(&add.body(r#"{"sku_id":1}"#.into()).unwrap()).to_string();
    for round in 1..=10 {
        assert_eq!(response(&read.invoke(event("/products/1")).await).status(), 200, "{round}");
        assert_eq!(response(&write.invoke(add.clone()).await).status(), 201, "{round}");
        // Lambda freezes functions between invocations. Meanwhile the kernel learns that the connection is closed.
        signal(read.pid(), "STOP").unwrap();
        signal(write.pid(), "STOP").unwrap();
        let client = database.connect().await.unwrap();
        let end = format!("select pg_terminate_backend(pid, 10000) {CONNECTIONS}"); // and waits for up to 10 s
        let ended: Vec<bool> = client.query(&end, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert_eq!(ended, [true, true], "expected one connection for each function");
        signal(read.pid(), "CONT").unwrap();
        signal(write.pid(), "CONT").unwrap();
    }
    let lines = database.connect().await.unwrap().query("select count from cart.lines", &[]).await.unwrap();
    let counts: Vec<i32> = lines.iter().map(|line| line.get(0)).collect();
    assert_eq!(counts, [10], "an addition was not carried out exactly once");
}

#[tokio::test]
async fn a_blocked_query_returns_503_before_the_deadline() {
    let database = load_small().await;
    let function = function(
        "get-product",
        &database,
        &[("REQUEST_TIMEOUT", "60s"), ("DATABASE_STATEMENT_TIMEOUT", "60s")],
    )
    .await;
    assert_eq!(response(&function.invoke(event("/products/1")).await).status(), 200);
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents").await.unwrap();
    let reply = response(&function.api().invoke(event("/products/1"), Duration::from_secs(2)).await);
    assert_eq!(reply.status(), 503);
    assert_eq!(
        reply.headers()["content-type"],
        "application/problem+json",
        "expected the function's 503, not Lambda's"
    );
    assert!(reply.headers().contains_key("retry-after"));
    lock.rollback().await.unwrap();
    assert_eq!(response(&function.invoke(event("/products/1")).await).status(), 200);
}

#[tokio::test]
async fn each_request_logs_a_line_that_is_also_a_metric() {
    let mut function = logging_function("get-product", &small().await.database, &[]).await;
    let secrets = [("authorization", "Bearer s3cret"), ("cookie", "atelier_session=s3cret")];
    for (path, route, status) in [
        ("/products/1", "/products/{product_id}", "200"),
        ("/products/abc", "/products/{product_id}", "400"),
        ("/nothing", "none", "404"),
    ] {
        let mut request = get(path);
        for (name, value) in secrets {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        function.reply(Source::Url.event(&request).to_string()).await;
        let text = function.next_line().await;
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((line["route"].as_str(), line["status"].as_str()), (Some(route), Some(status)), "{text}");
        assert_eq!(line["request_id"], "tested");
        assert!(
            line["lambda_request_id"].as_str().unwrap().starts_with("00000000-0000-4000-8000-"),
            "{text}"
        );
        assert_eq!(line["cold_start"], path == "/products/1", "{text}");
        assert_eq!((&line["method"], &line["function"]), (&json!("GET"), &json!("get-product")));
        let database_ms = line["db_ms"].as_f64().unwrap();
        assert!(
            line["ms"].as_f64().unwrap() >= database_ms && (database_ms > 0.0) == (status == "200"),
            "{text}"
        );
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Atelier");
        assert_eq!(directive["Dimensions"], json!([["function", "route", "status"]]));
        assert_eq!(
            directive["Metrics"],
            json!([{ "Name": "ms", "Unit": "Milliseconds" }, { "Name": "db_ms", "Unit": "Milliseconds" }])
        );
        assert!(line["_aws"]["Timestamp"].as_u64().unwrap() > 1_700_000_000_000, "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn the_log_of_a_rejected_event_has_the_reason_but_not_the_content() {
    let mut function = logging_function("get-product", &small().await.database, &[]).await;
    for (event, why) in [
        ("{}", "it is no event of ApiGatewayV2: missing field `requestContext`"),
        (
            r#"{"headers":{"authorization":"s3cret\u0001"},"requestContext":{"http":{"method":"GET"}}}"#,
            "it is no event of ApiGatewayV2: invalid value at column ",
        ),
        (
            r#"{"body":"s3cret","isBase64Encoded":true,"requestContext":{"http":{"method":"POST"}}}"#,
            "its body is not base64: ",
        ),
    ] {
        assert_eq!(response(&function.invoke(event).await).status(), 400, "{event}");
        let text = function.next_line().await;
        let line: Value = serde_json::from_str(&text).unwrap();
        assert!(line["refused"].as_str().unwrap().starts_with(why), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
    function.reply(event("/products/1")).await;
    assert!(!function.next_line().await.contains("refused"));
}

#[tokio::test]
async fn the_log_has_no_credentials_at_any_level() {
    let mut function = logging_function("get-cart", &small().await.database, &[("LOG", "trace")]).await;
    let mut request = get("/cart");
    for (name, value) in [("authorization", "Bearer s3cret"), ("cookie", "atelier_session=s3cret")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let event = Source::Url.event(&request).to_string();
    // The function does not decode an event for its log either; that would crash it here.
    assert!(matches!(function.invoke(&b"s3cret \xff"[..]).await, Outcome::Error(_)));
    function.reply(event).await;
    let line = loop {
        let line = function.next_line().await;
        assert!(!line.contains("s3cret"), "{line}");
        if line.contains("lambda_request_id") {
            break line;
        }
    };
    assert!(line.contains("\"status\":\"200\""), "{line}");
}

#[tokio::test]
async fn on_sigterm_a_function_closes_its_connection_and_exits_with_success() {
    let database = load_small().await;
    let mut function = function("get-product", &database, &[]).await;
    assert_eq!(response(&function.invoke(event("/products/1")).await).status(), 200);
    assert_eq!(
        function.api().extensions().len(),
        1,
        "Lambda sends SIGTERM only to functions with an extension"
    );
    signal(function.pid(), "TERM").unwrap();
    let ended = tokio::time::timeout(TEST_TIMEOUT, function.wait()).await.unwrap();
    assert!(ended.success(), "{ended}");
    let client = database.connect().await.unwrap();
    until("no connection is left", async || connections(&client, "").await == 0).await;
}

#[tokio::test]
async fn a_request_in_flight_at_sigterm_gets_its_response() {
    let database = load_small().await;
    let mut function = function("get-product", &database, &[]).await;
    assert_eq!(response(&function.invoke(event("/products/1")).await).status(), 200);
    let mut client = database.connect().await.unwrap();
    let other = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents").await.unwrap();
    let ended = async {
        until("a connection waits for a lock", async || {
            connections(&other, "and wait_event_type = 'Lock'").await == 1
        })
        .await;
        signal(function.pid(), "TERM").unwrap();
        lock.rollback().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(function.invoke(event("/products/1")), ended);
    assert_eq!(response(&outcome).status(), 200);
    let ended = tokio::time::timeout(TEST_TIMEOUT, function.wait()).await.unwrap();
    assert!(ended.success(), "{ended}");
}

#[tokio::test]
async fn without_a_database_a_function_responds_like_the_host() {
    let nowhere = tempfile::tempdir().unwrap();
    let url = format!("host={} user=nobody", nowhere.path().display());
    let program = local::program("get-product").unwrap();
    let function = Function::start(&program, &[("DATABASE_URL", url.into())], false).await;
    for _ in 0..3 {
        let reply = response(&function.invoke(event("/products/1")).await);
        let body = String::from_utf8_lossy(reply.body()).into_owned();
        assert_eq!(reply.status(), 503, "{body}");
        assert!(body.contains("The database cannot be reached just now."), "{body}");
    }
}

#[tokio::test]
async fn a_response_above_lambda_s_limit_becomes_503() {
    let database = load_small().await;
    let mut function = logging_function("get-product", &database, &[]).await;
    let client = database.connect().await.unwrap();
    let grow =
        "update catalog.documents set product = convert_to(repeat('x', $1), 'UTF8') where product_id = 1";
    for (size, status) in [(6_000_000, 200), (6_291_556, 503), (15_000_000, 503)] {
        client.execute(grow, &[&size]).await.unwrap();
        let reply = response(&function.invoke(event("/products/1")).await);
        assert_eq!(reply.status(), status, "{size}");
        let line = until_line(&mut function, "lambda_request_id").await;
        assert_eq!(line["status"], status.to_string(), "the log has another status than the response");
    }
}

#[tokio::test]
async fn on_managed_instances_a_function_handles_concurrent_requests_over_one_connection() {
    let database = load_small().await;
    let function = function("list-products", &database, &[("AWS_LAMBDA_MAX_CONCURRENCY", "8")]).await;
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.products").await.unwrap();
    let invocations = async {
        futures_util::future::join_all((0..8).map(|_| function.reply(event("/products?count=1000")))).await
    };
    let released = async {
        function.api().taken(8).await;
        lock.rollback().await.unwrap();
    };
    let (replies, ()) =
        tokio::time::timeout(TEST_TIMEOUT, async { tokio::join!(invocations, released) }).await.unwrap();
    for reply in replies {
        assert_eq!(response(&Outcome::Reply(reply)).body(), golden("/products").as_bytes());
    }
    assert_eq!(connections(&client, "").await, 1);
}

#[tokio::test]
async fn a_function_that_cannot_start_prints_the_reason_in_one_line() {
    let run = async |name: &str, variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = tokio::process::Command::new(local::program(name).unwrap());
        command
            .env_clear()
            .envs(variables.iter().copied())
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command.output().await.unwrap()
    };
    let api = ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1");
    let lambda = [
        api,
        ("AWS_LAMBDA_FUNCTION_NAME", "tested"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ];
    let url = ("DATABASE_URL", "host=localhost user=u");
    for (variables, expected) in [
        (&[][..], "error: AWS_LAMBDA_RUNTIME_API is not set: this is a function for AWS Lambda"),
        (&[("AWS_LAMBDA_RUNTIME_API", "")][..], "error: AWS_LAMBDA_RUNTIME_API is not set: "),
        (&[api][..], "error: AWS_LAMBDA_FUNCTION_NAME is not set: "),
        (&lambda[..], "error: DATABASE_URL is not set: expected an address such as "),
        (&[&lambda[..], &[url, ("LOG", "loud")]].concat()[..], "error: LOG=loud: expected off, error"),
    ] {
        let output = run("get-product", variables, &[]).await;
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && printed.starts_with(expected) && printed.lines().count() == 1,
            "{printed}"
        );
    }
    for name in names() {
        let help = run(name, &[], &["--help"]).await;
        let printed = String::from_utf8(help.stdout).unwrap();
        let reads_database = printed.contains("DATABASE_URL");
        assert!(help.status.success() && printed.contains("LOG_ACCESS"), "{name}: {printed}");
        assert_eq!(reads_database, name != "not-found", "{name}: {printed}");
    }
}

/// Returns the next line of the log with this text.
async fn until_line(function: &mut Function, text: &str) -> Value {
    loop {
        let line = function.next_line().await;
        if line.contains(text) {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

/// Returns a separate database with the hand-made dataset, for tests that disturb it.
async fn load_small() -> Database {
    support::load(conformance::small_dataset()).await.database
}
