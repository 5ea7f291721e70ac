//! What each group role may do to the database, and what it may not: its hands are tied there, not in the code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use conformance::small_dataset;
use stand::load;
use tokio_postgres::error::SqlState;

/// What the logins of hosts and functions are members of, and what is done beside them.
const ROLES: [&str; 3] = ["atelier_reader", "atelier_cart", "atelier_loader"];

#[tokio::test]
async fn each_role_may_do_its_own_work_and_no_other() {
    let loaded = load(small_dataset()).await;
    let client = loaded.database.connect().await.unwrap();
    // A statement, and whether each of the roles may run it. A catalog belongs to the loader's role.
    let statements = [
        ("select from catalog.documents", [true, false, true]),
        ("select from catalog.products", [true, false, true]),
        ("select id from catalog.skus where id = 1", [false, true, true]),
        ("select from catalog.cart", [false, false, true]),
        ("update catalog.products set name = 'x'", [false, false, true]),
        ("delete from catalog.documents", [false, false, true]),
        ("drop schema catalog cascade", [false, false, true]),
        ("select cart.add(sha256('x'), 1, 1)", [false, true, false]),
        ("select from cart.lines", [false, true, true]),
        ("update cart.carts set touched_at = now()", [false, true, false]),
        ("insert into cart.carts (owner) values (sha256('x'))", [false, true, false]),
        ("delete from cart.carts", [false, false, true]),
        ("select from etl.publication", [true, false, true]),
        ("update etl.publication set generation = 1", [false, false, false]),
        ("select from etl.reject", [false, false, true]),
        ("update etl.load set dataset = 'x'", [false, false, true]),
        ("create schema anything", [false, false, true]),
        ("create table public.anything ()", [false, false, false]),
        ("create role anyone superuser", [false, false, false]),
        ("copy (select 1) to program 'true'", [false, false, false]),
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
