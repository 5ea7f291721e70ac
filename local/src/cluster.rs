//! A private Postgres cluster: creates, starts, addresses and stops it.
//!
//! ```text
//! owner ──pipe──> /bin/sh (supervisor.sh) ──> postgres        <root>/data        the data directory
//!   └────────────── unix socket ─────────────────┘            <root>/server.log  of the current run
//! ```

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};

use crate::process::signal;
use crate::{Account, Binaries, Error, Settings, SupervisedChild, Supervision, small_disk};

/// The superuser of each private cluster, and the loader's login there.
pub const SUPERUSER: &str = "atelier";

/// The host's login. As in a deployment, it can only read the catalog and write carts.
pub const HOST_LOGIN: &str = "atelier_host";

/// The server's log in the cluster's directory.
const LOG: &str = "server.log";

/// The default port. It is part of the socket's name even if the server listens on no port.
pub(crate) const PORT: u16 = 5432;

/// The socket's name in its directory, before the port, which has up to five digits.
const SOCKET: &str = ".s.PGSQL.";

/// The max length of a socket's path in bytes: 107 on Linux, 103 on macOS.
const SOCKET_PATH_LIMIT: usize = 103;

/// The file that keeps the supervisor from removing a directory, because the cluster will restart.
const KEEP: &str = "keep";

/// The timeout of a start: after a crash the server first replays up to `max_wal_size` of WAL.
const START_TIMEOUT: Duration = Duration::from_mins(3);

/// The timeout until all processes of a stopping or killed server have ended.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// The address of a cluster. Every user that can enter the socket's directory is trusted: there are no passwords.
#[derive(Clone, Debug)]
pub struct Address {
    sockets: PathBuf,
    port: u16,
}

impl Address {
    /// Returns the address of the cluster whose socket is in this directory.
    pub fn of(sockets: impl Into<PathBuf>) -> Self {
        Self { sockets: sockets.into(), port: PORT }
    }

    /// Returns the address of the cluster in `root`, running or not.
    pub fn of_root(root: &Path) -> Self {
        if root.as_os_str().len() + 1 + SOCKET.len() + 5 <= SOCKET_PATH_LIMIT {
            return Self::of(root);
        }
        let hash = xxhash_rust::xxh3::xxh3_64(root.as_os_str().as_encoded_bytes());
        Self::of(format!("/tmp/atelier-{hash:016x}"))
    }

    /// Returns the directory of the socket.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Returns the port in the socket's name. The server also listens on it if its settings say so.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.sockets.join(format!("{SOCKET}{}", self.port))
    }

    /// Returns the address as configuration of tokio-postgres.
    pub fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.sockets).port(self.port).user(user).dbname(database);
        config
    }

    /// Returns the address as a `DATABASE_URL`.
    pub fn url(&self, user: &str, database: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let bytes = self.sockets.as_os_str().as_encoded_bytes();
        let directory: String = bytes
            .iter()
            .map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect();
        let port = if self.port == PORT { String::new() } else { format!("&port={}", self.port) };
        format!("postgresql:///{database}?host={directory}{port}&user={user}")
    }

    /// Connects as the superuser. A background task drives the connection.
    ///
    /// # Errors
    /// The error of the connection attempt.
    pub async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        connect(&self.config(SUPERUSER, database)).await
    }
}

/// Connects. A background task drives the connection until the client is dropped.
///
/// # Errors
/// The error of the connection attempt.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // The next call on the client returns the error that ends the connection.
    tokio::spawn(connection);
    Ok(client)
}

/// A running cluster. It stops when this value is dropped or its process ends, even if the process is killed.
#[derive(Debug)]
pub struct Cluster {
    root: PathBuf,
    account: Account,
    address: Address,
    settings: Settings,
    temporary: bool,
    server: SupervisedChild,
    /// Readable even after the supervisor has removed the file.
    log: File,
    /// The directory of a killed or stopped cluster, which is removed unless the cluster restarts.
    kept_directory: Option<KeptDirectory>,
    /// Held while the cluster exists, so that a second owner fails.
    _lock: Option<File>,
}

impl Cluster {
    /// Starts the cluster in `root`, and creates it first if necessary. After a crash it recovers.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] if another process uses it; otherwise the reason why it does not start.
    pub async fn start(root: &Path, settings: &Settings) -> Result<Self, Error> {
        let binaries = Binaries::find()?;
        let account = Account::unprivileged()?;
        account.private_directory(root)?;
        let lock = lock(root)?;
        let address = Address::of_root(root);
        wait_for_previous_owner(root, &address).await?;
        let data = root.join("data");
        if !data.exists() {
            // It has another name until it is complete, so that an interrupted initdb leaves no broken cluster.
            let unfinished = root.join("data.unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).map_err(Error::io("remove", &unfinished))?;
            }
            initdb(&binaries, account, &unfinished, &[]).await?;
            fs::rename(&unfinished, &data).map_err(Error::io("rename", &unfinished))?;
        }
        Self::launch(account, root, address, settings, false, Some(lock)).await
    }

    /// Creates and starts a temporary cluster, whose files are removed when it stops.
    ///
    /// # Errors
    /// The reason why it does not start.
    pub async fn start_temporary(settings: &Settings) -> Result<Self, Error> {
        let usual = std::env::temp_dir();
        // The server's account may not be able to enter root's folder, and a long path leaves no room for the socket's
        // name.
        let plain = Account::unprivileged()?.switched() || usual.as_os_str().len() > 60;
        Self::start_temporary_in(if plain { Path::new("/tmp") } else { &usual }, settings).await
    }

    /// Creates and starts a temporary cluster below `base`, which the server's account must be able to enter.
    ///
    /// # Errors
    /// The reason why it does not start.
    pub async fn start_temporary_in(base: &Path, settings: &Settings) -> Result<Self, Error> {
        Self::start_temporary_with(base, settings, async |binaries: &Binaries, account, data: &Path| {
            initdb(binaries, account, data, &["--no-sync"]).await
        })
        .await
    }

    /// Creates and starts a temporary cluster. `make` creates its data directory as the given account.
    pub(crate) async fn start_temporary_with(
        base: &Path,
        settings: &Settings,
        make: impl AsyncFnOnce(&Binaries, Account, &Path) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let binaries = Binaries::find()?;
        let account = Account::unprivileged()?;
        let directory = tempfile::Builder::new()
            .prefix("atelier-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(base)
            .map_err(Error::io("create a directory in", base))?;
        let root = directory.path();
        account.own(root)?;
        make(&binaries, account, &root.join("data")).await?;
        let address = Address::of_root(root);
        let cluster = Self::launch(account, root, address, settings, true, None).await?;
        let _removed_by_supervisor = directory.keep();
        Ok(cluster)
    }

    async fn launch(
        account: Account,
        root: &Path,
        address: Address,
        settings: &Settings,
        temporary: bool,
        lock: Option<File>,
    ) -> Result<Self, Error> {
        account.private_directory(address.sockets())?;
        let settings = settings.with_files_in(root, account)?;
        let port = settings.get("port").and_then(|port| port.parse().ok()).unwrap_or(PORT);
        let address = Address { port, ..address };
        let (server, log) = serve(account, root, &address, &settings, temporary).await?;
        let mut cluster = Self {
            root: root.to_owned(),
            account,
            address,
            settings,
            temporary,
            server,
            log,
            kept_directory: None,
            _lock: lock,
        };
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    /// Waits until the server accepts connections. Returns the reason if it does not.
    async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let since = Instant::now();
        let config = self.address.config(SUPERUSER, "postgres");
        let why = loop {
            let Err(error) = config.connect(NoTls).await else { return Ok(()) };
            if let Some(status) = self.server.ended()? {
                let needs = self.settings.disk().map_or("", |_| small_disk::NEEDS);
                break format!("it ended ({status}){needs}");
            }
            if since.elapsed() > START_TIMEOUT {
                break format!("it accepted no connection in time ({})", etl::database::describe(&error));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Err(Error::Start { directory: self.root.clone(), why, log: tail(&self.log) })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the address of the cluster.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns a private directory beside the data, and creates it if necessary. A temporary cluster removes it.
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
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>, Error> {
        self.server.ended()
    }

    /// Kills all processes of the server (SIGKILL), as a crash of the machine does, and waits until they have ended.
    /// [`Cluster::start_again`] recovers the cluster.
    ///
    /// # Errors
    /// [`Error::Signal`] if it does not run, [`Error::Stop`] or [`Error::AlreadyRunning`] if its processes do not end.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let postmaster = self.running_postmaster()?;
        self.keep_directory()?;
        // A stopped postmaster starts no process after the list is made. Such a process could wait forever for an
        // internal lock of Postgres that a killed one held.
        signal(postmaster, "STOP")?;
        while !is_stopped(postmaster)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let children = PathBuf::from(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let others = fs::read_to_string(&children).map_err(Error::io("read", &children))?;
        let shell = Path::new("/bin/sh");
        let mut kill = Command::new(shell);
        kill.args(["-c", r#"kill -s KILL "$@" 2>/dev/null"#, "kill", &postmaster.to_string()]);
        kill.args(others.split_whitespace());
        kill.status().map_err(Error::io("run", shell))?; // the exit status is an error if one has ended already
        self.wait_until_gone(postmaster).await
    }

    /// Shuts the server down (SIGINT), which ends open connections, and waits until it has ended.
    /// [`Cluster::start_again`] completes the restart.
    ///
    /// # Errors
    /// [`Error::Signal`] if it does not run, [`Error::Stop`] or [`Error::AlreadyRunning`] if its processes do not end.
    pub async fn shut_down(&mut self) -> Result<(), Error> {
        let postmaster = self.running_postmaster()?;
        self.keep_directory()?;
        signal(postmaster, "INT")?;
        self.wait_until_gone(postmaster).await
    }

    fn running_postmaster(&mut self) -> Result<u32, Error> {
        match postmaster(&self.root).parse() {
            Ok(pid) if self.server.ended()?.is_none() => Ok(pid),
            _ => Err(Error::Signal { pid: 0, name: "INT".to_owned() }),
        }
    }

    /// Keeps the supervisor from removing the directory.
    fn keep_directory(&mut self) -> Result<(), Error> {
        if self.temporary {
            let keep = self.root.join(KEEP);
            File::create(&keep).map_err(Error::io("create", &keep))?;
            self.kept_directory = Some(KeptDirectory(self.root.clone()));
        }
        Ok(())
    }

    /// Waits until no process of the server is left.
    async fn wait_until_gone(&mut self, postmaster: u32) -> Result<(), Error> {
        let since = Instant::now();
        while self.server.ended()?.is_none() {
            if since.elapsed() > EXIT_TIMEOUT {
                return Err(Error::Stop(postmaster));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        open_log_when_idle(&self.root).await.map(drop)
    }

    /// Starts a killed or stopped cluster with the same data, settings and address. The files of a disk of
    /// [`Settings::and_disk`] are lost.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] if it still runs; otherwise the reason why it does not start.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        if self.server.ended()?.is_none() {
            return Err(already_running(&self.root));
        }
        let Self { account, root, address, settings, temporary, .. } = &*self;
        (self.server, self.log) = serve(*account, root, address, settings, *temporary).await?;
        if let Some(kept_directory) = self.kept_directory.take() {
            kept_directory.leave_to_the_supervisor()?;
        }
        self.wait_until_ready().await
    }

    /// Shuts the cluster down and waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Stop`] after one minute.
    pub async fn stop(self) -> Result<(), Error> {
        self.server.stop().await.map(drop)
    }
}

/// The directory of a stopped temporary cluster, which no supervisor removes.
#[derive(Debug)]
struct KeptDirectory(PathBuf);

impl KeptDirectory {
    /// Hands the directory to the supervisor of the restarted cluster.
    fn leave_to_the_supervisor(self) -> Result<(), Error> {
        let keep = self.0.join(KEEP);
        std::mem::forget(self);
        fs::remove_file(&keep).map_err(Error::io("remove", &keep))
    }
}

impl Drop for KeptDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts the server of the cluster in `root`. Returns it with its log, open for reading.
async fn serve(
    account: Account,
    root: &Path,
    address: &Address,
    settings: &Settings,
    temporary: bool,
) -> Result<(SupervisedChild, File), Error> {
    let (output, path) = (open_log_when_idle(root).await?, root.join(LOG));
    output.set_len(0).map_err(Error::io("empty", &path))?;
    let log = File::open(&path).map_err(Error::io("open", &path))?;
    let mut postgres = Command::new(Binaries::find()?.program("postgres"));
    postgres.arg("-D").arg(root.join("data")).arg("-k").arg(address.sockets()).args(settings.arguments());
    postgres.current_dir(root).env("LC_ALL", "C").env_remove("PGDATA");
    let mut supervision =
        Supervision { stop_with: "INT", remove: temporary.then_some(root), account: Some(account) };
    if let Some((name, bytes)) = settings.disk() {
        let directory = root.join(name);
        account.private_directory(&directory)?;
        postgres = small_disk::with(&postgres, account, &directory, bytes);
        supervision.account = None; // the command switches to the account after it has mounted the disk
    }
    Ok((SupervisedChild::spawn(&postgres, supervision, Some(output))?, log))
}

/// Waits until no process of a server is left, and returns the server's log, open and locked. All processes of a server
/// inherit the open log and its lock, so the lock is free after the last of them has ended. A zombie holds no lock.
async fn open_log_when_idle(root: &Path) -> Result<File, Error> {
    let path = root.join(LOG);
    let log = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let log = log.map_err(Error::io("open", &path))?;
    let since = Instant::now();
    loop {
        match log.try_lock() {
            Ok(()) => return Ok(log),
            Err(TryLockError::WouldBlock) if since.elapsed() > EXIT_TIMEOUT => {
                return Err(already_running(root));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
    }
}

/// Creates the host's login as a member of the group roles that `migrate` creates. Does nothing if it exists.
///
/// # Errors
/// The error of the statement.
pub async fn create_host_login(client: &Client) -> Result<(), tokio_postgres::Error> {
    let statement = format!(
        "do $$ begin
             if not exists (select from pg_roles where rolname = '{HOST_LOGIN}') then
                 create role {HOST_LOGIN} login in role atelier_reader, atelier_cart;
             end if;
         exception when duplicate_object or unique_violation then null; -- somebody else was first
         end $$"
    );
    client.batch_execute(&statement).await
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

/// Waits until the server of a killed owner has ended: it may still write its memory to disk after the lock is free.
async fn wait_for_previous_owner(root: &Path, address: &Address) -> Result<(), Error> {
    let socket = address.socket();
    let since = Instant::now();
    while UnixStream::connect(&socket).is_ok() {
        if since.elapsed() > EXIT_TIMEOUT {
            return Err(already_running(root));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn already_running(root: &Path) -> Error {
    Error::AlreadyRunning { directory: root.to_owned(), pid: postmaster(root) }
}

/// Says whether a process has stopped after SIGSTOP.
fn is_stopped(pid: u32) -> Result<bool, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    Ok(stat.rsplit(')').next().is_some_and(|fields| fields.trim_start().starts_with('T')))
}

/// Returns the process id of the server's postmaster, or `unknown`.
fn postmaster(root: &Path) -> String {
    let file = fs::read_to_string(root.join("data/postmaster.pid")).ok();
    let pid = file.and_then(|file| file.lines().next().map(str::to_owned));
    pid.unwrap_or_else(|| "unknown".to_owned())
}

async fn initdb(binaries: &Binaries, account: Account, data: &Path, further: &[&str]) -> Result<(), Error> {
    let mut command = Command::new(binaries.program("initdb"));
    // Locale C compares text as bytes, the same on every machine.
    command.args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
    command.args(further).arg("--pgdata").arg(data);
    run(account, command, data).await
}

/// Runs a program that creates the directory `data`, as this account.
pub(crate) async fn run(account: Account, mut command: Command, data: &Path) -> Result<(), Error> {
    let program = PathBuf::from(command.get_program());
    command.env("LC_ALL", "C").current_dir(data.parent().unwrap_or(data));
    account.apply(&mut command);
    let output = tokio::process::Command::from(command).output().await.map_err(Error::io("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: program.display().to_string(), status: output.status, stderr })
}

fn tail(mut log: &File) -> String {
    let mut text = Vec::new();
    let _ = log.read_to_end(&mut text); // a partial log is still useful
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(12)).copied().collect::<Vec<_>>().join("\n")
}
