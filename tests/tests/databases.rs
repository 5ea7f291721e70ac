//! Databases that the programs cannot use as they are: another encoding, a newer schema, missing rights.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use conformance::small_dataset;
use etl::migrate::{MigrateError, migrate};
use local::SUPERUSER;
use rig::{Cluster, Database, Settings};
use shared::database::ConnectOptions;
use support::incoming::{Incoming, content, undisturbed};
use support::load_into;

/// Returns the options of another database in the cluster.
fn beside(database: &Database, name: &str) -> ConnectOptions {
    database.config().with(|settings| _ = settings.dbname(name))
}

#[tokio::test]
async fn a_database_with_another_encoding_is_refused_before_it_changes() {
    let database = Database::create().await.unwrap();
    let name = format!("{}_ascii", database.name());
    let server = database.connect().await.unwrap();
    let create = format!("create database {name} encoding 'SQL_ASCII' locale 'C' template template0");
    server.batch_execute(&create).await.unwrap();
    let other = beside(&database, &name);
    let error = migrate(&other).await.unwrap_err();
    assert!(matches!(error, MigrateError::Unsupported(_)), "{error}");
    let expected =
        "cannot use this database: the encoding of the database is SQL_ASCII and not UTF8: create another ";
    assert!(error.to_string().starts_with(expected), "{error}");
    let client = etl::database::connect_as_login(&other).await.unwrap();
    let created = "select count(*) from pg_namespace where nspname in ('etl', 'cart')";
    assert_eq!(client.query_one(created, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// Makes a database look as if the next release had migrated it.
async fn with_newer_schema(database: &Database) {
    let newer = "insert into public.refinery_schema_history (version, name, applied_on, checksum)
                 values (900, 'of_the_next_release', now()::text, '1')";
    database.connect().await.unwrap().batch_execute(newer).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_named_and_its_messages_stay_in_the_queue() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    with_newer_schema(&incoming.database).await;
    let error = migrate(&incoming.database.config()).await.unwrap_err().to_string();
    let start = "the schema of the database is newer (V900__of_the_next_release) than this program (V";
    assert!(error.starts_with(start) && error.ends_with("): use the newer release"), "{error}");
    // The function of the newer release receives them.
    assert!(!incoming.is_done(&records[0]).await);
    assert_eq!((incoming.published().await, incoming.alarms()), (0, 0));
}

#[tokio::test]
async fn a_missing_right_raises_the_alarm_and_the_load_resumes_after_the_grant() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let server = incoming.database.connect().await.unwrap();
    server.batch_execute("revoke insert on etl.publication from atelier_loader").await.unwrap();
    assert!(incoming.is_done(&records[0]).await, "a retry would fail again");
    assert_eq!((incoming.published().await, incoming.alarms()), (0, 1));
    let status = incoming.status().await;
    assert!(status.contains("permission denied for table publication [42501]"), "{status}");
    server.batch_execute("grant insert on etl.publication to atelier_loader").await.unwrap();
    assert!(incoming.is_done(&records[0]).await, "any event of the prefix resumes the load");
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1, "one load, resumed");
    assert_eq!(incoming.published().await, 1);
    assert_eq!(content(&incoming.database).await, undisturbed(&small_dataset()).await);
}

#[tokio::test]
async fn a_pending_migration_raises_the_alarm_at_once_and_the_files_load_after_it() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let server = incoming.database.connect().await.unwrap();
    let forget = "delete from public.refinery_schema_history where version = 7 returning *";
    let row = format!("with forgotten as ({forget}) select to_jsonb(forgotten)::text from forgotten");
    let row: String = server.query_one(&row, &[]).await.unwrap().get(0);
    assert!(incoming.is_done(&records[0]).await, "a retry would fail again");
    assert_eq!((incoming.published().await, incoming.alarms()), (0, 1));
    let restore = "insert into public.refinery_schema_history
                   select * from jsonb_populate_record(null::public.refinery_schema_history, $1::text::jsonb)";
    server.execute(restore, &[&row]).await.unwrap();
    assert!(incoming.is_done(&records[0]).await);
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 1));
}

#[tokio::test]
async fn a_disk_that_is_too_small_raises_the_alarm_at_once_and_the_files_load_after_it_has_grown() {
    let database = Database::create().await.unwrap();
    let small = Incoming::of(database.clone(), &[("DATABASE_DISK_BYTES", "1MiB")]).await;
    let records = small.put_folder("spring", &small_dataset()).await;
    assert!(small.is_done(&records[0]).await, "a retry would fail in the same way");
    assert_eq!((small.published().await, small.alarms()), (0, 1));
    let event = support::incoming::message("1", &records[0]);
    let large = small.with(&[("DATABASE_DISK_BYTES", "1024GiB")]).await;
    let reply = large.handle(&event, support::incoming::TIME).await;
    assert_eq!((support::incoming::failed(&reply).len(), large.published().await), (0, 1));
}

#[tokio::test]
async fn a_timeout_of_transactions_ends_no_load() {
    let database = Database::create().await.unwrap();
    let client = database.connect().await.unwrap();
    let known = "select count(*) from pg_settings where name = 'transaction_timeout'";
    if client.query_one(known, &[]).await.unwrap().get::<_, i64>(0) == 1 {
        let limit = format!("alter database {} set transaction_timeout = '20ms'", database.name());
        client.batch_execute(&limit).await.unwrap();
    }
    let loader = etl::database::connect(&database.config()).await.unwrap();
    loader.batch_execute("begin; select pg_sleep(0.1); commit").await.unwrap();
    load_into(database, &small_dataset()).await;
}

#[tokio::test]
async fn prefer_standby_connects_to_a_read_only_server_if_there_is_one() {
    let start = async || Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let servers = [start().await, start().await];
    let [first, second] = servers.each_ref().map(Cluster::address);
    let url = format!(
        "host={},{} port={},{} user={SUPERUSER} dbname=postgres target_session_attrs=prefer-standby",
        first.sockets().display(),
        second.sockets().display(),
        first.port(),
        second.port()
    );
    let options = ConnectOptions::from_lookup(&|name| (name == "DATABASE_URL").then(|| url.clone())).unwrap();
    let is_read_only = async || {
        let (client, connection) = options.connect().await.unwrap();
        tokio::spawn(connection);
        let setting = "select current_setting('default_transaction_read_only')::boolean";
        client.query_one(setting, &[]).await.unwrap().get::<_, bool>(0)
    };
    assert!(!is_read_only().await, "without a standby, one that is none");
    let read_only = "alter system set default_transaction_read_only = on";
    let client = second.connect("postgres").await.unwrap();
    client.batch_execute(read_only).await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    rig::until("the standby is found", async || is_read_only().await).await;
}
