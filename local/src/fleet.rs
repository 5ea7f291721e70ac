//! Several hosts on this machine behind a [`Balancer`], each of which can be killed, stopped and started again.
//!
//! ```text
//! <directory>/host-1.log, host-1.pid    a host's output, and its process
//! <directory>/nginx.conf, error.log     the balancer's
//! ```

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::guardian::append;
use crate::process::{read_pid, signal};
use crate::{Balancer, BalancerSettings, Error, Guarded, Watch, is_answered};

/// How long a host may take until it is ready, on a machine that does much else.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// Notes its process id in a file, and then becomes the server, which keeps the id.
const WITH_PID: &str = r#"echo $$ >"$0" && exec "$@""#;

/// What may differ from one fleet to another.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// How many hosts there are.
    pub hosts: usize,
    /// Whether they log each request.
    pub log_access: bool,
    /// The balancer's.
    pub balancer: BalancerSettings,
}

impl Default for FleetSettings {
    /// Three, as in a deployment, that log no requests.
    fn default() -> Self {
        Self { hosts: 3, log_access: false, balancer: BalancerSettings::default() }
    }
}

/// Hosts and their balancer. All stop when this is dropped or its process ends, however that comes about.
#[derive(Debug)]
pub struct Fleet {
    hosts: Vec<Host>,
    balancer: Balancer,
}

/// A host at an address that it keeps, running or not.
#[derive(Debug)]
pub struct Host {
    address: SocketAddr,
    command: Command,
    log: PathBuf,
    pid_file: PathBuf,
    running: Option<(Guarded, u32)>,
}

impl Fleet {
    /// Starts `server` as often as `settings` say, each with another address in `LISTEN`, waits until each answers
    /// `/readyz` with 200, and serves `listen` from them. `directory` is made if it is not there.
    ///
    /// # Errors
    /// What keeps one of them from starting.
    pub async fn start(
        directory: &Path,
        listen: SocketAddr,
        server: &Command,
        settings: &FleetSettings,
    ) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(Error::io("create the directory", directory))?;
        let mut hosts = Vec::new();
        for number in 1..=settings.hosts {
            let mut host = Host::new(directory, number, server, settings)?;
            host.begin().await?;
            hosts.push(host);
        }
        for host in &mut hosts {
            host.wait_until_ready().await?;
        }
        let addresses: Vec<SocketAddr> = hosts.iter().map(Host::address).collect();
        let balancer = Balancer::start(directory, listen, &addresses, &settings.balancer).await?;
        Ok(Self { hosts, balancer })
    }

    /// Where the fleet answers.
    pub fn address(&self) -> SocketAddr {
        self.balancer.address()
    }

    /// The hosts, in an order that stays.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The same, to be killed, stopped and started.
    pub fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// What is in front of them.
    pub fn balancer(&mut self) -> &mut Balancer {
        &mut self.balancer
    }

    /// Stops the balancer and then the hosts, each after the requests under way.
    ///
    /// # Errors
    /// [`Error::Stop`] if one takes longer than a minute.
    pub async fn stop(self) -> Result<(), Error> {
        self.balancer.stop().await?;
        for mut host in self.hosts {
            host.stop().await?;
        }
        Ok(())
    }
}

impl Host {
    fn new(
        directory: &Path,
        number: usize,
        server: &Command,
        settings: &FleetSettings,
    ) -> Result<Self, Error> {
        let (log, pid_file) =
            (directory.join(format!("host-{number}.log")), directory.join(format!("host-{number}.pid")));
        fs::write(&log, "").map_err(Error::io("write", &log))?;
        let address = free_address()?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WITH_PID]).arg(&pid_file);
        // They share the processors with each other, the balancer and Postgres: more threads would only take turns.
        let threads = available_parallelism().map_or(1, |all| (all.get() / settings.hosts).max(1));
        command.env("WORKER_THREADS", threads.to_string());
        command.env("LOG_ACCESS", if settings.log_access { "on" } else { "off" });
        append(&mut command, server);
        command.env("LISTEN", address.to_string());
        Ok(Self { address, command, log, pid_file, running: None })
    }

    /// Where it listens when it runs.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|(_, pid)| *pid)
    }

    /// The file with what it writes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it at its address, and waits until it is ready.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start(&mut self) -> Result<(), Error> {
        self.begin().await?;
        self.wait_until_ready().await
    }

    /// Starts it at its address, ready or not.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Host`] if it has no process soon.
    pub async fn begin(&mut self) -> Result<(), Error> {
        let _ = fs::remove_file(&self.pid_file); // of the process before; there may be none
        let output =
            OpenOptions::new().append(true).open(&self.log).map_err(Error::io("write to", &self.log))?;
        let watch = Watch { stop_with: "TERM", remove: None, account: None };
        let mut server = Guarded::spawn(&self.command, watch, Some(output))?;
        let since = Instant::now();
        while since.elapsed() < START_PATIENCE {
            if let Some(pid) = read_pid(&self.pid_file) {
                self.running = Some((server, pid));
                return Ok(());
            }
            if let Some(status) = server.ended()? {
                return Err(self.not_started(format!("it ended ({status})")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(self.not_started("it has no process".to_owned()))
    }

    async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let since = Instant::now();
        while since.elapsed() < START_PATIENCE {
            if is_answered(self.address, "/readyz").await {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                return Err(self.not_started(format!("it ended ({status})")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(self.not_started("it is not ready".to_owned()))
    }

    fn not_started(&self, why: String) -> Error {
        Error::Host { address: self.address, why, log: self.log.clone() }
    }

    /// Sends it a signal, such as `STOP`, after which it hangs, and `CONT`, after which it goes on. One that was stopped
    /// takes none.
    ///
    /// # Errors
    /// [`Error::Signal`] if it has ended by itself.
    pub fn signal(&self, name: &str) -> Result<(), Error> {
        self.pid().map_or(Ok(()), |pid| signal(pid, name))
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Signal`] if it has ended by itself, [`Error::Stop`] if it takes longer than a minute.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.signal("KILL")?;
        self.stop().await
    }

    /// Stops it (SIGTERM), and waits until the requests under way are done and it is gone.
    ///
    /// # Errors
    /// [`Error::Stop`] if it takes longer than a minute.
    pub async fn stop(&mut self) -> Result<(), Error> {
        match self.running.take() {
            Some((server, _)) => server.stop().await.map(drop),
            None => Ok(()),
        }
    }

    /// How it ended, if it has by itself. It does not run then.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some((server, _)) = &mut self.running else { return Ok(None) };
        let ended = server.ended()?;
        if ended.is_some() {
            self.running = None;
        }
        Ok(ended)
    }
}

/// A loopback address that nothing listens on.
///
/// It is none of those that systems hand out by themselves, to outgoing connections and to who listens on port 0: a
/// host that is started again finds its own still free.
///
/// # Errors
/// [`Error::Io`] if all that were tried are taken.
pub fn free_address() -> Result<SocketAddr, Error> {
    let mut refused = None;
    for _ in 0..100 {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(10_000..32_000)))
            .and_then(|l| l.local_addr())
        {
            Ok(address) => return Ok(address),
            Err(error) => refused = Some(error),
        }
    }
    let refused = refused.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(Error::io("find a free port on", Path::new("127.0.0.1"))(refused))
}
