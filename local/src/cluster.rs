//! A private Postgres cluster: creates, starts and stops it.
//!
//! ```text
//! owner ──socket──> /bin/sh (supervisor.sh) ──> postgres        <root>/data        the data directory
//!   └──────────────── unix socket ─────────────────┘            <root>/server.log  of the current run
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tokio_postgres::NoTls;

use crate::supervisor::wait_until_unlocked;
use crate::{Account, Address, Binaries, Error, SUPERUSER, Settings, SupervisedChild, Supervision};

/// The server's log in the cluster's directory.
pub const LOG: &str = "server.log";

/// The timeout of a start: after a crash the server first replays up to `max_wal_size` of WAL.
const START_TIMEOUT: Duration = Duration::from_mins(3);

/// The timeout until all processes of a server have ended: it may still write its memory to disk after its owner.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A running cluster. It stops when this value is dropped or its process ends, even if the process is killed.
#[derive(Debug)]
pub struct Cluster {
    root: PathBuf,
    account: Account,
    address: Address,
    server: SupervisedChild,
    /// Held while the cluster exists, so that a second owner fails.
    _lock: File,
}

impl Cluster {
    /// Starts the cluster in `root`, and creates it first if necessary. After a crash it recovers.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] if another process uses it; otherwise the reason why it does not start.
    pub async fn start(root: &Path, settings: &Settings) -> Result<Self, Error> {
        let account = Account::unprivileged()?;
        account.private_directory(root)?;
        let lock = lock(root)?;
        let data = root.join("data");
        if !data.exists() {
            // It has another name until it is complete, so that an interrupted initdb leaves no broken cluster.
            let unfinished = root.join("data.unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).map_err(Error::io("remove", &unfinished))?;
            }
            initdb(account, &unfinished, &[]).await?;
            fs::rename(&unfinished, &data).map_err(Error::io("rename", &unfinished))?;
        }
        let address = Address::of_root(root);
        account.private_directory(address.sockets())?;
        let command = postgres(root, &address, settings)?;
        let server = start_server(&command, root, &address, Some(account), false).await?;
        Ok(Self { root: root.to_owned(), account, address, server, _lock: lock })
    }

    /// Returns the address of the cluster.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns a private directory beside the data, and creates it if necessary.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be created.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(name);
        self.account.private_directory(&path)?;
        Ok(path)
    }

    /// Returns the exit status if the server has ended.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.server.ended()
    }

    /// Shuts the cluster down and waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Stop`] after one minute.
    pub async fn stop(self) -> Result<(), Error> {
        self.server.stop().await.map(drop)
    }
}

/// Returns the command of the server of the cluster in `root`.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::PgBin`].
pub fn postgres(root: &Path, address: &Address, settings: &Settings) -> Result<Command, Error> {
    let mut postgres = Command::new(Binaries::find()?.program("postgres"));
    postgres.arg("-D").arg(root.join("data")).arg("-k").arg(address.sockets()).args(settings.arguments());
    postgres.current_dir(root).env("LC_ALL", "C").env_remove("PGDATA");
    Ok(postgres)
}

/// Runs the command from [`postgres`] as this account, or as the current user, and waits until it accepts connections.
/// With `remove`, the supervisor removes `root` after the server has ended.
///
/// # Errors
/// [`Error::AlreadyRunning`] if a server runs in `root`; otherwise the reason why it does not start.
pub async fn start_server(
    postgres: &Command,
    root: &Path,
    address: &Address,
    account: Option<Account>,
    remove: bool,
) -> Result<SupervisedChild, Error> {
    let log = root.join(LOG);
    wait_until_ended(root).await?;
    fs::write(&log, "").map_err(Error::io("empty", &log))?;
    let name = format!("PostgreSQL in {}", root.display());
    let remove = remove.then_some(root);
    let supervision = Supervision { name: &name, stop_with: "INT", remove, account, log: Some(&log) };
    let mut server = SupervisedChild::spawn(postgres, supervision)?;
    let config = &address.config(SUPERUSER, "postgres");
    server.wait_until_ready(START_TIMEOUT, || async { config.connect(NoTls).await.is_ok() }).await?;
    Ok(server)
}

/// Waits until no process of a server in `root` is left, even of an owner that was killed.
///
/// # Errors
/// [`Error::AlreadyRunning`] after 20 seconds.
pub async fn wait_until_ended(root: &Path) -> Result<(), Error> {
    let ended = wait_until_unlocked(&root.join(LOG), EXIT_TIMEOUT).await?;
    if ended { Ok(()) } else { Err(already_running(root)) }
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join("owner.lock");
    let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(already_running(root)),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}

/// Returns the error for a cluster that another process uses.
pub fn already_running(root: &Path) -> Error {
    let file = fs::read_to_string(root.join("data/postmaster.pid")).ok();
    let pid = file.and_then(|file| file.lines().next().map(str::to_owned));
    Error::AlreadyRunning { directory: root.to_owned(), pid: pid.unwrap_or_else(|| "unknown".to_owned()) }
}

/// Creates the data directory of a cluster.
///
/// # Errors
/// The reason why `initdb` fails.
pub async fn initdb(account: Account, data: &Path, further: &[&str]) -> Result<(), Error> {
    let mut command = Command::new(Binaries::find()?.program("initdb"));
    // Locale C compares text as bytes, the same on every machine.
    command.args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
    command.args(further).arg("--pgdata").arg(data);
    create_data(account, command, data).await
}

/// Runs a program that creates the directory `data`, as this account.
///
/// # Errors
/// The reason why it fails.
pub async fn create_data(account: Account, mut command: Command, data: &Path) -> Result<(), Error> {
    let program = PathBuf::from(command.get_program());
    command.env("LC_ALL", "C").current_dir(data.parent().unwrap_or(data));
    account.apply(&mut command);
    let output = tokio::process::Command::from(command).output().await.map_err(Error::io("run", &program))?;
    Error::unless_success(&program, output).map(drop)
}
