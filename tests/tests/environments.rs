//! Two environments, such as staging and production, in one cluster. Group roles belong to the cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use etl::migrate::{MigrateError, migrate};
use local::{Address, SUPERUSER, connect};
use rig::{Cluster, Settings};
use shared::database::ConnectOptions;

fn options(address: &Address, database: &str) -> ConnectOptions {
    ConnectOptions::without_tls(address.config(SUPERUSER, database))
}

#[tokio::test]
async fn a_login_of_one_environment_has_no_access_to_another_one() {
    let cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let address = cluster.address();
    let server = address.connect("postgres").await.unwrap();
    for name in ["staging", "production"] {
        server.batch_execute(&format!("create database {name}")).await.unwrap();
    }
    migrate(&options(address, "staging")).await.unwrap();
    let refused = async || {
        let error = migrate(&options(address, "production")).await.unwrap_err();
        assert!(matches!(error, MigrateError::SharedCluster { .. }), "{error}");
        error.to_string()
    };
    let message = refused().await;
    let start = "all logins may connect to production, and its cluster has another database";
    assert!(message.starts_with(start), "{message}");
    let login = "create role web_staging login in role atelier_reader, atelier_cart";
    server.batch_execute(login).await.unwrap();
    assert_eq!(refused().await, message);
    // A login of the second one could connect to the first one.
    for statement in [
        "revoke connect on database production from public",
        "grant connect on database production to web_staging",
    ] {
        server.batch_execute(statement).await.unwrap();
    }
    assert!(refused().await.starts_with("all logins may connect to staging"));
    server.batch_execute("revoke connect on database production from web_staging").await.unwrap();
    let production = address.connect("production").await.unwrap();
    let changed = "select count(*) from pg_namespace where nspname = 'cart'";
    assert_eq!(production.query_one(changed, &[]).await.unwrap().get::<_, i64>(0), 0, "nothing changed");

    // The statements of the message.
    let revoke = "revoke connect on database production, staging from public";
    assert!(message.contains(revoke) && message.contains("`grant connect on database … to …`"), "{message}");
    server.batch_execute(revoke).await.unwrap();
    server.batch_execute("grant connect on database staging to web_staging").await.unwrap();
    migrate(&options(address, "production")).await.unwrap();
    for statement in [
        "create role web_production login in role atelier_reader, atelier_cart",
        "grant connect on database production to web_production",
    ] {
        server.batch_execute(statement).await.unwrap();
    }
    migrate(&options(address, "staging")).await.unwrap();
    for (own, other) in [("staging", "production"), ("production", "staging")] {
        let login = format!("web_{own}");
        let client = connect(&address.config(&login, own)).await.unwrap();
        client.query("select from etl.publication", &[]).await.unwrap();
        client.query("select from cart.lines", &[]).await.unwrap();
        let refused = connect(&address.config(&login, other)).await.unwrap_err();
        let message = refused.as_db_error().unwrap().message();
        assert_eq!(message, format!("permission denied for database \"{other}\""));
    }
    cluster.stop().await.unwrap();
}
