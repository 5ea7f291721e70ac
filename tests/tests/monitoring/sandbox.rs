//! The metrics of the process in the sandbox of the host's unit.

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use local::{free_address, program, responds};
use rig::until;
use tokio::process::Command;

use crate::files::file;
use crate::prometheus::get;

/// Mounts /proc as `ProcSubset=pid` does, and starts a program.
const SCRIPT: &str = r#"mount -t proc -o subset=pid proc /proc && [ ! -e /proc/stat ] && exec "$0""#;

#[tokio::test]
async fn a_host_has_the_metrics_of_its_process_in_the_sandbox_of_systemd() {
    assert!(file("deploy/systemd/atelier-host.service").contains("\nProcSubset=pid\n"));
    let [listen, admin] = [free_address().unwrap(), free_address().unwrap()];
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", SCRIPT]);
    command.arg(program("atelier-host").unwrap()).kill_on_drop(true);
    command.env("DATABASE_URL", "host=/nowhere user=nobody").env("LISTEN", listen.to_string());
    command.env("ADMIN_LISTEN", admin.to_string()).stdout(Stdio::null());
    let host = command.spawn().expect("this test needs `unshare` of Linux, and root or a user namespace");
    until("the host serves", async || responds(admin, "/healthz").await).await;
    let (_, scrape) = get(admin, "/metrics").await;
    let value = |name: &str| -> f64 {
        let sample = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        sample.unwrap_or_else(|| panic!("no {name} in {scrape}")).parse().unwrap()
    };
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
    ] {
        assert!(value(name) > 0.0 || name == "process_cpu_seconds_total", "{name}: {}", value(name));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let started = value("process_start_time_seconds");
    assert!((now - 600.0..=now).contains(&started), "started at {started}, now {now}");
    drop(host);
}
