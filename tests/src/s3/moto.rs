//! The server of moto, one for each process of tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use local::{Guarded, Watch};
use tokio::sync::OnceCell;

/// How long it may take to start; Python reads some hundred modules.
const PATIENCE: Duration = Duration::from_mins(1);

struct Moto {
    address: SocketAddr,
    /// Nothing drops a static: the end of the process stops the server.
    _server: Guarded,
}

/// Where this process's server listens. It is started at first use.
pub(super) async fn address() -> SocketAddr {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    MOTO.get_or_init(start).await.address
}

async fn start() -> Moto {
    let directory = tempfile::Builder::new().prefix("atelier-moto-").tempdir().unwrap().keep();
    let log = directory.join("log");
    let mut command = Command::new(program());
    command.args(["-H", "127.0.0.1", "-p", "0"]); // a free port, which its log names
    // It has nothing to keep. At TERM it would raise an exception, which Python drops where it is at the wrong place.
    let watch = Watch { stop_with: "KILL", remove: Some(&directory), account: None };
    let mut server = Guarded::spawn(&command, watch, Some(std::fs::File::create(&log).unwrap())).unwrap();
    let since = Instant::now();
    loop {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(address) = listening(&said) {
            return Moto { address, _server: server };
        }
        if let Some(status) = server.ended().unwrap() {
            panic!("moto_server has ended ({status}): {said}");
        }
        assert!(since.elapsed() < PATIENCE, "moto_server does not listen: {said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The address in a line that it writes once it listens, if all of that line is there.
fn listening(log: &str) -> Option<SocketAddr> {
    let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let address = lines.filter_map(|line| line.split_once("Running on http://")).next()?.1;
    address.trim().parse().ok()
}

/// What `make tools` has installed, else what is on the path.
fn program() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/moto_server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("moto_server"));
    std::iter::once(installed)
        .chain(on_path)
        .find(|program| program.is_file())
        .expect("moto_server is neither in .venv/bin, where `make tools` puts it, nor on the PATH")
}

#[cfg(test)]
mod tests {
    use super::listening;

    #[test]
    fn the_address_is_read_from_a_whole_line_of_the_log() {
        let log =
            "WARNING: This is a development server.\n * Running on http://127.0.0.1:36657\nPress CTRL+C";
        assert_eq!(listening(log), Some("127.0.0.1:36657".parse().unwrap()));
        let half = "WARNING: This is a development server.\n * Running on http://127.0.0.1:36";
        assert_eq!(listening(half), None);
    }
}
