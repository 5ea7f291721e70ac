//! Tests of `atelier-etl` publish, rollback, prune and migrate, and of the logins that may run them.

// clippy.toml allows unwrap in tests, but not in their helper functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rig::Database;
use support::{atelier_etl, edit, error, number, run, stdout, work_dir};

const NOTHING_TO_PUBLISH: &str =
    "nothing to publish: there is no unpublished catalog; `atelier-etl load --no-publish` builds one";

#[tokio::test]
async fn a_rollback_serves_the_previous_catalog_and_a_second_one_undoes_it() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    assert_eq!(
        error(&run(&dir, &database.url(), &["rollback"])),
        "cannot roll back: there is no previous catalog; load the former dataset again"
    );
    stdout(&run(&dir, &database.url(), &["load", "set"]));
    assert_eq!(
        error(&run(&dir, &database.url(), &["rollback"])),
        "cannot roll back: there is no previous catalog; load the former dataset again"
    );
    stdout(&run(&dir, &database.url(), &["load", "set"]));

    let generation = "select generation::bigint from catalog.documents limit 1";
    for expected in [1, 2, 1] {
        let line = stdout(&run(&dir, &database.url(), &["rollback"]));
        assert_eq!(line, format!("serving generation {expected} again\n"));
        assert_eq!(number(&database, generation).await, expected);
    }
    stdout(&run(&dir, &database.url(), &["load", "set"]));
    assert_eq!(number(&database, generation).await, 3);
    stdout(&run(&dir, &database.url(), &["rollback"]));
    assert_eq!(
        number(&database, generation).await,
        1,
        "the previous catalog is the one that was served before"
    );
}

#[tokio::test]
async fn a_catalog_can_be_built_now_and_published_later() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let generation = "select generation::bigint from catalog.documents limit 1";
    let etl = |arguments: &[&str]| run(&dir, &database.url(), arguments);
    assert_eq!(error(&etl(&["publish"])), NOTHING_TO_PUBLISH);
    stdout(&etl(&["load", "set"]));
    let output = stdout(&etl(&["load", "set", "--no-publish"]));
    assert!(output.contains("\ngeneration 2 is built: run atelier-etl publish to serve it\n"), "{output}");
    assert_eq!(number(&database, generation).await, 1);
    assert!(stdout(&etl(&["status"])).contains("publish"));
    assert_eq!(stdout(&etl(&["publish"])), "serving generation 2\n");
    assert_eq!(number(&database, generation).await, 2);
    assert_eq!(error(&etl(&["publish"])), NOTHING_TO_PUBLISH);

    // A load of the same files resumes it and publishes it.
    stdout(&etl(&["load", "set", "--no-publish"]));
    assert!(stdout(&etl(&["load", "set"])).contains("\nserving generation 3\n"));
}

/// A load that the previous release has built, and this one publishes.
#[tokio::test]
async fn a_catalog_without_posting_lists_is_published() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    stdout(&run(&dir, &database.url(), &["load", "set", "--no-publish"]));
    let client = database.connect().await.unwrap();
    client.batch_execute("drop table catalog_next.words, catalog_next.categories").await.unwrap();
    assert!(stdout(&run(&dir, &database.url(), &["publish"])).contains("serving generation 1"));
    client
        .batch_execute("set role atelier_reader; select from catalog.documents, catalog.styles")
        .await
        .unwrap();
    stdout(&run(&dir, &database.url(), &["load", "set"]));
    client.batch_execute("select from catalog.words, catalog.categories").await.unwrap();
    stdout(&run(&dir, &database.url(), &["rollback"]));
    client.batch_execute("select from catalog.documents").await.unwrap();
}

#[tokio::test]
async fn abandon_drops_an_unfinished_load_and_frees_its_space() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let etl = |arguments: &[&str]| run(&dir, &database.url(), arguments);
    assert_eq!(stdout(&etl(&["abandon"])), "there is no unfinished load: 0.0 MB are free again\n");
    stdout(&etl(&["load", "set"]));
    stdout(&etl(&["load", "set", "--no-publish"]));

    // The lock of a loader that works.
    let loader = database.connect().await.unwrap();
    etl::locks::lock_loader(&loader, None, || {}).await.unwrap();
    assert_eq!(error(&etl(&["abandon"])), "a load is running: stop it first, then abandon it");
    loader.batch_execute("select pg_advisory_unlock_all()").await.unwrap(); // the end of a connection takes a moment
    let reader = database.connect().await.unwrap();
    reader.batch_execute("begin; select from catalog_next.skus").await.unwrap();
    assert!(
        error(&etl(&["abandon"])).starts_with("a session, such as pg_dump, reads the tables of the load: ")
    );
    reader.batch_execute("commit").await.unwrap();

    let size = "select pg_database_size(current_database())";
    let before = number(&database, size).await;
    let output = stdout(&etl(&["abandon"]));
    assert!(output.starts_with("abandoned the unfinished load: "), "{output}");
    assert!(number(&database, size).await < before - 100_000, "{output}");
    assert_eq!(
        number(&database, "select count(*) from pg_namespace where nspname = 'catalog_next'").await,
        0
    );
    assert_eq!(error(&etl(&["publish"])), NOTHING_TO_PUBLISH);
    edit(&dir, "related.csv", |lines| lines.push("1000000,1,0".to_owned()));
    assert_eq!(run(&dir, &database.url(), &["load", "set", "--max-rejects", "0"]).status.code(), Some(3));
    assert!(stdout(&etl(&["abandon"])).starts_with("dropped the tables of a failed load: "));
    assert!(stdout(&etl(&["status"])).contains("abandoned by atelier-etl abandon"));
    assert_eq!(number(&database, "select max(generation)::bigint from catalog.documents").await, 1);
    assert!(stdout(&etl(&["load", "set"])).contains("\nserving generation 4\n"));
}

#[tokio::test]
async fn prune_deletes_old_data_and_leftovers_of_failed_loads_and_keeps_the_rest() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let client = database.connect().await.unwrap();
    let unpublished = "select count(*) from pg_namespace where nspname = 'catalog_next'";
    let prune = |arguments: &[&str]| stdout(&run(&dir, &database.url(), &[&["prune"], arguments].concat()));
    for _ in 0..2 {
        stdout(&run(&dir, &database.url(), &["load", "set"]));
    }
    edit(&dir, "related.csv", |lines| lines.push("1000000,1,0".to_owned()));
    let failed = run(&dir, &database.url(), &["load", "set", "--max-rejects", "0"]);
    assert_eq!(failed.status.code(), Some(3));
    let carts = "select cart.add(sha256('old'), 1, 1), cart.add(sha256('new'), 1, 1);
                 update cart.carts set touched_at = now() - interval '91 days' where owner = sha256('old')";
    client.batch_execute(carts).await.unwrap();

    // An interrupted load can resume.
    client
        .batch_execute(
            "update etl.load set step = 'index', reason = null, ended_at = null where generation = 3",
        )
        .await
        .unwrap();
    let output = prune(&[]);
    assert!(
        output.starts_with("carts                  1\n") && output.contains("unpublished tables     none\n"),
        "{output}"
    );
    assert_eq!(number(&database, "select count(*) from cart.lines").await, 1);
    assert_eq!(number(&database, unpublished).await, 1);

    let long_ago = "update etl.load set ended_at = now() - interval '91 days';
                    update etl.load set step = 'failed', reason = 'tested' where generation = 3";
    client.batch_execute(long_ago).await.unwrap();
    let output = prune(&["--days", "92"]);
    assert!(
        output.contains("unpublished tables     removed\n") && output.contains("records of loads       0\n"),
        "{output}"
    );
    assert_eq!(number(&database, unpublished).await, 0);
    let output = prune(&[]);
    assert!(output.contains("records of loads       1\n") && output.contains("kept or none"), "{output}");
    assert_eq!(number(&database, "select count(*) from etl.load").await, 2, "records of publications stay");
    stdout(&run(&dir, &database.url(), &["rollback"]));
    assert!(prune(&["--previous"]).contains("previous catalog       removed\n"));
    let gone = error(&run(&dir, &database.url(), &["rollback"]));
    assert_eq!(gone, "cannot roll back: there is no previous catalog; load the former dataset again");
    assert_eq!(number(&database, "select generation::bigint from catalog.documents limit 1").await, 1);
}

#[tokio::test]
async fn prune_deletes_carts_in_batches_and_waits_for_no_locked_one() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let prune = |arguments: &[&str]| stdout(&run(&dir, &database.url(), &[&["prune"], arguments].concat()));
    let carts = "select count(*) from cart.carts";
    let mut client = database.connect().await.unwrap();
    client
        .batch_execute(
            "select cart.add(sha256('a client with authorization'), 1, 1); set cart.is_session = true",
        )
        .await
        .unwrap();
    // One transaction would have one now().
    let add = "select cart.add(sha256(number::text::bytea), 1, 1) from generate_series(1, 2500) as number";
    client.batch_execute(add).await.unwrap();
    client.batch_execute("select cart.add(sha256('1'), 2, 1), cart.add(sha256('2'), 2, 1)").await.unwrap();
    let age = "update cart.carts set created_at = created_at - interval '2 days', touched_at = touched_at - interval '2 days'";
    client.batch_execute(age).await.unwrap();
    client.batch_execute("select cart.add(sha256('new'), 1, 1)").await.unwrap();
    assert!(prune(&[]).starts_with("carts                  0\n"));

    let shopper = client.transaction().await.unwrap();
    shopper.batch_execute("select cart.add(sha256('3'), 2, 1), cart.add(sha256('2'), 3, 1)").await.unwrap();
    assert!(prune(&["--used-once-days", "1"]).starts_with("carts                  2497\n"));
    let others = prune(&["--days", "1"]);
    assert!(
        others.starts_with("carts                  2\n"),
        "one that was used twice, and one of no session: {others}"
    );
    shopper.commit().await.unwrap();
    assert!(prune(&["--days", "1", "--used-once-days", "1"]).starts_with("carts                  0\n"));
    assert_eq!(number(&database, carts).await, 3);
    assert_eq!(number(&database, "select count(*) from cart.lines").await, 6);
}

#[tokio::test]
async fn prune_waits_for_a_running_rollback_before_it_drops_the_previous_catalog() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    for _ in 0..2 {
        stdout(&run(&dir, &database.url(), &["load", "set"]));
    }
    // A rollback holds this lock during the swap.
    let swapping = database.connect().await.unwrap();
    swapping.batch_execute("select pg_advisory_lock(x'6174656c69657204'::bigint)").await.unwrap();
    let mut prune = atelier_etl(&dir, &database.url(), &["prune", "--previous"]);
    let mut prune = prune.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = String::new();
    BufReader::new(prune.stderr.take().unwrap()).read_line(&mut output).unwrap();
    assert_eq!(output, "a rollback is running: waiting for it to end\n");
    assert_eq!(number(&database, "select count(*) from catalog_prev.products").await, 500);
    swapping.batch_execute("select pg_advisory_unlock(x'6174656c69657204'::bigint)").await.unwrap();
    let pruned = prune.wait_with_output().unwrap();
    assert!(stdout(&pruned).contains("previous catalog       removed\n"));
}

#[tokio::test]
async fn logins_that_are_not_superusers_can_migrate_and_load() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let name = format!("plain_{}", std::process::id());
    let admin = database.connect().await.unwrap();
    admin
        .batch_execute(&format!(
            "create role {name}_migrator login; grant atelier_owner to {name}_migrator;
             create role {name}_loader login; grant atelier_loader to {name}_loader"
        ))
        .await
        .unwrap();
    admin.batch_execute(&format!("create database {name} owner {name}_migrator")).await.unwrap();
    admin.batch_execute(&format!("revoke connect on database {name} from public")).await.unwrap();
    admin.batch_execute(&format!("grant connect on database {name} to {name}_loader")).await.unwrap();
    let url = |login: &str| {
        let of_superuser = database.url();
        let (server, _) = of_superuser.split_once("user=").unwrap();
        let (scheme, sockets) = server.split_once('?').unwrap();
        let (scheme, _) = scheme.rsplit_once('/').unwrap();
        format!("{scheme}/{name}?{sockets}user={name}_{login}")
    };

    let line = error(&run(&dir, &url("loader"), &["load", "set"]));
    assert!(line.contains("run atelier-etl migrate"), "{line}");
    assert!(stdout(&run(&dir, &url("migrator"), &["migrate"])).contains("V1__load_record"));
    assert_eq!(stdout(&run(&dir, &url("migrator"), &["migrate"])), "the schema is up to date\n");
    stdout(&run(&dir, &url("loader"), &["load", "set"]));
    stdout(&run(&dir, &url("loader"), &["load", "set"]));
    stdout(&run(&dir, &url("loader"), &["rollback"]));
}

#[test]
fn iam_tokens_need_credentials_and_tls_and_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = dir.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(["an authority".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let ca_file = certificate.to_str().unwrap();
    let arguments = ["status", "--database-auth", "iam", "--database-ca-file", ca_file];
    for (url, expected) in [
        ("postgresql://owner@db.example.com/atelier", "AWS_ACCESS_KEY_ID is not set: expected "),
        (
            "postgresql://owner:s3cret@db.example.com/atelier",
            "DATABASE_URL=(host db.example.com): expected no password",
        ),
        (
            "postgresql://owner@localhost/atelier",
            "DATABASE_URL=(host localhost): expected sslmode=verify-full",
        ),
    ] {
        let output = atelier_etl(&dir, url, &arguments).env_remove("AWS_ACCESS_KEY_ID").output().unwrap();
        assert!(error(&output).starts_with(expected), "{}", error(&output));
    }
}
