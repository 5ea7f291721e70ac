//! A small filesystem for a server alone, where a test wants its disk full.
//!
//! It is a tmpfs in a mount namespace of the server's own. The kernel takes the namespace away with the last process in
//! it, and the filesystem with that, so nothing has to be unmounted, whatever ends the server. Root may make one; others
//! may in a user namespace, where the machine lets them have that.

use std::path::Path;
use std::process::Command;

use crate::Account;
use crate::guardian::append;

/// What is said of a server that could not be started with one.
pub(crate) const NEEDS: &str =
    "; for a disk of its own it needs `unshare` and `mount` of Linux, and root or a user namespace";

/// $1: the directory. $2: options of a tmpfs. The rest: what to run, when it is there.
const SCRIPT: &str = r#"mount -t tmpfs -o "$2" tmpfs "$1" && shift 2 && exec "$@""#;

/// The command of a server, to be run as the present user, that becomes `account` when it has its disk. It stays one
/// process, as each program on the way gives way to the next.
pub(crate) fn with(server: &Command, account: Account, directory: &Path, bytes: u64) -> Command {
    let (uid, gid) = account.ids();
    let mut command = Command::new("unshare");
    command.arg("--mount");
    let mut options = format!("size={bytes},mode=0700");
    if account.switched() {
        options += &format!(",uid={uid},gid={gid}");
    } else {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", SCRIPT, "sh"]).arg(directory).arg(options);
    if account.switched() {
        command.args(["setpriv", "--clear-groups"]);
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
    } else {
        command.args(["unshare", "--user"]);
        command.arg(format!("--map-user={uid}")).arg(format!("--map-group={gid}"));
    }
    command.arg("--");
    append(&mut command, server);
    command
}
