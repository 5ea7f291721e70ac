//! NGINX in front of hosts on this machine, with the configuration that a deployment has.
//!
//! [`Balancer`] has `deploy/nginx/render` write that configuration into a directory of its own, with all that NGINX
//! writes, and runs the machine's NGINX there, as root or as anybody else. Which hosts there are is the caller's
//! business; [`crate::Fleet`] starts some.

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::process::{read_pid, signal};
use crate::{Error, Guarded, Watch, free_address, is_answered};

/// The script that writes the configuration. It belongs to the project's files, as this crate does, and is not built.
pub const RENDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nginx/render");

/// The balancer's files within its directory.
const LOG: &str = "error.log";
const ACCESS_LOG: &str = "access.log";
const PID: &str = "nginx.pid";

/// How long a start may take, on a machine that does much else.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// What may differ from one balancer to another.
#[derive(Clone, Debug, Default)]
pub struct BalancerSettings {
    /// Whether requests are logged, to `access.log` in the balancer's directory.
    pub access_log: bool,
    /// Requests a second, and as many at once, that one client's address may send; no limit if none. All clients on
    /// one machine have one address, so a limit is for trying the limit.
    pub rate_limit: Option<u32>,
    /// Certificate and key, as PEM files: then TLS is served, and nothing else.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// A running NGINX. It stops when this is dropped or its process ends, however that comes about.
#[derive(Debug)]
pub struct Balancer {
    directory: PathBuf,
    address: SocketAddr,
    server: Guarded,
    pid: u32,
}

impl Balancer {
    /// Serves `listen` from `hosts`, and waits until it does. `directory` is made if it is not there.
    ///
    /// # Errors
    /// No NGINX on this machine, or what keeps it from starting.
    pub async fn start(
        directory: &Path,
        listen: SocketAddr,
        hosts: &[SocketAddr],
        settings: &BalancerSettings,
    ) -> Result<Self, Error> {
        Self::start_in(directory, None, listen, hosts, settings).await
    }

    /// Serves a free address from `hosts`, in a directory that is removed when it has stopped.
    ///
    /// # Errors
    /// As of [`Balancer::start`].
    pub async fn start_temporary(hosts: &[SocketAddr], settings: &BalancerSettings) -> Result<Self, Error> {
        let base = env::temp_dir();
        let made = tempfile::Builder::new().prefix("atelier-balancer-").tempdir_in(&base);
        let directory = made.map_err(Error::io("create a directory in", &base))?.keep();
        Self::start_in(&directory, Some(&directory), free_address()?, hosts, settings).await
    }

    async fn start_in(
        directory: &Path,
        remove: Option<&Path>,
        listen: SocketAddr,
        hosts: &[SocketAddr],
        settings: &BalancerSettings,
    ) -> Result<Self, Error> {
        let nginx = nginx()?;
        // NGINX would look for its log in a folder of its own.
        let directory = &std::path::absolute(directory).map_err(Error::io("find", directory))?;
        fs::create_dir_all(directory).map_err(Error::io("create the directory", directory))?;
        let configuration = directory.join("nginx.conf");
        let text = render(directory, listen, hosts, settings)?;
        fs::write(&configuration, text).map_err(Error::io("write", &configuration))?;
        let _ = fs::remove_file(directory.join(PID)); // of a balancer that was killed; there may be none
        let log = directory.join(LOG);
        let output = File::create(&log).map_err(Error::io("create", &log))?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(directory).arg("-e").arg(&log).arg("-c").arg(&configuration);
        command.args(["-g", "daemon off;"]);
        let watch = Watch { stop_with: "QUIT", remove, account: None };
        let server = Guarded::spawn(&command, watch, Some(output))?;
        let mut balancer = Self { directory: directory.to_owned(), address: listen, server, pid: 0 };
        balancer.wait_until_it_answers(settings.tls.is_some()).await?;
        Ok(balancer)
    }

    /// The process id comes once the address is taken, so what answers there from then on is this NGINX.
    async fn wait_until_it_answers(&mut self, has_tls: bool) -> Result<(), Error> {
        let since = Instant::now();
        while since.elapsed() < START_PATIENCE {
            if let Some(status) = self.ended()? {
                return Err(self.not_started(format!("it ended ({status})")));
            }
            if let Some(pid) = read_pid(&self.directory.join(PID)) {
                self.pid = pid;
                if has_tls || is_answered(self.address, "/healthz").await {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(self.not_started(format!("nothing answers on {}", self.address)))
    }

    fn not_started(&self, why: String) -> Error {
        let log = fs::read_to_string(self.directory.join(LOG)).unwrap_or_default();
        Error::Balancer { directory: self.directory.clone(), why, log: log.trim_end().to_owned() }
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of its first process, which takes the signals.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The lines of JSON about requests, where the settings ask for them. NGINX writes them a second late.
    pub fn access_log(&self) -> PathBuf {
        self.directory.join(ACCESS_LOG)
    }

    /// Has it read its configuration again: new processes take over, and the old ones finish their requests.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Signal`] if it can't be told.
    pub fn reload(&self) -> Result<(), Error> {
        signal(self.pid, "HUP")
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.server.ended()
    }

    /// Lets the requests under way end, and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Stop`] if that takes longer than a minute.
    pub async fn stop(self) -> Result<ExitStatus, Error> {
        self.server.stop().await
    }
}

/// The configuration as `deploy/nginx/render` writes it.
fn render(
    directory: &Path,
    listen: SocketAddr,
    hosts: &[SocketAddr],
    settings: &BalancerSettings,
) -> Result<Vec<u8>, Error> {
    let hosts: Vec<String> = hosts.iter().map(SocketAddr::to_string).collect();
    let mut command = Command::new(RENDER);
    // What is set for a deployment in the environment here is not meant for this one.
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
    command.env("HOSTS", hosts.join(" ")).env("LISTEN", listen.to_string()).env("REDIRECT_LISTEN", "off");
    command.env("PID_FILE", directory.join(PID)).env("ERROR_LOG", directory.join(LOG));
    command.env("TEMPORARY", directory).env("STATUS_LISTEN", "off").env("CONNECTION_LIMIT", "off");
    command.env("RATE_LIMIT", settings.rate_limit.map_or("off".to_owned(), |limit| limit.to_string()));
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
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// The machine's NGINX. Debian keeps it in a folder that is on root's PATH alone.
///
/// # Errors
/// [`Error::NoNginx`].
pub fn nginx() -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let elsewhere = ["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(elsewhere).map(|directory| directory.join("nginx"));
    found.into_iter().find(|program| program.is_file()).ok_or(Error::NoNginx)
}
