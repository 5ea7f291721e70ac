//! A fleet on this machine: hosts behind a [`LoadBalancer`]. Each host can be killed, stopped and restarted.
//!
//! ```text
//! <directory>/host-1.log               a host's output
//! <directory>/nginx.conf, error.log    the load balancer's files
//! ```

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::supervisor::inherit;
use crate::{
    Error, LoadBalancer, LoadBalancerSettings, SupervisedChild, Supervision, free_address,
    free_admin_address, responds, signal,
};

/// The timeout until a host is ready, long enough for a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Settings of a fleet.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// The number of hosts.
    pub hosts: usize,
    /// Whether hosts log each request.
    pub log_access: bool,
    /// Whether metrics are at the usual ports, 9464 and up, if those are free; otherwise at any.
    pub usual_admin_ports: bool,
    /// Settings of the load balancer.
    pub load_balancer: LoadBalancerSettings,
}

impl Default for FleetSettings {
    /// Returns settings for three hosts, as in a deployment, without logs of requests.
    fn default() -> Self {
        let load_balancer = LoadBalancerSettings::default();
        Self { hosts: 3, log_access: false, usual_admin_ports: false, load_balancer }
    }
}

/// Hosts and their load balancer. All stop when this value is dropped or its process ends, even if the process is
/// killed.
#[derive(Debug)]
pub struct Fleet {
    hosts: Vec<Host>,
    load_balancer: LoadBalancer,
}

/// A host with a fixed address, running or not.
#[derive(Debug)]
pub struct Host {
    address: SocketAddr,
    admin: SocketAddr,
    command: Command,
    log: PathBuf,
    running: Option<SupervisedChild>,
}

impl Fleet {
    /// Starts the hosts with the command `server` and different `LISTEN` and `ADMIN_LISTEN` addresses, and waits until all are ready.
    /// Then it starts the load balancer on `listen`. It creates `directory` if necessary.
    ///
    /// # Errors
    /// The reason why a host or the load balancer does not start.
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
            host.spawn()?;
            hosts.push(host);
        }
        for host in &mut hosts {
            host.wait_until_ready().await?;
        }
        let addresses: Vec<SocketAddr> = hosts.iter().map(Host::address).collect();
        let load_balancer =
            LoadBalancer::start(directory, listen, &addresses, &settings.load_balancer).await?;
        Ok(Self { hosts, load_balancer })
    }

    /// Returns the address of the load balancer.
    pub fn address(&self) -> SocketAddr {
        self.load_balancer.address()
    }

    /// Returns the hosts in a stable order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns the hosts, to kill, stop and start them.
    pub fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// Returns the load balancer.
    pub fn load_balancer(&mut self) -> &mut LoadBalancer {
        &mut self.load_balancer
    }

    /// Stops the load balancer and then the hosts. Each drains its requests in flight.
    ///
    /// # Errors
    /// [`Error::Stop`] if one of them does not stop within one minute.
    pub async fn stop(self) -> Result<(), Error> {
        self.load_balancer.stop().await?;
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
        let log = directory.join(format!("host-{number}.log"));
        fs::write(&log, "").map_err(Error::io("write", &log))?;
        let address = free_address()?;
        let admin = match settings.usual_admin_ports {
            true => free_admin_address(u16::try_from(number - 1).unwrap_or_default())?,
            false => free_address()?,
        };
        let mut command = Command::new(server.get_program());
        // Hosts, load balancer and Postgres share the processors, so more threads would not run in parallel.
        let threads = available_parallelism().map_or(1, |all| (all.get() / settings.hosts).max(1));
        command.env("WORKER_THREADS", threads.to_string());
        command.env("LOG_ACCESS", if settings.log_access { "on" } else { "off" });
        inherit(command.args(server.get_args()), server);
        command.env("LISTEN", address.to_string()).env("ADMIN_LISTEN", admin.to_string());
        Ok(Self { address, admin, command, log, running: None })
    }

    /// Returns the address that the host listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of its metrics.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Returns the process id while the host runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(SupervisedChild::pid)
    }

    /// Returns the path of its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts the host and waits until it is ready.
    ///
    /// # Errors
    /// The reason why it does not start.
    pub async fn start(&mut self) -> Result<(), Error> {
        self.spawn()?;
        self.wait_until_ready().await
    }

    /// Starts the process of the host without waiting until it is ready.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn spawn(&mut self) -> Result<(), Error> {
        let name = format!("the host on {}", self.address);
        let supervision = Supervision { log: Some(&self.log), ..Supervision::new(&name) };
        self.running = Some(SupervisedChild::spawn(&self.command, supervision)?);
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let Some(server) = &mut self.running else { return Ok(()) };
        server.wait_until_ready(START_TIMEOUT, || responds(self.address, "/readyz")).await
    }

    /// Sends the host a signal: `STOP` makes it hang, `CONT` resumes it. Does nothing if the host was stopped.
    ///
    /// # Errors
    /// [`Error::Signal`] if the host ended unexpectedly.
    pub fn signal(&self, name: &str) -> Result<(), Error> {
        self.pid().map_or(Ok(()), |pid| signal(pid, name))
    }

    /// Kills the host (SIGKILL) and waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Signal`] if the host ended unexpectedly, [`Error::Stop`] after one minute.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.signal("KILL")?;
        self.stop().await
    }

    /// Stops the host gracefully (SIGTERM) and waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Stop`] after one minute.
    pub async fn stop(&mut self) -> Result<(), Error> {
        match self.running.take() {
            Some(server) => server.stop().await.map(drop),
            None => Ok(()),
        }
    }

    /// Returns the exit status if the host ended unexpectedly. The host then counts as stopped.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(server) = &mut self.running else { return Ok(None) };
        let ended = server.ended()?;
        if ended.is_some() {
            self.running = None;
        }
        Ok(ended)
    }
}
