//! `atelier-etl load` as a process, which a test kills, and what else stops it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use conformance::s3::Bucket;
use etl::generate::{self, Options};
use local::testing::Database;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio_postgres::Client;

use super::load_into;
use super::marked::write_marked;

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The signal that no process can do anything about.
pub const KILL: i32 = 9;

/// The lock that a loader holds for as long as it loads.
pub const LOADER_LOCK: i64 = 0x6174_656c_6965_7202;
/// The lock that a loader and a rollback hold while one catalog takes the place of another.
pub const SWAP_LOCK: i64 = 0x6174_656c_6965_7204;
/// The lock that every connection shares on which a load works.
pub const WORK_LOCK: i64 = 0x6174_656c_6965_7205;

/// A command line, to be run as often as it takes.
#[derive(Debug)]
pub struct Loader {
    /// Where it works, and leaves what it sets aside.
    folder: TempDir,
    url: String,
    arguments: Vec<String>,
    variables: Vec<(&'static str, OsString)>,
}

impl Loader {
    /// `atelier-etl` with this database.
    pub fn new(database: &Database, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { folder: tempfile::tempdir().unwrap(), url: database.url(), arguments, variables: Vec::new() }
    }

    /// A load of the dataset in this folder.
    pub fn of_folder(database: &Database, dataset: &Path, further: &[&str]) -> Self {
        let place = dataset.canonicalize().unwrap();
        Self::new(database, &[&["load", place.to_str().unwrap(), "--dataset", "tested"], further].concat())
    }

    /// A load of the dataset under `incoming/tested/` in this bucket.
    pub fn of_bucket(database: &Database, bucket: &Bucket, further: &[&str]) -> Self {
        let loader =
            Self::new(database, &[&["load", bucket.url("incoming/tested/").as_str()], further].concat());
        loader.reaching(bucket.variables())
    }

    /// The same by way of another server.
    pub fn reaching(mut self, variables: [(&'static str, OsString); 4]) -> Self {
        self.variables = variables.into();
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(local::program("atelier-etl").unwrap());
        command.args(&self.arguments).current_dir(self.folder.path());
        command.env("DATABASE_URL", &self.url).envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Starts it.
    pub fn start(&self) -> Running {
        let mut child = self.command().stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Running { child, lines, said: Vec::new() }
    }

    /// Runs it to its end.
    pub async fn run(&self) -> Output {
        tokio::time::timeout(PATIENCE, self.command().output()).await.expect("it does not end").unwrap()
    }

    /// Runs it to its end, which must be a good one; answers with what it says.
    pub async fn succeeds(&self) -> String {
        let output = self.run().await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", output.status);
        said + &String::from_utf8_lossy(&output.stdout)
    }

    /// Runs it to its end, which must be an error; answers with its last line.
    pub async fn fails(&self) -> String {
        error(&self.run().await)
    }

    /// Has it killed where a failpoint is, which it must come to.
    pub async fn is_killed_at(&self, failpoint: &str) {
        let mut command = self.command();
        command.env(etl::failpoint::VARIABLE, failpoint);
        let output =
            tokio::time::timeout(PATIENCE, command.output()).await.expect("it does not end").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.signal(),
            Some(KILL),
            "{failpoint} was not reached: {}, {said}",
            output.status
        );
    }
}

/// The line in which the program says why it failed.
pub fn error(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}: {said}", output.status);
    let line = said.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or_else(|| panic!("no error in {said}")).to_owned()
}

/// One that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
}

impl Running {
    /// Waits until it says a line with this in it.
    pub async fn says(&mut self, text: &str) {
        let wait = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let is_it = line.contains(text);
                self.said.push(line);
                if is_it {
                    return;
                }
            }
            panic!("it ended without saying {text:?}: {:?}", self.said);
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("it never said {text:?}"));
    }

    /// Kills it, and answers whether it was running; if not, it has ended well.
    pub async fn kill(mut self) -> bool {
        if let Some(ended) = self.child.try_wait().unwrap() {
            let said = self.rest().await;
            assert!(ended.success(), "{ended}: {said}");
            return false;
        }
        self.child.kill().await.unwrap();
        self.child.wait().await.unwrap().signal() == Some(KILL)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its end, and all that it has said on the way.
    pub async fn end(mut self) -> (ExitStatus, String) {
        let ending = async {
            let said = self.rest().await;
            (self.child.wait().await.unwrap(), said)
        };
        tokio::time::timeout(PATIENCE, ending).await.expect("it does not end")
    }

    /// Waits for its end, which must be a good one.
    pub async fn succeeds(self) -> String {
        let (ended, said) = self.end().await;
        assert!(ended.success(), "{ended}: {said}");
        said
    }

    /// Waits for its end, which must be an error; answers with its last line.
    pub async fn fails(self) -> String {
        let (status, said) = self.end().await;
        error(&Output { status, stdout: Vec::new(), stderr: said.into_bytes() })
    }

    async fn rest(&mut self) -> String {
        while let Ok(Some(line)) = self.lines.next_line().await {
            self.said.push(line);
        }
        self.said.join("\n")
    }
}

/// A database that serves a small catalog, of a dataset that was marked with 1.
pub async fn served() -> Database {
    serving(Database::create().await.unwrap()).await
}

/// The same in this database.
pub async fn serving(database: Database) -> Database {
    let dir = tempfile::tempdir().unwrap();
    write_marked(dir.path(), 1);
    load_into(database, dir.path()).await.database
}

/// Removes a database, where there would be many: the end of the tests waits for their removal.
pub async fn remove(database: Database) {
    let server = database.config().with(|settings| {
        settings.dbname("postgres");
    });
    let server = etl::database::connect_as_login(&server).await.unwrap();
    server.batch_execute(&format!("drop database {} with (force)", database.name())).await.unwrap();
}

/// A generated dataset, in a folder of its own.
pub fn generated(scale: f64, seed: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    generate::generate(&Options { scale, seed, legacy_format: false }, dir.path(), |_| {}).unwrap();
    dir
}

/// What a query over one number answers.
pub async fn number(database: &Database, select: &str) -> i64 {
    database.connect().await.unwrap().query_one(select, &[]).await.unwrap().get(0)
}

/// The steps that all loads are at, in their order.
pub async fn steps(database: &Database) -> Vec<String> {
    let rows =
        database.connect().await.unwrap().query("select step from etl.load order by generation", &[]).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Takes a lock of the loader's for a test, until the connection is dropped.
pub async fn take(database: &Database, lock: i64) -> Client {
    let client = database.connect().await.unwrap();
    client.execute("select pg_advisory_lock($1)", &[&lock]).await.unwrap();
    client
}

/// How many connections have this lock, or wait for it.
pub async fn with_lock(client: &Client, lock: i64, has_it: bool) -> i64 {
    let select = "select count(*) from pg_locks join pg_database on pg_database.oid = pg_locks.database
                  where datname = current_database() and locktype = 'advisory' and granted = $2
                      and (classid::bigint << 32) + objid::bigint = $1";
    client.query_one(select, &[&lock, &has_it]).await.unwrap().get(0)
}

/// Waits until it is so.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until a connection of the loader's waits for a lock on something in the database: a table or a row.
pub async fn until_it_is_held_up(database: &Database) {
    until_it_waits_for(database, "wait_event <> 'advisory'").await;
}

/// Waits until a connection of the loader's waits for a lock that another loader has, or a test in its place.
pub async fn until_it_waits_for_its_turn(database: &Database) {
    until_it_waits_for(database, "wait_event = 'advisory'").await;
}

async fn until_it_waits_for(database: &Database, event: &str) {
    let client = database.connect().await.unwrap();
    let waiting = format!(
        "select count(*) from pg_stat_activity where datname = current_database()
             and application_name = 'atelier-etl' and wait_event_type = 'Lock' and {event}"
    );
    until(&format!("the loader waits for a lock, {event}"), async || {
        client.query_one(&waiting, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
}
