//! `atelier-etl load` as a process, which tests kill or block.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use conformance::s3::Bucket;
use rig::{Database, until};
use sample_data::Options;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio_postgres::Client;

use super::load_into;
use super::marked::write_marked;

/// The time limit of every wait.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The signal that a process cannot handle.
pub const KILL: i32 = 9;

/// The lock that a loader and all its connections share throughout a load.
pub const LOADER_LOCK: i64 = 0x6174_656c_6965_7202;
/// The lock that a load or a rollback holds while it replaces the catalog.
pub const SWAP_LOCK: i64 = 0x6174_656c_6965_7204;

/// A command line that a test can run several times.
#[derive(Debug)]
pub struct Loader {
    /// The working folder, which receives the rejected rows.
    folder: TempDir,
    url: String,
    arguments: Vec<String>,
    variables: Vec<(&'static str, OsString)>,
}

impl Loader {
    /// Returns `atelier-etl` with these arguments and this database.
    pub fn new(database: &Database, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { folder: tempfile::tempdir().unwrap(), url: database.url(), arguments, variables: Vec::new() }
    }

    /// Returns a load of the dataset in this folder.
    pub fn of_folder(database: &Database, dataset: &Path, further: &[&str]) -> Self {
        let place = dataset.canonicalize().unwrap();
        Self::new(database, &[&["load", place.to_str().unwrap(), "--dataset", "tested"], further].concat())
    }

    /// Returns a load of the dataset under `incoming/tested/` in this bucket.
    pub fn of_bucket(database: &Database, bucket: &Bucket, further: &[&str]) -> Self {
        let loader =
            Self::new(database, &[&["load", bucket.url("incoming/tested/").as_str()], further].concat());
        loader.with_s3(bucket.variables())
    }

    /// Makes the command use another S3 server.
    pub fn with_s3(mut self, variables: [(&'static str, OsString); 4]) -> Self {
        self.variables = variables.into();
        self
    }

    /// Sets a variable of the process.
    pub fn with_variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(local::program("atelier-etl").unwrap());
        command.args(&self.arguments).current_dir(self.folder.path());
        command.env("DATABASE_URL", &self.url).envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Starts the process.
    pub fn start(&self) -> Running {
        let mut child = self.command().stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Running { child, lines, printed: Vec::new() }
    }

    /// Runs the process until it exits.
    pub async fn run(&self) -> Output {
        tokio::time::timeout(TEST_TIMEOUT, self.command().output())
            .await
            .expect("the loader does not exit")
            .unwrap()
    }

    /// Runs the process, which must succeed, and returns its output.
    pub async fn succeeds(&self) -> String {
        let output = self.run().await;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {printed}", output.status);
        printed + &String::from_utf8_lossy(&output.stdout)
    }

    /// Runs the process, which must fail, and returns its error message.
    pub async fn fails(&self) -> String {
        error(&self.run().await)
    }

    /// Runs the process, which must reach this failpoint and is killed there.
    pub async fn kill_at(&self, failpoint: &str) {
        let mut command = self.command();
        command.env(etl::failpoint::VARIABLE, failpoint);
        let output = tokio::time::timeout(TEST_TIMEOUT, command.output())
            .await
            .expect("the loader does not exit")
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.signal(),
            Some(KILL),
            "{failpoint} was not reached: {}, {printed}",
            output.status
        );
    }
}

/// Returns the error message of a failed process.
pub fn error(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}: {printed}", output.status);
    let line = printed.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or_else(|| panic!("no error in {printed}")).to_owned()
}

/// A running process.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    printed: Vec<String>,
}

impl Running {
    /// Waits until the process prints a line with this text.
    pub async fn prints(&mut self, text: &str) {
        let wait = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let is_it = line.contains(text);
                self.printed.push(line);
                if is_it {
                    return;
                }
            }
            panic!("the loader exited without printing {text:?}: {:?}", self.printed);
        };
        tokio::time::timeout(TEST_TIMEOUT, wait)
            .await
            .unwrap_or_else(|_| panic!("the loader never printed {text:?}"));
    }

    /// Kills the process, and returns whether it was still running. If not, it must have succeeded.
    pub async fn kill(mut self) -> bool {
        if let Some(ended) = self.child.try_wait().unwrap() {
            let printed = self.rest().await;
            assert!(ended.success(), "{ended}: {printed}");
            return false;
        }
        self.child.kill().await.unwrap();
        self.child.wait().await.unwrap().signal() == Some(KILL)
    }

    /// Returns whether the process is running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process exits, and returns its status and all its output.
    pub async fn end(mut self) -> (ExitStatus, String) {
        let ending = async {
            let printed = self.rest().await;
            (self.child.wait().await.unwrap(), printed)
        };
        tokio::time::timeout(TEST_TIMEOUT, ending).await.expect("the loader does not exit")
    }

    /// Waits for the process, which must succeed, and returns its output.
    pub async fn succeeds(self) -> String {
        let (ended, printed) = self.end().await;
        assert!(ended.success(), "{ended}: {printed}");
        printed
    }

    /// Waits for the process, which must fail, and returns its error message.
    pub async fn fails(self) -> String {
        let (status, printed) = self.end().await;
        error(&Output { status, stdout: Vec::new(), stderr: printed.into_bytes() })
    }

    async fn rest(&mut self) -> String {
        while let Ok(Some(line)) = self.lines.next_line().await {
            self.printed.push(line);
        }
        self.printed.join("\n")
    }
}

/// Returns a database that serves a small catalog, from a dataset with the mark 1.
pub async fn served() -> Database {
    serving(Database::create().await.unwrap()).await
}

/// Loads a small catalog with the mark 1 into this database.
pub async fn serving(database: Database) -> Database {
    let dir = tempfile::tempdir().unwrap();
    write_marked(dir.path(), 1);
    load_into(database, dir.path()).await.database
}

/// Drops a database. Tests with many databases use it, because the cleanup at the end waits for each removal.
pub async fn remove(database: Database) {
    let server = database.config().with(|settings| {
        settings.dbname("postgres");
    });
    let server = etl::database::connect_as_login(&server).await.unwrap();
    server.batch_execute(&format!("drop database {} with (force)", database.name())).await.unwrap();
}

/// Returns a generated dataset in a temporary folder.
pub fn generated(scale: f64, seed: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    sample_data::generate(&Options { scale, seed, legacy_format: false }, dir.path(), |_| {}).unwrap();
    dir
}

/// Returns the only number that a query selects.
pub async fn number(database: &Database, select: &str) -> i64 {
    database.connect().await.unwrap().query_one(select, &[]).await.unwrap().get(0)
}

/// Returns the steps of all loads, in the order of their generations.
pub async fn steps(database: &Database) -> Vec<String> {
    let rows =
        database.connect().await.unwrap().query("select step from etl.load order by generation", &[]).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Holds one of the loader's locks until the connection is dropped.
pub async fn take(database: &Database, lock: i64) -> Client {
    let client = database.connect().await.unwrap();
    client.execute("select pg_advisory_lock($1)", &[&lock]).await.unwrap();
    client
}

/// Waits until a connection of the loader waits for a lock on a table or a row.
pub async fn until_blocked_by_a_lock(database: &Database) {
    until_active(database, "wait_event_type = 'Lock' and wait_event <> 'advisory'").await;
}

/// Waits until a loader asks for the loader lock, which another one holds, again and again.
pub async fn until_waiting_for_the_loader_lock(database: &Database) {
    until_active(database, "query like 'select pg_try_advisory_lock($1)%'").await;
}

async fn until_active(database: &Database, condition: &str) {
    let client = database.connect().await.unwrap();
    let waiting = format!(
        "select count(*) from pg_stat_activity where datname = current_database()
             and application_name = 'atelier-etl' and {condition}"
    );
    until(&format!("a connection of the loader with {condition}"), async || {
        client.query_one(&waiting, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
}
