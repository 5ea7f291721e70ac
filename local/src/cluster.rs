//! A Postgres cluster of one's own: made, started, addressed, stopped.
//!
//! ```text
//! owner ──pipe──> /bin/sh (guardian.sh) ──> postgres        <root>/data        the cluster
//!   └───────────── unix socket ────────────────┘            <root>/server.log  since the last start
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
use crate::{Account, Binaries, Error, Guarded, Settings, Watch, small_disk};

/// The superuser of every private cluster, and the loader's login there.
pub const SUPERUSER: &str = "atelier";

/// The login of the host: it may read the catalog and write carts, and nothing else, as in a deployment.
pub const HOST_LOGIN: &str = "atelier_host";

/// What the server writes, within the cluster's directory.
const LOG: &str = "server.log";

/// The port in the settings, which is a part of the socket's name even where no port is listened on.
pub(crate) const PORT: u16 = 5432;

/// The socket's name within its directory, up to the port, which has five digits at most.
const SOCKET: &str = ".s.PGSQL.";

/// The longest path that a socket may have: 107 bytes on Linux, 103 on macOS.
const SOCKET_PATH_LIMIT: usize = 103;

/// Where there is this file in a directory that is to be removed, its guardian leaves it alone: the cluster is to be
/// started again.
const KEEP: &str = "keep";

/// How long a start may take: after a crash the server replays up to `max_wal_size` of log first.
const START_PATIENCE: Duration = Duration::from_mins(3);

/// How long the processes of a server that is ending, or was killed, may take to be gone.
const END_PATIENCE: Duration = Duration::from_secs(20);

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
    settings: Settings,
    temporary: bool,
    server: Guarded,
    /// To be read even when the guardian has removed it.
    log: File,
    /// Of one that was killed or shut down, what is to be removed if it is not started again.
    left_behind: Option<LeftBehind>,
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
        Self::launch(account, root, address, settings, false, Some(lock)).await
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
        Self::start_temporary_with(base, settings, async |binaries: &Binaries, account, data: &Path| {
            initdb(binaries, account, data, &["--no-sync"]).await
        })
        .await
    }

    /// The same with data that `make` puts where it is told, as this account.
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
        let _left_leave_to_the_guardian = directory.keep();
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
            left_behind: None,
            _lock: lock,
        };
        cluster.answers().await?;
        Ok(cluster)
    }

    /// Waits for the first connection; or says why there will be none.
    async fn answers(&mut self) -> Result<(), Error> {
        let since = Instant::now();
        let config = self.address.config(SUPERUSER, "postgres");
        let why = loop {
            let Err(refusal) = config.connect(NoTls).await else { return Ok(()) };
            if let Some(status) = self.server.ended()? {
                let needs = self.settings.disk().map_or("", |_| small_disk::NEEDS);
                break format!("it ended at once ({status}){needs}");
            }
            if since.elapsed() > START_PATIENCE {
                break format!("no answer in time ({})", etl::database::describe(&refusal));
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

    /// Has every process of it killed (SIGKILL), as when the machine goes down, and waits until they are gone.
    /// [`Cluster::start_again`] has it recover.
    ///
    /// # Errors
    /// [`Error::Database`] if it does not tell its processes, [`Error::Stop`] or [`Error::AlreadyRunning`] if they do
    /// not go.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let postmaster = postmaster(&self.root);
        // Any that comes in between ends by itself, when it misses the first of them.
        let of_others = "select array_agg(pid::text) from pg_stat_activity where pid <> pg_backend_pid()";
        let client = self.address.connect("postgres").await?;
        let others: Vec<String> = client.query_one(of_others, &[]).await?.get(0);
        self.leave_behind()?;
        let shell = Path::new("/bin/sh");
        let mut kill = Command::new(shell);
        kill.args(["-c", r#"kill -s KILL "$@" 2>/dev/null"#, "kill", &postmaster]).args(others);
        kill.status().map_err(Error::io("run", shell))?; // fails if one of them is gone already
        self.is_gone(&postmaster).await
    }

    /// Stops it in good order, connections that are open or not, and waits until it is gone; what is committed is
    /// written out. [`Cluster::start_again`] completes the restart.
    ///
    /// # Errors
    /// [`Error::Signal`] if it does not run, [`Error::Stop`] or [`Error::AlreadyRunning`] if its processes do not go.
    pub async fn shut_down(&mut self) -> Result<(), Error> {
        let postmaster = postmaster(&self.root);
        let pid = match postmaster.parse() {
            Ok(pid) if self.server.ended()?.is_none() => pid,
            _ => return Err(Error::Signal { pid: 0, name: "INT".to_owned() }),
        };
        self.leave_behind()?;
        signal(pid, "INT")?;
        self.is_gone(&postmaster).await
    }

    /// Has the guardian leave the directory alone.
    fn leave_behind(&mut self) -> Result<(), Error> {
        if self.temporary {
            let keep = self.root.join(KEEP);
            File::create(&keep).map_err(Error::io("create", &keep))?;
            self.left_behind = Some(LeftBehind(self.root.clone()));
        }
        Ok(())
    }

    /// Waits until no process of it is left.
    async fn is_gone(&mut self, postmaster: &str) -> Result<(), Error> {
        let since = Instant::now();
        while self.server.ended()?.is_none() {
            if since.elapsed() > END_PATIENCE {
                return Err(Error::Stop(postmaster.parse().unwrap_or_default()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        alone(&self.root).await.map(drop)
    }

    /// Starts one that was killed or shut down, with the same data, settings and address. What was on a disk of
    /// [`Settings::and_disk`] is lost.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] if it was not; else whatever keeps it from starting.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        if self.server.ended()?.is_none() {
            return Err(already_running(&self.root));
        }
        let Self { account, root, address, settings, temporary, .. } = &*self;
        (self.server, self.log) = serve(*account, root, address, settings, *temporary).await?;
        if let Some(left_behind) = self.left_behind.take() {
            left_behind.leave_to_the_guardian()?;
        }
        self.answers().await
    }

    /// Stops it in good order and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Stop`] if it takes longer than a minute.
    pub async fn stop(self) -> Result<(), Error> {
        self.server.stop().await.map(drop)
    }
}

/// The directory of a temporary cluster that is to be started again, which no guardian will remove.
#[derive(Debug)]
struct LeftBehind(PathBuf);

impl LeftBehind {
    /// There is one again that will.
    fn leave_to_the_guardian(self) -> Result<(), Error> {
        let keep = self.0.join(KEEP);
        std::mem::forget(self);
        fs::remove_file(&keep).map_err(Error::io("remove", &keep))
    }
}

impl Drop for LeftBehind {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts the server of the cluster in `root`; with it comes its log, to be read.
async fn serve(
    account: Account,
    root: &Path,
    address: &Address,
    settings: &Settings,
    temporary: bool,
) -> Result<(Guarded, File), Error> {
    let (output, path) = (alone(root).await?, root.join(LOG));
    output.set_len(0).map_err(Error::io("empty", &path))?;
    let log = File::open(&path).map_err(Error::io("open", &path))?;
    let mut postgres = Command::new(Binaries::find()?.program("postgres"));
    postgres.arg("-D").arg(root.join("data")).arg("-k").arg(address.sockets()).args(settings.arguments());
    postgres.current_dir(root).env("LC_ALL", "C").env_remove("PGDATA");
    let mut watch = Watch { stop_with: "INT", remove: temporary.then_some(root), account: Some(account) };
    if let Some((name, bytes)) = settings.disk() {
        let directory = root.join(name);
        account.private_directory(&directory)?;
        postgres = small_disk::with(&postgres, account, &directory, bytes);
        watch.account = None; // it becomes this account by itself, when it has its disk
    }
    Ok((Guarded::spawn(&postgres, watch, Some(output))?, log))
}

/// Waits until no process of a server is left, and answers with its log, open and locked. All processes of a server
/// have its log open, as it was opened here, and the lock is free when the last of them is gone; a process that nobody
/// has waited for yet does not count.
async fn alone(root: &Path) -> Result<File, Error> {
    let path = root.join(LOG);
    let log = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let log = log.map_err(Error::io("open", &path))?;
    let since = Instant::now();
    loop {
        match log.try_lock() {
            Ok(()) => return Ok(log),
            Err(TryLockError::WouldBlock) if since.elapsed() > END_PATIENCE => {
                return Err(already_running(root));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(TryLockError::Error(refusal)) => return Err(Error::io("lock", &path)(refusal)),
        }
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
        if since.elapsed() > END_PATIENCE {
            return Err(already_running(root));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn already_running(root: &Path) -> Error {
    Error::AlreadyRunning { directory: root.to_owned(), pid: postmaster(root) }
}

/// The id of the server's first process, or `unknown`.
fn postmaster(root: &Path) -> String {
    let file = fs::read_to_string(root.join("data/postmaster.pid")).ok();
    let pid = file.and_then(|file| file.lines().next().map(str::to_owned));
    pid.unwrap_or_else(|| "unknown".to_owned())
}

async fn initdb(binaries: &Binaries, account: Account, data: &Path, further: &[&str]) -> Result<(), Error> {
    let mut command = Command::new(binaries.program("initdb"));
    // Locale C: text is compared as bytes, the same on every machine.
    command.args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
    command.args(further).arg("--pgdata").arg(data);
    run(account, command, data).await
}

/// Runs a program that makes the directory `data`, as this account.
pub(crate) async fn run(account: Account, mut command: Command, data: &Path) -> Result<(), Error> {
    let program = PathBuf::from(command.get_program());
    command.env("LC_ALL", "C").current_dir(data.parent().unwrap_or(data));
    account.apply(&mut command);
    let output = tokio::process::Command::from(command).output().await.map_err(Error::io("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: program.display().to_string(), status: output.status, said })
}

fn tail(mut log: &File) -> String {
    let mut text = Vec::new();
    let _ = log.read_to_end(&mut text); // what can be read of it helps, and only that
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(12)).copied().collect::<Vec<_>>().join("\n")
}
