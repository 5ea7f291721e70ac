//! Temporary networks, joined by a link that can drop packets silently.
//!
//! Each network is a network namespace, isolated from the machine's own network. The kernel removes a namespace and its
//! link with the last process in it, however the test ends.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// This process exits when the test does, because the test holds its standard input.
const HOLD: &str = "ip link set lo up && echo held && exec cat";

/// A network with a loopback interface and possibly a link to another network.
pub struct Network {
    holder: Child,
    namespace: File,
}

impl Network {
    pub fn make() -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sh", "-c", HOLD]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = unshare.spawn().expect("fleet tests with a network need `unshare`, of Linux");
        let mut printed = [0; 5];
        let is_held = holder.stdout.as_mut().unwrap().read_exact(&mut printed).is_ok();
        assert!(is_held, "fleet tests with a network need root, and `ip` of iproute2; see the output above");
        let namespace = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self { holder, namespace }
    }

    /// Links this network to another. The first address is for this end, the second for the other.
    pub fn wire_to(&self, other: &Self, [here, there]: [&str; 2]) {
        self.ip(&format!("link add wire type veth peer name wire netns {}", other.holder.id()));
        for (network, address) in [(self, here), (other, there)] {
            network.ip(&format!("address add {address}/24 dev wire"));
            network.ip("link set wire up");
        }
    }

    /// Runs `ip` in this network.
    pub fn ip(&self, arguments: &str) {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("ip").args(arguments.split(' '));
        assert!(nsenter.status().unwrap().success(), "ip {arguments}: see the output above");
    }

    /// Runs a future in this network: all sockets and processes that it opens or starts are in the namespace.
    pub fn within<F: Future>(&self, begin: impl FnOnce() -> F + Send) -> F::Output
    where
        F::Output: Send,
    {
        let within = || {
            move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(begin())
        };
        std::thread::scope(|scope| scope.spawn(within).join().expect("see the failure above"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait(); // it exits by itself
    }
}
