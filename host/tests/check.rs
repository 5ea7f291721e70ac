//! `atelier-host check` with real servers: what is wrong, and what to do.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rig::{Cluster, Database, Proxy, Settings};
use serde_json::Value;
use support::{TestHost, publish};
use tokio::process::Command;

/// Returns the exit code and the lines of a check.
async fn check(url: &str, variables: &[(&str, &str)]) -> (i32, Vec<String>) {
    let (code, text) = run(url, variables, &["check"]).await;
    (code, text.lines().map(str::to_owned).collect())
}

async fn run(url: &str, variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-host"));
    command.args(arguments).env_clear().env("DATABASE_URL", url).env("LISTEN", "127.0.0.1:0");
    let output = command.envs(variables.iter().copied()).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("s3cret"), "{text}");
    (output.status.code().unwrap(), text)
}

/// Checks that exactly these failures are found, each given as the start and a part of the rest of its line.
async fn assert_failures(url: &str, variables: &[(&str, &str)], expected: &[(&str, &str)]) {
    let (code, lines) = check(url, variables).await;
    let failed: Vec<&String> = lines.iter().filter(|line| line.starts_with("failed  ")).collect();
    assert_eq!(failed.len(), expected.len(), "{lines:#?}");
    for (line, (start, part)) in failed.iter().zip(expected) {
        assert!(line.starts_with(&format!("failed  {start}")) && line.contains(part), "{line}");
        assert!(line.contains("; "), "what to do is missing: {line}");
    }
    assert!(lines.iter().all(|line| line.starts_with("failed  ") || line.starts_with("ok      ")));
    assert_eq!(code, i32::from(!expected.is_empty()));
}

async fn published() -> Database {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    database
}

/// Returns the name of the server of a test in the lines.
fn server(database: &Database) -> String {
    database.config().host()
}

#[tokio::test]
async fn a_host_that_would_serve_passes_every_check() {
    let database = published().await;
    let server = server(&database);
    let (code, lines) = check(&(database.host_url() + "&password=s3cret"), &[]).await;
    assert_eq!(code, 0, "{lines:#?}");
    let starts = [
        "ok      configuration: each variable is valid".to_owned(),
        "ok      LISTEN=127.0.0.1:0: is free".to_owned(),
        format!("ok      {server}: the primary, Postgres "),
        format!("ok      {server} schema: has all that this release needs"),
        format!(
            "ok      {server} rights: {} can read the catalog and change carts, and nothing else",
            local::HOST_LOGIN
        ),
        format!("ok      {server} catalog: generation 1, published at 20"),
        format!("ok      primary: {server}, of 1 named in DATABASE_URL"),
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(&starts) {
        assert!(line.starts_with(start), "{line}");
    }
    let client = database.connect().await.unwrap();
    let carts = client.query_one("select count(*) from cart.carts", &[]).await.unwrap();
    assert_eq!(carts.get::<_, i64>(0), 0, "no statement ran");
}

#[tokio::test]
async fn the_report_in_json_has_each_check_with_its_remedy() {
    let database = Database::create().await.unwrap();
    let (code, text) = run(&database.host_url(), &[], &["check", "--json"]).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["ok"]), (1, &Value::Bool(false)));
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        assert_eq!(check["ok"] == true, check["remedy"].is_null(), "{check}");
        assert!(check["check"].is_string() && check["detail"].is_string());
    }
    let failed: Vec<&Value> = checks.iter().filter(|check| check["ok"] == false).collect();
    let [catalog] = failed[..] else { panic!("{report}") };
    assert_eq!(catalog["check"], format!("{} catalog", server(&database)));
    assert_eq!(catalog["detail"], "no catalog has been published yet");
    assert_eq!(catalog["remedy"], "run `atelier-etl load` of this release");
}

#[tokio::test]
async fn each_invalid_variable_is_reported_and_the_others_are_checked() {
    let database = published().await;
    let variables = [("SHUTDOWN_GRACE", "10"), ("DATABASE_CONNECTIONS", "0"), ("LOG", "loud")];
    let expected = [
        (
            "configuration: DATABASE_CONNECTIONS=0: expected a whole number from 1 to 64",
            "set DATABASE_CONNECTIONS",
        ),
        ("configuration: SHUTDOWN_GRACE=10: expected a whole number with its unit", "set SHUTDOWN_GRACE"),
        ("configuration: LOG=loud: expected off, error, ", "set LOG"),
    ];
    assert_failures(&database.host_url(), &variables, &expected).await;
    let url = "postgresql://reader:s3cret@db/atelier";
    assert_failures(url, &[], &[("configuration: DATABASE_CA_FILE is not set: ", "set DATABASE_CA_FILE")])
        .await;
    let missing = [("DATABASE_CA_FILE", "/nowhere.pem")];
    let expected = [("configuration: DATABASE_CA_FILE=/nowhere.pem: expected a PEM file", "No such file")];
    assert_failures(&database.host_url(), &missing, &expected).await;
    let (_, lines) = check(&database.host_url(), &missing).await;
    assert!(lines.iter().any(|line| line.contains("catalog: generation 1")), "{lines:#?}");
    assert_failures("", &[], &[("configuration: DATABASE_URL is not set: ", "set DATABASE_URL")]).await;
}

#[tokio::test]
async fn a_port_in_use_is_a_failure_unless_a_host_serves_there() {
    let database = published().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for variable in ["LISTEN", "ADMIN_LISTEN"] {
        let remedy = format!("stop the other program (`ss -ltnp`), or set {variable} to another port");
        let expected = (format!("{variable}={listen}: "), remedy.as_str());
        assert_failures(&database.host_url(), &[(variable, &listen)], &[(&expected.0, expected.1)]).await;
    }
    let exposed = [("ADMIN_LISTEN", "0.0.0.0:0")];
    let remedy = "set ADMIN_LISTEN to a loopback or private address";
    assert_failures(&database.host_url(), &exposed, &[("ADMIN_LISTEN=0.0.0.0:0: ", remedy)]).await;
    let elsewhere = [("LISTEN", "192.0.2.1:3000")]; // an address for documentation, which no machine has
    assert_failures(
        &database.host_url(),
        &elsewhere,
        &[("LISTEN=192.0.2.1:3000: ", "set LISTEN to an address of this machine (`ip address`)")],
    )
    .await;

    let host = TestHost::start(&database, &[]).await;
    let listen = host.address.to_string();
    let (code, lines) = check(&database.host_url(), &[("LISTEN", &listen)]).await;
    assert!(code == 0 && lines[1].contains("a host serves there now"), "{lines:#?}");
}

#[tokio::test]
async fn a_server_that_refuses_the_connection_is_reported_with_its_cause() {
    let database = published().await;
    let refused = |url: String, cause: &'static str| async move {
        let expected =
            [("", cause), ("primary: no reachable server accepts writes", "make the servers reachable")];
        assert_failures(&url, &[], &expected).await;
    };
    refused("postgresql://x:s3cret@127.0.0.1:1/atelier".to_owned(), "127.0.0.1:1: cannot connect: ").await;
    let unknown = database.host_url().replace(database.name(), "no_such_database");
    refused(unknown, "create the database, or correct its name in DATABASE_URL").await;
    let unknown = database.host_url().replace(local::HOST_LOGIN, "nobody_here");
    refused(unknown, "correct user and password in DATABASE_URL, or allow the login in pg_hba.conf").await;

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgresql://x@{}/atelier", silent.local_addr().unwrap());
    let expected = [
        (
            "127.0.0.1:",
            "cannot connect: no response within 50 ms; start Postgres there, or open the firewall",
        ),
        ("primary", ""),
    ];
    assert_failures(&url, &[("DATABASE_CONNECT_TIMEOUT", "50ms")], &expected).await;

    // A server without TLS.
    let proxy = Proxy::to(database.socket()).await.unwrap();
    let authority = rcgen::generate_simple_self_signed(["an authority".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, authority.cert.pem()).unwrap();
    let url =
        format!("postgresql://{}@{}/{}?sslmode=require", local::HOST_LOGIN, proxy.address(), database.name());
    let variables = [("DATABASE_CA_FILE", file.to_str().unwrap())];
    let expected =
        [("127.0.0.1:", "server does not support TLS; turn on `ssl` in postgresql.conf"), ("primary", "")];
    assert_failures(&url, &variables, &expected).await;
    let (_, lines) = check(&url, &variables).await;
    assert!(
        lines.contains(&format!("ok      DATABASE_CA_FILE={}: has certificates", file.display())),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn a_schema_or_a_catalog_of_an_earlier_release_is_reported() {
    let database = published().await;
    let client = database.connect().await.unwrap();
    let (server, url) = (server(&database), database.host_url());
    client.batch_execute("drop table catalog.words").await.unwrap();
    let catalog =
        format!("{server} catalog: an earlier release loaded generation 1: relation \"catalog.words\"");
    assert_failures(&url, &[], &[(&catalog, "run `atelier-etl load` of this release")]).await;
    let schema = format!("{server} schema: is not migrated to this release: ");
    for change in ["drop function cart.set", "drop table etl.publication", "drop schema cart cascade"] {
        client.batch_execute(change).await.unwrap();
        assert_failures(&url, &[], &[(&schema, "run `atelier-etl migrate` of this release")]).await;
    }
}

#[tokio::test]
async fn a_login_with_too_few_or_too_many_rights_is_reported() {
    let database = published().await;
    let rights = format!("{} rights: the login ", server(&database));
    let reader = database.function_url("get-product").await.unwrap();
    let few = (
        format!("{rights}get_product lacks a right: permission denied for "),
        "run `grant atelier_reader, atelier_cart to get_product`",
    );
    assert_failures(&reader, &[], &[(&few.0, few.1)]).await;
    let many = format!("{rights}{} has more rights than a host needs: it is a superuser", local::SUPERUSER);
    assert_failures(&database.url(), &[], &[(&many, "role web login")]).await;

    let client = database.connect().await.unwrap();
    client.batch_execute(&format!("grant insert on cart.lines to {}", local::HOST_LOGIN)).await.unwrap();
    let many =
        format!("{rights}{} has more rights than a host needs: it may change cart.lines", local::HOST_LOGIN);
    assert_failures(&database.host_url(), &[], &[(&many, "role web login")]).await;
    client.batch_execute(&format!("revoke insert on cart.lines from {}", local::HOST_LOGIN)).await.unwrap();
    for (revoked, missing) in [
        (
            "revoke execute on function cart.clear(bytea) from atelier_cart",
            "permission denied for function clear",
        ),
        ("revoke select on catalog.documents from atelier_reader", "permission denied for table documents"),
    ] {
        client.batch_execute(revoked).await.unwrap();
        let few = format!("{rights}{} lacks a right: {missing}", local::HOST_LOGIN);
        assert_failures(&database.host_url(), &[], &[(&few, "run `grant ")]).await;
        client.batch_execute("grant execute on function cart.clear(bytea) to atelier_cart").await.unwrap();
    }
}

#[tokio::test]
async fn the_servers_must_be_one_primary_and_its_replicas() {
    let primary = Cluster::start_temporary(&Settings::disposable().with_replication()).await.unwrap();
    let database = Database::create_in(&primary).await.unwrap();
    publish(&database).await;
    let replica = primary.start_replica().await.unwrap();
    let replica_server = replica.address().sockets().display().to_string();
    let both = database.host_url_of(&[&replica, &primary]);
    assert_failures(&both, &[], &[]).await;
    let (_, lines) = check(&both, &[]).await;
    assert!(
        lines.iter().any(|line| line.contains(&format!("{replica_server}: a replica, Postgres "))),
        "{lines:#?}"
    );
    let alone = database.host_url_of(&[&replica]);
    let expected = [(
        "primary: no server of DATABASE_URL accepts writes",
        "add the primary to DATABASE_URL, or promote",
    )];
    assert_failures(&alone, &[], &expected).await;

    // The replica is promoted while the primary still runs, which then publishes another catalog.
    let client = replica.address().connect(database.name()).await.unwrap();
    client.batch_execute("select pg_promote()").await.unwrap();
    publish(&database).await;
    let lagging = format!("{replica_server} replication: it lacks the latest catalog");
    let expected = [
        (lagging.as_str(), "pg_stat_replication"),
        ("primary: ", "accept writes, so carts and catalogs may differ"),
    ];
    assert_failures(&both, &[], &expected).await;
    replica.stop().await.unwrap();
    primary.stop().await.unwrap();
}
