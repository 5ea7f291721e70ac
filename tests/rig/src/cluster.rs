//! Temporary clusters that can be killed, restarted and replicated.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use local::cluster::{already_running, create_data, initdb, postgres, start_server, wait_until_ended};
use local::{Account, Address, Binaries, Error, SUPERUSER, SupervisedChild, signal};

use crate::{Settings, small_disk};

/// The file that keeps the supervisor from removing a directory, because the cluster will restart.
const KEEP: &str = "keep";

/// The timeout until a stopping or killed server has ended.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A running temporary cluster. It stops, and its files are removed, when this value is dropped or its process ends,
/// even if the process is killed.
#[derive(Debug)]
pub struct Cluster {
    root: PathBuf,
    account: Account,
    address: Address,
    settings: Settings,
    server: SupervisedChild,
    /// The directory of a killed or stopped cluster, which is removed unless the cluster restarts.
    kept_directory: Option<KeptDirectory>,
}

impl Cluster {
    /// Creates and starts a temporary cluster.
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
        let create = async |account, data: &Path| initdb(account, data, &["--no-sync"]).await;
        Self::start_with(base, settings, create).await
    }

    /// Creates and starts a read replica of this cluster, whose settings must allow replication
    /// ([`Settings::with_replication`]).
    ///
    /// # Errors
    /// The reason why the copy or the start fails.
    pub async fn start_replica(&self) -> Result<Self, Error> {
        let base = self.root.parent().unwrap_or(Path::new("/tmp"));
        let copy = async |account, data: &Path| {
            let mut copy = Command::new(Binaries::find()?.program("pg_basebackup"));
            copy.arg("--pgdata").arg(data).arg("--host").arg(self.address.sockets());
            copy.args(["--port", &self.address.port().to_string(), "--username", SUPERUSER]);
            copy.args(["--write-recovery-conf", "--checkpoint", "fast", "--no-sync", "--no-password"]);
            create_data(account, copy, data).await
        };
        Self::start_with(base, &self.settings, copy).await
    }

    /// Creates and starts a cluster. `create` creates its data directory as the given account.
    async fn start_with(
        base: &Path,
        settings: &Settings,
        create: impl AsyncFnOnce(Account, &Path) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let account = Account::unprivileged()?;
        let directory = tempfile::Builder::new()
            .prefix("atelier-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(base)
            .map_err(Error::io("create a directory in", base))?;
        let root = directory.path().to_owned();
        account.own(&root)?;
        create(account, &root.join("data")).await?;
        let (server, address) = launch(&root, account, settings).await?;
        let _removed_by_supervisor = directory.keep();
        Ok(Self { root, account, address, settings: settings.clone(), server, kept_directory: None })
    }

    /// Returns the address of the cluster.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns a private directory beside the data, and creates it if necessary. It is removed with the cluster.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be created.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(name);
        self.account.private_directory(&path)?;
        Ok(path)
    }

    /// Fills the filesystem of the server's data until `bytes` are free, or removes what an earlier call wrote.
    ///
    /// # Errors
    /// [`Error::Io`] if the filesystem cannot be read or written.
    pub fn leave_free(&self, bytes: u64) -> Result<(), Error> {
        let path = PathBuf::from(format!("/proc/{}/cwd/ballast", self.server.pid()));
        let fill = || {
            let mut ballast = OpenOptions::new().create(true).append(true).open(&path)?;
            let disk = rustix::fs::fstatvfs(&ballast)?;
            let (size, free) = (ballast.metadata()?.len(), disk.f_bavail * disk.f_frsize);
            match free.checked_sub(bytes) {
                Some(excess) => io::copy(&mut io::repeat(0).take(excess), &mut ballast).map(drop),
                None => ballast.set_len(size.saturating_sub(bytes - free)),
            }
        };
        fill().map_err(Error::io("write", &path))
    }

    /// Returns the exit status if the server has ended.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.server.ended()
    }

    /// Kills all processes of the server (SIGKILL), as a crash of the machine does, and waits until they have ended.
    /// [`Cluster::start_again`] recovers the cluster.
    ///
    /// # Errors
    /// [`Error::Signal`] if it does not run, [`Error::Stop`] or [`Error::AlreadyRunning`] if its processes do not end.
    pub async fn kill(&mut self) -> Result<(), Error> {
        // A stopped postmaster starts no process after the list is made. Such a process could wait forever for an
        // internal lock of Postgres that a killed one held.
        let postmaster = self.signal("STOP")?;
        while !is_stopped(postmaster)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let children = PathBuf::from(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let others = fs::read_to_string(&children).map_err(Error::io("read", &children))?;
        for other in others.split_whitespace().filter_map(|other| other.parse().ok()) {
            let _ = signal(other, "KILL"); // it may have ended already
        }
        signal(postmaster, "KILL")?;
        self.wait_until_gone().await
    }

    /// Shuts the server down (SIGINT), which ends open connections, and waits until it has ended.
    /// [`Cluster::start_again`] completes the restart.
    ///
    /// # Errors
    /// [`Error::Signal`] if it does not run, [`Error::Stop`] or [`Error::AlreadyRunning`] if its processes do not end.
    pub async fn shut_down(&mut self) -> Result<(), Error> {
        self.signal("INT")?;
        self.wait_until_gone().await
    }

    /// Sends the postmaster a signal, and keeps the supervisor from removing the directory. Returns the process id.
    fn signal(&mut self, name: &str) -> Result<u32, Error> {
        let pid = self.server.pid();
        if self.server.ended()?.is_some() {
            return Err(Error::Signal { pid, name: name.to_owned() });
        }
        let keep = self.root.join(KEEP);
        File::create(&keep).map_err(Error::io("create", &keep))?;
        self.kept_directory = Some(KeptDirectory(self.root.clone()));
        signal(pid, name)?;
        Ok(pid)
    }

    /// Waits until no process of the server is left.
    async fn wait_until_gone(&mut self) -> Result<(), Error> {
        self.server.wait_until_ended(EXIT_TIMEOUT).await?;
        wait_until_ended(&self.root).await
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
        (self.server, _) = launch(&self.root, self.account, &self.settings).await?;
        self.kept_directory.take().map_or(Ok(()), KeptDirectory::leave_to_the_supervisor)
    }

    /// Shuts the cluster down and waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Stop`] after one minute.
    pub async fn stop(self) -> Result<(), Error> {
        self.server.stop().await.map(drop)
    }
}

/// Starts the server of the cluster in `root`.
async fn launch(
    root: &Path,
    account: Account,
    settings: &Settings,
) -> Result<(SupervisedChild, Address), Error> {
    let for_server = settings.for_server_in(root, account)?;
    let mut address = Address::of_root(root);
    account.private_directory(address.sockets())?;
    if let Some(port) = for_server.get("port").and_then(|port| port.parse().ok()) {
        address = address.with_port(port);
    }
    let mut command = postgres(root, &address, &for_server)?;
    let mut run_as = Some(account);
    if let Some((name, bytes)) = settings.disk {
        let directory = root.join(name);
        account.private_directory(&directory)?;
        command = small_disk::with(&command, account, &directory, bytes);
        run_as = None; // the command switches to the account after it has mounted the disk
    }
    Ok((start_server(&command, root, &address, run_as, true).await?, address))
}

/// The directory of a stopped cluster, which no supervisor removes.
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

/// Returns whether a process has stopped after SIGSTOP.
fn is_stopped(pid: u32) -> Result<bool, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    Ok(stat.rsplit(')').next().is_some_and(|fields| fields.trim_start().starts_with('T')))
}
