//! A Postgres cluster of one's own: made, started, addressed, stopped.
//!
//! ```text
//! owner ──pipe──> /bin/sh (guardian.sh) ──> postgres        <root>/data        the cluster
//!   └───────────── unix socket ────────────────┘            <root>/server.log  since the last start
//! ```

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};

use crate::{Account, Binaries, Error, Guarded, Settings, Watch};

/// The superuser of every private cluster, and the loader's login there.
pub const SUPERUSER: &str = "atelier";

/// The login of the host: it may read the catalog and write carts, and nothing else, as in a deployment.
pub const HOST_LOGIN: &str = "atelier_host";

/// The port in the settings, which is a part of the socket's name even where no port is listened on.
pub(crate) const PORT: u16 = 5432;

/// The socket's name within its directory, up to the port, which has five digits at most.
const SOCKET: &str = ".s.PGSQL.";

/// The longest path that a socket may have: 107 bytes on Linux, 103 on macOS.
const SOCKET_PATH_LIMIT: usize = 103;

/// How long a start may take: after a crash the server replays up to `max_wal_size` of log first.
const START_PATIENCE: Duration = Duration::from_mins(3);

/// Where a running cluster is found. Who can enter the socket's directory is trusted: there are no passwords.
#[derive(Clone, Debug)]
pub struct Address {
    sockets: PathBuf,
    port: u16,
}

impl Address {
    /// Of the cluster whose socket is in this directory.
    pub fn of(sockets: impl Into<PathBuf>) -> Self {
        Self { sockets: sockets.into(), port: PORT }
    }

    /// Of the cluster kept in `root`, whether it runs or not.
    pub fn of_root(root: &Path) -> Self {
        if root.as_os_str().len() + 1 + SOCKET.len() + 5 <= SOCKET_PATH_LIMIT {
            return Self::of(root);
        }
        let hash = xxhash_rust::xxh3::xxh3_64(root.as_os_str().as_encoded_bytes());
        Self::of(format!("/tmp/atelier-{hash:016x}"))
    }

    /// The directory with the socket.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// The port of the socket, and the one that is listened on where the settings say so.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket itself.
    pub fn socket(&self) -> PathBuf {
        self.sockets.join(format!("{SOCKET}{}", self.port))
    }

    /// For tokio-postgres.
    pub fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.sockets).port(self.port).user(user).dbname(database);
        config
    }

    /// The same as a `DATABASE_URL`.
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

    /// Connects as the superuser; the connection is driven in the background.
    ///
    /// # Errors
    /// What the server says.
    pub async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        connect(&self.config(SUPERUSER, database)).await
    }
}

/// Connects, and drives the connection in the background until the client is dropped.
///
/// # Errors
/// What the server says.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // What ends the connection is told to whoever uses the client next.
    tokio::spawn(connection);
    Ok(client)
}

/// A running cluster. It stops when this is dropped or its process ends, however that comes about.
#[derive(Debug)]
pub struct Cluster {
    root: PathBuf,
    account: Account,
    address: Address,
    server: Guarded,
    /// Held for as long as the cluster is: tells a second owner that there is a first.
    _lock: Option<File>,
}

impl Cluster {
    /// Starts the cluster kept in `root`, and makes it first if there is none. One that a crash has left recovers.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] if somebody else has it; else whatever keeps it from starting.
    pub async fn start(root: &Path, settings: &Settings) -> Result<Self, Error> {
        let binaries = Binaries::find()?;
        let account = Account::unprivileged()?;
        account.private_directory(root)?;
        let lock = lock(root)?;
        let address = Address::of_root(root);
        wait_for_the_last_owner(root, &address).await?;
        let data = root.join("data");
        if !data.exists() {
            // Under another name until it is complete, so that an interrupted initdb is not taken for a cluster.
            let unfinished = root.join("data.unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).map_err(Error::io("remove", &unfinished))?;
            }
            initdb(&binaries, account, &unfinished, &[]).await?;
            fs::rename(&unfinished, &data).map_err(Error::io("rename", &unfinished))?;
        }
        Self::launch(&binaries, account, root, address, settings, None, Some(lock)).await
    }

    /// Makes and starts a cluster that leaves nothing behind.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub async fn start_temporary(settings: &Settings) -> Result<Self, Error> {
        let usual = std::env::temp_dir();
        // Root's may be closed to others, and a long one has no room for the socket's name.
        let plain = Account::unprivileged()?.switched() || usual.as_os_str().len() > 60;
        Self::start_temporary_in(if plain { Path::new("/tmp") } else { &usual }, settings).await
    }

    /// The same in a directory that the server's account can reach.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub async fn start_temporary_in(base: &Path, settings: &Settings) -> Result<Self, Error> {
        let binaries = Binaries::find()?;
        let account = Account::unprivileged()?;
        let directory = tempfile::Builder::new()
            .prefix("atelier-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(base)
            .map_err(Error::io("create a directory in", base))?;
        let root = directory.path();
        account.own(root)?;
        initdb(&binaries, account, &root.join("data"), &["--no-sync"]).await?;
        let address = Address::of_root(root);
        let cluster = Self::launch(&binaries, account, root, address, settings, Some(root), None).await?;
        let _left_to_the_guardian = directory.keep();
        Ok(cluster)
    }

    async fn launch(
        binaries: &Binaries,
        account: Account,
        root: &Path,
        address: Address,
        settings: &Settings,
        remove: Option<&Path>,
        lock: Option<File>,
    ) -> Result<Self, Error> {
        account.private_directory(address.sockets())?;
        let settings = settings.with_files_in(root, account)?;
        let port = settings.get("port").and_then(|port| port.parse().ok()).unwrap_or(PORT);
        let address = Address { port, ..address };
        let log = root.join("server.log");
        let output = File::create(&log).map_err(Error::io("create", &log))?;
        let mut postgres = Command::new(binaries.program("postgres"));
        postgres.arg("-D").arg(root.join("data")).arg("-k").arg(address.sockets()).args(settings.arguments());
        postgres.current_dir(root).env("LC_ALL", "C").env_remove("PGDATA");
        let watch = Watch { stop_with: "INT", remove, account: Some(account) };
        let server = Guarded::spawn(&postgres, watch, Some(output))?;
        let mut cluster = Self { root: root.to_owned(), account, address, server, _lock: lock };
        match cluster.answers().await? {
            None => Ok(cluster),
            Some(why) => {
                let log = tail(&log);
                Err(Error::Start { directory: root.to_owned(), why, log })
            }
        }
    }

    /// Waits for the first connection; or says why there will be none.
    async fn answers(&mut self) -> Result<Option<String>, Error> {
        let since = Instant::now();
        let config = self.address.config(SUPERUSER, "postgres");
        loop {
            let Err(refusal) = config.connect(NoTls).await else { return Ok(None) };
            if let Some(status) = self.server.ended()? {
                return Ok(Some(format!("it ended at once ({status})")));
            }
            if since.elapsed() > START_PATIENCE {
                return Ok(Some(format!("no answer in time ({})", etl::database::describe(&refusal))));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where it is found.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A private directory beside the data, made if need be; with a temporary cluster it is removed, files and all.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(name);
        self.account.private_directory(&path)?;
        Ok(path)
    }

    /// How the server ended, if it did without being told to.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot say.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>, Error> {
        self.server.ended()
    }

    /// Stops it in good order and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Stop`] if it takes longer than a minute.
    pub async fn stop(self) -> Result<(), Error> {
        self.server.stop().await.map(drop)
    }
}

/// Makes the login of the host, a member of the group roles that `migrate` has made; nothing if it is there.
///
/// # Errors
/// What the server says.
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
        Err(TryLockError::Error(refusal)) => Err(Error::io("lock", &path)(refusal)),
    }
}

/// The lock is free, but the server of an owner that was killed may still be writing out its memory.
async fn wait_for_the_last_owner(root: &Path, address: &Address) -> Result<(), Error> {
    let socket = address.socket();
    let since = Instant::now();
    while UnixStream::connect(&socket).is_ok() {
        if since.elapsed() > Duration::from_secs(20) {
            return Err(already_running(root));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn already_running(root: &Path) -> Error {
    let pid = fs::read_to_string(root.join("data/postmaster.pid"))
        .ok()
        .and_then(|file| file.lines().next().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned());
    Error::AlreadyRunning { directory: root.to_owned(), pid }
}

async fn initdb(binaries: &Binaries, account: Account, data: &Path, further: &[&str]) -> Result<(), Error> {
    let program = binaries.program("initdb");
    let mut command = Command::new(&program);
    // Locale C: text is compared as bytes, the same on every machine.
    command.args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
    command
        .args(further)
        .arg("--pgdata")
        .arg(data)
        .env("LC_ALL", "C")
        .current_dir(data.parent().unwrap_or(data));
    account.apply(&mut command);
    let output = tokio::process::Command::from(command).output().await.map_err(Error::io("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: program.display().to_string(), status: output.status, said })
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(12)).copied().collect::<Vec<_>>().join("\n")
}
