//! A load balancer for hosts on this machine: NGINX with the configuration of a deployment.
//!
//! `deploy/nginx/render` writes the configuration into a directory of its own, and the installed NGINX runs there with
//! all its files. It needs no root. The caller names the hosts; [`crate::Fleet`] starts some.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::{Error, SupervisedChild, Supervision};

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
    /// Whether the directory is removed after NGINX has stopped.
    pub temporary: bool,
    /// Further variables for the script that writes the configuration. By default, no limits apply: all clients on one
    /// machine share one address.
    pub variables: Vec<(&'static str, String)>,
}

/// A running load balancer. It stops when this value is dropped or its process ends, even if the process is killed.
#[derive(Debug)]
pub struct LoadBalancer {
    directory: PathBuf,
    address: SocketAddr,
    server: SupervisedChild,
}

impl LoadBalancer {
    /// Starts NGINX on `listen` in front of `hosts`, and waits until it serves. It creates `directory` if necessary.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the reason why NGINX does not start.
    pub async fn start(
        directory: &Path,
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
        fs::write(&log, "").map_err(Error::io("write", &log))?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(directory).arg("-e").arg(&log).arg("-c").arg(&configuration);
        command.args(["-g", "daemon off;"]);
        let (name, remove) =
            (format!("NGINX in {}", directory.display()), settings.temporary.then_some(&**directory));
        let supervision =
            Supervision { name: &name, stop_with: "QUIT", remove, account: None, log: Some(&log) };
        let mut server = SupervisedChild::spawn(&command, supervision)?;
        // NGINX writes its process id once it has bound the address.
        server.wait_until_ready(START_TIMEOUT, || async { directory.join(PID).exists() }).await?;
        Ok(Self { directory: directory.to_owned(), address: listen, server })
    }

    /// Returns the address that it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the id of the master process, which receives signals.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Returns the path of the access log, with one JSON line per request. NGINX writes lines up to one second late.
    pub fn access_log(&self) -> PathBuf {
        self.directory.join(ACCESS_LOG)
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
    command.env("CONNECTION_LIMIT", "off").env("RATE_LIMIT", "off").env("NEW_CART_LIMIT", "off");
    let access_log = if settings.access_log { directory.join(ACCESS_LOG) } else { PathBuf::from("off") };
    command.env("ACCESS_LOG", access_log).envs(settings.variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().map_err(Error::io("run", Path::new(RENDER)))?;
    Error::unless_success(Path::new(RENDER), output)
}

/// Returns the path of the installed NGINX. Debian's folder is on the PATH of root only.
///
/// # Errors
/// [`Error::NotFound`].
pub fn nginx() -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let elsewhere = ["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(elsewhere).map(|directory| directory.join("nginx"));
    found.into_iter().find(|program| program.is_file()).ok_or(Error::NotFound {
        what: "NGINX",
        programs: "`nginx`",
        searched: "PATH, /usr/sbin, /opt/homebrew/bin and /usr/local/bin",
        install: "install it with `scripts/install.sh nginx`",
    })
}
