//! What the host does with connections: its clients' and its own to the database.

// In helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stand;

use std::time::Duration;

use local::testing::Database;
use stand::{PATIENCE, Served, ask, begin, publish, rest, until};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const POST: &str =
    "POST /cart HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";

/// The host's connections to this database over which the catalog is read; carts have others.
const READING: &str = "pg_stat_activity where application_name = 'atelier' and datname = current_database()";

#[tokio::test]
async fn it_is_ready_once_a_catalog_is_published() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[]).await;
    let before = ask(host.address, "GET /readyz HTTP/1.1").await;
    assert!(before.starts_with("HTTP/1.1 503 ") && before.contains("\r\nretry-after: 1\r\n"), "{before}");
    assert!(before.contains("No catalog has been published yet."), "{before}");
    assert!(ask(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    let product = ask(host.address, "GET /products/1 HTTP/1.1").await;
    assert!(product.starts_with("HTTP/1.1 503 ") && product.contains("No catalog has been published yet."));

    publish(&database).await;
    let after = ask(host.address, "GET /readyz HTTP/1.1").await;
    assert!(after.ends_with(r#"{"status":"ready","generation":1}"#), "{after}");
    assert!(ask(host.address, "GET /products/1 HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn it_goes_on_serving_when_the_next_catalog_takes_over() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[("DATABASE_CONNECTIONS", "1"), ("CACHE_BYTES", "0")]).await;
    assert!(ask(host.address, "GET /products/1 HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    let client = database.connect().await.unwrap();
    client.batch_execute("update catalog.documents set product = 'old' where product_id = 1").await.unwrap();
    assert!(ask(host.address, "GET /products/1 HTTP/1.1").await.ends_with("old"));
    publish(&database).await; // what was prepared against the old tables reads the new ones
    assert!(!ask(host.address, "GET /products/1 HTTP/1.1").await.ends_with("old"));
}

#[tokio::test]
async fn a_database_connection_that_stops_answering_is_given_up() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let variables =
        [("DATABASE_CONNECTIONS", "2"), ("DATABASE_STATEMENT_TIMEOUT", "300ms"), ("CACHE_BYTES", "0")];
    let host = Served::start(&database, &variables).await;
    until(host.address, "GET /readyz HTTP/1.1", " 200 ").await;
    let select = format!("select pid from {READING}");
    let backend: i32 = database.connect().await.unwrap().query(&select, &[]).await.unwrap()[0].get(0);
    let signal = |name: &str| local::signal(backend.try_into().unwrap(), name).unwrap();
    signal("STOP");
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(ask(host.address, "GET /products/1/styles HTTP/1.1").await);
    }
    signal("CONT");
    // A read that met the silent connection was asked again of the other one.
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200 ")), "{answers:?}");
}

#[tokio::test]
async fn a_lost_database_connection_is_made_again() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[]).await;
    until(host.address, "GET /readyz HTTP/1.1", " 200 ").await;
    let client = database.connect().await.unwrap();
    let ended = client
        .query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where usename = 'atelier_host' and datname = current_database()",
            &[],
        )
        .await
        .unwrap();
    assert!(!ended.is_empty());
    until(host.address, "GET /products/1 HTTP/1.1", " 200 ").await;
}

/// Tries a statement until it has a row.
async fn until_there_is_one(database: &Database, statement: &str) {
    let client = database.connect().await.unwrap();
    let trying = async {
        while client.query(statement, &[]).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.unwrap_or_else(|_| panic!("never a row: {statement}"));
}

#[tokio::test]
async fn while_one_database_connection_is_lost_another_answers_and_what_was_under_way_is_asked_of_it() {
    const ASKERS: i32 = 8;
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let variables = [
        ("DATABASE_CONNECTIONS", "2"),
        ("DATABASE_STATEMENT_TIMEOUT", "30s"),
        ("REQUEST_TIMEOUT", "60s"),
        ("CACHE_BYTES", "0"), // else most would be answered without a connection
    ];
    let host = Served::start(&database, &variables).await;
    let address = host.address;
    // Each has been asked how its server stands, so both are in use.
    let both = format!("select from {READING} and state = 'idle' and query <> '' having count(*) = 2");
    until_there_is_one(&database, &both).await;
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents").await.unwrap();
    let asking: Vec<_> = (1..=ASKERS)
        .map(|product_id| {
            tokio::spawn(async move {
                for _ in 0..20 {
                    let answer = ask(address, &format!("GET /products/{product_id}/styles HTTP/1.1")).await;
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                }
            })
        })
        .collect();
    let end_one_that_waits =
        format!("select pg_terminate_backend(pid) from {READING} and wait_event_type = 'Lock' limit 1");
    until_there_is_one(&database, &end_one_that_waits).await;
    lock.rollback().await.unwrap();
    for asker in asking {
        asker.await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_that_waits_too_long_is_answered_503() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[("DATABASE_STATEMENT_TIMEOUT", "50ms")]).await;
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents").await.unwrap();
    let answer = ask(host.address, "GET /products/1 HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("The database took too long to answer."), "{answer}");
    lock.rollback().await.unwrap();
    assert!(ask(host.address, "GET /products/1 HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_header_that_never_ends_closes_the_connection() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[("HEADER_READ_TIMEOUT", "50ms")]).await;
    for begun in ["", "GET /healthz HTTP/1.1\r\nhost: x\r\n"] {
        let answer = rest(begin(host.address, begun).await).await;
        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_413() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[]).await;
    let body = "x".repeat(1025);
    let declared = begin(host.address, &format!("{POST}content-length: 1025\r\n\r\n{body}")).await;
    let chunked =
        begin(host.address, &format!("{POST}transfer-encoding: chunked\r\n\r\n401\r\n{body}\r\n")).await;
    for stream in [declared, chunked] {
        let answer = rest(stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains("application/problem+json"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_body_that_never_comes_is_answered_408() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[("REQUEST_TIMEOUT", "50ms")]).await;
    let answer = rest(begin(host.address, &format!("{POST}content-length: 12\r\n\r\n{{")).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_the_next_connection_is_served() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[]).await;
    let long = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(200_000));
    for (sent, status) in [("\0\r\n\r\n", " 400 "), ("GET /a b HTTP/1.1\r\n\r\n", " 400 "), (&long, " 431 ")]
    {
        let answer = rest(begin(host.address, sent).await).await;
        assert!(answer.lines().next().is_some_and(|line| line.contains(status)), "{answer}");
        assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains("\r\naccess-control-allow-origin: *\r\n"), "{answer}");
    }
    assert!(ask(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
}

/// The statuses of all responses in what a connection has brought.
fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| answer.split(' ').next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_request_that_was_repaired_ends_neither_its_connection_nor_the_requests_behind_it() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[]).await;
    let json = "host: x\r\nauthorization: me\r\ncontent-type: application/json\r\n";
    let post = |target: &str| {
        format!("POST {target} HTTP/1.1\r\n{json}content-length: 14\r\n\r\n{{\"sku_id\":\"1\"}}")
    };
    let last = format!(
        "POST /cart?\" HTTP/1.1\r\n{json}transfer-encoding: chunked\r\n\r\n6\r\n{{\"sku_\r\n8\r\nid\":\"1\"}}\r\n0\r\n\r\n"
    );
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
    let many: String = (0..110).map(|n| format!("x-forwarded-{n}: 1\r\n")).collect();
    let requests = [
        get("/products/1?\""),
        get("/products/1"),
        post("/cart"),
        post("/cart?<"),
        "\r\n".to_owned() + &get("/products/1`"),
        format!("GET /products/2 HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        post("/cart?a=\"b\""),
        get("/products/1?\"").replace("\r\n", "\n"),
        last, // and closed, as its body has no length
    ];
    let expected = ["200", "200", "201", "201", "400", "200", "201", "200", "201"];
    // All at once, one by one, and cut where it hurts.
    let all = rest(begin(host.address, &requests.concat()).await).await;
    assert_eq!(statuses(&all), expected, "{all}");
    for pieces in [1, 2, 3, 7] {
        let mut stream = begin(host.address, "").await;
        for request in &requests {
            for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
                stream.write_all(piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await; // so that the host reads them one by one, as a rule
            }
        }
        let answers = rest(stream).await;
        assert_eq!(statuses(&answers), expected, "{pieces} pieces: {answers}");
    }
    let cart = ask(host.address, "GET /cart HTTP/1.1\r\nauthorization: me").await;
    assert!(cart.ends_with(r#"[{"sku_id":1,"count":20}]"#), "{cart}");
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_the_last_of_its_connection_and_those_before_it_are_answered() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[]).await;
    let get = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = format!("{POST}content-length: 2\r\n\r\n{{}}").replace("connection: close\r\n", "");
    for before in ["".to_owned(), get.to_owned(), get.repeat(3), post.clone(), post + get] {
        let answers = rest(
            begin(host.address, &format!("{before}HEAD /\x01 HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n{get}"))
                .await,
        )
        .await;
        let (_, last) = answers.rsplit_once("HTTP/1.1 ").unwrap();
        assert!(last.starts_with("400 ") && last.contains("\r\nx-request-id: mine\r\n"), "{answers}");
        assert!(last.contains("\r\nconnection: close\r\n") && last.ends_with("\r\n\r\n"), "{answers}");
        let expected = before.matches("HTTP/1.1\r\n").count() + 1;
        assert_eq!(statuses(&answers).len(), expected, "{answers}");
    }
}

#[tokio::test]
async fn a_host_that_is_about_to_end_says_so_and_closes_each_connection_after_its_next_answer() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[]).await;
    let mut kept = begin(host.address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut first = [0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut kept, &mut first).await.unwrap();
    let address = host.address;
    let ended = host.stop();
    let not_ready = until(address, "GET /readyz HTTP/1.1", " 503 ").await;
    assert!(not_ready.contains("This process is about to end."), "{not_ready}");
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let answer = rest(kept).await; // which comes to an end
    assert!(
        answer.contains("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nconnection: close\r\n"),
        "{answer}"
    );
    assert_eq!(ended.await.unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_connection_more_than_there_may_be_waits_for_another_to_be_closed() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[("MAX_CONNECTIONS", "2")]).await;
    let get = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = [0; 15];
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = begin(host.address, get).await;
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
        open.push(stream);
    }
    let mut third = begin(host.address, get).await;
    let answered = tokio::io::AsyncReadExt::read_exact(&mut third, &mut first);
    let waits = tokio::time::timeout(Duration::from_millis(300), answered).await;
    assert!(waits.is_err(), "it was answered");
    open.pop();
    tokio::io::AsyncReadExt::read_exact(&mut third, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_request_that_was_begun_is_still_answered_while_draining() {
    let database = Database::create().await.unwrap();
    let host = Served::start(&database, &[("SHUTDOWN_DELAY", "10ms")]).await;
    let address = host.address;
    // The first answer shows that the host has the connection.
    let mut begun = begin(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut first = [0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut begun, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    begun.write_all(b"POST /cart HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n").await.unwrap();
    let mut waiting = begin(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::io::AsyncReadExt::read_exact(&mut waiting, &mut first).await.unwrap();

    let ended = host.stop();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    begun.write_all(b"{}").await.unwrap();
    let answer = rest(begun).await;
    assert!(answer.contains("HTTP/1.1 415 "), "{answer}"); // in full, though of the wrong type
    assert_eq!(ended.await.unwrap(), 0);
}

#[tokio::test]
async fn whoever_connects_before_the_host_stops_listening_is_answered() {
    let database = Database::create().await.unwrap();
    for _ in 0..10 {
        let host = Served::start(&database, &[("SHUTDOWN_DELAY", "20ms")]).await;
        let address = host.address;
        let ended = host.stop();
        tokio::task::yield_now().await;
        // This thread is the host's too: it finds these and that the delay has passed at the same time.
        let until = std::time::Instant::now() + Duration::from_millis(40);
        let mut waiting = Vec::new();
        while std::time::Instant::now() < until {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            waiting.push(stream);
            std::thread::sleep(Duration::from_millis(5));
        }
        for stream in waiting {
            stream.set_nonblocking(true).unwrap();
            let answer = rest(TcpStream::from_std(stream).unwrap()).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        assert_eq!(ended.await.unwrap(), 0);
    }
}

#[tokio::test]
async fn requests_that_come_together_each_get_their_own_answer() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = Served::start(&database, &[]).await;
    let address = host.address;
    let asking: Vec<_> = (0..300)
        .map(|number| {
            let product_id = 1 + number % 150; // each twice, and more than the catalog has
            tokio::spawn(async move {
                (product_id, ask(address, &format!("GET /products/{product_id}/styles HTTP/1.1")).await)
            })
        })
        .collect();
    let mut found = 0;
    for asked in asking {
        let (product_id, answer) = asked.await.unwrap();
        if answer.starts_with("HTTP/1.1 200 ") {
            assert!(answer.contains(&format!(r#"{{"product_id":"{product_id}","#)), "{answer}");
            found += 1;
        } else {
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        }
    }
    let client = database.connect().await.unwrap();
    let there: i64 =
        client.query_one("select count(*) from catalog.products where id <= 150", &[]).await.unwrap().get(0);
    assert_eq!(found, 2 * there);
}
