//! Networks of a test's own, joined by a wire that can be cut without a word.
//!
//! Each is a network namespace. Nothing of the machine's own network is in one, and nothing of it is changed. The kernel
//! takes a namespace away with the last process in it, and the wire with that, however the test ends.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Ends when the test does, since that holds its standard input.
const HOLD: &str = "ip link set lo up && echo held && exec cat";

/// A network, with a loopback interface and maybe a wire to another.
pub struct Network {
    holder: Child,
    namespace: File,
}

impl Network {
    pub fn make() -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sh", "-c", HOLD]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = unshare.spawn().expect("a network of a test's own takes `unshare` of Linux");
        let mut said = [0; 5];
        let is_held = holder.stdout.as_mut().unwrap().read_exact(&mut said).is_ok();
        assert!(
            is_held,
            "a network of a test's own takes root, and `ip` of iproute2; what was said is above"
        );
        let namespace = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self { holder, namespace }
    }

    /// Lays a wire to another, which has the second of these addresses at its end.
    pub fn wire_to(&self, other: &Self, [here, there]: [&str; 2]) {
        self.ip(&format!("link add wire type veth peer name wire netns {}", other.holder.id()));
        for (network, address) in [(self, here), (other, there)] {
            network.ip(&format!("address add {address}/24 dev wire"));
            network.ip("link set wire up");
        }
    }

    /// Runs `ip` in it.
    pub fn ip(&self, arguments: &str) {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("ip").args(arguments.split(' '));
        assert!(nsenter.status().unwrap().success(), "ip {arguments}: what was said is above");
    }

    /// Does something in it: every socket that is opened and every process that is started by that is there.
    pub fn within<F: Future>(&self, begin: impl FnOnce() -> F + Send) -> F::Output
    where
        F::Output: Send,
    {
        let within = || {
            move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(begin())
        };
        std::thread::scope(|scope| scope.spawn(within).join().expect("what failed is told above"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait(); // it ends by itself
    }
}
