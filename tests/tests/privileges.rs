//! The database privileges of each group role. Postgres enforces them, not the code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use conformance::small_dataset;
use support::load;
use tokio_postgres::error::SqlState;

/// The group roles of hosts, functions and the loader, and the owners of the loads' records and of the carts.
const ROLES: [&str; 5] =
    ["atelier_reader", "atelier_cart", "atelier_cart_add", "atelier_loader", "atelier_owner"];

#[tokio::test]
async fn each_role_has_only_its_own_privileges() {
    let loaded = load(small_dataset()).await;
    let client = loaded.database.connect().await.unwrap();
    // Postgres 14 lets every role create tables in `public`. docs/engines.md says how to change that.
    let hardened = "revoke create on schema public from public";
    client.batch_execute(hardened).await.unwrap();
    // A statement, and whether each role may run it. A catalog belongs to the loader's role.
    let statements = [
        ("select from catalog.documents", [true, false, false, true, false]),
        ("select from catalog.products", [true, false, false, true, false]),
        ("select from catalog.categories", [true, false, false, true, false]),
        ("select from catalog.words", [true, false, false, true, false]),
        ("select from catalog.styles", [true, false, false, true, false]),
        ("select from catalog.photos", [false, false, false, true, false]),
        ("select id from catalog.skus where id = 1", [true, true, true, true, false]),
        ("select from catalog.cart", [false, false, false, true, false]),
        ("update catalog.products set name = 'x'", [false, false, false, true, false]),
        ("update catalog.words set word = 'x'", [false, false, false, true, false]),
        ("delete from catalog.documents", [false, false, false, true, false]),
        ("drop schema catalog cascade", [false, false, false, true, false]),
        ("select cart.add(sha256('x'), 1, 1)", [false, true, true, false, true]),
        ("select cart.move(sha256('x'), sha256('y'))", [false, true, true, false, true]),
        ("select cart.is_owner(sha256('x'))", [false, true, true, false, true]),
        ("select cart.set(sha256('x'), 1, 1)", [false, true, false, false, true]),
        ("select cart.remove(sha256('x'), 1)", [false, true, false, false, true]),
        ("select cart.clear(sha256('x'))", [false, true, false, false, true]),
        ("select cart.prune(now(), now(), 1)", [false, false, false, true, true]),
        ("select from cart.lines", [false, true, false, true, true]),
        ("update cart.carts set touched_at = now()", [false, false, false, false, true]),
        ("insert into cart.carts (owner) values (sha256('x'))", [false, false, false, false, true]),
        ("delete from cart.carts", [false, false, false, true, true]),
        ("select from etl.publication", [true, false, false, true, true]),
        ("update etl.publication set generation = 1", [false, false, false, false, true]),
        ("select from etl.reject", [false, false, false, true, true]),
        ("update etl.load set dataset = 'x'", [false, false, false, true, true]),
        ("create schema anything", [false, false, false, true, true]),
        ("create table public.anything ()", [false, false, false, false, false]),
        ("create temporary table anything ()", [false, false, false, false, false]),
        ("select lo_create(0)", [false, false, false, false, false]),
        ("select lo_creat(-1)", [false, false, false, false, false]),
        ("select lo_from_bytea(0, 'x')", [false, false, false, false, false]),
        ("create role anyone superuser", [false, false, false, false, false]),
        ("copy (select 1) to program 'true'", [false, false, false, false, false]),
    ];
    for (statement, may) in statements {
        for (role, may) in ROLES.into_iter().zip(may) {
            let tried = client.batch_execute(&format!("begin; set local role {role}; {statement}")).await;
            client.batch_execute("rollback").await.unwrap();
            match tried {
                Ok(()) => assert!(may, "{role} may: {statement}"),
                Err(error) => {
                    assert!(!may, "{role} may not: {statement}: {error:?}");
                    assert_eq!(
                        error.code(),
                        Some(&SqlState::INSUFFICIENT_PRIVILEGE),
                        "{role}: {statement}: {error}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn each_function_s_login_has_only_its_own_privileges() {
    let database = load(small_dataset()).await.database;
    database.function_url("get-cart").await.unwrap(); // creates all logins, and can be repeated
    database.function_url("get-cart").await.unwrap();
    let client = database.connect().await.unwrap();
    let statements = [
        "select from catalog.documents",
        "select from catalog.categories, catalog.words, catalog.products, catalog.styles",
        "select id from catalog.skus where id = 1",
        "select from cart.lines",
        "select from cart.carts",
        "select cart.add(sha256('x'), 1, 1)",
        "select cart.remove(sha256('x'), 1)",
        "select cart.clear(sha256('x'))",
        "insert into cart.carts (owner) values (sha256('x'))",
        "delete from cart.lines",
        "update catalog.documents set product_id = product_id",
        "select from etl.load",
        "set local role atelier_loader",
        "select cart.move(sha256('x'), sha256('y'))",
        "select cart.is_owner(sha256('x'))",
        "select cart.set(sha256('x'), 1, 1)",
    ];
    let of_the_catalog = &statements[..3];
    let of_the_load = [&statements[..5], &statements[9..13]].concat();
    for (login, may) in [
        ("list_products", of_the_catalog),
        ("get_product", of_the_catalog),
        ("get_styles", of_the_catalog),
        ("get_related", of_the_catalog),
        ("get_overview", of_the_catalog),
        ("list_cards", of_the_catalog),
        ("list_categories", of_the_catalog),
        ("get_catalog", of_the_catalog),
        ("get_cart_lines", &statements[..5]),
        ("get_cart", &statements[3..5]),
        ("add_to_cart", &[statements[2], statements[5], statements[13], statements[14]]),
        ("set_cart_line", &[2, 5, 6, 13, 14, 15].map(|number| statements[number])),
        ("remove_from_cart", &statements[6..7]),
        ("clear_cart", &statements[7..8]),
        ("etl", &of_the_load),
    ] {
        for statement in statements {
            let tried = client
                .batch_execute(&format!("begin; set local session authorization {login}; {statement}"))
                .await;
            client.batch_execute("rollback").await.unwrap();
            let refusal = tried.err().map(|error| error.code().cloned());
            let expected = (!may.contains(&statement)).then_some(Some(SqlState::INSUFFICIENT_PRIVILEGE));
            assert_eq!(refusal, expected, "{login}: {statement}");
        }
    }
}

/// On RDS, membership in a role permits logins with IAM tokens instead of passwords.
#[tokio::test]
async fn on_rds_the_functions_log_in_with_iam_tokens() {
    let settings = rig::Settings::disposable();
    let cluster = rig::Cluster::start_temporary(&settings).await.unwrap(); // other tests must not see that role
    let address = cluster.address().config(local::SUPERUSER, "postgres");
    etl::migrate::migrate(&shared::database::ConnectOptions::without_tls(address)).await.unwrap();
    let client = cluster.address().connect("postgres").await.unwrap();
    client.batch_execute("create role rds_iam").await.unwrap();
    for _ in 0..2 {
        client.batch_execute(include_str!("../../functions/logins.sql")).await.unwrap();
    }
    let members = "select count(*) from pg_auth_members where roleid = 'rds_iam'::regrole";
    assert_eq!(client.query_one(members, &[]).await.unwrap().get::<_, i64>(0), 15);
    cluster.stop().await.unwrap();
}
