//! A load balancer for hosts on this machine: NGINX with the configuration of a deployment.
//!
//! `deploy/nginx/render` writes the configuration into a directory of its own, and the installed NGINX runs there with
//! all its files. It needs no root. The caller names the hosts; [`crate::Fleet`] starts some.

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::process::{read_pid, signal};
use crate::{Error, SupervisedChild, Supervision, free_address, responds};

/// The script that writes the configuration. It is a source file of the project.
pub const RENDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nginx/render");

/// The files in the load balancer's directory.
const LOG: &str = "error.log";
const ACCESS_LOG: &str = "access.log";
const PID: &str = "nginx.pid";

/// The timeout of a start, long enough for a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a load balancer.
#[derive(Clone, Debug, Default)]
pub struct LoadBalancerSettings {
    /// Whether requests are logged, to `access.log` in the load balancer's directory.
    pub access_log: bool,
    /// The limit of requests per second for one client address, and of its burst. None means no limit. All clients on
    /// one machine share one address, so only tests of the limit set it.
    pub rate_limit: Option<u32>,
    /// Whether the limits are those of a deployment without settings, in place of `rate_limit`.
    pub default_limits: bool,
    /// Certificate and key, as PEM files. With them it serves only TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// A running load balancer. It stops when this value is dropped or its process ends, even if the process is killed.
#[derive(Debug)]
pub struct LoadBalancer {
    directory: PathBuf,
    address: SocketAddr,
    server: SupervisedChild,
    pid: u32,
}

impl LoadBalancer {
    /// Starts NGINX on `listen` in front of `hosts`, and waits until it serves. It creates `directory` if necessary.
    ///
    /// # Errors
    /// [`Error::NoNginx`], or the reason why NGINX does not start.
    pub async fn start(
        directory: &Path,
        listen: SocketAddr,
        hosts: &[SocketAddr],
        settings: &LoadBalancerSettings,
    ) -> Result<Self, Error> {
        Self::start_in(directory, None, listen, hosts, settings).await
    }

    /// Starts NGINX on a free address in front of `hosts`, in a temporary directory.
    ///
    /// # Errors
    /// As [`LoadBalancer::start`].
    pub async fn start_temporary(
        hosts: &[SocketAddr],
        settings: &LoadBalancerSettings,
    ) -> Result<Self, Error> {
        let base = env::temp_dir();
        let made = tempfile::Builder::new().prefix("atelier-nginx-").tempdir_in(&base);
        let directory = made.map_err(Error::io("create a directory in", &base))?.keep();
        Self::start_in(&directory, Some(&directory), free_address()?, hosts, settings).await
    }

    async fn start_in(
        directory: &Path,
        remove: Option<&Path>,
        listen: SocketAddr,
        hosts: &[SocketAddr],
        settings: &LoadBalancerSettings,
    ) -> Result<Self, Error> {
        let nginx = nginx()?;
        // NGINX resolves a relative path of its log against another folder.
        let directory = &std::path::absolute(directory).map_err(Error::io("find", directory))?;
        fs::create_dir_all(directory).map_err(Error::io("create the directory", directory))?;
        let configuration = directory.join("nginx.conf");
        let text = render(directory, listen, hosts, settings)?;
        fs::write(&configuration, text).map_err(Error::io("write", &configuration))?;
        let _ = fs::remove_file(directory.join(PID)); // left by a killed NGINX; it may not exist
        let log = directory.join(LOG);
        let output = File::create(&log).map_err(Error::io("create", &log))?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(directory).arg("-e").arg(&log).arg("-c").arg(&configuration);
        command.args(["-g", "daemon off;"]);
        let supervision = Supervision { stop_with: "QUIT", remove, account: None };
        let server = SupervisedChild::spawn(&command, supervision, Some(output))?;
        let mut load_balancer = Self { directory: directory.to_owned(), address: listen, server, pid: 0 };
        load_balancer.wait_until_ready(settings.tls.is_some()).await?;
        Ok(load_balancer)
    }

    /// Waits until NGINX responds. NGINX writes its process id after it has bound the address, so a later response
    /// comes from this NGINX.
    async fn wait_until_ready(&mut self, has_tls: bool) -> Result<(), Error> {
        let since = Instant::now();
        while since.elapsed() < START_TIMEOUT {
            if let Some(status) = self.ended()? {
                return Err(self.not_started(format!("it ended ({status})")));
            }
            if let Some(pid) = read_pid(&self.directory.join(PID)) {
                self.pid = pid;
                if has_tls || responds(self.address, "/healthz").await {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(self.not_started(format!("no response from {}", self.address)))
    }

    fn not_started(&self, why: String) -> Error {
        let log = fs::read_to_string(self.directory.join(LOG)).unwrap_or_default();
        Error::LoadBalancer { directory: self.directory.clone(), why, log: log.trim_end().to_owned() }
    }

    /// Returns the address that it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the id of the master process, which receives signals.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the path of the access log, with one JSON line per request. NGINX writes lines up to one second late.
    pub fn access_log(&self) -> PathBuf {
        self.directory.join(ACCESS_LOG)
    }

    /// Reloads the configuration: new worker processes start, and the old ones finish their requests.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Signal`] if the signal cannot be sent.
    pub fn reload(&self) -> Result<(), Error> {
        signal(self.pid, "HUP")
    }

    /// Returns the exit status if NGINX has ended.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.server.ended()
    }

    /// Stops gracefully: drains requests in flight and waits until NGINX has ended.
    ///
    /// # Errors
    /// [`Error::Stop`] after one minute.
    pub async fn stop(self) -> Result<ExitStatus, Error> {
        self.server.stop().await
    }
}

/// Returns the configuration from `deploy/nginx/render`.
fn render(
    directory: &Path,
    listen: SocketAddr,
    hosts: &[SocketAddr],
    settings: &LoadBalancerSettings,
) -> Result<Vec<u8>, Error> {
    let hosts: Vec<String> = hosts.iter().map(SocketAddr::to_string).collect();
    let mut command = Command::new(RENDER);
    // Variables of a deployment in this environment must not apply here.
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
    command.env("HOSTS", hosts.join(" ")).env("LISTEN", listen.to_string()).env("REDIRECT_LISTEN", "off");
    command.env("PID_FILE", directory.join(PID)).env("ERROR_LOG", directory.join(LOG));
    command.env("TEMPORARY", directory).env("STATUS_LISTEN", "off");
    if !settings.default_limits {
        command.env("CONNECTION_LIMIT", "off");
        command.env("RATE_LIMIT", settings.rate_limit.map_or("off".to_owned(), |limit| limit.to_string()));
    }
    let access_log = if settings.access_log { directory.join(ACCESS_LOG) } else { PathBuf::from("off") };
    command.env("ACCESS_LOG", access_log);
    if let Some((certificate, key)) = &settings.tls {
        command.env("TLS_CERTIFICATE", certificate).env("TLS_KEY", key);
    }
    let output = command.output().map_err(Error::io("run", Path::new(RENDER)))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Program {
        program: RENDER.to_owned(),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Returns the path of the installed NGINX. Debian's folder is on the PATH of root only.
///
/// # Errors
/// [`Error::NoNginx`].
pub fn nginx() -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let elsewhere = ["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(elsewhere).map(|directory| directory.join("nginx"));
    found.into_iter().find(|program| program.is_file()).ok_or(Error::NoNginx)
}
