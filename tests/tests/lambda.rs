//! The suite over the functions' own binaries, behind API Gateway and behind Function URLs, and what is expected of a
//! function beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use conformance::hostile::random_requests;
use conformance::lambda::{Function, Outcome, Source, response};
use conformance::{Transport, golden};
use http::{HeaderMap, Request, Response};
use local::testing::Database;
use serde_json::{Value, json};
use stand::functions::{NAMES, function, gateway};
use stand::serving::small_host;
use stand::small;

mod api_gateway {
    use super::stand::functions::gateway;
    conformance::suite!(gateway);
}

mod function_url {
    use super::stand::functions::function_urls;
    conformance::suite!(function_urls);
}

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).header("x-request-id", "tested").body(Bytes::new()).unwrap()
}

fn event(path: &str) -> String {
    Source::Url.event(&get(path)).to_string()
}

/// What must be the same on every transport: all but what differs from one request to the next, and what only a
/// connection has.
fn lasting(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for passing in ["date", "server-timing", "set-cookie"] {
        headers.remove(passing);
    }
    headers
}

fn assert_same(request: &Request<Bytes>, host: &Response<Bytes>, function: &Response<Bytes>) {
    let what = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    assert_eq!(host.status(), function.status(), "{what}");
    assert_eq!(lasting(host.headers()), lasting(function.headers()), "{what}");
    assert_eq!(host.body(), function.body(), "{what}");
}

#[tokio::test]
async fn host_and_functions_answer_the_same_byte_for_byte() {
    let (host, gateway) = (small_host().await, gateway().await);
    let mut requests = Vec::new();
    for path in [
        "/products",
        "/products/?count=3",
        "/products?page=0",
        "/products?count=%31",
        "/products/1",
        "/products/1/",
        "/products/3",
        "/products/abc",
        "/products/1/styles",
        "/products/4/styles/",
        "/products/2/related",
        "/products/1/overview",
        "/products/1%2Fstyles",
        "/products/../cart",
        "/products//styles",
        "/cart",
        "/cart/",
        "/nothing",
        "/",
    ] {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE"] {
            for (name, value) in
                [("accept-encoding", "gzip"), ("if-none-match", "*"), ("x-forwarded-proto", "https")]
            {
                let request = Request::builder().method(method).uri(path).header(name, value);
                requests.push(request.header("x-request-id", "tested").body(Bytes::new()).unwrap());
            }
        }
    }
    // What has to be decoded before it is a number cannot be told from one that need not be, behind API Gateway.
    requests.extend(random_requests().into_iter().filter(|request| !request.uri().path().contains('%')));
    for mut request in requests {
        request.headers_mut().insert("x-request-id", "tested".parse().unwrap());
        let [host, function] = [host.call(request.clone()).await, gateway.call(request.clone()).await];
        assert_same(&request, &host, &function);
    }
}

/// Events of every kind, to begin from: what API Gateway and Function URLs send for requests of every kind.
fn sound_events() -> Vec<Value> {
    let post = Request::post("/cart")
        .header("authorization", "Bearer mutation")
        .header("content-type", "application/json");
    let binary = Request::post("/cart")
        .header("content-type", "application/octet-stream")
        .header("cookie", "a=b; c=d");
    let requests = [
        get("/products/1"),
        get("/products/1/styles?x=%20"),
        get("/products?page=1&count=5"),
        post.body(r#"{"sku_id":1}"#.into()).unwrap(),
        binary.body(Bytes::from_static(b"\x00\xff")).unwrap(),
    ];
    let route = |key: &str| Source::Api {
        route_key: key.to_owned(),
        path_parameters: vec![("product_id".into(), "1".into())],
    };
    let sources = [Source::Url, route("ANY /products/{product_id}"), route("POST /cart"), route("$default")];
    sources.iter().flat_map(|source| requests.iter().map(|request| source.event(request))).collect()
}

#[tokio::test]
async fn thousands_of_broken_events_are_answered_and_end_no_function() {
    const EVENTS_EACH: usize = 1_500;
    let database = &small().await.database;
    for name in ["get-product", "list-products", "add-to-cart"] {
        let mut function = function(name, database, &[("LOG_ACCESS", "off")]).await;
        let mut rng = fastrand::Rng::with_seed(1);
        let sound = sound_events();
        for event in sound.iter().cycle().take(EVENTS_EACH) {
            let event = stand::mutation::mutate(event, &mut rng).to_string();
            let status = response(&function.invoke(event.clone()).await).status();
            assert!(!status.is_server_error(), "{name}: {status} to {event}");
        }
        assert_eq!(function.ended(), None);
    }
    let function = Function::start(&local::program("not-found").unwrap(), &[], false).await;
    let mut rng = fastrand::Rng::with_seed(2);
    for event in sound_events().iter().cycle().take(EVENTS_EACH) {
        let event = stand::mutation::mutate(event, &mut rng).to_string();
        let status = response(&function.invoke(event.clone()).await).status();
        assert!([204, 400, 404, 413].contains(&status.as_u16()), "{status} to {event}");
    }
}

#[tokio::test]
async fn what_is_no_request_at_all_is_400_with_what_was_expected() {
    let function = function("get-product", &small().await.database, &[]).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many_headers: serde_json::Map<_, _> =
        (0..50_000).map(|n| (format!("h{n}"), Value::from("x"))).collect();
    let many_headers = json!({ "headers": many_headers }).to_string();
    let method = |method: &str| json!({ "requestContext": { "http": { "method": method } } }).to_string();
    for event in ["{}", "null", "7", "\"GET\"", "[]", &deep, &many_headers, &method("G T"), &method("")] {
        let answer = response(&function.invoke(event.to_owned()).await);
        assert_eq!(answer.status(), 400, "{}", &event[..event.len().min(80)]);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    let long = response(&function.invoke(event(&format!("/products/{}", "9".repeat(30_000)))).await);
    assert_eq!(long.status(), 400, "an id of any length is no id");
    let mut longest: Value = serde_json::from_str(&event("/products/1")).unwrap();
    longest["rawPath"] = format!("/products/{}", "9".repeat(70_000)).into();
    assert_eq!(response(&function.invoke(longest.to_string()).await).status(), 400);
}

#[tokio::test]
async fn an_event_that_is_no_json_is_reported_and_the_next_one_answered() {
    let mut function = function("get-product", &small().await.database, &[]).await;
    for nonsense in [&b""[..], b"{", b"\xff\xfe", b"GET / HTTP/1.1"] {
        assert!(matches!(function.invoke(nonsense).await, Outcome::Error(_)));
    }
    let answer = response(&function.invoke(event("/products/1")).await);
    assert_eq!(
        (answer.status().as_u16(), str::from_utf8(answer.body()).unwrap()),
        (200, &*golden("/products/1"))
    );
    assert_eq!(function.ended(), None);
}

#[tokio::test]
async fn connections_that_died_between_two_invocations_are_noticed() {
    let database = load_small().await;
    let read = function("get-product", &database, &[("DATABASE_PROBE_AFTER", "10ms")]).await;
    let write = function("add-to-cart", &database, &[("DATABASE_PROBE_AFTER", "10ms")]).await;
    let add =
        Request::post("/cart").header("authorization", "frozen").header("content-type", "application/json");
    let add = Source::Url.event(&add.body(r#"{"sku_id":1}"#.into()).unwrap()).to_string();
    for round in 1..=10 {
        assert_eq!(response(&read.invoke(event("/products/1")).await).status(), 200, "{round}");
        assert_eq!(response(&write.invoke(add.clone()).await).status(), 201, "{round}");
        // As Lambda does between invocations; the kernel learns meanwhile that the other side is gone.
        signal(&read, "STOP").await;
        signal(&write, "STOP").await;
        let client = database.connect().await.unwrap();
        let ended = client
            .execute(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(ended, 2, "each function has one connection");
        signal(&read, "CONT").await;
        signal(&write, "CONT").await;
    }
    let lines = database.connect().await.unwrap().query("select count from cart.lines", &[]).await.unwrap();
    let counts: Vec<i32> = lines.iter().map(|line| line.get(0)).collect();
    assert_eq!(counts, [10], "each addition was carried out once");
}

#[tokio::test]
async fn an_answer_that_the_database_keeps_back_is_503_before_the_deadline() {
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
    let answer = response(&function.api().invoke(event("/products/1"), Duration::from_secs(2)).await);
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.headers()["content-type"],
        "application/problem+json",
        "the function's own, not Lambda's"
    );
    assert!(answer.headers().contains_key("retry-after"));
    lock.rollback().await.unwrap();
    assert_eq!(response(&function.invoke(event("/products/1")).await).status(), 200);
}

#[tokio::test]
async fn each_request_leaves_a_line_that_is_a_metric_too() {
    let mut function = function("get-product", &small().await.database, &[]).await;
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
        let text = function.line().await;
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
async fn on_sigterm_a_function_takes_leave_of_the_database_and_ends_well() {
    let database = load_small().await;
    let mut function = function("get-product", &database, &[]).await;
    assert_eq!(response(&function.invoke(event("/products/1")).await).status(), 200);
    assert_eq!(function.api().extensions().len(), 1, "without an extension Lambda sends no SIGTERM");
    signal(&function, "TERM").await;
    let ended = tokio::time::timeout(PATIENCE, function.end()).await.unwrap();
    assert!(ended.success(), "{ended}");
    let client = database.connect().await.unwrap();
    let others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    until(async || client.query_one(others, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
}

#[tokio::test]
async fn on_managed_instances_a_function_answers_several_at_once_over_one_connection() {
    let database = load_small().await;
    let function = function("list-products", &database, &[("AWS_LAMBDA_MAX_CONCURRENCY", "8")]).await;
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.products").await.unwrap();
    let asked = async {
        futures_util::future::join_all((0..8).map(|_| function.reply(event("/products?count=1000")))).await
    };
    let released = async {
        function.api().taken(8).await;
        lock.rollback().await.unwrap();
    };
    let (replies, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(asked, released) }).await.unwrap();
    for reply in replies {
        assert_eq!(response(&Outcome::Reply(reply)).body(), golden("/products").as_bytes());
    }
    let connections = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    assert_eq!(client.query_one(connections, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why_in_one_line() {
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
    for (variables, expected) in [
        (&[][..], "error: AWS_LAMBDA_RUNTIME_API is not set: this is a function for AWS Lambda"),
        (&[api][..], "error: DATABASE_URL is not set: expected an address such as "),
        (
            &[api, ("DATABASE_URL", "host=localhost user=u"), ("LOG", "loud")][..],
            "error: LOG=loud: expected off, error",
        ),
    ] {
        let output = run("get-product", variables, &[]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.starts_with(expected) && said.lines().count() == 1,
            "{said}"
        );
    }
    for name in NAMES {
        let help = run(name, &[], &["--help"]).await;
        assert!(
            help.status.success() && String::from_utf8(help.stdout).unwrap().contains("DATABASE_URL"),
            "{name}"
        );
    }
}

/// The hand-made dataset in a database of its own, for tests that disturb it.
async fn load_small() -> Database {
    stand::load(conformance::small_dataset()).await.database
}

async fn signal(function: &Function, name: &str) {
    let line = format!("kill -{name} {}", function.pid());
    let status = tokio::process::Command::new("/bin/sh").args(["-c", &line]).status().await.unwrap();
    assert!(status.success(), "{line}");
}

async fn until(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it never came true");
}
