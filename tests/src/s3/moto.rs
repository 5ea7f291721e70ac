//! The moto server, one for each process of tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use local::{SupervisedChild, Supervision};
use tokio::sync::OnceCell;

/// The time limit for the server's start. Python loads hundreds of modules.
const START_TIMEOUT: Duration = Duration::from_mins(1);

struct Moto {
    address: SocketAddr,
    /// Never dropped, because it is in a static. The supervisor stops the server when this process exits.
    _server: SupervisedChild,
}

/// Returns the address of this process's server, which the first call starts.
pub(super) async fn address() -> SocketAddr {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    MOTO.get_or_init(start).await.address
}

async fn start() -> Moto {
    let directory = tempfile::Builder::new().prefix("atelier-moto-").tempdir().unwrap().keep();
    let log = directory.join("log");
    let mut command = Command::new(program());
    command.args(["-H", "127.0.0.1", "-p", "0"]); // a free port, which its log names
    // The server has no state to keep. On TERM it raises an exception that Python sometimes discards, so it is killed.
    let supervision = Supervision {
        stop_with: "KILL",
        remove: Some(&directory),
        log: Some(&log),
        ..Supervision::new("moto_server")
    };
    let mut server = SupervisedChild::spawn(&command, supervision).unwrap();
    let logged = || listening(&std::fs::read_to_string(&log).unwrap_or_default());
    let started = server.wait_until_ready(START_TIMEOUT, || async { logged().is_some() }).await;
    started.unwrap_or_else(|error| panic!("{error}"));
    Moto { address: logged().unwrap(), _server: server }
}

/// Returns the address that the server logs once it listens, if the whole line is there.
fn listening(log: &str) -> Option<SocketAddr> {
    let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let address = lines.filter_map(|line| line.split_once("Running on http://")).next()?.1;
    address.trim().parse().ok()
}

/// Returns the program that `make tools` has installed, or else the one on PATH.
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
