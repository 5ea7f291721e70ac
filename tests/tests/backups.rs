//! Backups of the database and what keeps Postgres running on a full disk: the scripts of deploy/ec2 with a real Postgres.
//! A small script replaces AWS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use conformance::{SMALL_IDS, get, get_with, small_dataset};
use http::Request;
use local::{Binaries, SUPERUSER, create_host_login, program};
use rig::{Cluster, Database, Settings};
use support::serving::{Socket, serve};
use support::{load_into, root};
use tempfile::TempDir;

/// A machine with the scripts of deploy/ec2, and a program `aws` with a folder as S3 and a file with the metrics.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for folder in ["programs", "s3", "state"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        let aws = r#"#!/bin/sh
set -e
case "$1 $2" in
"s3 cp")
    from=$(echo "$4" | sed "s#^s3:/#$S3#") to=$(echo "$5" | sed "s#^s3:/#$S3#")
    mkdir -p "$(dirname "$to")"
    cp "$from" "$to" ;;
"cloudwatch put-metric-data") echo "$@" >>"$S3/metrics" ;;
*) exit 1 ;;
esac
"#;
        machine.program("aws", aws);
        machine
    }

    fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(&format!("programs/{name}"));
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a script of deploy/ec2 that finds the programs of Postgres, of this build, and `aws`.
    fn script(&self, name: &str, arguments: &[&str]) -> Command {
        let postgres = Binaries::find().unwrap().program("pg_dump");
        let built = program("atelier-etl").unwrap();
        let folders = [&self.path("programs"), postgres.parent().unwrap(), built.parent().unwrap()];
        let path = std::env::var_os("PATH").unwrap();
        let path = folders.into_iter().map(Path::to_owned).chain(std::env::split_paths(&path));
        let mut command = Command::new(root().join("deploy/ec2").join(name));
        command.args(arguments).env("PATH", std::env::join_paths(path).unwrap());
        command.env("S3", self.path("s3")).env("BACKUP_BUCKET", "backups").env("STACK", "atelier-ec2");
        command.env("STATE_DIRECTORY", self.path("state")).env("BACKUPS", self.path("state"));
        command
    }

    /// Runs a script for a database of a cluster, as the superuser.
    fn run(&self, name: &str, arguments: &[&str], cluster: &Cluster, database: &str) -> Output {
        self.run_as(SUPERUSER, name, arguments, cluster, database)
    }

    fn run_as(
        &self,
        login: &str,
        name: &str,
        arguments: &[&str],
        cluster: &Cluster,
        database: &str,
    ) -> Output {
        let address = cluster.address();
        let mut command = self.script(name, arguments);
        command.env("PGHOST", address.sockets()).env("PGPORT", address.port().to_string());
        command.env("PGUSER", login).env("PGDATABASE", database);
        command.env("DATABASE_URL", address.url(login, database)).output().unwrap()
    }

    /// Backs a database up, and returns the URL of the dump.
    fn back_up(&self, what: &str, cluster: &Cluster, database: &Database) -> String {
        succeeded(&self.run("backup", &[what], cluster, database.name())).trim().to_owned()
    }
}

/// Returns the standard output of a program that has succeeded.
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn cluster() -> Cluster {
    Cluster::start_temporary(&Settings::disposable()).await.unwrap()
}

/// Adds a sku to the cart of a client, and returns the status.
async fn add(host: Socket, client: &str, sku_id: u32) -> u16 {
    let request = Request::post("/cart").header("authorization", client);
    let request = request.header("content-type", "application/json");
    let body = format!(r#"{{"sku_id":{sku_id}}}"#);
    conformance::send(&host, request.body(body.into()).unwrap()).await.status.as_u16()
}

async fn cart(host: Socket, client: &str) -> String {
    get_with(&host, "/cart", &[("authorization", client)]).await.text()
}

/// Returns a database with the small catalog and two carts, and a host that serves it.
async fn shop(cluster: &Cluster) -> (Database, Socket) {
    let database = load_into(Database::create_in(cluster).await.unwrap(), &small_dataset()).await.database;
    let host = serve(&database).await;
    for (client, sku_id) in [("Bearer 1", 1), ("Bearer 1", 3), ("Bearer 2", 1)] {
        assert_eq!(add(host, client, sku_id).await, 201);
    }
    (database, host)
}

/// Returns the `ETag` and the body of every response of the catalog, and both carts.
async fn responses(host: Socket) -> Vec<(String, String)> {
    let of_product =
        |id| ["", "/styles", "/related", "/overview"].map(|part| format!("/products/{id}{part}"));
    let mut responses = Vec::new();
    for path in SMALL_IDS.into_iter().flat_map(of_product).chain(["/products?count=1000".to_owned()]) {
        let response = get(&host, &path).await;
        responses.push((response.header("etag").to_owned(), response.text()));
    }
    for client in ["Bearer 1", "Bearer 2"] {
        responses.push((client.to_owned(), cart(host, client).await));
    }
    responses
}

#[tokio::test]
async fn a_restored_database_has_the_carts_and_serves_the_same_bytes_after_a_load() {
    let (machine, lost) = (Machine::new(), cluster().await);
    let (database, host) = shop(&lost).await;
    let expected = responses(host).await;
    let dump = machine.back_up("database", &lost, &database);

    // A new cluster has no roles and no database.
    let new = cluster().await;
    succeeded(&machine.run("restore", &["database", &dump], &new, "atelier"));
    let server = new.address().connect("postgres").await.unwrap();
    create_host_login(&server).await.unwrap();
    server.batch_execute("create role loader login in role atelier_loader").await.unwrap();
    let restored = Database::existing(&new, "atelier");
    let host = serve(&restored).await;
    for (client, kept) in &expected[expected.len() - 2..] {
        assert_eq!(&cart(host, client).await, kept);
    }

    for dataset in ["small", "next"] {
        let mut load = Command::new(program("atelier-etl").unwrap());
        load.arg("load").arg(small_dataset()).args(["--dataset", dataset]).current_dir(machine.path("state"));
        succeeded(&load.env("DATABASE_URL", new.address().url("loader", "atelier")).output().unwrap());
        assert_eq!(responses(serve(&restored).await).await, expected, "{dataset}");
    }
    assert_eq!(add(host, "Bearer 3", 1).await, 201);

    let refused = machine.run("restore", &["database", &dump], &new, "atelier");
    assert!(!refused.status.success(), "the restored database is in use");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("add --replace"));
    assert_eq!(cart(host, "Bearer 3").await, r#"[{"sku_id":1,"count":1}]"#);
}

/// Returns a copy of a dump without its last bytes.
fn truncated(machine: &Machine, dump: &str) -> String {
    let bytes = fs::read(dump.replace("s3:/", machine.path("s3").to_str().unwrap())).unwrap();
    let path = machine.path("truncated.dump");
    fs::write(&path, &bytes[..bytes.len() - 50]).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_restore_of_an_incomplete_dump_changes_nothing() {
    let (machine, cluster) = (Machine::new(), cluster().await);
    let (database, host) = shop(&cluster).await;
    let expected = responses(host).await;
    for what in ["carts", "database"] {
        let dump = machine.back_up(what, &cluster, &database);
        let incomplete = truncated(&machine, &dump);
        let failed = machine.run("restore", &[what, &incomplete, "--replace"], &cluster, database.name());
        assert!(!failed.status.success(), "{what}");
        assert_eq!(responses(host).await, expected, "{what}");
        succeeded(&machine.run("restore", &[what, &dump, "--replace"], &cluster, database.name()));
        assert_eq!(cart(serve(&database).await, "Bearer 1").await, expected[expected.len() - 2].1, "{what}");
    }
}

#[tokio::test]
async fn restored_carts_replace_others_only_on_request_and_take_new_ones() {
    let (machine, lost) = (Machine::new(), cluster().await);
    let (database, host) = shop(&lost).await;
    let expected = [cart(host, "Bearer 1").await, cart(host, "Bearer 2").await];
    let dump = machine.back_up("carts", &lost, &database);

    let new = cluster().await;
    let loaded = load_into(Database::create_in(&new).await.unwrap(), &small_dataset()).await.database;
    let host = serve(&loaded).await;
    assert_eq!(add(host, "Bearer 9", 1).await, 201);
    let refused = machine.run("restore", &["carts", &dump], &new, loaded.name());
    assert!(!refused.status.success(), "the database has carts");
    assert_eq!(cart(host, "Bearer 9").await, r#"[{"sku_id":1,"count":1}]"#);
    succeeded(&machine.run("restore", &["carts", &dump, "--replace"], &new, loaded.name()));
    assert_eq!([cart(host, "Bearer 1").await, cart(host, "Bearer 2").await], expected);
    assert_eq!(cart(host, "Bearer 9").await, "[]");
    assert_eq!(add(host, "Bearer 9", 1).await, 201, "ids continue after those of the backup");
}

#[tokio::test]
async fn a_login_that_owns_the_database_and_can_create_roles_restores_carts() {
    let (machine, lost) = (Machine::new(), cluster().await);
    let (database, _host) = shop(&lost).await;
    let new = cluster().await;
    let server = new.address().connect("postgres").await.unwrap();
    server.batch_execute("create role master login createdb createrole").await.unwrap();
    let dump = machine.back_up("carts", &lost, &database);
    for options in [&[][..], &["--replace"]] {
        let arguments = [&["carts", dump.as_str()][..], options].concat();
        succeeded(&machine.run_as("master", "restore", &arguments, &new, "owned"));
        let restored = new.address().connect("owned").await.unwrap();
        let carts: i64 = restored.query_one("select count(*) from cart.carts", &[]).await.unwrap().get(0);
        assert_eq!(carts, 2, "{options:?}");
    }
}

#[tokio::test]
async fn a_backup_of_the_carts_waits_for_no_publish_and_a_failed_one_leaves_the_age_of_the_last() {
    let (machine, shop_cluster) = (Machine::new(), cluster().await);
    let (database, _host) = shop(&shop_cluster).await;
    let mut publisher = database.connect().await.unwrap();
    let publishing = publisher.transaction().await.unwrap();
    publishing.batch_execute("lock table catalog.documents in access exclusive mode").await.unwrap();
    machine.back_up("carts", &shop_cluster, &database);
    publishing.rollback().await.unwrap();

    let last = machine.path("state/last-backup");
    let long_ago = SystemTime::now() - Duration::from_secs(100_000);
    let file = fs::File::options().append(true).open(&last).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(long_ago)).unwrap();
    assert!(!machine.run("backup", &["carts"], &shop_cluster, "nowhere").status.success());
    machine.program(
        "systemctl",
        "#!/bin/sh\necho \"$*\" | grep -q -- --failed && printf 'one failed\\ntwo failed\\n'\n",
    );
    succeeded(&machine.script("put-metrics", &[]).env("DISKS", "/ /dev/shm").output().unwrap());
    let metrics = fs::read_to_string(machine.path("s3/metrics")).unwrap();
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find(|line| line.contains(&format!("--metric-name {name} "))).unwrap();
        assert!(line.contains("--namespace Atelier --dimensions Stack=atelier-ec2 "), "{line}");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("BackupAgeSeconds") >= 100_000, "{metrics}");
    assert_eq!(value("FailedUnits"), 2, "{metrics}");
    let used = |disk: &str| {
        let output = Command::new("df").args(["--output=pcent", disk]).output().unwrap();
        let percent = String::from_utf8(output.stdout).unwrap();
        percent.lines().last().unwrap().trim().trim_end_matches('%').parse::<u64>().unwrap()
    };
    assert!(value("DiskUsedPercent").abs_diff(used("/").max(used("/dev/shm"))) <= 1, "{metrics}");
}

#[tokio::test]
async fn the_wal_moves_to_another_folder_and_an_interrupted_move_can_be_repeated() {
    let mut cluster = cluster().await;
    let (database, host) = shop(&cluster).await;
    let expected = responses(host).await;
    let wal = cluster.directory("wal").unwrap().join("15");
    let data = wal.ancestors().nth(2).unwrap().join("data");
    cluster.shut_down().await.unwrap();
    let database_wal = || {
        let mut command = Command::new(root().join("deploy/ec2/database-wal"));
        succeeded(&command.arg(&data).arg(&wal).output().unwrap());
    };
    fs::create_dir(&wal).unwrap();
    fs::write(wal.join("incomplete"), "").unwrap();
    database_wal();
    assert!(!wal.join("incomplete").exists(), "an interrupted run has copied it");
    fs::remove_file(data.join("pg_wal")).unwrap();
    database_wal();
    fs::create_dir(data.join("pg_wal.moved")).unwrap();
    database_wal();
    assert_eq!(fs::read_link(data.join("pg_wal")).unwrap(), wal);
    assert!(!data.join("pg_wal.moved").exists());
    cluster.start_again().await.unwrap();
    let host = serve(&database).await;
    assert_eq!(add(host, "Bearer 3", 1).await, 201);
    assert_eq!(responses(host).await, expected);
}
